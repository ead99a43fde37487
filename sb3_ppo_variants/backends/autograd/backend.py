"""The backend that runs every SB3 policy."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.constrained import AutogradConstrainedUpdate
from sb3_ppo_variants.backends.autograd.critic import AutogradCriticUpdate
from sb3_ppo_variants.backends.autograd.update import AutogradUpdate
from sb3_ppo_variants.backends.constrained import KLDirection, KLReduction
from sb3_ppo_variants.backends.critic import fit_critic
from sb3_ppo_variants.objectives import AdvantageNormalizer, Objective, ValueLoss
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage
from sb3_ppo_variants.rollouts import Actor, PolicyActor


class AutogradBackend:
    """
    ``Backend`` by torch.

    :param policy: Any actor-critic policy
    """

    name: ClassVar[str] = "autograd"
    measures_kl_cheaply: ClassVar[bool] = False

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy

    @staticmethod
    def why_not(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
        return None

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return policy is self.policy

    def context(self) -> AbstractContextManager[Any]:
        # Overflowing ratios are what the diagnostics show, and what is not a number is found before a step is taken.
        return np.errstate(over="ignore", invalid="ignore")

    def actor(self) -> Actor:
        return PolicyActor(self.policy, self.policy.device)

    def update(
        self,
        buffer: RolloutBuffer,
        objective: Objective,
        normalize_advantage: NormalizeAdvantage,
        max_grad_norm: float | None,
        keep_old_policy: bool,
        kept_rows: np.ndarray | None,
    ) -> AutogradUpdate:
        advantages = buffer.advantages
        if kept_rows is not None:
            flat = advantages if buffer.generator_ready else buffer.swap_and_flatten(advantages)
            advantages = flat.ravel()[kept_rows]
        normalizer = AdvantageNormalizer(normalize_advantage, advantages)
        return AutogradUpdate(self.policy, buffer, objective, normalizer, max_grad_norm, keep_old_policy, kept_rows)

    def constrained_update(
        self,
        buffer: RolloutBuffer,
        normalize_advantage: NormalizeAdvantage,
        ent_coef: float,
        kl_direction: KLDirection,
        kl_reduction: KLReduction,
    ) -> AutogradConstrainedUpdate:
        # Evaluation mode, in which the rollout was collected: only there is the KL of the unchanged policy zero.
        self.policy.set_training_mode(False)
        return AutogradConstrainedUpdate(self.policy, buffer, normalize_advantage, ent_coef, kl_direction, kl_reduction)

    def fit_critic(
        self,
        buffer: RolloutBuffer,
        value_loss: ValueLoss,
        batch_size: int | None,
        n_epochs: int,
        max_grad_norm: float | None,
        frozen: Collection[th.nn.Parameter],
        refuse_step: Callable[[str, float], None],
    ) -> list[float]:
        self.policy.set_training_mode(True)
        critic = AutogradCriticUpdate(self.policy, buffer, value_loss, max_grad_norm, frozen)
        return fit_critic(critic, batch_size, n_epochs, refuse_step)
