"""SB3's wrappers around environments whose workers collect whole rollouts."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from tests.algorithms.models import parameters_of
from tests.environments import RandomWalk
from tests.forms import long
from tests.workers.models import N_ENVS, N_STEPS, Watch, model_with_workers, stepped_again

ONE_ROLLOUT = N_STEPS * N_ENVS


def watched(
    wrap: Any, observations: str = "vector", n_workers: int = 2, rollouts: int = 3, **settings: Any
) -> tuple[Any, Watch]:
    watch = Watch()
    make = lambda: RandomWalk(observations)  # noqa: E731
    env = {"replay_callbacks": True}
    with model_with_workers(make, n_workers, wrap, env, **settings) as model:
        model.learn(rollouts * ONE_ROLLOUT, callback=watch)
        assert model.env.unwrapped.collector is not None
    return model, watch


def steps_of_sb3(watch: Watch, wrap: Any, observations: str = "vector") -> list[Any]:
    actions = np.stack([step["clipped_actions"] for step in watch.steps])
    return stepped_again(lambda: RandomWalk(observations), actions, wrap)


def stacked(env: VecEnv) -> VecEnv:
    return VecFrameStack(env, 3)


def stacked_images(env: VecEnv) -> VecEnv:
    return VecTransposeImage(VecFrameStack(env, 2))


@pytest.mark.parametrize(
    ("wrap", "observations", "policy"),
    [
        (stacked, "vector", "MlpPolicy"),
        long(stacked_images, "image", "CnnPolicy"),
        (lambda env: VecFrameStack(VecTransposeImage(env), 2, "first"), "image", "CnnPolicy"),
    ],
)
def test_observations_are_stacked_as_sb3_stacks_them(wrap: Any, observations: str, policy: str) -> None:
    (one, _), (_, watch) = (watched(wrap, observations, n, policy=policy) for n in (1, 3))
    np.testing.assert_array_equal(parameters_of(one), parameters_of(watch.model))
    for step, (new_obs, _, _, infos) in zip(watch.steps, steps_of_sb3(watch, wrap, observations)[1:], strict=True):
        np.testing.assert_array_equal(step["new_obs"], new_obs)
        for mine, theirs in zip(step["infos"], infos, strict=True):
            if "terminal_observation" in theirs:
                np.testing.assert_array_equal(mine["terminal_observation"], theirs["terminal_observation"])


def test_steps_and_rollouts_may_alternate() -> None:
    watch = Watch()
    with model_with_workers(wrap=stacked, env={"replay_callbacks": True}) as model:
        for part in range(4):
            model.env.unwrapped.replay_callbacks = part % 2 == 0
            if part == 1:
                with pytest.warns(UserWarning, match="callback of your own"):
                    model.learn(ONE_ROLLOUT, callback=watch, reset_num_timesteps=False)
            else:
                model.learn(ONE_ROLLOUT, callback=watch, reset_num_timesteps=part == 0)
    for step, (new_obs, rewards, *_) in zip(watch.steps, steps_of_sb3(watch, stacked)[1:], strict=True):
        np.testing.assert_array_equal(step["new_obs"], new_obs)
        np.testing.assert_array_equal(step["rewards"], rewards)


def test_episodes_are_monitored() -> None:
    with pytest.warns(UserWarning, match="already wrapped"):
        model, watch = watched(VecMonitor)
    with pytest.warns(UserWarning, match="already wrapped"):
        steps = steps_of_sb3(watch, VecMonitor)
    theirs = [info["episode"] for *_, infos in steps[1:] for info in infos if "episode" in info]
    ours = [info["episode"] for step in watch.steps for info in step["infos"] if "episode" in info]
    assert [(e["r"], e["l"]) for e in ours] == [(e["r"], e["l"]) for e in theirs]
    assert [e["r"] for e in model.ep_info_buffer] == [e["r"] for e in theirs[-100:]]


# ---- VecNormalize ----


def test_rewards_are_normalised_as_sb3_does_and_statistics_are_of_all_observations() -> None:
    (one, _), (three, watch) = (watched(VecNormalize, n_workers=n) for n in (1, 3))
    np.testing.assert_array_equal(parameters_of(one), parameters_of(three))
    made: list[Any] = []

    def wrap(inner: VecEnv) -> Any:
        made.append(VecNormalize(inner))
        return made[0]

    steps = steps_of_sb3(watch, wrap)
    (theirs,), ours, other = made, three.get_vec_normalize_env(), one.get_vec_normalize_env()
    for step, (_, rewards, _, _) in zip(watch.steps, steps[1:], strict=True):
        np.testing.assert_array_equal(step["rewards"], rewards)
    for name in ("mean", "var", "count"):
        np.testing.assert_array_equal(getattr(ours.ret_rms, name), getattr(theirs.ret_rms, name))
        np.testing.assert_allclose(getattr(ours.obs_rms, name), getattr(theirs.obs_rms, name), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(getattr(ours.obs_rms, name), getattr(other.obs_rms, name))
    np.testing.assert_array_equal(ours.returns, theirs.returns)
    np.testing.assert_array_equal(ours.get_original_obs(), theirs.get_original_obs())
    np.testing.assert_array_equal(ours.get_original_reward(), theirs.get_original_reward())


def test_statistics_are_frozen_within_a_rollout_and_the_first_is_collected_step_by_step() -> None:
    seen: list[tuple[float, float]] = []

    class Statistics(Watch):
        def _on_step(self) -> bool:
            normalizer = self.model.get_vec_normalize_env()
            seen.append((normalizer.obs_rms.count, float(normalizer.obs_rms.mean[0])))
            return super()._on_step()

    watch = Statistics()
    with model_with_workers(wrap=VecNormalize, env={"replay_callbacks": True}) as model:
        model.learn(3 * ONE_ROLLOUT, callback=watch)
        normalizer = model.get_vec_normalize_env()
    first, second, third = seen[:N_STEPS], seen[N_STEPS : 2 * N_STEPS], seen[2 * N_STEPS :]
    assert len(set(first)) == N_STEPS
    assert len(set(second)) == len(set(third)) == 1
    assert second[0] == first[-1]
    counts = (first[-1][0], second[0][0] + ONE_ROLLOUT, third[0][0] + ONE_ROLLOUT)
    assert counts == pytest.approx((ONE_ROLLOUT + N_ENVS, 2 * ONE_ROLLOUT + N_ENVS, 3 * ONE_ROLLOUT + N_ENVS))
    assert normalizer.obs_rms.count == pytest.approx(counts[-1])


@pytest.mark.parametrize("settings", [{"norm_obs": False}, {"training": False}, {"norm_reward": False}])
def test_its_settings_hold(settings: dict[str, bool]) -> None:
    made: list[Any] = []

    def wrap(inner: VecEnv) -> Any:
        made.append(VecNormalize(inner, **settings))
        return made[-1]

    _, watch = watched(wrap, rollouts=2)
    frozen = not settings.get("norm_obs", True) or not settings.get("training", True)
    steps = steps_of_sb3(watch, wrap)
    for step, (new_obs, rewards, _, _) in zip(watch.steps, steps[1:], strict=True):
        np.testing.assert_array_equal(step["rewards"], rewards)
        if frozen:
            np.testing.assert_array_equal(step["new_obs"], new_obs)
    np.testing.assert_array_equal(made[0].ret_rms.var, made[1].ret_rms.var)


class BadReward(RandomWalk):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        self.n_steps = getattr(self, "n_steps", 0) + 1
        return observation, (float("nan") if self.n_steps == 50 else reward), *rest


def test_a_reward_that_is_not_finite_is_named_before_it_spoils_statistics() -> None:
    with model_with_workers(BadReward, wrap=VecNormalize) as model:
        with pytest.raises(NonFiniteError, match=r"reward of environments 0, 1, 2, 3 .* step 9 of the rollout"):
            model.learn(3 * ONE_ROLLOUT)
        assert np.isfinite(model.get_vec_normalize_env().ret_rms.var)
