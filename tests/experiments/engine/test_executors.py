"""Executors: a real Dask cluster, submitit's local jobs, any object with ``submit``, and names that are none."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from sb3_ppo_variants.experiments import Comparison, Tuned, compare, tune
from sb3_ppo_variants.experiments.engine import executors
from sb3_ppo_variants.experiments.engine.executors import LocalExecutor, RemoteExecutor, task_executor
from tests.experiments.in_process import without_workers

SMALL = {"n_steps": 64, "batch_size": 32, "n_epochs": 1}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[str]:
    """Address of a Dask scheduler with two worker processes, all of them started from the command line."""
    pytest.importorskip("distributed", reason="distributed is not installed: pip install 'sb3_ppo_variants[dask]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--host", "127.0.0.1"]
    log = (tmp_path / "dask.log").open("w")
    options: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": tmp_path}
    processes = [
        subprocess.Popen([*start, "--no-dashboard", "--no-show"], **options),
        *(subprocess.Popen([*work, "--no-dashboard", "--nworkers", "1"], **options) for _ in range(2)),
    ]
    try:
        wait_for_workers(address)
        yield address
    finally:
        everything = [c for p in processes if p.poll() is None for c in psutil.Process(p.pid).children(recursive=True)]
        for process in processes:
            process.kill()
            process.wait()
        for child in everything:
            if child.is_running():
                child.kill()
        log.close()


def wait_for_workers(address: str) -> None:
    from distributed import Client

    with Client(address, timeout="60s") as client:
        client.wait_for_workers(2, timeout=60)


def comparison(executor: Any, out: Path, seeds: int = 6, **changes: Any) -> Comparison:
    settings = {"clip_ppo": SMALL, "sb3:ppo": SMALL}
    return compare(
        "CartPole-v1",
        list(settings),
        timesteps=512,
        seeds=seeds,
        settings=settings,
        executor=executor,
        out=out,
        **changes,
    )


def study(executor: Any, out: Path, jobs: int | None = None) -> Tuned:
    return tune(
        "clip_ppo", trials=6, timesteps=256, seeds=2, confirm=0, sampler="random", only=["clip_range", "n_epochs"],
        settings={"n_steps": 64, "batch_size": 32}, executor=executor, jobs=jobs, out=out,
    )  # fmt: skip


def numbers(found: Comparison | Tuned) -> list[Any]:
    """Everything but the clocks."""
    if isinstance(found, Tuned):
        return [(t.number, t.state, t.values, t.returns, t.score) for t in found.trials]
    results = [r.result for r in found.records]
    curves = [[(p.timesteps, p.mean_return, p.mean_length) for p in r.curve] if r else None for r in results]
    return [
        (r.run, r.state, r.reason, r.result and (r.result.final_return, r.result.episodes, r.result.steps), curve)
        for r, curve in zip(found.records, curves, strict=True)
    ]


@pytest.fixture
def here_alone(tmp_path: Path) -> list[Any]:
    """What a small comparison gives in this process, as it does in LocalExecutor's (``test_coordinator.py``)."""
    with pytest.MonkeyPatch.context() as patch:
        without_workers(patch)
        return numbers(comparison("local", tmp_path / "here", seeds=1))


@pytest.mark.long
def test_dask(dask: str, tmp_path: Path, here_alone: list[Any]) -> None:
    found = comparison(f"dask:{dask}", tmp_path / "dask", seeds=1)
    assert [r.state for r in found.records] == ["done", "done"]
    assert numbers(found) == here_alone


@pytest.mark.long
def test_dask_equals_local_to_the_bit_and_a_killed_worker_loses_nothing(dask: str, tmp_path: Path) -> None:
    address = f"dask:{dask}"
    assert numbers(comparison(address, tmp_path / "a")) == numbers(comparison("local", tmp_path / "b"))
    assert numbers(study(address, tmp_path / "c")) == numbers(study("local", tmp_path / "d"))
    for number, kind in enumerate((comparison, study)):
        with killing_dask_workers(dask):
            found = kind(address, tmp_path / f"killed{number}")
        assert numbers(found) == numbers(kind("local", tmp_path / f"undisturbed{number}"))


class killing_dask_workers:  # noqa: N801 (used like a function)
    """In the middle of the block, kills -9 a worker process that has a run; its nanny starts another."""

    def __init__(self, address: str):
        script = (
            "import os, signal, sys, time; from distributed import Client; client = Client(sys.argv[1])\n"
            "while not any(client.processing().values()): time.sleep(0.2)\n"
            "time.sleep(4.0)\n"
            "busy = [w for w, tasks in client.processing().items() if tasks]\n"
            "pids = {w: about['pid'] for w, about in client.run(lambda: {'pid': os.getpid()}).items()}\n"
            "os.kill(pids[busy[0]], signal.SIGKILL); print('killed', flush=True)\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", script, address], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        out, _ = self.process.communicate(timeout=60)
        assert out == "killed\n"


@pytest.mark.long
def test_runs_on_dask_end_with_their_command(dask: str, tmp_path: Path) -> None:
    script = (
        "import sys; from sb3_ppo_variants.experiments import compare\n"
        "compare('CartPole-v1', ['sb3:ppo'], timesteps=10**8, seeds=2, executor=sys.argv[1], out=sys.argv[2])\n"
    )
    command = subprocess.Popen([sys.executable, "-c", script, f"dask:{dask}", str(tmp_path / "out")])
    wait_until(lambda: len(runs_under_way()) == 2)
    command.kill()
    command.wait()
    wait_until(lambda: not runs_under_way(), seconds=60)


def runs_under_way() -> list[psutil.Process]:
    return [
        p for p in psutil.process_iter(["cmdline"]) if "engine.task import main" in " ".join(p.info["cmdline"] or ())
    ]


def wait_until(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.long
def test_submitit_equals_local_to_the_bit_and_a_killed_job_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'sb3_ppo_variants[submitit]'")
    local = numbers(comparison("local", tmp_path / "b"))
    killer = (
        "import os, time, psutil\n"
        "def jobs(): return [p.parent() for p in psutil.process_iter(['cmdline'])"
        " if 'engine.task import main' in ' '.join(p.info['cmdline'] or ()) and p.pid != os.getpid()]\n"
        "while not jobs(): time.sleep(0.1)\n"
        "time.sleep(1.0)\n"
        "jobs()[0].kill(); print('killed', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", killer], stdout=subprocess.PIPE, text=True)
    assert numbers(comparison("submitit:local", tmp_path / "a")) == local
    assert process.communicate(timeout=60)[0] == "killed\n"
    assert numbers(study("submitit:local", tmp_path / "c")) == numbers(study("local", tmp_path / "d"))
    assert not runs_under_way()


@pytest.mark.long
def test_any_object_with_submit(tmp_path: Path, here_alone: list[Any]) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert numbers(comparison(executor, tmp_path / "a", seeds=1)) == here_alone


def test_a_run_in_a_process_of_its_own_says_why_it_failed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        found = compare(
            "tests.experiments.mine:Raises", ["sb3:ppo"], timesteps=64, seeds=1, executor=executor, out=tmp_path,
            settings={"sb3:ppo": SMALL},
        )  # fmt: skip
    assert [r.reason for r in found.failed] == ["env: RuntimeError: the motor burned"]


def test_names(tmp_path: Path) -> None:
    assert isinstance(task_executor("local", 3, tmp_path), LocalExecutor)
    with ThreadPoolExecutor(5) as pool:
        remote = task_executor(pool, None, tmp_path)
        assert isinstance(remote, RemoteExecutor)
        assert remote.jobs == 5
        assert task_executor(pool, 2, tmp_path).jobs == 2
    for name in ("slurm", "dask", "dask:", "Local"):
        with pytest.raises(ValueError, match=rf"There is no executor '{name}': give local, dask:tcp://HOST:PORT"):
            task_executor(name, None, tmp_path)
    with pytest.raises(TypeError, match=r"an object with submit\(function, \*args\), got 7"):
        task_executor(7, None, tmp_path)


def test_jobs_and_rollout_workers_take_no_more_cores_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "available_cores", lambda: 8)
    for workers, jobs in ((None, 8), (1, 8), (3, 2), (8, 1), (9, 1)):
        executor = task_executor("local", None, tmp_path, workers)
        assert (executor.jobs, executor.rollout_workers) == (jobs, workers)
    assert task_executor("local", 2, tmp_path, 4).jobs == 2
    assert task_executor("local", 20, tmp_path).jobs == 20  # without rollout workers nothing changes
    with pytest.raises(
        ValueError, match=r"3 jobs with 3 rollout workers each take 9 cores, and there are 8: give fewer of either, or"
    ):
        task_executor("local", 3, tmp_path, 3)
    with ThreadPoolExecutor(5) as pool:
        assert task_executor(pool, None, tmp_path, 2).jobs == 2
        assert task_executor(pool, 5, tmp_path, 2).jobs == 5


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")

    def refuse(address: str, timeout: str) -> None:
        raise OSError(f"Timed out trying to connect to {address} after {timeout}")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(
        ValueError, match=r"Cannot reach a Dask scheduler at tcp://127\.0\.0\.1:1: Timed out.*dask scheduler"
    ):
        task_executor("dask:tcp://127.0.0.1:1", None, tmp_path)
