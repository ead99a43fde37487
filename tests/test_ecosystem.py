"""Beside others: sb3-contrib's wrappers, frame stacks, Atari."""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecTransposeImage

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.experiments.models.recording import record
from sb3_ppo_variants.experiments.runs.environments import check_environment
from tests.environments import RandomWalk
from tests.forked import python
from tests.forms import long

CLASSES = (ClipPPO, KLPenaltyPPO, UnclippedPPO, REINFORCE, TRPO)
every_class = pytest.mark.parametrize("cls", CLASSES)


def small(cls: type, n_steps: int = 32) -> dict:
    settings = {"n_steps": n_steps, "seed": 0}
    return settings if cls is REINFORCE else settings | {"batch_size": n_steps}


def trains_and_comes_back(cls: type, policy: str, env: VecEnv, folder: Path, **settings) -> None:
    """Two updates that change the policy; the saved model acts as the model does."""
    model = cls(policy, env, **small(cls), **settings)
    before = model.policy.parameters_to_vector()
    model.learn(2 * 32 * env.num_envs)
    after = model.policy.parameters_to_vector()
    assert np.isfinite(after).all()
    assert (before != after).any()
    model.save(folder / "model")
    again = cls.load(folder / "model", env=env, device="cpu")
    observation = env.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], again.predict(observation, deterministic=True)[0]
    )
    env.close()


@every_class
def test_time_feature_wrapper(cls: type, tmp_path: Path) -> None:
    env = make_vec_env("Pendulum-v1", n_envs=2, seed=0, wrapper_class=TimeFeatureWrapper)
    assert env.observation_space.shape == (4,)
    trains_and_comes_back(cls, "MlpPolicy", env, tmp_path)


def test_time_feature_reaches_the_rollout() -> None:
    env = make_vec_env("CartPole-v1", seed=0, wrapper_class=TimeFeatureWrapper)
    model = ClipPPO("MlpPolicy", env, **small(ClipPPO))
    model.learn(32)
    rows = model.rollout_buffer.observations.reshape(32, 5)
    starts = model.rollout_buffer.episode_starts.ravel().astype(bool)
    ages = np.zeros(32)
    for i in range(1, 32):
        ages[i] = 0 if starts[i] else ages[i - 1] + 1
    np.testing.assert_allclose(rows[:, -1], 1 - ages / 500, atol=1e-6)  # the remaining share of the episode


@every_class
def test_frame_stack_of_vectors(cls: type, tmp_path: Path) -> None:
    env = VecFrameStack(make_vec_env("CartPole-v1", n_envs=2, seed=0), n_stack=3)
    assert env.observation_space.shape == (12,)
    trains_and_comes_back(cls, "MlpPolicy", env, tmp_path)


@every_class
def test_frame_stack_of_images(cls: type, tmp_path: Path) -> None:
    stack = VecFrameStack(make_vec_env(lambda: RandomWalk("image", "discrete"), n_envs=2, seed=0), n_stack=4)
    trains_and_comes_back(cls, "CnnPolicy", VecTransposeImage(stack), tmp_path, **SMALL_CNN)


SMALL_CNN = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}}}


def atari_env() -> VecEnv:
    """Four stacked 84 × 84 pictures of Pong, as everyone has it."""
    ale_py = pytest.importorskip("ale_py", reason="ale-py is not installed: pip install ale-py")
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
    gym.register_envs(ale_py)
    env = make_vec_env("PongNoFrameskip-v4", n_envs=2, seed=0, wrapper_class=AtariWrapper)
    return VecFrameStack(env, n_stack=4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gymnasium's, of environments that are out of date
@pytest.mark.parametrize("cls", [ClipPPO, long(TRPO)])
def test_atari(cls: type, tmp_path: Path) -> None:
    env = VecTransposeImage(atari_env())
    assert env.observation_space.shape == (4, 84, 84)
    trains_and_comes_back(cls, "CnnPolicy", env, tmp_path, **SMALL_CNN)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evaluate_plays_atari_as_sb3_makes_it(tmp_path: Path) -> None:
    """From a zip with nothing beside it, in a process that has not heard of Atari."""
    model = ClipPPO("CnnPolicy", atari_env(), **small(ClipPPO), **SMALL_CNN)
    model.save(tmp_path / "model")
    done = python(
        tmp_path, "-m", "sb3_ppo_variants", "evaluate", "model.zip", "--env", "PongNoFrameskip-v4",
        "--algo", "clip_ppo", "--episodes", "1", "--seed", "3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", seed=3), n_stack=4)
    (expected,), _ = evaluate_policy(model, env, 1, return_episode_rewards=True)
    assert f"return {expected:.2f} " in done.stdout
    film = record(tmp_path / "model.zip", tmp_path / "a.gif", "PongNoFrameskip-v4", "clip_ppo", max_steps=9)
    assert (film.steps, film.returns) == (9, [])


def test_atari_without_ale_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "registry", {})
    monkeypatch.setattr("gymnasium.envs.registration.registry", {})
    monkeypatch.setitem(sys.modules, "ale_py", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'sb3_ppo_variants\[atari\]'"):
        check_environment("PongNoFrameskip-v4")
