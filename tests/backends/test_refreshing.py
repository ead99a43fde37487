"""States computed anew, against the policy's own LSTM unrolled step by step."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from sb3_ppo_variants import TRPO, ClipPPO, KLPenaltyPPO
from sb3_ppo_variants.backends import SequenceSettings
from sb3_ppo_variants.backends.autograd import refreshing
from sb3_ppo_variants.backends.autograd.kl import mean_old_kl, parameters_of
from sb3_ppo_variants.backends.autograd.refreshing import refresh_states
from sb3_ppo_variants.rollouts.buffers import STATES
from sb3_ppo_variants.rollouts.minibatches import flatten, rows_in_order
from sb3_ppo_variants.rollouts.sequences import beginnings
from tests.parity.comparing import make_env

SMALL: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": [8]}
POLICIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "critic LSTM": ("MlpLstmPolicy", {}, {}),
    "two layers, shared LSTM": (
        "MlpLstmPolicy",
        {},
        {"n_lstm_layers": 2, "shared_lstm": True, "enable_critic_lstm": False},
    ),
    "no critic LSTM": ("MlpLstmPolicy", {}, {"enable_critic_lstm": False}),
    "dict, separate extractors": (
        "MultiInputLstmPolicy",
        {"observations": "dict"},
        {"share_features_extractor": False},
    ),
}


N_STEPS, N_ENVS = 24, 2


@cache
def trained(case: str) -> tuple[Any, Any, Any]:
    policy, env, kwargs = POLICIES[case]
    model = ClipPPO(
        policy, make_env(n_envs=N_ENVS, actions="discrete", **env), n_steps=N_STEPS, batch_size=N_STEPS * N_ENVS,
        n_epochs=1, seed=1, policy_kwargs=SMALL | kwargs,
    )  # fmt: skip
    # The second rollout begins amid episodes.
    model.learn(2 * N_STEPS * N_ENVS)
    return model, model.get_parameters(), model.rollout_buffer


def collected(case: str = "critic LSTM") -> Any:
    """A model whose policy is another than the one that collected the flattened rollout in its buffer."""
    model, parameters, buffer = trained(case)
    model.set_parameters(parameters)
    model.rollout_buffer = copy.deepcopy(buffer)
    flatten(model.rollout_buffer)
    change(model.policy)
    return model


def change(policy: Any) -> None:
    th.manual_seed(0)
    with th.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * th.randn_like(parameter))


def unrolled(policy: Any, buffer: Any) -> dict[str, np.ndarray]:
    """The states before each row, from one step of the policy after another."""
    states = {name: getattr(buffer, name).copy() for name in STATES}
    for row in range(buffer.buffer_size * buffer.n_envs):
        if row % buffer.buffer_size == 0:
            before = [th.as_tensor(states[name][row][:, None]) for name in STATES]
        else:
            for name, part in zip(STATES, before, strict=True):
                states[name][row] = part[:, 0]
        obs = buffer.observations
        obs = {key: th.as_tensor(obs[key][[row]]) for key in obs} if isinstance(obs, dict) else th.as_tensor(obs[[row]])
        with th.no_grad():
            start = th.as_tensor(buffer.episode_starts[row])
            *_, after = policy(obs, RNNStates(tuple(before[:2]), tuple(before[2:])), start)
        before = [*after.pi, *after.vf]
    return states


@pytest.mark.parametrize("case", POLICIES)
@pytest.mark.parametrize("length", [1, 5])
def test_states_are_those_of_the_full_unroll(case: str, length: int, monkeypatch) -> None:
    monkeypatch.setattr(refreshing, "CHUNK_SIZE", 20)
    model = collected(case)
    buffer, expected = model.rollout_buffer, unrolled(model.policy, model.rollout_buffer)
    stored = {name: getattr(buffer, name).copy() for name in STATES}
    refresh_states(model.policy, buffer, SequenceSettings(length))
    starts = buffer.episode_starts.ravel() != 0
    begin_anew = np.flatnonzero(beginnings(buffer, np.arange(len(starts)), length) & ~starts)
    others = np.setdiff1d(np.arange(len(starts)), begin_anew)
    assert (begin_anew % N_STEPS == 0).any()
    assert (begin_anew % N_STEPS > 0).any()
    for name in STATES:
        np.testing.assert_allclose(getattr(buffer, name)[begin_anew], expected[name][begin_anew], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(getattr(buffer, name)[others], stored[name][others])
    assert np.abs(stored[STATES[0]][begin_anew] - expected[STATES[0]][begin_anew]).max() > 1e-3


@pytest.mark.parametrize("settings", [SequenceSettings(None), SequenceSettings(4, refresh_states=False)])
def test_when_states_stay(settings: SequenceSettings) -> None:
    model = collected()
    stored = [getattr(model.rollout_buffer, name).copy() for name in STATES]
    refresh_states(model.policy, model.rollout_buffer, settings)
    for name, before in zip(STATES, stored, strict=True):
        np.testing.assert_array_equal(getattr(model.rollout_buffer, name), before)


def test_what_an_unchanged_policy_refreshes_was_right() -> None:
    model = collected()
    buffer = model.rollout_buffer
    model.collect_rollouts(model.env, model._init_callback(None), buffer, model.n_steps)
    flatten(buffer)
    stored = [getattr(buffer, name).copy() for name in STATES]
    refresh_states(model.policy, buffer, SequenceSettings(4))
    for name, before in zip(STATES, stored, strict=True):
        np.testing.assert_allclose(getattr(buffer, name), before, rtol=0, atol=1e-6)


# ---- The exact KL over the rollout goes through sequences as well ----


def test_kl_over_the_rollout_is_that_of_the_full_unroll() -> None:
    model = collected()
    policy, buffer = model.policy, model.rollout_buffer
    old = {size: parameters_of(policy, rows_in_order(buffer, size)) for size in (1, 30, 2048)}
    logits = [stepwise_logits(policy, buffer)]
    change(policy)
    logits.append(stepwise_logits(policy, buffer))
    before, after = (th.distributions.Categorical(logits=each) for each in logits)
    expected = float(th.distributions.kl_divergence(before, after).mean())
    assert expected > 1e-4
    for size, parameters in old.items():
        measured = mean_old_kl(policy, parameters, rows_in_order(buffer, size))
        assert measured == pytest.approx(expected, rel=1e-5)


def stepwise_logits(policy: RecurrentActorCriticPolicy, buffer: Any) -> th.Tensor:
    """The policy's logits at each row, by the states of its own unroll."""
    states = unrolled(policy, buffer)
    found = []
    with th.no_grad():
        for row in range(buffer.buffer_size * buffer.n_envs):
            before = tuple(th.as_tensor(states[name][row][:, None]) for name in STATES[:2])
            start = th.as_tensor(buffer.episode_starts[row])
            distribution: Any = policy.get_distribution(th.as_tensor(buffer.observations[[row]]), before, start)[0]
            found.append(distribution.distribution.logits[0])
    return th.stack(found)


@pytest.mark.parametrize(("algorithm", "settings"), [(KLPenaltyPPO, {"n_epochs": 2}), (TRPO, {})])
@pytest.mark.parametrize("length", [None, 8])
def test_logged_kl(algorithm: type, settings: dict[str, Any], length: int | None) -> None:
    """KL(old‖new) of the last update, with the old policy kept aside."""
    env = make_env(n_envs=2, actions="discrete")
    model = algorithm("MlpLstmPolicy", env, n_steps=24, batch_size=24, seed=1, policy_kwargs=SMALL,
                      sequence_length=length, **settings)  # fmt: skip
    model.learn(1)
    model.collect_rollouts(env, model._init_callback(None), model.rollout_buffer, 24)
    flatten(model.rollout_buffer)
    old = stepwise_logits(model.policy, model.rollout_buffer)
    model.train()
    new = stepwise_logits(model.policy, model.rollout_buffer)
    before, after = (th.distributions.Categorical(logits=each) for each in (old, new))
    expected = float(th.distributions.kl_divergence(before, after).mean())
    logged = model.logger.name_to_value["train/kl"]
    # TRPO evaluates sequences that begin with the states of the old policy.
    tolerance = 0.1 if algorithm is TRPO and length else 1e-3
    assert logged == pytest.approx(expected, rel=tolerance, abs=1e-8)
