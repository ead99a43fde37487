"""A PostgreSQL server of the tests' own, and commands without worker processes."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.in_process import without_workers


def _as_server_user(command: str) -> None:
    """PostgreSQL refuses to run as root."""
    arguments = ["su", "postgres", "-s", "/bin/sh", "-c", command] if os.geteuid() == 0 else ["sh", "-c", command]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of an empty database on a server that lives as long as the tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if shutil.which("pg_config") is None:
        pytest.skip("no pg_config, so no PostgreSQL server to start")
    binaries = Path(
        subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
    )
    if not (binaries / "initdb").is_file():
        pytest.skip(f"no initdb in {binaries}, so no PostgreSQL server to start")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))  # not tmp_path: the server's user must be able to enter it
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        _as_server_user(f"{binaries}/initdb --no-sync -A trust -U ledger -D {folder}/data")
        options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off"
        _as_server_user(f"{binaries}/pg_ctl start -w -D {folder}/data -l {folder}/log -o '{options}'")
        try:
            _as_server_user(f"{binaries}/createdb -h 127.0.0.1 -p {port} -U ledger runs")
            yield f"postgresql://ledger@127.0.0.1:{port}/runs"
        finally:
            _as_server_user(f"{binaries}/pg_ctl stop -m immediate -D {folder}/data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database URL of each kind."""
    return request.getfixturevalue("postgresql") if request.param == "postgresql" else str(tmp_path / "ledger.db")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes."""
    without_workers(monkeypatch)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds, and tests of its own."""
    monkeypatch.setattr("sb3_ppo_variants.experiments.tuning.report.write_report", lambda *_: [])
