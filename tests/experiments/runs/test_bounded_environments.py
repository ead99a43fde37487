"""The environment whose best actions lie at the bounds."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sb3_ppo_variants.environments  # noqa: F401
from sb3_ppo_variants.experiments.runs.bounded_environments import Corners


def test_it_is_an_environment():
    check_env(Corners(), skip_render_check=True)
    gymnasium.make("sb3_ppo_variants/Corners-v0").reset(seed=0)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 6.0), (0.5, 3.0), (-1.0, -6.0)])
def test_a_corner_is_best(scale, expected):
    env = Corners(n_levers=3, n_steps=6)
    sides, _ = env.reset(seed=1)
    total, seen, ended = 0.0, set(), False
    while not ended:
        seen.add(tuple(sides.tolist()))
        sides, reward, ended, _, _ = env.step(scale * sides)
        total += reward
    assert total == pytest.approx(expected)
    assert len(seen) > 1  # the sides change


def test_one_wrong_lever_of_four_costs_half():
    env = Corners(n_levers=4, n_steps=1)
    sides, _ = env.reset(seed=2)
    assert env.step(sides * np.array([-1, 1, 1, 1], np.float32))[1] == pytest.approx(0.5)
