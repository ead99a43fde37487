"""The database of the ledgers, SQLite or PostgreSQL, opened in a way that is safe for Optuna's transactions."""

import importlib.util
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from sb3_ppo_variants.files import safe_name

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
MAX_RETRIES = 3  # of a run whose process has died

T = TypeVar("T")


def storage_url(storage: str | None, out: Path) -> str:
    """The database URL in the form that SQLAlchemy and the installed driver take.

    :param storage: A URL, a path to an SQLite file, or ``None`` for ``out/ledger.db``
    :param out: The comparison's folder
    :return: The URL
    """
    if storage is None or "://" not in storage:
        return f"sqlite:///{Path(storage or out / 'ledger.db').resolve()}"
    scheme, _, rest = storage.partition("://")
    if scheme == "sqlite" and rest not in ("", "/", "/:memory:"):
        return storage
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ValueError(
            f"--storage {without_password(storage)!r} is not supported: give postgresql://user@host:port/database, "
            f"sqlite:///path, or a path to an SQLite file"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError(
            "A PostgreSQL storage needs the driver psycopg: pip install 'sb3_ppo_variants[postgresql]', "
            "or leave --storage out to use an SQLite file"
        )
    return f"postgresql+psycopg://{rest}"


def study_name(out: Path) -> str:
    """Name of the study that holds the runs of a command: the name of its output folder.

    :param out: The output folder
    """
    return safe_name(out.resolve().name) or "compare"


def without_password(url: str) -> str:
    """A database URL without its password, for messages."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url.partition("://")[0] + "://…"


def lost_database(error: StorageInternalError) -> ConnectionError:
    """The error to raise when the connection to the database is lost.

    :param error: Optuna's error; its cause has the database's message ("database or disk is full")
    """
    reason = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    return ConnectionError(f"Lost the ledger's database ({reason}); rerun the command to resume")


def patiently(action: Callable[[], T], seconds: float = 30.0) -> T:
    """Call a function that uses the database, and retry for a while if the database cannot be reached.

    :param action: The function
    :param seconds: How long to retry
    :return: Its return value
    """
    start = time.monotonic()
    while True:
        try:
            return action()
        except StorageInternalError:  # noqa: PERF203 (retrying is the purpose)
            if time.monotonic() - start > seconds:
                raise
            time.sleep(0.5)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental features (heartbeats) and its message for each opened study."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_storage(url: str, heartbeat: int, grace: int) -> RDBStorage:
    """Open a database for Optuna and create its tables.

    :param url: Normalised database URL (:func:`storage_url`)
    :param heartbeat: Seconds between signs of life of a running trial
    :param grace: Seconds without one after which its process counts as dead
    """
    sqlite = url.startswith("sqlite")
    if sqlite:
        Path(sqlalchemy.make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        storage = RDBStorage(
            url,
            # One failed write ends Optuna's heartbeat thread: so wait long for SQLite's lock, and check before each
            # use of a connection that PostgreSQL still answers.
            engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True},
            heartbeat_interval=heartbeat,
            grace_period=grace,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
        )
    if sqlite:
        # Optuna claims a trial with SELECT ... FOR UPDATE, which SQLite ignores: two workers could claim the same one.
        # Here every transaction takes the write lock when it begins (SQLAlchemy's recipe for pysqlite).
        sqlalchemy.event.listen(storage.engine, "connect", _leave_transactions_to_us)
        sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
        storage.engine.dispose()  # close the connections opened before the listeners
    return storage


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    # A trial takes about twenty transactions, and each sync takes tens of milliseconds on a busy disk. With a
    # write-ahead log SQLite need not sync every one: a killed process loses nothing, a power cut at most the last
    # transactions, and the file stays intact. On a file system that cannot have one, SQLite keeps its rollback journal.
    with suppress(sqlite3.OperationalError):  # an older process may hold the file in the other mode
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
            connection.execute("PRAGMA synchronous = NORMAL")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def study_names(url: str) -> list[str]:
    """Names of the studies in an existing storage.

    :param url: Normalised database URL
    """
    database = Path(sqlalchemy.make_url(url).database or "")
    if url.startswith("sqlite") and not database.is_file():
        raise ValueError(f"There is no ledger at {database}")
    try:
        storage = open_storage(url, HEARTBEAT_SECONDS, GRACE_SECONDS)
        names = [study.study_name for study in optuna.get_all_study_summaries(storage)]
        close_storage(storage)
    except (sqlalchemy.exc.DatabaseError, StorageInternalError) as error:
        raise cannot_open(url, error) from error
    return names


def close_storage(storage: RDBStorage) -> None:
    """Close the database connections; PostgreSQL's driver warns about connections left open."""
    storage.remove_session()
    storage.engine.dispose()


def cannot_open(url: str, error: Exception) -> ValueError:
    """The error to raise when a database cannot be opened."""
    cause = getattr(error if hasattr(error, "orig") else error.__cause__, "orig", error)
    return ValueError(f"Cannot open the storage {without_password(url)}: {cause}")
