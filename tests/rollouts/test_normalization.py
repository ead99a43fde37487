"""Eased running statistics against SB3's own: the same to the bit, and SB3's class in every file and copy."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize, sync_envs_normalization

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.rollouts.normalization import speed_up_statistics

shapes = st.tuples(st.integers(1, 5), hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
batches = st.tuples(shapes, st.sampled_from([np.float32, np.float64])).flatmap(
    lambda found: st.lists(
        hnp.arrays(found[1], (found[0][0], *found[0][1]), elements=st.floats(-1000, 1000, width=32)),
        min_size=1,
        max_size=5,
    )
)


class Holder(VecNormalize):
    """Only the statistics of a VecNormalize."""

    def __init__(self, **statistics: Any):
        vars(self).update(statistics)
        self.venv: Any = None


def eased(statistics: RunningMeanStd) -> Any:
    holder = Holder(obs_rms=statistics)
    speed_up_statistics(holder)
    return holder.obs_rms


@given(batches)
def test_updates(found: list[np.ndarray]) -> None:
    plain = RunningMeanStd(shape=found[0].shape[1:])
    fast = eased(RunningMeanStd(shape=found[0].shape[1:]))
    assert type(fast) is not RunningMeanStd
    for batch in found:
        plain.update(batch)
        fast.update(batch)
        for one, other in zip(vars(plain).values(), vars(fast).values(), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("batch", [np.array([[np.inf, 1.0]]), np.array([[1.0, np.nan]]), np.ones((2, 2), np.int64)])
def test_numbers_that_are_not_finite_and_other_types(batch: np.ndarray) -> None:
    plain, fast = RunningMeanStd(shape=(2,)), eased(RunningMeanStd(shape=(2,)))
    with np.errstate(invalid="ignore"):
        plain.update(batch)
        fast.update(batch)
    np.testing.assert_array_equal(plain.mean, fast.mean)
    np.testing.assert_array_equal(plain.var, fast.var)


def test_copies_and_files_hold_sb3s_class() -> None:
    fast = eased(RunningMeanStd(shape=(3,)))
    fast.update(np.arange(6.0).reshape(2, 3))
    for other in (copy.deepcopy(fast), copy.copy(fast), pickle.loads(pickle.dumps(fast)), fast.copy()):
        assert type(other) is RunningMeanStd
        np.testing.assert_array_equal(other.var, fast.var)
        assert other.count == fast.count


def test_others_are_left_alone() -> None:
    class Own(RunningMeanStd):
        pass

    own = Own(shape=(2,))
    assert eased(own) is own
    speed_up_statistics(make_vec_env("CartPole-v1", 1))


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_training(n_envs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(ease: bool) -> tuple[Any, Any]:
        if not ease:
            monkeypatch.setattr("sb3_ppo_variants.rollouts.collection.speed_up_statistics", lambda _: None)
        env = VecFrameStack(VecNormalize(make_vec_env("Pendulum-v1", n_envs, seed=1)), 2)
        model = ClipPPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=1, device="cpu").learn(64 * n_envs * 3)
        return model, model.get_vec_normalize_env()

    (fast, fast_env), (plain, plain_env) = trained(True), trained(False)
    assert type(fast_env.obs_rms) is not RunningMeanStd
    assert type(plain_env.obs_rms) is RunningMeanStd
    np.testing.assert_array_equal(fast_env.obs_rms.var, plain_env.obs_rms.var)
    np.testing.assert_array_equal(fast_env.ret_rms.mean, plain_env.ret_rms.mean)
    for one, other in zip(fast.policy.parameters(), plain.policy.parameters(), strict=True):
        assert bool((one == other).all())
    evaluation = VecNormalize(make_vec_env("Pendulum-v1", 1), training=False)
    sync_envs_normalization(fast_env, evaluation)
    assert type(evaluation.obs_rms) is RunningMeanStd


def test_shared_statistics_stay_shared() -> None:
    """A user's evaluation environment that reads the training's statistics goes on reading them."""
    env = VecNormalize(make_vec_env("Pendulum-v1", 1, seed=1))
    evaluation = VecNormalize(make_vec_env("Pendulum-v1", 1), training=False)
    evaluation.obs_rms, statistics = env.obs_rms, env.obs_rms
    ClipPPO("MlpPolicy", env, n_steps=64, batch_size=64, device="cpu").learn(64)
    assert evaluation.obs_rms is env.obs_rms is statistics
    assert statistics.count > 60


def test_an_update_replaced_on_the_class_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder(obs_rms=RunningMeanStd(shape=(2,)))
    speed_up_statistics(holder)
    seen = []
    monkeypatch.setattr(RunningMeanStd, "update", lambda self, arr: seen.append(arr))
    speed_up_statistics(holder)
    holder.obs_rms.update(np.ones((1, 2)))
    assert len(seen) == 1
