"""Encodings, closed pipes and lost terminals do not decide an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_ppo_variants.terminal import plainer
from tests.forms import long

SHOW = """
import sys
from sb3_ppo_variants import cli
from sb3_ppo_variants.cli.console import clear_errors, say, screen
from sb3_ppo_variants.experiments.reporting.tables import Table

@cli.app.command("show")
def show() -> None:
    with clear_errors():
        Table("KL(old‖new) — ε × 2", ["row", "95 %"], [["café", "±1.25"], ["日本", "–"]]).show(screen())
        say("done: \\udce9.zip", console=screen())
        say("said …")
        sys.stdout.flush()

sys.argv = ["ppo-variants", "show"]
cli.main()
"""
# Where a shell finds this Python.
PYTHON = {"PYTHON": sys.executable, "PROGRAM": SHOW}


def run_shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={**os.environ, **PYTHON, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "encoding", ["cp932", "utf-16", *map(long, ("ascii:strict", "gbk", "cp437", "latin-1", "ascii", "utf-8"))]
)
def test_any_encoding_will_do(encoding: str) -> None:
    done = run_shell('"$PYTHON" -c "$PROGRAM"', PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding.partition(":")[0])
    assert "1.25" in text
    assert "row" in text
    assert "done: ?.zip" in text
    assert "said" in done.stderr.decode(encoding.partition(":")[0])


def test_characters_that_an_encoding_lacks_are_spelt_out() -> None:
    text = run_shell('"$PYTHON" -c "$PROGRAM"', PYTHONIOENCODING="ascii").stdout.decode("ascii")
    assert "KL(old||new) - epsilon x 2" in text
    assert "+-1.25" in text
    assert "cafe" in text
    assert plainer("日本") == "??"


@pytest.mark.parametrize(
    "command",
    [
        long('"$PYTHON" -c "$PROGRAM" >&-'),
        long('"$PYTHON" -c "$PROGRAM" >&- 2>&-'),
        '"$PYTHON" -c "$PROGRAM" <&- >&- 2>&-',
        '"$PYTHON" -c "$PROGRAM" | true',
        long('"$PYTHON" -c "$PROGRAM" 2>&1 | head -c 1'),
        long('"$PYTHON" -u -c "$PROGRAM" 2>&1 | true'),
    ],
)
def test_nobody_has_to_read(command: str) -> None:
    done = run_shell(command)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_lost_terminal() -> None:
    """Its process writes to a terminal whose other side is gone."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    os.close(leader)
    done = subprocess.run([sys.executable, "-c", SHOW], stdout=follower, stderr=follower, timeout=120, check=False)
    os.close(follower)
    assert done.returncode == 0


def test_a_closed_stream_is_not_replaced_by_another_file(tmp_path: Path) -> None:
    program = (
        "from sb3_ppo_variants.terminal import make_streams_safe\nmake_streams_safe()\n"
        f"file = open({str(tmp_path / 'f')!r}, 'w')\nassert file.fileno() > 2\nprint('lost')\n"
    )
    assert run_shell('"$PYTHON" -c "$PROGRAM" <&- >&- 2>&-', PROGRAM=program).returncode == 0
    assert (tmp_path / "f").read_text() == ""


def test_a_full_disk_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    done = run_shell('"$PYTHON" -c "$PROGRAM" > /dev/full')
    assert done.returncode == 2
    assert b"No space left" in done.stderr
