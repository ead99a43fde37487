"""The backend that runs every SB3 policy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import ClassVar

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.constrained import AutogradConstrainedUpdate
from sb3_ppo_variants.backends.autograd.critic import AutogradCriticUpdate
from sb3_ppo_variants.backends.autograd.kl import mean_reference_kl
from sb3_ppo_variants.backends.autograd.update import AutogradUpdate
from sb3_ppo_variants.backends.critic import fit_critic
from sb3_ppo_variants.backends.parameter_groups import without_cudnn
from sb3_ppo_variants.backends.process_wide import unchecked_distributions
from sb3_ppo_variants.backends.settings import ConstrainedSettings, CriticSettings, UpdateSettings
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import ReferenceKLDirection
from sb3_ppo_variants.rollouts import Actor, PolicyActor, rows_in_order
from sb3_ppo_variants.rollouts.buffers import keeps_states
from sb3_ppo_variants.rollouts.memory import Memory, RecurrentActor


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

    @contextmanager
    def context(self) -> Iterator[None]:
        # Overflowing ratios are what the diagnostics show, and what is not a number is found before a step is taken.
        # Torch's distributions would raise a ValueError of their own before that, which could not be skipped.
        with unchecked_distributions.held(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
            yield

    def actor(self, memory: Memory | None = None) -> Actor:
        if memory is not None:
            return RecurrentActor(self.policy, memory)
        return PolicyActor(self.policy)

    def update(self, buffer: RolloutBuffer, settings: UpdateSettings) -> AutogradUpdate:
        return AutogradUpdate(self.policy, buffer, settings)

    def constrained_update(self, buffer: RolloutBuffer, settings: ConstrainedSettings) -> AutogradConstrainedUpdate:
        # Evaluation mode, in which the rollout was collected: only there is the KL of the unchanged policy zero.
        self.policy.set_training_mode(False)
        return AutogradConstrainedUpdate(self.policy, buffer, settings)

    def reference_kl(
        self, buffer: RolloutBuffer, reference_parameters: Parameters, direction: ReferenceKLDirection
    ) -> float:
        return mean_reference_kl(self.policy, reference_parameters, rows_in_order(buffer), direction)

    def fit_critic(
        self, buffer: RolloutBuffer, settings: CriticSettings, refuse_step: Callable[[str, float], None]
    ) -> list[float]:
        self.policy.set_training_mode(not settings.evaluation_mode)
        # cuDNN's recurrent layers have no gradient in evaluation mode.
        needs_torchs_own = settings.evaluation_mode and keeps_states(buffer)
        with without_cudnn() if needs_torchs_own else nullcontext():
            return fit_critic(AutogradCriticUpdate(self.policy, buffer, settings), settings, refuse_step)
