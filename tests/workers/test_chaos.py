"""Workers, and all processes at once, killed or stopped at random moments of a training. Long."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sb3_ppo_variants.workers import WorkerError, team
from tests.environments import RandomWalk
from tests.workers.faulty import Failing
from tests.workers.models import model_with_workers

pytestmark = pytest.mark.long
TIMES = range(50)


@pytest.mark.parametrize("seed", TIMES)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker(sent: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The forkserver has imported all that workers need, so that none takes long to start.
    monkeypatch.setattr(team, "_STARTING", 10.0)
    generator = random.Random(seed)
    with model_with_workers(RandomWalk, 3, env={"timeout": 2.0}) as model:
        members = model.env.team.members
        number = generator.randrange(3)
        processes = [psutil.Process(member.process.pid) for member in members]
        timer = threading.Timer(generator.uniform(0, 0.5), os.kill, (processes[number].pid, sent))
        timer.start()
        with pytest.raises(WorkerError, match=rf"Worker {number} \(") as caught:
            model.learn(10**9)
        assert caught.value.worker == number
        assert not any(process.is_running() for process in processes)


@pytest.mark.parametrize("seed", TIMES)
def test_an_environment_that_raises(seed: int) -> None:
    at = random.Random(seed).randrange(1, 300)
    make = lambda: Failing("raise", at)  # noqa: E731
    with model_with_workers(make, 2) as model, pytest.raises(WorkerError, match="ArithmeticError") as caught:
        model.learn(10**9)
    assert caught.value.step == at - 1
    assert caught.value.env_index in (0, 2)


SCRIPT = """
from tests.workers.models import model_with_workers

if __name__ == "__main__":
    with model_with_workers(n_workers=2) as model:
        print(*(member.process.pid for member in model.env.team.members), flush=True)
        model.learn(10**9)
"""


@pytest.mark.parametrize("seed", TIMES)
@pytest.mark.parametrize("whom", ["main", "all"])
def test_nothing_is_left(whom: str, seed: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    memory = set(Path("/dev/shm").iterdir())
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as main:
        assert main.stdout is not None
        main.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 1))
        children = psutil.Process(main.pid).children(recursive=True)
        main.kill()
        for child in children if whom == "all" else []:
            child.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert set(Path("/dev/shm").iterdir()) <= memory
