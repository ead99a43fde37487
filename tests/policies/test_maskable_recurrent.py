"""The policies with memory and masks, against sb3-contrib's of either kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import make_masked_proba_distribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.policies import (
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
    is_recurrent,
    takes_masks,
)
from tests.environments import ACTION_SPACES, OBSERVATION_SPACES

BOTH = MaskableRecurrentActorCriticPolicy
MASKED_SPACES = ("discrete", "multi_discrete", "multi_binary")
#: Entries of a mask, each choice after the other.
WIDTHS = {"discrete": 3, "multi_discrete": 5, "multi_binary": 6}
#: Allows at least one of each choice, whatever the space.
MASKS = th.tensor([[1, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 1], [1, 1, 1, 0, 1, 0]])


def made(kind: type, actions: str, observations: str = "vector", **kwargs: Any) -> Any:
    th.manual_seed(1)
    space = OBSERVATION_SPACES[observations]
    if observations == "image":  # SB3 transposes what the environment has
        space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    settings = {"lstm_hidden_size": 8, "net_arch": [8]} | kwargs
    policy = kind(space, ACTION_SPACES[actions], lambda _: 1e-3, **settings)
    with th.no_grad():
        policy.action_net.weight.mul_(300)  # far from uniform
    return policy


def inputs(n_sequences: int = 2, n_rows: int = 4) -> tuple[th.Tensor, RNNStates, th.Tensor]:
    generator = th.Generator().manual_seed(2)
    states = [th.randn(1, n_sequences, 8, generator=generator) for _ in range(4)]
    observations = th.rand(n_rows, 4, generator=generator) * 2 - 1
    return observations, RNNStates(tuple(states[:2]), tuple(states[2:])), th.tensor([0.0, 0.0, 1.0, 0.0])


@pytest.mark.parametrize("actions", MASKED_SPACES)
def test_distributions_are_sb3_contribs_masked_ones(actions: str) -> None:
    policy, (observations, states, starts) = made(BOTH, actions), inputs()
    masks = MASKS[:, : WIDTHS[actions]]
    logits = []
    policy.action_net.register_forward_hook(lambda _module, _given, output: logits.append(output))
    values, log_prob, entropy = policy.evaluate_actions(
        observations, th.as_tensor(policy.get_distribution(observations, states.pi, starts, masks)[0].mode()).float(),
        states, starts, masks,
    )  # fmt: skip
    expected: Any = make_masked_proba_distribution(policy.action_space).proba_distribution(logits[-1])
    expected.apply_masking(masks)
    th.testing.assert_close(log_prob, expected.log_prob(expected.mode().float()), rtol=0, atol=0)
    th.testing.assert_close(entropy, expected.entropy(), rtol=0, atol=0)
    assert values.shape == (4, 1)


@pytest.mark.parametrize("actions", MASKED_SPACES)
def test_no_invalid_action_is_taken(actions: str) -> None:
    policy, (observations, states, starts) = made(BOTH, actions), inputs(n_sequences=4)
    masks = MASKS[:, : WIDTHS[actions]]
    sizes = {"discrete": [3], "multi_discrete": [3, 2], "multi_binary": [2, 2, 2]}[actions]
    offsets = np.cumsum([0, *sizes[:-1]])
    for _ in range(20):
        sampled, _, log_prob, _ = policy(observations, states, starts, action_masks=masks)
        predicted, _ = policy.predict(
            observations.numpy(), tuple(map(np.asarray, states.pi)), starts.numpy(), action_masks=masks.numpy()
        )
        for chosen in (sampled.reshape(4, -1).numpy(), predicted.reshape(4, -1)):
            for row, mask in zip(chosen.astype(int), masks, strict=True):
                assert mask[row + offsets].all()
        assert (log_prob > -50).all()


@pytest.mark.parametrize("actions", ["discrete", "multi_discrete"])
def test_without_masks_it_is_the_recurrent_policy(actions: str) -> None:
    policy, recurrent = made(BOTH, actions), made(RecurrentActorCriticPolicy, actions)
    recurrent.load_state_dict(policy.state_dict())
    observations, states, starts = inputs()
    taken = policy.get_distribution(observations, states.pi, starts)[0].mode()
    for masks in (None, np.ones((4, WIDTHS[actions]))):
        ours = policy.evaluate_actions(observations, taken, states, starts, action_masks=masks)
        for one, other in zip(ours, recurrent.evaluate_actions(observations, taken, states, starts), strict=True):
            th.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_states_go_on_under_masks() -> None:
    policy = made(BOTH, "discrete")
    observations, state, states = inputs()[0].numpy()[:1], None, []
    for start in (True, False, True):
        _, state = policy.predict(observations, state, np.array([start]), action_masks=[True, False, True])
        states.append(state[0].copy())
    assert not np.array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_masks_do_not_outlive_the_call() -> None:
    policy, (observations, states, starts) = made(BOTH, "discrete"), inputs()
    free = policy.get_distribution(observations, states.pi, starts)[0].distribution.logits
    policy(observations, states, starts, action_masks=MASKS[:, :3])
    with pytest.raises((ValueError, RuntimeError)):
        policy.evaluate_actions(observations, th.zeros(3), states, starts, action_masks=MASKS[:, :3])
    assert th.equal(policy.get_distribution(observations, states.pi, starts)[0].distribution.logits, free)


@pytest.mark.parametrize(
    ("kind", "observations"),
    [
        (MaskableRecurrentActorCriticCnnPolicy, "image"),
        (MaskableRecurrentMultiInputActorCriticPolicy, "dict"),
    ],
)
@pytest.mark.parametrize("kwargs", [{}, {"shared_lstm": True, "enable_critic_lstm": False}])
def test_the_other_observations(kind: type, observations: str, kwargs: dict[str, Any]) -> None:
    policy = made(kind, "multi_discrete", observations, **kwargs)
    mask = [True, False, False, False, True]
    action, state = policy.predict(policy.observation_space.sample(), action_masks=mask)
    assert action.tolist() == [0, 1]
    assert state[0].shape == (1, 1, 8)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"lstm_hidden_size": 5, "n_lstm_layers": 2, "share_features_extractor": False},
        {"shared_lstm": True, "enable_critic_lstm": False, "lstm_kwargs": {"bias": False}},
    ],
)
def test_a_saved_policy_is_loaded_with_its_memory(kwargs: dict[str, Any], tmp_path: Path) -> None:
    policy = made(BOTH, "discrete", **kwargs)
    policy.save(str(tmp_path / "policy.pth"))
    loaded = BOTH.load(str(tmp_path / "policy.pth"), device="cpu")
    saved = policy.state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    for name, tensor in loaded.state_dict().items():
        assert th.equal(tensor, saved[name]), name
    observation = np.ones(4, np.float32)
    for ours, theirs in zip(policy.predict(observation)[1], loaded.predict(observation)[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_kinds() -> None:
    kinds = {
        ActorCriticPolicy: (False, False),
        MaskableActorCriticPolicy: (False, True),
        RecurrentActorCriticPolicy: (True, False),
        BOTH: (True, True),
        MaskableRecurrentActorCriticCnnPolicy: (True, True),
        "MlpPolicy": (False, False),
        made: (False, False),
    }
    assert {kind: (is_recurrent(kind), takes_masks(kind)) for kind in kinds} == kinds
