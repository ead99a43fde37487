"""Policies for bounded actions whose distributions are Betas instead of normal ones."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import Schedule

from sb3_ppo_variants.distributions import BetaDistribution, DeterministicAction


class BetaActorCriticPolicy(ActorCriticPolicy):
    """
    SB3's ``ActorCriticPolicy`` with an independent Beta distribution for each action dimension.

    No probability lies outside the bounds, so no sample is clipped. The policy's own actions, which the rollout buffer
    stores, are in [−1, 1]; ``predict`` and the collection loop scale them to the Box as they do for squashed gSDE. The
    network has two outputs per action dimension; α and β are 1 + softplus of them.

    :param observation_space: Observation space
    :param action_space: A Box with finite bounds, low < high, and floating-point actions
    :param lr_schedule: Learning rate schedule
    :param deterministic_action: The action of ``predict(deterministic=True)``: ``"mean"`` or ``"mode"``
    :param use_sde: Must be false
    :param kwargs: The other arguments of ``ActorCriticPolicy``; those about σ and gSDE have no effect
    :raises ValueError: an action space without such bounds, gSDE, or another ``deterministic_action``
    """

    squash_output = True

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *args: Any,
        deterministic_action: DeterministicAction = "mean",
        use_sde: bool = False,
        **kwargs: Any,
    ):
        _check_space(action_space)
        if use_sde:
            raise ValueError('use_sde=True: gSDE needs a normal distribution; pass "MlpPolicy" for it.')
        if deterministic_action not in ("mean", "mode"):
            raise ValueError(f'deterministic_action={deterministic_action!r}: it must be "mean" or "mode".')
        self.deterministic_action = deterministic_action
        super().__init__(observation_space, action_space, lr_schedule, *args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "deterministic_action": self.deterministic_action}

    def _build(self, lr_schedule: Schedule) -> None:
        betas = BetaDistribution(int(np.prod(self.action_space.shape)), self.deterministic_action)  # type: ignore[arg-type]
        # SB3 builds the action layer for its own kinds only. This one has the same layer.
        self.action_dist = CategoricalDistribution(2 * betas.action_dim)
        super()._build(lr_schedule)
        self.action_dist = betas

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        return self.action_dist.proba_distribution(self.action_net(latent_pi))


def _check_space(space: spaces.Space) -> None:
    if not isinstance(space, spaces.Box):
        raise ValueError(f'The action space is {space}: Beta policies are for Box actions; pass "MlpPolicy".')
    if not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"The action space is {space}: Beta policies need floating-point actions; declare the Box so.")
    # The width scales actions to the Box. It may overflow between finite bounds, and is NaN or Inf without them.
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = np.isfinite(space.high - space.low).all()
    if not (bounded and space.low.size > 0 and (space.low < space.high).all()):
        raise ValueError(
            f"The action space is {space}: Beta policies need finite bounds and a finite width, with low < high "
            "in every dimension. Give the environment such a Box."
        )


class BetaActorCriticCnnPolicy(BetaActorCriticPolicy, ActorCriticCnnPolicy):
    """For images: the arguments are those of SB3's ``ActorCriticCnnPolicy`` and ``deterministic_action``."""


class BetaMultiInputActorCriticPolicy(BetaActorCriticPolicy, MultiInputActorCriticPolicy):
    """For Dict observations: the arguments are ``MultiInputActorCriticPolicy``'s and ``deterministic_action``."""
