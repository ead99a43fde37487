"""Policies, objectives and rollouts of every kind that the closed form computes."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.compiled import why_not_installed
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.objectives import (
    ClippedSquaredError,
    ClippedSurrogate,
    DualClippedSurrogate,
    LogLikelihood,
    MaxSquaredError,
    Objective,
    SquaredError,
    UnclippedSurrogate,
)
from sb3_ppo_variants.policies import BetaActorCriticPolicy
from sb3_ppo_variants.rollouts import Rows

needs_numba = pytest.mark.skipif(why_not_installed() is not None, reason="numba is not installed")
#: As a backend to be tested.
COMPILED = pytest.param("compiled", marks=needs_numba)
#: The heads of ``ACTIONS`` that have kernels.
COMPILED_HEADS = ("gaussian", "categorical", "masked categorical")

ACTIONS: dict[str, spaces.Space] = {
    "gaussian": spaces.Box(-1, 1, (3,)),
    "categorical": spaces.Discrete(4),
    "multi_categorical": spaces.MultiDiscrete([3, 2, 4]),
    "bernoulli": spaces.MultiBinary(3),
}
MASKED = "masked "
BETA = "beta"
ACTIONS[BETA] = ACTIONS["gaussian"]
ACTIONS |= {MASKED + head: ACTIONS[head] for head in ("categorical", "multi_categorical", "bernoulli")}

OBJECTIVES: dict[str, Objective] = {
    "clip": Objective(ClippedSurrogate(0.2), SquaredError(), vf_coef=0.5),
    "clip, entropy": Objective(ClippedSurrogate(0.1), SquaredError(), ent_coef=0.01, vf_coef=0.5),
    "asymmetric, penalty": Objective(ClippedSurrogate(0.1, 0.3), SquaredError(), vf_coef=0.3, kl_coef=0.7),
    "dual clip, value clip": Objective(
        DualClippedSurrogate(ClippedSurrogate(0.2), 3.0), ClippedSquaredError(0.2), ent_coef=0.02, vf_coef=1.0
    ),
    "max value clip": Objective(ClippedSurrogate(0.2), MaxSquaredError(0.2), vf_coef=0.5),
    "penalty": Objective(UnclippedSurrogate(), SquaredError(), ent_coef=0.01, vf_coef=0.5, kl_coef=2.0),
    "unclipped": Objective(UnclippedSurrogate(), SquaredError(), vf_coef=0.5),
    "reinforce": Objective(LogLikelihood(), SquaredError(), ent_coef=0.1, vf_coef=0.5),
    "reinforce without critic": Objective(LogLikelihood(), None, ent_coef=0.1),
}


def make_policy(head: str, n_features: int, net_arch: Any, activation: type[th.nn.Module], dtype) -> ActorCriticPolicy:
    kind: Any = MaskableActorCriticPolicy if head.startswith(MASKED) else ActorCriticPolicy
    if head == BETA:
        kind = BetaActorCriticPolicy
    policy = kind(
        spaces.Box(-1, 1, (n_features,)), ACTIONS[head], lambda _: 1e-3, net_arch=net_arch, activation_fn=activation
    )
    with th.no_grad():
        for parameter in policy.parameters():
            # Large enough that ratios leave the bands and activations leave their linear part.
            parameter.add_(0.3 * th.randn_like(parameter))
    return policy.to(dtype)


def draw_masks(sizes: Any, n_rows: int, rng: Any = np.random) -> np.ndarray:
    """
    :param sizes: How many actions each choice has
    :param n_rows: How many masks
    :param rng: Where from
    :return: masks that allow at least one action of each choice, shape (n_rows, ΣD)
    """
    return np.hstack([rng.random((n_rows, size)).argsort(1) <= rng.random((n_rows, 1)) * size for size in sizes])


def distribution_from(policy: Any, latent: th.Tensor, action_masks: np.ndarray | None) -> Any:
    """The policy's distribution for a latent, masked."""
    distribution = policy._get_action_dist_from_latent(latent)
    if action_masks is not None:
        distribution.apply_masking(action_masks)
    return distribution


def compiled(policy: ActorCriticPolicy) -> ClosedFormActorCritic:
    """The policy's compiled network."""
    from sb3_ppo_variants.backends.closed_form.compiled.actor_critic import CompiledActorCritic

    return CompiledActorCritic(policy)


def make_rollout(network: ClosedFormActorCritic, n_rows: int) -> FlatRollout:
    policy: Any = network.policy
    masks = None
    if isinstance(policy, MaskableActorCriticPolicy):
        dims = getattr(policy.action_dist, "action_dims", None) or [policy.action_dist.action_dim]
        masks = draw_masks(dims, n_rows)
    dtype = next(policy.parameters()).dtype
    # Through float32, as SB3's observations go: exact in either type.
    features = th.randn(n_rows, policy.observation_space.shape[0]).to(dtype)
    with th.no_grad():
        distribution = distribution_from(policy, policy.mlp_extractor.forward_actor(features), masks)
        actions = distribution.sample()
        old_log_prob = distribution.log_prob(actions) + 0.3 * th.randn(n_rows, dtype=dtype)
        old_values = policy.value_net(policy.mlp_extractor.forward_critic(features)).flatten()
    old_values = old_values + 0.3 * th.randn(n_rows, dtype=dtype)
    returns = old_values + th.randn(n_rows, dtype=dtype)
    arrays = (features, actions, old_values, old_log_prob, th.randn(n_rows, dtype=dtype), returns)
    return FlatRollout(network, Rows(*(array.numpy() for array in arrays), action_masks=masks))
