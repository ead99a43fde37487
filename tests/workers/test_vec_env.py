"""``WorkerVecEnv`` as a ``VecEnv``: equal to ``DummyVecEnv``, and what it says of a worker that fails."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecTransposeImage

from sb3_ppo_variants import WorkerVecEnv
from sb3_ppo_variants.workers import WorkerError
from tests.algorithms.models import parameters_of
from tests.environments import RandomWalk
from tests.forked import python
from tests.forms import long
from tests.workers.faulty import Failing


class TupleWalk(RandomWalk):
    """Observations of two parts; resets take an option."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.observation_space
        self.observation_space = spaces.Tuple((self.inner, spaces.Discrete(5)))

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, {"options": options}

    def _observe(self, space):
        if space is self.observation_space:
            return tuple(self._observe(part) for part in space.spaces)
        return super()._observe(space)


@pytest.fixture
def opened() -> Iterator[list[VecEnv]]:
    """Environments to close after the test."""
    envs: list[VecEnv] = []
    yield envs
    for env in envs:
        env.close()


def both(opened: list[VecEnv], make: Any, n_envs: int = 3, n_workers: int = 2, **settings: Any) -> tuple[Any, Any]:
    """The same environments in workers and in this process."""
    settings = {"start_method": "forkserver", **settings}
    ours = make_vec_env(make, n_envs, 5, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": n_workers, **settings})
    theirs = make_vec_env(make, n_envs, 5)
    opened += [ours, theirs]
    return ours, theirs


def assert_equal(ours: Any, theirs: Any) -> None:
    assert type(ours) in (type(theirs), dict) or isinstance(theirs, type(ours))
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            if key != "t":  # Monitor's wall time
                assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_equal(one, other)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


MAKERS: dict[str, Any] = {kind: lambda kind=kind: RandomWalk(kind) for kind in ("vector", "discrete", "image", "dict")}
MAKERS["tuple"] = TupleWalk


@pytest.mark.parametrize("kind", MAKERS)
def test_steps_and_resets_equal_dummy_vec_envs(opened: list[VecEnv], kind: str) -> None:
    ours, theirs = both(opened, MAKERS[kind], n_workers=2)
    assert ours.observation_space == theirs.observation_space
    assert ours.metadata == theirs.metadata
    for env in (ours, theirs):
        env.set_options({"level": 3})
    assert_equal(ours.reset(), theirs.reset())
    assert_equal(ours.reset_infos, theirs.reset_infos)
    generator = np.random.default_rng(0)
    for _ in range(40):
        actions = generator.uniform(-1, 1, (3, 2)).astype(np.float32)
        assert_equal(ours.step(actions), theirs.step(actions))
        assert_equal(ours.reset_infos, theirs.reset_infos)


@pytest.mark.long
def test_sb3s_ppo_trains_to_the_same_parameters(opened: list[VecEnv]) -> None:
    envs = both(opened, RandomWalk, n_envs=4, n_workers=2, start_method="spawn")
    models = [PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=2, seed=1).learn(256) for env in envs]
    np.testing.assert_array_equal(*map(parameters_of, models))
    assert_equal(*([dict(info) for info in model.ep_info_buffer] for model in models))


@pytest.mark.parametrize("kind", ["transposed", "stacked", "monitored"])
def test_sb3s_wrappers_go_on_top(opened: list[VecEnv], kind: str) -> None:
    wrap = {
        "transposed": VecTransposeImage,
        "stacked": lambda env: VecFrameStack(env, 3),
        "monitored": VecMonitor,
    }[kind]
    envs = both(opened, lambda: RandomWalk("image" if kind == "transposed" else "vector"))
    with_warning = pytest.warns(UserWarning, match="already wrapped") if kind == "monitored" else None
    if with_warning is None:
        ours, theirs = map(wrap, envs)
    else:
        with with_warning:
            ours, theirs = map(wrap, envs)
    assert_equal(ours.reset(), theirs.reset())
    for _ in range(30):
        actions = np.zeros((3, 2), np.float32)
        assert_equal(ours.step(actions), theirs.step(actions))


def test_environments_are_asked_and_changed(opened: list[VecEnv]) -> None:
    ours, theirs = both(opened, RandomWalk, n_envs=5, n_workers=2)
    for env in (ours, theirs):
        env.set_attr("time_limit", 3, indices=[1, 4])
        env.set_attr("mark", 1, indices=0)
    assert ours.get_attr("time_limit") == theirs.get_attr("time_limit") == [17, 3, 17, 17, 3]
    assert ours.get_attr("time_limit", indices=[4, 0, 4]) == [3, 17, 3]
    assert ours.get_attr("time_limit", indices=-1) == [3]
    assert ours.env_method("has_wrapper_attr", "mark", indices=[0]) == [True]
    assert ours.has_attr("time_limit")
    assert not ours.has_attr("nonsense")
    assert ours.env_is_wrapped(Monitor) == [True] * 5
    assert ours.env_is_wrapped(TimeLimit, indices=[2]) == [False]
    with pytest.raises(AttributeError, match="nonsense"):
        ours.get_attr("nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        ours.env_method("nonsense", indices=3)
    for env, index in itertools.product((ours, theirs), (5, -6)):
        with pytest.raises(IndexError):
            env.get_attr("time_limit", indices=index)
    # They go on all the same.
    assert_equal(ours.reset(), theirs.reset())


OF_A_SCRIPT = """
import enum

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants import WorkerVecEnv

class Mode(enum.Enum):
    EASY = 0
    HARD = 1

class Env(gym.Env):
    observation_space = action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    mode = Mode.EASY

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), float(self.mode is Mode.HARD), False, False, {}

    def set_mode(self, mode):
        self.mode = mode

class Wrapper(gym.Wrapper):
    pass

def make():
    return Wrapper(Env())

if __name__ == "__main__":
    class Guarded:
        "Which no worker's own import of the script knows."

    for kind in (DummyVecEnv, WorkerVecEnv):
        env = kind([make, make])
        env.reset()
        env.env_method("set_mode", Mode.HARD)
        env.set_attr("guarded", Guarded())
        rewards = env.step(np.zeros((2, 1), np.float32))[1].tolist()
        modes = [mode is Mode.HARD for mode in env.get_attr("mode")]
        guarded = [type(one) is Guarded for one in env.get_attr("guarded")]
        print(env.env_is_wrapped(Wrapper), rewards, modes, guarded)
        env.close()
"""


def test_classes_of_the_script_are_the_same_in_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(OF_A_SCRIPT)
    done = python(tmp_path, script)
    assert done.stdout == 2 * "[True, True] [1.0, 1.0] [True, True] [True, True]\n", done.stderr


SERVER_BEFORE = """
import multiprocessing
import gymnasium as gym
import numpy as np
from sb3_ppo_variants import WorkerVecEnv

class Draws(gym.Env):
    observation_space = action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.array([np.random.rand()], np.float32), {}

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["numpy.random"])
    process = multiprocessing.get_context("forkserver").Process(target=print)
    process.start()
    process.join()
    env = WorkerVecEnv([Draws] * 3, 3, "forkserver")
    print(len(set(env.reset().ravel().tolist())))
    env.close()
"""


def test_workers_of_a_server_that_ran_before_draw_their_own_numbers_too(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SERVER_BEFORE)
    done = python(tmp_path, script)
    assert done.stdout == "\n3\n", done.stderr


def test_what_cannot_be_sent_is_an_error(opened: list[VecEnv]) -> None:
    ours, theirs = both(opened, Failing)
    ours.set_attr("function", lambda: 3)
    assert ours.get_attr("function")[1]() == 3
    with pytest.raises(TypeError, match="pickle"):
        ours.env_method("endless")
    with pytest.raises(TypeError, match="pickle"):
        ours.set_attr("lock", threading.Lock())
    assert ours.get_attr("function")[1]() == 3  # at once: nobody is waited for
    assert_equal(ours.reset(), theirs.reset())


def test_it_renders(opened: list[VecEnv]) -> None:
    ours, theirs = both(opened, "CartPole-v1", n_envs=3, n_workers=2)
    for env in (ours, theirs):
        env.reset()
    np.testing.assert_array_equal(ours.render(), theirs.render())


def test_workers_and_their_shares() -> None:
    for n_workers, expected in ((None, None), (np.int64(3), [1, 2, 2]), (9, [1] * 5)):
        env = WorkerVecEnv([RandomWalk] * 5, n_workers)
        sizes = [member.envs.stop - member.envs.start for member in env.team.members]
        env.close()
        env.close()
        assert sum(sizes) == 5
        assert expected is None or sizes == expected
    with pytest.raises(WorkerError, match="closed"):
        env.reset()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_workers": 0}, ValueError, "n_workers=0 is out of range: it must be >= 1"),
        ({"n_workers": 1.5}, TypeError, r"n_workers=1\.5 is a float"),
        ({"start_method": "fork"}, ValueError, "got 'fork'"),
        ({"timeout": -1}, ValueError, "timeout=-1 is out of range: it must be finite and > 0"),
        ({"timeout": "long"}, TypeError, "timeout='long' is a str: pass a number"),
        ({"env_fns": []}, ValueError, "at least one environment"),
        ({"env_fns": ["CartPole-v1"]}, TypeError, "got 'CartPole-v1' at index 0: pass functions"),
        ({"env_fns": [RandomWalk, RandomWalk()]}, TypeError, r"got <.*RandomWalk.*> at index 1"),
    ],
)
def test_arguments_are_checked(settings: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        WorkerVecEnv(**{"env_fns": [RandomWalk], **settings})


def failing(how: str, timeout: float = 300.0) -> WorkerVecEnv:
    """Four environments in two workers, the last of which fails at its fifth step."""
    fns = [lambda at=at: Failing(how, at) for at in (0, 0, 0, 5)]
    return WorkerVecEnv(fns, 2, timeout=timeout)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "ArithmeticError: the simulation blew up"),
        ("unpicklable", "Unpicklable"),
        ("exit", "died .* exit code 7"),
        ("hang", "no sign of life for"),
    ],
)
def test_errors_name_worker_environment_and_step(how: str, message: str) -> None:
    env = failing(how, timeout=2.0 if how == "hang" else 60.0)
    processes = [psutil.Process(member.process.pid) for member in env.team.members]
    env.reset()
    for _ in range(4):
        env.step(np.zeros((4, 2), np.float32))
    with pytest.raises(WorkerError, match=message) as caught:
        env.step(np.zeros((4, 2), np.float32))
    assert (caught.value.worker, caught.value.env_index, caught.value.step) == (1, 3, 4)
    assert str(caught.value).startswith("Worker 1 (environments 2 to 3)")
    assert "in environment 3, after 4 steps" in str(caught.value)
    if how == "raise":
        assert "faulty.py" in str(caught.value.__cause__.__cause__)
    assert not any(process.is_running() for process in processes)
    with pytest.raises(WorkerError, match="closed"):
        env.step(np.zeros((4, 2), np.float32))
    env.close()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_killed_or_stopped_between_steps_is_named(sent: int) -> None:
    env = WorkerVecEnv([RandomWalk] * 3, 3, timeout=2.0 if sent == signal.SIGSTOP else 60.0)
    env.reset()
    os.kill(env.team.members[1].process.pid, sent)
    with pytest.raises(WorkerError, match=r"Worker 1 \(environment 1\)"):
        env.step(np.zeros((3, 2), np.float32))


def test_an_environment_that_cannot_be_made_is_told_of() -> None:
    def make() -> gym.Env:
        raise OSError("no licence")

    with pytest.raises(WorkerError, match="OSError: no licence"):
        WorkerVecEnv([RandomWalk, make], 2)


@pytest.mark.parametrize("method", ["spawn", long("forkserver")])
def test_a_script_without_a_guard_is_told_so(tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from sb3_ppo_variants import WorkerVecEnv\nfrom tests.environments import RandomWalk\n"
        f"WorkerVecEnv([RandomWalk] * 2, 1, {method!r})\n"
    )
    done = python(tmp_path, script)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'most likely the script has no `if __name__ == "__main__":`' in last


SCRIPT = """
import os, sys, time
import numpy as np
from sb3_ppo_variants import WorkerVecEnv
from tests.workers.faulty import Failing

if __name__ == "__main__":
    how, method = sys.argv[1:]
    env = WorkerVecEnv([lambda: Failing("hang", 3)] * 3, 2, start_method=method)
    env.reset()
    print(*(member.process.pid for member in env.team.members), flush=True)
    if how == "busy":
        for _ in range(3):
            env.step(np.zeros((3, 2), np.float32))
    time.sleep(1000)
"""


def shared_memory() -> set[Path]:
    """Segments with a name, but for those of a database and of loky's processes, which another test may start."""
    return {path for path in Path("/dev/shm").iterdir() if not path.name.startswith(("PostgreSQL", "sem.loky"))}


@pytest.mark.parametrize(
    ("method", "how"),
    [
        long("forkserver", "busy"),
        long("spawn", "idle"),
        long("spawn", "busy"),
        long("forkserver", "idle"),
    ],
)
def test_workers_end_when_the_main_process_is_killed(tmp_path: Path, how: str, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    memory = shared_memory()
    command = [sys.executable, str(script), how, method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in main.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(0.5)
        children = psutil.Process(main.pid).children(recursive=True)
        main.kill()
    _, alive = psutil.wait_procs({*workers, *children}, timeout=20)
    assert not alive
    assert shared_memory() <= memory


class GlobalNumbers(RandomWalk):
    """Its first observation is of global generators, which only environments in the same worker share."""

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        numbers = np.random.random(), random.random(), th.rand(()).item(), 0.0
        return np.array(numbers, np.float32), info


@pytest.mark.parametrize("n_workers", [2, None])
def test_workers_draw_from_generators_of_their_own(opened: list[VecEnv], n_workers: int | None) -> None:
    if n_workers is None:  # SB3's, forked from the same server
        opened.append(WorkerVecEnv([GlobalNumbers], 1, "forkserver"))
        env: VecEnv = SubprocVecEnv([GlobalNumbers] * 2, "forkserver")
    else:
        env = WorkerVecEnv([GlobalNumbers] * 2, n_workers, "forkserver")
    opened.append(env)
    first, second = np.asarray(env.reset())
    assert (first[:3] != second[:3]).all()


IN_A_POOL = """
import loky

def train():
    from stable_baselines3.common.env_util import make_vec_env
    from sb3_ppo_variants import ClipPPO, WorkerVecEnv

    env = make_vec_env("CartPole-v1", n_envs=2, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": 2})
    model = ClipPPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1).learn(32)
    env.close()
    return model.num_timesteps

if __name__ == "__main__":
    print(loky.get_reusable_executor(1).submit(train).result())
"""


@pytest.mark.long
def test_in_a_worker_of_a_pool(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(IN_A_POOL)
    done = python(tmp_path, script)
    assert done.stdout == "32\n", done.stderr
