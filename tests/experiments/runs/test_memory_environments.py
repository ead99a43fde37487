"""Environments that need memory: what they show and what they hide."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sb3_ppo_variants.environments  # noqa: F401
from sb3_ppo_variants.experiments.runs import memory_environments
from sb3_ppo_variants.experiments.runs.memory_environments import FRAMES, VELOCITIES, Recall


@pytest.mark.parametrize("name", VELOCITIES)
def test_velocities_are_hidden_and_nothing_else_changes(name):
    """The same seed and actions in the plain environment are the oracle."""
    plain = gymnasium.make(name)
    hidden = gymnasium.make(f"sb3_ppo_variants/{name.replace('-', 'NoVel-')}")
    stacked = gymnasium.make(f"sb3_ppo_variants/{name.replace('-', 'NoVelStack-')}")
    shown = [index for index in range(plain.observation_space.shape[0]) if index not in VELOCITIES[name]]
    observations = [env.reset(seed=3)[0] for env in (plain, hidden, stacked)]
    seen = [np.zeros_like(observations[1])] * (FRAMES - 1)
    plain.action_space.seed(0)
    for _ in range(8):
        expected, got, frames = observations
        np.testing.assert_array_equal(got[shown], expected[shown])
        assert not got[VELOCITIES[name]].any()
        seen.append(got)
        np.testing.assert_array_equal(frames, np.concatenate(seen[-FRAMES:]))
        action = plain.action_space.sample()
        steps = [env.step(action) for env in (plain, hidden, stacked)]
        assert len({step[1] for step in steps}) == 1
        observations = [step[0] for step in steps]


@pytest.mark.parametrize("delay", [1, 10])
def test_recall_shows_the_cue_once_and_pays_for_naming_it(delay):
    env = Recall(n_cues=3, delay=delay)
    check_env(env, skip_render_check=True)
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        cue = int(observation[:3].argmax())
        for step in range(delay):
            observation, reward, terminated, _, _ = env.step(np.int64(cue))
            assert (reward, terminated) == (0.0, False)
            np.testing.assert_array_equal(observation, [0, 0, 0, step == delay - 1])
        answer = np.int64((cue + seed) % 3)
        assert env.step(answer)[1:3] == (float(answer == cue), True)


def test_stacked_recall_has_lost_the_cue_when_it_is_asked_for():
    env = gymnasium.make("sb3_ppo_variants/RecallStack-v0")
    observation, _ = env.reset(seed=0)
    assert observation.sum() == 1
    for _ in range(10):
        observation = env.step(env.action_space.sample())[0]
    np.testing.assert_array_equal(observation, [0] * 19 + [1])
    assert memory_environments.FRAMES < 10
