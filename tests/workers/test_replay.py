"""Callbacks of a rollout that workers have collected: told of each step as if it were just being made."""

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_variants import ClipPPO
from tests.algorithms.models import parameters_of
from tests.environments import RandomWalk
from tests.workers.models import N_ENVS, N_STEPS, SEED, Watch, model_with_workers, stepped_again

ONE_ROLLOUT = N_STEPS * N_ENVS


def learned(callback: Any = None, n_rollouts: int = 3, n_workers: int = 2, **settings: Any) -> Any:
    with model_with_workers(n_workers=n_workers, **settings) as model:
        model.learn(n_rollouts * ONE_ROLLOUT, callback=callback)
        assert model.env.unwrapped.collector is not None
    return model


def test_sb3s_callbacks_have_the_results_that_they_have_step_by_step(tmp_path: Path) -> None:
    def make_eval() -> Any:
        return make_vec_env(RandomWalk, 1, 9)

    evaluating = EvalCallback(
        make_eval(),
        callback_after_eval=StopTrainingOnNoModelImprovement(100),
        n_eval_episodes=3,
        eval_freq=30,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    with pytest.warns(UserWarning, match="not of the same type"):
        model = learned(
            [
                evaluating,
                CheckpointCallback(25, str(tmp_path), "kept"),
                EveryNTimesteps(100, CheckpointCallback(1, str(tmp_path), "every")),
                LogEveryNTimesteps(50),
            ]
        )
    updated = [learned(n_rollouts=n) for n in (1, 2, 3)]
    untrained = ClipPPO("MlpPolicy", make_eval(), seed=SEED)
    np.testing.assert_array_equal(parameters_of(model), parameters_of(updated[-1]))
    assert evaluating.n_calls == 3 * N_STEPS
    # Steps 30, 60, 90, 120 of the environments: in the rollouts of the policies after 0, 1, 2 and 2 updates.
    assert evaluating.num_timesteps == 3 * ONE_ROLLOUT
    env = make_eval()
    for model, results in zip(
        (untrained, updated[0], updated[1], updated[1]), evaluating.evaluations_results, strict=True
    ):
        assert results == evaluate_policy(model, env, n_eval_episodes=3, return_episode_rewards=True)[0]
    assert evaluating.evaluations_timesteps == [30 * n * N_ENVS for n in (1, 2, 3, 4)]
    for path in tmp_path.glob("kept_*_steps.zip"):
        kept = ClipPPO.load(path)
        assert path.name == f"kept_{kept.num_timesteps}_steps.zip"
        n_updates = (kept.num_timesteps - 1) // ONE_ROLLOUT
        if n_updates:
            np.testing.assert_array_equal(parameters_of(kept), parameters_of(updated[n_updates - 1]))
    assert {path.name for path in tmp_path.glob("kept*")} == {f"kept_{n * 25 * N_ENVS}_steps.zip" for n in (1, 2, 3, 4)}
    assert {path.name for path in tmp_path.glob("every*")} == {f"every_{n * 100}_steps.zip" for n in (1, 2, 3, 4)}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_callback_that_stops_in_mid_rollout_leaves_its_step(n_workers: int) -> None:
    stopping = StopTrainingOnMaxEpisodes(2)
    with model_with_workers(n_workers=n_workers) as model:
        model.learn(10 * ONE_ROLLOUT, callback=stopping)
        assert 2 * N_ENVS <= stopping.n_episodes < 3 * N_ENVS
        assert model.num_timesteps == stopping.n_calls * N_ENVS < ONE_ROLLOUT
        assert len(model.ep_info_buffer) <= stopping.n_episodes
        assert model.rollout_buffer.pos == stopping.n_calls - 1
        stopped_at, last = model.num_timesteps, model._last_obs
        # The environments stand at the end of the rollout, and training goes on from there.
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        assert model.num_timesteps == stopped_at + ONE_ROLLOUT
    first = model.rollout_buffer.observations.reshape(N_ENVS, N_STEPS, -1)[:, 0]
    np.testing.assert_array_equal(first, last)


def test_ones_own_callback_means_step_by_step() -> None:
    watch = Watch()
    with model_with_workers() as model, pytest.warns(UserWarning, match="callback of your own"):
        model.learn(ONE_ROLLOUT, callback=watch)
    theirs = ClipPPO(
        "MlpPolicy", make_vec_env(RandomWalk, N_ENVS), n_steps=N_STEPS, batch_size=40, n_epochs=2, seed=SEED
    )
    theirs.learn(ONE_ROLLOUT, callback=Watch())
    np.testing.assert_array_equal(parameters_of(model), parameters_of(theirs))


def test_ones_own_callback_can_be_replayed() -> None:
    watch = Watch()
    model = learned(watch, 1, env={"replay_callbacks": True})
    np.testing.assert_array_equal(parameters_of(model), parameters_of(learned(n_rollouts=1)))
    assert [step["counted"] for step in watch.steps] == [N_ENVS * (n + 1) for n in range(N_STEPS)]
    (observations,), *expected = stepped_again(RandomWalk, np.stack([step["clipped_actions"] for step in watch.steps]))
    for step, (new_obs, rewards, dones, infos) in zip(watch.steps, expected, strict=True):
        np.testing.assert_array_equal(step["obs_tensor"].numpy(), observations)
        np.testing.assert_array_equal(step["last"], observations)
        for name, value in (("new_obs", new_obs), ("rewards", rewards), ("dones", dones)):
            np.testing.assert_array_equal(step[name], value)
            assert step[name].dtype == value.dtype
        for mine, theirs in zip(step["infos"], infos, strict=True):
            assert mine.keys() == theirs.keys()
            assert mine["TimeLimit.truncated"] == theirs["TimeLimit.truncated"]
            assert mine.get("episode", {}).get("r") == theirs.get("episode", {}).get("r")
        assert step["values"].shape == (N_ENVS, 1)
        assert step["log_probs"].shape == (N_ENVS,)
        assert step["self"] is model
        assert step["n_rollout_steps"] == N_STEPS
        observations = new_obs
    assert watch.at_end["n_steps"] == N_STEPS


def test_callbacks_may_hold_each_other() -> None:
    one, other = Watch(), Watch()
    one.other, other.other = other, one  # type: ignore[attr-defined]
    learned([one, other], 1, env={"replay_callbacks": True})
    assert len(one.steps) == len(other.steps) == N_STEPS


class Edits(BaseCallback):
    """It is replayed even without ``replay_callbacks``."""

    reads_step_values = False

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def _on_step(self) -> bool:
        self.locals[self.name][:] = 1
        return True


class AsksEnvironments(BaseCallback):
    reads_step_values = False

    def _on_step(self) -> bool:
        self.training_env.get_attr("time_limit")
        return True


@pytest.mark.parametrize("replay_callbacks", [False, True])
@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (Edits("rewards"), ValueError, "read-only"),
        (Edits("new_obs"), ValueError, "read-only"),
        (Edits("dones"), ValueError, "read-only"),
        (AsksEnvironments(), RuntimeError, "stand at its end"),
    ],
)
def test_what_a_replayed_callback_cannot_do_raises(
    callback: BaseCallback, error: type, message: str, replay_callbacks: bool
) -> None:
    with model_with_workers(env={"replay_callbacks": replay_callbacks}) as model:
        with pytest.raises(
            error, match=rf"{message}\. .*leave out WorkerVecEnv\(replay_callbacks=True\), and reads_step"
        ):
            model.learn(ONE_ROLLOUT, callback=callback)
        # The environments are free again.
        assert model.env.get_attr("time_limit") == [17] * N_ENVS


class Slow(RandomWalk):
    """Leaves a file when a rollout is well under way, and takes its time from there on."""

    def __init__(self, reached: Path) -> None:
        super().__init__()
        self.reached = reached

    def step(self, action):
        if self._steps == 5 and not self.reached.exists():
            self.reached.touch()
            threading.Event().wait(1.0)
        return super().step(action)


def test_training_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    # A shell's background job ignores the signal, and so would its tests.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt_and_go_on(tmp_path / "reached")
    finally:
        signal.signal(signal.SIGINT, handler)


def interrupt_and_go_on(reached: Path) -> None:
    def interrupt() -> None:
        while not reached.exists():
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with model_with_workers(partial(Slow, reached)) as model:
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            model.learn(10 * ONE_ROLLOUT)
        interrupter.join()
        before = model.num_timesteps
        # The environments, which stand in the middle of a rollout that is lost, begin new episodes.
        assert model._last_obs is None
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        assert model.num_timesteps == before + ONE_ROLLOUT
