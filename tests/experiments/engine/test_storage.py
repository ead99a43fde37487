import importlib.util
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from sb3_ppo_variants.experiments.engine import storage
from sb3_ppo_variants.experiments.engine.storage import (
    locked,
    lost_database,
    patiently,
    storage_url,
    study_name,
    study_names,
    without_password,
)
from sb3_ppo_variants.experiments.engine.store import open_store
from sb3_ppo_variants.experiments.engine.transfer import read_runs
from tests.experiments.fakes import make_record, make_run


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


def test_names_of_folders_that_mean_something_in_a_url(tmp_path: Path) -> None:
    before_2_1 = sqlalchemy.__version__.startswith("2.0.")
    for name in ("a%20b #1 café", "what now?"):
        if before_2_1 and "?" in name:
            with pytest.raises(ValueError, match="give a folder or file without"):
                storage_url(None, tmp_path / name)
            continue
        with open_store(storage_url(None, tmp_path / name), "study"):
            pass
        assert [path.name for path in (tmp_path / name).iterdir()] == ["ledger.db"]


def test_a_study_is_named_after_the_output_folder() -> None:
    assert study_name(Path("runs/tuesday")) == "tuesday"
    assert study_name(Path("/")) == "compare"


def test_a_renamed_folder_goes_on_with_its_study(tmp_path: Path) -> None:
    names = ["monday", "monday-runs", "monday-confirmation"]
    for name in names:
        with open_store(storage_url(None, tmp_path / "monday"), name):
            pass
    (tmp_path / "monday").rename(tmp_path / "tuesday")
    assert study_names(storage_url(None, tmp_path / "tuesday")) == names
    assert study_name(tmp_path / "tuesday") == "monday"
    (tmp_path / "tuesday").rename(tmp_path / "monday-runs")
    assert study_name(tmp_path / "monday-runs") == "monday"
    (tmp_path / "monday-runs").rename(tmp_path / "tuesday")
    assert study_name(tmp_path / "tuesday", "postgresql://host/db") == "tuesday"
    # Another command's study whose name begins with that of this folder's, or the other way round.
    with open_store(storage_url(None, tmp_path / "monday-lr"), "monday-lr"):
        pass
    with open_store(storage_url(None, tmp_path / "monday-lr"), "monday"):
        pass
    assert study_name(tmp_path / "monday-lr") == "monday-lr"
    for name in ("nightly-runs", "nightly"):
        with open_store(storage_url(None, tmp_path / "nightly-runs"), name):
            pass
    assert study_name(tmp_path / "nightly-runs") == "nightly-runs"
    # Of two studies it cannot be said whose folder it was.
    with open_store(storage_url(None, tmp_path / "tuesday"), "another"):
        pass
    assert study_name(tmp_path / "tuesday") == "tuesday"


def test_a_ledger_in_a_folder_that_cannot_be_written_to_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, record = storage_url(None, tmp_path), make_record(make_run("a"))
    with open_store(url, "study") as store:
        store.add(record)
        monkeypatch.setattr(storage.os, "access", lambda _path, mode: mode == os.F_OK)
        # Its owner is at work: the last writes are in the write-ahead log alone.
        assert (tmp_path / "ledger.db-wal").stat().st_size
        with storage.readable(url) as at:
            assert at != url
        (read,) = read_runs(str(tmp_path))
        assert read.run == record.run
        with open_store(url, "study", write=False) as copy:
            assert copy.all_records() == [record]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_name_the_driver(scheme: str) -> None:
    pytest.importorskip("psycopg")
    assert storage_url(f"{scheme}://user@host:1/db", Path()) == "postgresql+psycopg://user@host:1/db"


def test_missing_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'sb3_ppo_variants\[postgresql\]'"):
        storage_url("postgresql://user@host/db", Path())


@pytest.mark.parametrize(
    "url", ["mysql+nodriver://user:secret@host/db", "sqlite://", "sqlite:///:memory:", "redis://host"]
)
def test_other_urls_are_rejected_without_showing_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"give (postgresql|a path)") as caught:
        storage_url(url, Path())
    assert "secret" not in str(caught.value)
    assert "secret" not in without_password("postgresql://user:secret@host/db")
    assert (
        without_password("postgresql://u@h/db?password=secret&sslmode=require&sslpassword=secret")
        == "postgresql://u@h/db?password=***&sslmode=require&sslpassword=***"
    )
    assert "S3C" not in without_password("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3DS3C&ssl.password=S3C")


def test_a_busy_ledger_is_not_taken_for_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = storage_url(None, tmp_path)
    with open_store(url, "study"):
        pass
    monkeypatch.setattr(storage, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ValueError, match=r"Cannot open the storage .*locked"):
            study_names(url)


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "photos.db")) as database, database:
        database.execute("CREATE TABLE photos (name TEXT)")
    (tmp_path / "text.db").write_text("no database")
    for name in ("photos.db", "text.db"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"{name} is no ledger: give a file"):
            study_names(storage_url(str(tmp_path / name), tmp_path))
        assert (tmp_path / name).read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"photos.db", "text.db"}


def test_what_is_no_database_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("garbage" * 100)
    with pytest.raises(ValueError, match=r"Cannot open the storage .*file is not a database"):
        open_store(storage_url(None, tmp_path), "study").__enter__()


def test_unreachable_server_is_one_clear_error() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ValueError, match=r"Cannot open the storage .*@127\.0\.0\.1:1/db: connection failed") as caught:
        open_store(storage_url("postgresql://user:secret@127.0.0.1:1/db", Path()), "study").__enter__()
    assert "secret" not in str(caught.value)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    with pytest.raises(ValueError, match="There is no ledger at"):
        study_names(url)
    assert not (tmp_path / "ledger.db").exists()
    with open_store(url, "there"):
        pass
    with pytest.raises(ValueError, match=r"There is no study 'elsewhere' .* it holds \['there'\]"):
        open_store(url, "elsewhere", write=False).__enter__()
    assert study_names(url) == ["there"]


def test_a_second_command_is_told_who_is_at_work(storage: str, tmp_path: Path) -> None:
    url = storage_url(storage, tmp_path)
    script = (
        "import sys, time\n"
        "from sb3_ppo_variants.experiments.engine.storage import locked\n"
        "with locked(sys.argv[1], 'busy'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
        message = rf"at work on the study 'busy': .*process {process.pid} on {socket.gethostname()}"
        with pytest.raises(ValueError, match=message), locked(url, "busy"):
            pass
        with locked(url, "another"):
            pass
        process.kill()  # -9: the lock dies with its holder
        process.wait()
    wait_for(lambda: can_lock(url, "busy"))
    assert not list(tmp_path.glob("*.lock"))


def can_lock(url: str, study: str) -> bool:
    try:
        with locked(url, study):
            return True
    except ValueError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_patiently_tries_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
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
