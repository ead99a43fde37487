"""The backend for SB3's MLP policies on the CPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor import ClosedFormActor
from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.constrained import ClosedFormConstrainedUpdate
from sb3_ppo_variants.backends.closed_form.critic import ClosedFormCriticUpdate
from sb3_ppo_variants.backends.closed_form.eligibility import why_not_closed_form
from sb3_ppo_variants.backends.closed_form.rollout import flat_rollout
from sb3_ppo_variants.backends.closed_form.threads import hot_loop
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate
from sb3_ppo_variants.backends.critic import fit_critic
from sb3_ppo_variants.backends.settings import ConstrainedSettings, CriticSettings, UpdateSettings
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import ReferenceKLDirection
from sb3_ppo_variants.rollouts import Actor
from sb3_ppo_variants.rollouts.memory import Memory


class ClosedFormBackend:
    """
    ``Backend`` by hand, in numpy on the memory of the policy's parameters.

    :param policy: A policy for which ``why_not`` returns ``None``; its parameters become views of shared memory
    """

    name: ClassVar[str] = "closed_form"
    measures_kl_cheaply: ClassVar[bool] = True

    def __init__(self, policy: ActorCriticPolicy):
        self.network = ClosedFormActorCritic(policy)

    def __reduce__(self) -> tuple:
        # A copy would hold copies of the arrays, not the copied policy's memory: no backend is better.
        return (type(None), ())

    @staticmethod
    def why_not(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
        return why_not_closed_form(policy, buffer)

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return self.network.is_bound_to(policy)

    def context(self) -> AbstractContextManager[Any]:
        return hot_loop()

    def actor(self, memory: Memory | None = None) -> Actor:
        return ClosedFormActor(self.network)

    def update(self, buffer: RolloutBuffer, settings: UpdateSettings) -> ClosedFormUpdate:
        return ClosedFormUpdate(self.network, flat_rollout(buffer, self.network), settings)

    def constrained_update(self, buffer: RolloutBuffer, settings: ConstrainedSettings) -> ClosedFormConstrainedUpdate:
        return ClosedFormConstrainedUpdate(self.network, flat_rollout(buffer, self.network), settings)

    def reference_kl(
        self, buffer: RolloutBuffer, reference_parameters: Parameters, direction: ReferenceKLDirection
    ) -> float:
        rollout = flat_rollout(buffer, self.network)
        return rollout.mean_kl(rollout.as_arrays(reference_parameters), direction)

    def fit_critic(
        self, buffer: RolloutBuffer, settings: CriticSettings, refuse_step: Callable[[str, float], None]
    ) -> list[float]:
        if settings.n_epochs == 0:
            return []  # Adam's state stays empty before the first step
        critic = ClosedFormCriticUpdate(self.network, flat_rollout(buffer, self.network), settings)
        return fit_critic(critic, settings, refuse_step)
