"""Python processes forked from a server that has imported the package: starting Python and importing torch anew takes
seconds each time.

``python -m tests.forked`` is the server. Each line that it reads is a request in JSON; it answers each with one line.
"""

import atexit
import gc
import importlib.util
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
#: One thread, no display, and the package that is tested also where another one is installed.
SETTINGS = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "SDL_VIDEODRIVER": "dummy", "PYTHONPATH": str(ROOT)}
#: Imported by the server where they are installed. Not rl_zoo3, which changes gymnasium for the whole process.
PRELOADED = (
    "sb3_ppo_variants.cli",
    "sb3_ppo_variants.experiments.engine.coordinator",
    "sb3_ppo_variants.experiments.figures",
    "torch._dynamo",  # what torch imports when it makes the first optimizer
    "sb3_contrib",
    "optuna",
    "scipy.stats",
    "matplotlib.pyplot",
    "seaborn",
    "huggingface_sb3",
    "moviepy",
)


class Forked:
    """A Python process, as ``subprocess.Popen`` has it.

    :param folder: Where it runs
    :param arguments: What would follow ``python`` in a shell: a script, ``-m`` and a module, or ``-c`` and a program
    :param environment: Environment variables
    """

    def __init__(self, folder: Path, *arguments: str | Path, **environment: str):
        self.output = Path(tempfile.mkdtemp(dir=_outputs()))
        for stream in (self.output / "1", self.output / "2"):  # may be read before the process writes to it
            stream.touch()
        environment = {**os.environ, **SETTINGS, **environment}
        request = {"folder": str(folder), "output": str(self.output), "environment": environment}
        self.pid: int = _ask({"start": [*map(str, arguments)], **request})
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """:return: the exit code; ``None`` as long as it runs"""
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 600.0) -> int:
        """:return: the exit code"""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"still running after {timeout} s: {self.stdout}{self.stderr}")
            time.sleep(0.02)
        return code

    def wait_for(self, text: str) -> None:
        """Wait until the process has said something on standard error."""
        while text not in self.stderr:
            assert self.poll() is None, self.stderr
            time.sleep(0.02)

    @property
    def stdout(self) -> str:
        return (self.output / "1").read_text()

    @property
    def stderr(self) -> str:
        return (self.output / "2").read_text()


def python(folder: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with one thread and without a display. The parameters are those of :class:`Forked`."""
    process = Forked(folder, *arguments, **environment)
    process.wait()
    return subprocess.CompletedProcess(arguments, process.wait(), process.stdout, process.stderr)


def _ask(request: dict[str, Any]) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@cache
def _outputs() -> Path:
    """Where processes write what they print."""
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _server() -> "subprocess.Popen[str]":
    """The server of this process; it ends with its standard input."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **SETTINGS},
    )
    atexit.register(server.communicate)
    return server


# ---- In the server ----


def serve() -> dict[str, Any]:
    """Answer requests.

    :return: in a forked process, what it was forked for
    """
    for name in PRELOADED:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    assert "rl_zoo3" not in sys.modules
    gc.freeze()  # a collection in a forked process would copy every page
    running: set[int] = set()
    while line := sys.stdin.buffer.raw.readline():  # type: ignore[attr-defined]  # a buffer would be forked too
        request: dict[str, Any] = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            running.discard(pid)
        else:
            answer = os.fork()
            if answer == 0:
                return request
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:  # whoever wanted them has ended
        os.kill(pid, signal.SIGKILL)
    sys.exit()


def settle(folder: str, output: str, environment: dict[str, str]) -> None:
    """Take a forked process to its folder, its environment and its files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    more = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in more if path and path not in sys.path]
    for number, path in enumerate((os.devnull, f"{output}/1", f"{output}/2")):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115


def become(first: str, *rest: str) -> int:
    """Do what ``python first rest`` does, to its end.

    :return: the exit code
    """
    try:
        run(first, *rest)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(first: str, *rest: str) -> None:
    """Run a program, a module or a script."""
    if first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv, sys.path[0] = list(rest), str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent.resolve())
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    wanted = serve()
    settle(wanted["folder"], wanted["output"], wanted["environment"])
    code = become(*wanted["start"])
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking torch down again takes as long as importing it
