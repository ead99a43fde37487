"""A rollout's rows: picked, walked through in parts, and in the buffer as SB3 leaves them."""

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO

from sb3_ppo_variants import TRPO, ClipPPO, KLPenaltyPPO
from sb3_ppo_variants.backends.closed_form import actor_critic
from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate
from sb3_ppo_variants.backends.settings import UpdateSettings
from sb3_ppo_variants.rollouts import Rows
from tests.algorithms.models import make, parameters_of, settings_for
from tests.backends.closed_form.networks import OBJECTIVES, make_policy, make_rollout
from tests.parity.comparing import make_env


def numbered(n_rows: int) -> Rows:
    numbers = np.arange(n_rows, dtype=np.float32)
    wide = numbers[:, None] + np.array([0.0, 0.5], np.float32)
    plain = (wide, wide[:, :1].copy(), numbers, numbers + 1, numbers + 2, numbers + 3)
    return Rows(*plain, action_masks=wide % 2 == 0, old_parameters=(wide + 4, wide + 5))


@given(n_rows=st.integers(1, 40), size=st.integers(1, 50))
def test_parts_are_views_of_the_slices_in_order(n_rows: int, size: int) -> None:
    rows = numbered(n_rows)
    parts = list(rows.split(size))
    assert [len(part) for part in parts] == [min(size, n_rows - start) for start in range(0, n_rows, size)]
    for start, part in zip(range(0, n_rows, size), parts, strict=True):
        for found, whole in zip(arrays(part), arrays(rows), strict=True):
            np.testing.assert_array_equal(found, whole[start : start + size])
            assert np.shares_memory(found, whole)


def arrays(rows: Rows) -> list[np.ndarray]:
    *fields, old_parameters, reference_parameters = vars(rows).values()
    return [field for field in (*fields, *old_parameters, *reference_parameters) if field is not None]


@pytest.fixture
def rollout() -> FlatRollout:
    network = ClosedFormActorCritic(make_policy("gaussian", 5, [8], th.nn.Tanh, th.float32))
    return make_rollout(network, 50)


def test_taken_rows_are_a_copy(rollout: FlatRollout) -> None:
    numbers = np.array([4, 0, 0])
    for found, whole in zip(arrays(rollout.take(numbers)), arrays(rollout.rows), strict=True):
        np.testing.assert_array_equal(found, whole[numbers])
        assert not np.shares_memory(found, whole)
    with pytest.raises(IndexError):
        rollout.take(np.array([50]))


@given(chunk_rows=st.integers(1, 60), batch_size=st.integers(1, 60))
def test_runs_hold_whole_minibatches_and_every_row_once(chunk_rows: int, batch_size: int) -> None:
    network = type("Network", (), {"chunk_rows": chunk_rows})()
    rollout = FlatRollout(network, Rows(*[np.zeros(50)] * 6))
    order = np.random.permutation(50)
    runs = list(rollout.stretches(order, batch_size))
    np.testing.assert_array_equal(np.concatenate(runs), order)
    assert all(len(run) % batch_size == 0 for run in runs[:-1])
    assert all(len(run) <= max(chunk_rows, batch_size) for run in runs)


@pytest.mark.parametrize("chunk_rows", [7, 32, 50])
def test_kl_and_old_policy_do_not_depend_on_the_chunks(rollout: FlatRollout, chunk_rows: int) -> None:
    results = []
    for rows in (2048, chunk_rows):
        rollout.network.chunk_rows = rows
        update = ClosedFormUpdate(
            rollout.network, rollout, UpdateSettings(OBJECTIVES["clip"], True, keep_old_policy=True)
        )
        rollout.network.bound.flat += 0.1
        results.append((update.measured_kl(), *update.old))
        rollout.network.bound.flat -= 0.1
    for whole, chunked in zip(*results, strict=True):
        np.testing.assert_allclose(chunked, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algorithm", [ClipPPO, KLPenaltyPPO, TRPO])
@pytest.mark.parametrize("observations", ["vector", "discrete", "image"])
def test_training_does_not_depend_on_the_chunks(algorithm, observations: str, monkeypatch) -> None:
    """With chunks of few rows as with one of all, but for rounding."""
    env = {"observations": observations, "n_envs": 2}
    whole = make(algorithm, env=env, batch_size=16).learn(256)
    monkeypatch.setattr(actor_critic, "LEAST_ROWS", 1)
    monkeypatch.setattr(actor_critic, "MOST_ROWS", 24)
    chunked = make(algorithm, env=env, batch_size=16).learn(256)
    assert chunked._backend.network.chunk_rows <= 24
    np.testing.assert_allclose(parameters_of(chunked), parameters_of(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO])
def test_the_buffer_after_an_update_is_as_sb3_leaves_it(algorithm) -> None:
    ours = make(algorithm, env={"n_envs": 2}).learn(128).rollout_buffer
    theirs = PPO("MlpPolicy", make_env(n_envs=2), **settings_for(ClipPPO)).learn(128).rollout_buffer
    assert ours.generator_ready
    assert theirs.generator_ready
    for name, array in vars(theirs).items():
        if isinstance(array, np.ndarray):
            assert getattr(ours, name).shape == array.shape, name
            assert getattr(ours, name).dtype == array.dtype, name
