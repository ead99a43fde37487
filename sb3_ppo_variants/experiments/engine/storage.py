"""The databases that keep finished work: SQLite, PostgreSQL or another one that Optuna's RDBStorage can use."""

import importlib.util
import os
import re
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from sb3_ppo_variants.files import exclusive, safe_name, this_process

T = TypeVar("T")
RUNS_SUFFIX = "-runs"
SUFFIXES = (RUNS_SUFFIX, "-confirmation")  # of the names of a tuning study's other two
BUSY_SECONDS = 60.0  # how long to wait for an SQLite file that another process has locked
# Drivers take passwords among a URL's options too.
_IN_QUERY = re.compile(r"([?&](?:[\w.-]*pass[\w.-]*|odbc_connect)=)[^&\s]*", re.IGNORECASE)


def as_storage(storage: str | Path | None) -> str | None:
    """A storage as this module takes it: a path is its text."""
    return None if storage is None else os.fspath(storage)


def storage_url(storage: str | None, out: Path) -> str:
    """The database URL in the form that SQLAlchemy and the installed driver take.

    :param storage: A URL, a path to an SQLite file, or ``None`` for ``out/ledger.db``
    :param out: The comparison's folder
    :return: The URL
    :raises ValueError: for a path with ? or %, a database in memory, a missing driver, or a URL that cannot be used
    """
    if storage is None or "://" not in storage:
        path = str(Path(storage or out / "ledger.db").resolve())
        url = sqlalchemy.URL.create("sqlite", database=path).render_as_string()
        if _file(url) != Path(path):  # SQLAlchemy 2.0 takes what follows a question mark for options
            raise ValueError(f"A ledger cannot be at {path}: give a folder or file without ? and % in its name")
        return url
    scheme, _, rest = storage.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        if importlib.util.find_spec("psycopg") is None:
            raise ValueError(
                "A PostgreSQL storage needs the driver psycopg: pip install 'sb3_ppo_variants[postgresql]', "
                "or leave --storage out to use an SQLite file"
            )
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite" and rest in ("", "/", "/:memory:"):
        raise ValueError("A storage in memory keeps nothing: give a path to an SQLite file, or a database URL")
    try:
        sqlalchemy.create_engine(storage)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise ValueError(
            f"--storage {without_password(storage)!r} cannot be used ({error}): give "
            "postgresql://user@host:port/database, sqlite:///path, or a path to an SQLite file"
        ) from error
    return storage


def without_passwords(text: str) -> str:
    """A text, say an argument of a command, without the passwords of the database URLs in it."""
    return _IN_QUERY.sub(r"\1***", re.sub(r"(://[^:/@]*):.*@", r"\1:***@", text))


def study_name(out: Path, storage: str | None = None) -> str:
    """Name of the study that holds the runs of a command: the name of its output folder.

    The ledger in a folder that has been renamed or copied keeps its name.

    :param out: The output folder
    :param storage: URL of its ledger, if that lies elsewhere
    """
    name = safe_name(out.resolve().name) or "compare"
    url = storage_url(storage, out)
    if storage is None and exists(url):
        names = study_names(url)
        tuned = [one for one in names if {one + suffix for suffix in SUFFIXES} <= set(names)]
        others = {one + suffix for one in tuned for suffix in SUFFIXES}
        first = [one for one in names if one not in others]
        if len(first) == 1:
            return first[0]
    return name


def without_password(url: str) -> str:
    """A database URL without its passwords, for messages; a path stays as it is."""
    if "://" not in url:
        return url
    try:
        return _IN_QUERY.sub(r"\1***", sqlalchemy.make_url(url).render_as_string(hide_password=True))
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
    """Suppress Optuna's message for each opened study, and its warnings about experimental features."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_storage(url: str) -> RDBStorage:
    """Open a database for Optuna and create its tables.

    :param url: Normalised database URL (:func:`storage_url`)
    """
    sqlite = url.startswith("sqlite")
    if sqlite:
        _file(url).parent.mkdir(parents=True, exist_ok=True)
    # Check before each use of a connection that the server still answers; wait long for SQLite's lock, which
    # optuna-dashboard may hold.
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
    with quiet():
        storage = RDBStorage(url, engine_kwargs=options)
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
        storage.engine.dispose()  # close the connections opened before the listener
    return storage


def _write_ahead(connection: Any, _record: Any) -> None:
    # Each sync takes tens of milliseconds on a busy disk. With a write-ahead log SQLite need not sync every one: a
    # killed process loses nothing, a power cut at most the last transactions, and the file stays intact. On a file
    # system that cannot have one, SQLite keeps its rollback journal.

    with suppress(sqlite3.OperationalError):  # a process may hold the file in the other mode
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
            connection.execute("PRAGMA synchronous = NORMAL")


def _file(url: str) -> Path:
    return Path(sqlalchemy.make_url(url).database or "")


def exists(url: str) -> bool:
    """Whether there is a database: an SQLite file; a server's is asked for only when it is opened.

    :param url: Normalised database URL
    """
    return not url.startswith("sqlite") or _file(url).is_file()


def study_names(url: str) -> list[str]:
    """Names of the studies in an existing storage.

    :param url: Normalised database URL
    :raises ValueError: if there is no storage, or it cannot be opened
    """
    if not exists(url):
        raise ValueError(f"There is no ledger at {_file(url)}")
    try:
        if url.startswith("sqlite"):
            with readable(url) as at:
                return _studies_in(_file(at), of=_file(url))
        storage = open_storage(url)
        names = [study.study_name for study in optuna.get_all_study_summaries(storage)]
        close_storage(storage)
    except (sqlalchemy.exc.DatabaseError, sqlite3.OperationalError, StorageInternalError) as error:
        raise cannot_open(url, error) from error
    return names


def _studies_in(file: Path, of: Path) -> list[str]:
    """The names in an SQLite file; opening it as a storage would add Optuna's tables if it had none."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=BUSY_SECONDS, uri=True)) as database:
        try:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone():
                return [name for (name,) in database.execute("SELECT study_name FROM studies ORDER BY study_id")]
        except sqlite3.OperationalError:  # busy, say
            raise
        except sqlite3.DatabaseError:  # no database at all
            pass
    raise ValueError(f"{of} is no ledger: give a file that compare, tune or sensitivity has written")


@contextmanager
def readable(url: str) -> Iterator[str]:
    """A URL at which a database can be read, in a ``with`` block.

    SQLite opens no file with a write-ahead log in a folder that it cannot write to. There, a copy is read.

    :param url: Normalised database URL
    """
    file = _file(url)
    if not url.startswith("sqlite") or not file.is_file() or all(os.access(p, os.W_OK) for p in (file, file.parent)):
        yield url
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield storage_url(str(_copy(file, Path(scratch))), Path())


def _copy(file: Path, to: Path) -> Path:
    """Copy an SQLite file with its write-ahead log; again if its owner has written meanwhile, up to five times."""
    log = file.with_name(f"{file.name}-wal")
    for _ in range(5):
        before = [_written(part) for part in (file, log)]
        shutil.copyfile(file, to / file.name)
        (to / log.name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # the last one who closes the database removes it
            shutil.copyfile(log, to / log.name)
        if [_written(part) for part in (file, log)] == before:
            break
    return to / file.name


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None


def close_storage(storage: RDBStorage) -> None:
    """Close the database connections; PostgreSQL's driver warns about connections left open."""
    storage.remove_session()
    storage.engine.dispose()


def cannot_open(url: str, error: Exception) -> ValueError:
    """The error to raise when a database cannot be opened."""
    cause = getattr(error if hasattr(error, "orig") else error.__cause__, "orig", error)
    return ValueError(f"Cannot open the storage {without_password(url)}: {cause}")


@contextmanager
def locked(url: str, study: str) -> Iterator[None]:
    """A context in which no other command can write to a study.

    The lock dies with its holder: it is the operating system's lock on a file beside an SQLite file, PostgreSQL's
    advisory lock of a connection elsewhere. Other databases, and Windows, have none.

    :param url: Normalised database URL
    :param study: Name of the study
    :raises ValueError: if another command holds it; the message says which
    """
    if url.startswith("sqlite"):
        with exclusive(_file(url).with_name(f"{_file(url).name}.{study}.lock"), lambda holder: _refuse(study, holder)):
            yield
    elif url.startswith("postgresql"):
        with _advisory_lock(url, study):
            yield
    else:
        yield


def _refuse(study: str, holder: str) -> ValueError:
    return ValueError(
        f"Another command is at work on the study {study!r}: {holder}. Wait for it or stop it, then rerun this one; or "
        "give another --out"
    )


@contextmanager
def _advisory_lock(url: str, study: str) -> Iterator[None]:
    engine = sqlalchemy.create_engine(url, connect_args={"application_name": f"ppo-variants {this_process()}"[:63]})
    key = {"key": f"ppo-variants {study}"}
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(hashtext(:key))"), key):
                holder = sqlalchemy.text(
                    "SELECT application_name || ', connected from ' || coalesce(host(client_addr), 'the server') "
                    "FROM pg_locks JOIN pg_stat_activity USING (pid) "
                    "WHERE locktype = 'advisory' AND granted AND objid = (hashtext(:key)::bigint & 4294967295)"
                )
                raise _refuse(study, str(connection.scalar(holder, key)))
            yield
    except sqlalchemy.exc.DatabaseError as error:
        raise cannot_open(url, error) from error
    finally:
        engine.dispose()
