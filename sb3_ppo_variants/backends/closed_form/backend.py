"""The backend for SB3's MLP policies on the CPU."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor import ClosedFormActor
from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.constrained import ClosedFormConstrainedUpdate
from sb3_ppo_variants.backends.closed_form.critic import ClosedFormCriticUpdate
from sb3_ppo_variants.backends.closed_form.eligibility import why_not_closed_form
from sb3_ppo_variants.backends.closed_form.rollout import flat_rollout
from sb3_ppo_variants.backends.closed_form.threads import single_threaded
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate
from sb3_ppo_variants.backends.constrained import KLDirection, KLReduction
from sb3_ppo_variants.backends.critic import fit_critic
from sb3_ppo_variants.objectives import Objective, ValueLoss
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage
from sb3_ppo_variants.rollouts import Actor


class ClosedFormBackend:
    """
    ``Backend`` by hand, in numpy on the memory of the policy's parameters.

    :param policy: A policy that ``why_not`` has nothing against; its parameters become views of shared memory
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
        return why_not_closed_form(policy, buffer, policy.observation_space)

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return self.network.is_bound_to(policy)

    def context(self) -> AbstractContextManager[Any]:
        return _hot_loop()

    def actor(self) -> Actor:
        return ClosedFormActor(self.network)

    def update(
        self,
        buffer: RolloutBuffer,
        objective: Objective,
        normalize_advantage: NormalizeAdvantage,
        max_grad_norm: float | None,
        keep_old_policy: bool,
        kept_rows: np.ndarray | None,
    ) -> ClosedFormUpdate:
        rollout = flat_rollout(buffer, self.network)
        return ClosedFormUpdate(
            self.network, rollout, objective, normalize_advantage, max_grad_norm, keep_old_policy, kept_rows
        )

    def constrained_update(
        self,
        buffer: RolloutBuffer,
        normalize_advantage: NormalizeAdvantage,
        ent_coef: float,
        kl_direction: KLDirection,
        kl_reduction: KLReduction,
    ) -> ClosedFormConstrainedUpdate:
        rollout = flat_rollout(buffer, self.network)
        return ClosedFormConstrainedUpdate(
            self.network, rollout, normalize_advantage, ent_coef, kl_direction, kl_reduction
        )

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
        if n_epochs == 0:
            return []  # Adam's state stays empty before the first step
        # What is frozen is the actor's, which shares nothing with this critic.
        critic = ClosedFormCriticUpdate(self.network, flat_rollout(buffer, self.network), value_loss, max_grad_norm)
        return fit_critic(critic, batch_size, n_epochs, refuse_step)


@contextmanager
def _hot_loop() -> Iterator[None]:
    # Overflowing ratios are what the diagnostics show, as in torch, and what is not a number is found before a step
    # is taken.
    with single_threaded(), np.errstate(over="ignore", invalid="ignore"):
        yield
