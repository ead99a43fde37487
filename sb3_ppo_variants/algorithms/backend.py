"""Which backend computes the updates, and keeping it tied to the policy's memory."""

from typing import Any, Literal

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.backends import BACKENDS, CHOICES, Backend, why_not_installed
from sb3_ppo_variants.checks import choice
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.rollouts import Actor
from sb3_ppo_variants.rollouts.memory import Memory


class BackendChoice(OnPolicyAlgorithm):
    """
    An on-policy algorithm whose updates come from one of the backends.

    ``update_backend`` is the one requested, ``active_backend`` the one that runs. ``"auto"`` takes the first backend
    that can run, ``"compiled"`` the closed form in numpy where there is no kernel. The reason for passing over an
    earlier one is logged once, by the model's own logger and so with ``verbose=1``. A backend asked for by name raises
    an error with the reason instead.
    """

    update_backend: str
    memory: Memory | None
    #: Made at the first use, and again whenever it no longer works on the policy's memory.
    _backend: Backend | None = None
    _reason_logged: str | None = None
    _device_is_free: bool = False

    @property
    def active_backend(self) -> Literal["autograd", "closed_form", "compiled"]:
        """Which backend computes the updates."""
        name: Any = self._eligible_backend(self.rollout_buffer)[0].name
        return name

    def _eligible_backend(self, rollout_buffer: RolloutBuffer) -> tuple[type[Backend], str | None]:
        """
        :param rollout_buffer: The buffer that it would have to read
        :return: the first backend that can run, of those that ``update_backend`` stands for and autograd; and why the
            one before it cannot
        """
        choice("auto", *BACKENDS)("update_backend", self.update_backend)
        passed_over = None
        for name in (*CHOICES[self.update_backend], "autograd"):
            reason = BACKENDS[name].why_not(self.policy, rollout_buffer)
            if reason is None:
                break
            passed_over = reason
        return BACKENDS[name], passed_over

    def _allowed_backend(self, rollout_buffer: RolloutBuffer | None = None) -> tuple[type[Backend], str | None]:
        """
        :param rollout_buffer: See ``_current_backend``
        :return: see ``_eligible_backend``
        :raises ValueError: the backend asked for by name cannot run
        """
        kind, passed_over = self._eligible_backend(self.rollout_buffer if rollout_buffer is None else rollout_buffer)
        # What cannot be compiled is the same everywhere; without numba, one script would have two results.
        refused = why_not_installed() if self.update_backend == "compiled" else None
        if kind.name not in CHOICES[self.update_backend]:
            refused = passed_over
        if refused is not None:
            raise ValueError(
                f"update_backend={self.update_backend!r} cannot run: {refused}. Pass 'auto' to take what "
                "can run, or change what stands in its way."
            )
        return kind, passed_over

    def _current_backend(self, rollout_buffer: RolloutBuffer | None = None) -> Backend:
        """
        :param rollout_buffer: The buffer that it has to read; ``None``: the model's
        :return: the backend that runs, bound to the policy as it is now
        :raises ValueError: the backend asked for by name cannot run
        """
        kind, passed_over = self._allowed_backend(rollout_buffer)
        if passed_over is not None and passed_over != self._reason_logged:
            self._reason_logged = passed_over
            how = "in numpy, not compiled" if self.update_backend == "compiled" else "by autograd, not in closed form"
            say(self.logger, "info", f"Updates {how}: {passed_over}")
        # Not isinstance: the compiled backend is a closed form too.
        if self._backend is None or type(self._backend) is not kind or not self._backend.is_current(self.policy):
            self._backend = kind(self.policy)
        return self._backend

    def _bind_backend(self) -> None:
        """
        Bind the policy as soon as it is made: it moves into the closed form's memory before anybody can hold on to part
        of its original memory (a ``state_dict``, say), which would no longer follow the training.
        """
        kind, _ = self._eligible_backend(self.rollout_buffer)
        self._backend = kind(self.policy)

    def make_actor(self, rollout_buffer: RolloutBuffer) -> Actor:
        """
        :param rollout_buffer: The buffer that is to be filled
        :return: how the collection loop acts
        """
        return self._current_backend(rollout_buffer).actor(self.memory)

    def _maybe_recommend_cpu(self, *args: Any, **kwargs: Any) -> None:
        # SB3 calls this once the policy is built. The closed form runs on the CPU: there, "auto" means the CPU.
        if self._device_is_free and self.device.type != "cpu" and self.update_backend != "autograd":
            device, self.policy = self.device, self.policy.to("cpu")
            if BACKENDS["closed_form"].why_not(self.policy, self.rollout_buffer) is None:
                self.device = self.rollout_buffer.device = th.device("cpu")
            else:
                self.policy = self.policy.to(device)
        super()._maybe_recommend_cpu(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_backend", "_reason_logged", "_device_is_free"]
