"""Which backend computes the updates, and keeping the closed form tied to the policy's memory."""

from typing import Any, Literal

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.algorithms.checks import choice
from sb3_ppo_variants.backends.closed_form import ClosedFormActor, ClosedFormActorCritic, why_not_closed_form
from sb3_ppo_variants.rollouts import Actor, PolicyActor


class BackendChoice(OnPolicyAlgorithm):
    """
    An on-policy algorithm whose updates come from automatic differentiation or from the closed form.

    ``update_backend`` is what was asked for, ``active_backend`` what runs. ``"auto"`` takes the closed form where it
    computes the same as torch, and otherwise autograd. Why is logged once for each reason, by the model's own logger
    and so with ``verbose=1``; ``"closed_form"`` raises an error with the reason instead.
    """

    update_backend: str
    #: Bound to the policy's memory at the first use, and again whenever something has moved that memory.
    _closed_form: ClosedFormActorCritic | None = None
    _said_why_not: str | None = None
    _device_is_free: bool = False

    @property
    def active_backend(self) -> Literal["autograd", "closed_form"]:
        """Which backend computes the updates."""
        return "autograd" if self._why_not_closed_form() else "closed_form"

    def _why_not_closed_form(self, rollout_buffer: RolloutBuffer | None = None) -> str | None:
        choice("auto", "autograd", "closed_form")("update_backend", self.update_backend)
        if self.update_backend == "autograd":
            return "update_backend is 'autograd'"
        return why_not_closed_form(self.policy, rollout_buffer or self.rollout_buffer, self.observation_space)

    def _network(self, rollout_buffer: RolloutBuffer | None = None) -> ClosedFormActorCritic | None:
        """The policy in closed form, bound to its present memory; ``None`` if autograd is to be used."""
        reason = self._why_not_closed_form(rollout_buffer)
        if reason is not None:
            self._say(reason)
            self._closed_form = None
        elif self._closed_form is None or not self._closed_form.is_bound_to(self.policy):
            self._closed_form = ClosedFormActorCritic(self.policy)
        return self._closed_form

    def _say(self, reason: str) -> None:
        if self.update_backend == "closed_form":
            raise ValueError(
                f"update_backend='closed_form' cannot run: {reason}. Pass 'auto' to fall back on autograd, or change "
                "what stands in its way."
            )
        if self.update_backend == "auto" and reason != self._said_why_not:
            self._said_why_not = reason
            self.logger.info(f"Updates by autograd, not in closed form: {reason}")

    def _actor(self, rollout_buffer: RolloutBuffer | None = None) -> Actor:
        network = self._network(rollout_buffer)
        return PolicyActor(self.policy, self.device) if network is None else ClosedFormActor(network)

    def _maybe_recommend_cpu(self, *args: Any, **kwargs: Any) -> None:
        # SB3 calls this once the policy is built. The closed form runs on the CPU: there, "auto" means the CPU.
        if self._device_is_free and self.device.type != "cpu" and self.update_backend != "autograd":
            device, self.policy = self.device, self.policy.to("cpu")
            if self._why_not_closed_form() is None:
                self.device = self.rollout_buffer.device = th.device("cpu")
            else:
                self.policy = self.policy.to(device)
        super()._maybe_recommend_cpu(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_closed_form", "_said_why_not", "_device_is_free"]
