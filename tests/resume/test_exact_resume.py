"""A training that is interrupted and resumed equals the undisturbed one to the bit."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from sb3_ppo_variants import WorkerVecEnv
from sb3_ppo_variants.checkpoints import NewWorldEachEpisode, ResumableCheckpointCallback, ResumableEnv
from tests.backends.closed_form.networks import needs_numba
from tests.environments import MaskedWalk, RandomWalk
from tests.forms import long
from tests.resume.environments import Dice, Simulator
from tests.resume.runs import (
    ALGORITHMS,
    PPO_SETTINGS,
    InterruptAt,
    Interrupted,
    assert_resumes_exactly,
    envs,
    model,
    needs_box2d,
    needs_mujoco,
)

#: The PPO paper's, beside Hopper.
OTHER_MUJOCO = (
    "HalfCheetah-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
)


FORMS = [("closed_form", "CartPole-v1"), ("closed_form", "Pendulum-v1"), ("autograd", "Pendulum-v1")]
COMPILED = [("compiled", "CartPole-v1"), ("compiled", "Pendulum-v1")]


def forms() -> Iterator[Any]:
    """Every algorithm in every form; short are all pairs of algorithm and backend, and of backend and environment."""
    for number, algorithm in enumerate(ALGORITHMS):
        for backend, environment in FORMS + COMPILED:
            short = backend == "autograd" or (environment == "CartPole-v1") == (number % 2 == 0)
            marks = [needs_numba] if backend == "compiled" else []
            marks += [] if short else [pytest.mark.long]
            yield pytest.param(algorithm, backend, environment, marks=marks)


@pytest.mark.parametrize(("algorithm", "backend", "environment"), list(forms()))
def test_algorithms(algorithm: str, backend: str, environment: str, tmp_path: Path) -> None:
    make_model = partial(ALGORITHMS[algorithm], update_backend=backend)
    ended = assert_resumes_exactly(make_model, partial(envs, environment), tmp_path)
    if algorithm == "KLPenaltyPPO":
        assert ended["kl_coef"] != 1.0  # it has adapted, so there was something to keep


@pytest.mark.parametrize(
    ("algorithm", "sequence_length"),
    [
        ("ClipPPO", 8),
        long("TRPO", None),
        long("ClipPPO", None),
        long("TRPO", 8),
    ],
)
def test_memory(algorithm: str, sequence_length: int | None, tmp_path: Path) -> None:
    memory = {"policy": "MlpLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 8}, "sequence_length": sequence_length}
    assert_resumes_exactly(partial(ALGORITHMS[algorithm], **memory), partial(envs, "Pendulum-v1"), tmp_path)


def test_memory_and_masks(tmp_path: Path) -> None:
    memory = {"policy": "MlpLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 8}, "use_masking": True}
    assert_resumes_exactly(partial(ALGORITHMS["KLPenaltyPPO"], **memory), partial(envs, MaskedWalk), tmp_path)


@pytest.mark.parametrize("algorithm", ["ClipPPO", long("TRPO")])
def test_a_reference_with_memory_and_the_critics_warm_up(algorithm: str, tmp_path: Path) -> None:
    memory = {"policy": "MlpLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 8}}
    reference = ALGORITHMS["ClipPPO"](envs("Pendulum-v1"), **memory, seed=7)
    near = {
        "reference_policy": reference,
        "reference_kl_coef": 1.0,
        "adaptive_reference_kl_target": 10.0,
        "critic_warmup": 3,
    }
    ended = assert_resumes_exactly(partial(ALGORITHMS[algorithm], **near), partial(envs, "Pendulum-v1"), tmp_path)
    assert ended["reference"]["coef"] < 1.0
    assert ended["reference"]["warmup"] == 3
    assert ended["reference"]["states"] is not None


@pytest.mark.parametrize("backend", ["closed_form", "autograd"])
def test_beta(backend: str, tmp_path: Path) -> None:
    make_model = partial(ALGORITHMS["KLPenaltyPPO"], policy="BetaMlpPolicy", update_backend=backend)
    assert_resumes_exactly(make_model, partial(envs, "Pendulum-v1"), tmp_path)


def test_gsde(tmp_path: Path) -> None:
    make_model = partial(ALGORITHMS["ClipPPO"], use_sde=True)
    assert_resumes_exactly(make_model, partial(envs, "Pendulum-v1"), tmp_path)


class OwnVecEnv(DummyVecEnv):
    """Keeps its environments itself, which nobody else could."""

    def get_checkpoint_state(self) -> Any:
        return [(env.unwrapped.hidden.value, env.unwrapped.np_random) for env in self.envs]  # type: ignore[attr-defined]

    def set_checkpoint_state(self, state: Any) -> None:
        for env, (value, generator) in zip(self.envs, state, strict=True):
            env.unwrapped.hidden.value, env.unwrapped.np_random = value, generator  # type: ignore[attr-defined]


def test_a_vectorised_environment_that_keeps_itself(tmp_path: Path) -> None:
    def make_env() -> VecEnv:
        env = OwnVecEnv([Simulator, Simulator])
        env.seed(3)
        return env

    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path)


def test_sb3(tmp_path: Path) -> None:
    assert_resumes_exactly(partial(model, PPO, **PPO_SETTINGS), partial(envs, "CartPole-v1"), tmp_path)


def wrapped(make: Any) -> VecEnv:
    return VecNormalize(VecFrameStack(make(), 3))


@pytest.mark.parametrize("environment", ["MountainCarContinuous-v0", *map(long, ("Acrobot-v1", "MountainCar-v0"))])
def test_classic_control_normalized(environment: str, tmp_path: Path) -> None:
    make_env = partial(wrapped, partial(envs, environment, env_kwargs={"max_episode_steps": 50}))
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path)


# fork starts in a moment where forkserver and spawn take seconds; newer Pythons warn of it.
PROCESSES: dict[str, Any] = {
    "vec_env_cls": SubprocVecEnv,
    "vec_env_kwargs": {"start_method": "fork"},
    "wrapper_class": ResumableEnv,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes(tmp_path: Path) -> None:
    assert_resumes_exactly(ALGORITHMS["KLPenaltyPPO"], partial(envs, "Pendulum-v1", **PROCESSES), tmp_path)


#: Workers collect whole rollouts, over which the tests' own callbacks are replayed.
WORKERS: dict[str, Any] = {
    "vec_env_cls": WorkerVecEnv,
    "vec_env_kwargs": {"n_workers": 2, "replay_callbacks": True},
}


@pytest.mark.parametrize("algorithm", ["KLPenaltyPPO", long("TRPO")])
def test_workers(algorithm: str, tmp_path: Path) -> None:
    assert_resumes_exactly(ALGORITHMS[algorithm], partial(envs, "Pendulum-v1", **WORKERS), tmp_path)


def test_workers_with_a_monitor_outside_the_resumable_environment(tmp_path: Path) -> None:
    make = lambda: Monitor(ResumableEnv(gym.make("CartPole-v1")))  # noqa: E731
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], lambda: WorkerVecEnv([make] * 2, 1, replay_callbacks=True), tmp_path)


@pytest.mark.parametrize("kinds", [(WorkerVecEnv, DummyVecEnv), (DummyVecEnv, WorkerVecEnv)])
def test_what_workers_collect_is_resumed_by_workers_alone(kinds: tuple[type[VecEnv], ...], tmp_path: Path) -> None:
    begun, resumed = (ALGORITHMS["ClipPPO"](envs("Pendulum-v1", vec_env_cls=kind)) for kind in kinds)
    begun.learn(64, callback=ResumableCheckpointCallback(tmp_path, 64))
    with pytest.raises(ValueError, match=f"workers_collect={kinds[0] is WorkerVecEnv}"):
        resumed.learn(64, callback=ResumableCheckpointCallback(tmp_path, 64, resume=True))
    for learner in (begun, resumed):
        learner.env.close()


@pytest.mark.long
def test_workers_with_wrappers(tmp_path: Path) -> None:
    make_env = partial(wrapped, partial(envs, "MountainCar-v0", env_kwargs={"max_episode_steps": 50}, **WORKERS))
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path)


def test_vec_monitor(tmp_path: Path) -> None:
    def make_env() -> VecEnv:
        return VecMonitor(DummyVecEnv([partial(gym.make, "CartPole-v1") for _ in range(2)]))

    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path)


def test_a_monitors_file_is_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(folder: Path) -> None:
        checkpoints = ResumableCheckpointCallback(folder / "checkpoints", 64, resume=True)
        with closing(envs("CartPole-v1", monitor_dir=str(folder))) as env:
            ALGORITHMS["ClipPPO"](env).learn(320, callback=[InterruptAt(), checkpoints])

    def rows(folder: Path) -> list[bytes]:
        _, *lines = (folder / "1.monitor.csv").read_bytes().splitlines(keepends=True)  # the first has the start time
        return [line.rpartition(b",")[0] + line[len(line.rstrip()) :] for line in lines]  # the last column too

    trained(tmp_path / "whole")
    monkeypatch.setattr(InterruptAt, "at", 200)
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts")
    monkeypatch.setattr(InterruptAt, "at", 0)
    trained(tmp_path / "parts")
    assert len(rows(tmp_path / "parts")) > 3
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_an_environment_of_ones_own(tmp_path: Path) -> None:
    """Its attributes are all there is of it."""
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], partial(envs, RandomWalk), tmp_path)


@pytest.mark.parametrize("algorithm", ["KLPenaltyPPO", "TRPO"])
def test_action_masks(algorithm: str, tmp_path: Path) -> None:
    make_model = partial(ALGORITHMS[algorithm], use_masking=True)
    assert_resumes_exactly(make_model, partial(envs, MaskedWalk), tmp_path)


def test_an_environment_that_draws_from_the_process(tmp_path: Path) -> None:
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], partial(envs, Dice), tmp_path)


@needs_mujoco
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("environment", ["Hopper-v5", *map(long, (*OTHER_MUJOCO, "Ant-v5", "Humanoid-v5"))])
def test_mujoco(environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a log
    make_env = partial(envs, environment, n_envs=1)
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path, total=240, interruptions=(170,))


@pytest.mark.long
@needs_mujoco
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mujoco_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_env = partial(envs, "Hopper-v5", **PROCESSES)
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], partial(wrapped, make_env), tmp_path, total=240, interruptions=(170,))


@needs_box2d
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("environment", ["LunarLander-v3", long("LunarLanderContinuous-v3")])
def test_replayed(environment: str, tmp_path: Path) -> None:
    """Box2D's world cannot be copied."""
    make_env = partial(envs, environment, wrapper_class=ResumableEnv)
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path, total=400, interruptions=(170, 300))


def walker(env: gym.Env) -> ResumableEnv:
    return ResumableEnv(NewWorldEachEpisode(env))


@pytest.mark.long
@needs_box2d
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_walker_in_a_new_world_each_episode(tmp_path: Path) -> None:
    make_env = partial(envs, "BipedalWalker-v3", wrapper_class=walker)
    assert_resumes_exactly(ALGORITHMS["ClipPPO"], make_env, tmp_path, total=640, interruptions=(500,))


@needs_box2d
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_walker_without_it_is_told_of_it() -> None:
    env = ResumableEnv(gym.make("BipedalWalker-v3"))
    env.action_space.seed(1)
    state, steps = None, 0
    env.reset(seed=3)
    # What an earlier episode has left shows in some later one.
    while (state is None or state.kept) and steps < 5000:
        env.begin_checkpoint_check()
        steps += 1
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        state = env.capture_checkpoint() if steps % 50 == 0 else state
    assert state is not None
    assert not state.kept
    assert "; put a BipedalWalker into NewWorldEachEpisode" in state.why_not
