import importlib.util
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from sb3_ppo_variants.experiments.engine.ledger import Ledger, open_ledger
from sb3_ppo_variants.experiments.engine.storage import (
    HEARTBEAT_SECONDS,
    lost_database,
    open_storage,
    patiently,
    storage_url,
    study_name,
    study_names,
    without_password,
)


def test_a_lost_database_is_described_in_its_own_words() -> None:
    from optuna.exceptions import StorageInternalError

    engine = sqlalchemy.create_engine("sqlite://")
    lost = StorageInternalError("An exception is raised during the commit.")
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM nowhere"))
    lost.__cause__ = caught.value
    assert str(lost_database(lost)) == (
        "Lost the ledger's database (no such table: nowhere); rerun the command to resume"
    )


def test_urls(tmp_path: Path) -> None:
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/ledger.db"
    assert storage_url(str(tmp_path / "x.db"), Path("unused")) == f"sqlite:///{tmp_path}/x.db"
    assert storage_url("sqlite:////a/b.db", tmp_path) == "sqlite:////a/b.db"


def test_a_study_is_named_after_the_output_folder() -> None:
    assert study_name(Path("runs/tuesday")) == "tuesday"
    assert study_name(Path("/")) == "compare"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_name_the_driver(scheme: str) -> None:
    pytest.importorskip("psycopg")
    assert storage_url(f"{scheme}://user@host:1/db", Path()) == "postgresql+psycopg://user@host:1/db"


def test_missing_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'sb3_ppo_variants\[postgresql\]'"):
        storage_url("postgresql://user@host/db", Path())


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "sqlite://", "sqlite:///:memory:", "redis://host"])
def test_other_urls_are_rejected_without_showing_a_password(url: str) -> None:
    with pytest.raises(ValueError, match="is not supported: give postgresql") as caught:
        storage_url(url, Path())
    assert "secret" not in str(caught.value)
    assert "secret" not in without_password("postgresql://user:secret@host/db")


def test_what_is_no_database_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("garbage" * 100)
    with pytest.raises(ValueError, match=r"Cannot open the storage .*file is not a database"):
        open_ledger(storage_url(None, tmp_path), "study", create=True)


def test_unreachable_server_is_one_clear_error() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ValueError, match=r"Cannot open the storage .*@127\.0\.0\.1:1/db: connection failed") as caught:
        open_ledger(storage_url("postgresql://user:secret@127.0.0.1:1/db", Path()), "study", create=True)
    assert "secret" not in str(caught.value)


def test_joining_makes_nothing(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    with pytest.raises(ValueError, match="There is no ledger at"):
        study_names(url)
    assert not (tmp_path / "ledger.db").exists()
    open_ledger(url, "there", create=True)
    with pytest.raises(ValueError, match=r"There is no study 'elsewhere' .* it holds \['there'\]"):
        open_ledger(url, "elsewhere", create=False)
    assert study_names(url) == ["there"]


def test_sqlite_transactions_take_the_write_lock_when_they_begin(tmp_path: Path) -> None:
    """So that two workers cannot both read that a trial waits, and both claim it."""
    storage = open_storage(storage_url(None, tmp_path), HEARTBEAT_SECONDS, 60)
    with storage.engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))  # only reads
        other = sqlite3.connect(tmp_path / "ledger.db", timeout=0.1, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_patiently_tries_again_for_a_while(make_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.exceptions import StorageInternalError

    calls = []

    def action() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise StorageInternalError("away")
        return 7

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert patiently(action) == 7
    calls.clear()
    with pytest.raises(StorageInternalError, match="away"):
        patiently(action, seconds=-1)
