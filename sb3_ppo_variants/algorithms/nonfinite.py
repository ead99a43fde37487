"""What is done about numbers that are not finite: stop, or leave out the update that they would spoil."""

from typing import Literal

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import has_spoilt_statistics, normalizers_of
from sb3_ppo_variants.nonfinite.update import update_fault

NonFiniteUpdate = Literal["raise", "skip"]


class NonFiniteChoice(OnPolicyAlgorithm):
    """
    An on-policy algorithm that never learns from a NaN or an Inf.

    ``nonfinite_update="raise"`` stops with a ``NonFiniteError`` in the rollout in which it came up. ``"skip"`` leaves
    out the minibatch whose loss or gradient is not finite, or the whole update where the rollout is not, counts it in
    ``train/nonfinite_updates`` and continues. In either case it stops at an observation that the policy cannot act on,
    and where the number has spoilt the running statistics of a ``VecNormalize``: no later rollout would be finite.
    """

    nonfinite_update: NonFiniteUpdate = "raise"
    #: Minibatches and whole updates left out so far.
    _n_nonfinite_updates: int = 0
    _rollout_fault: NonFiniteError | None = None

    def handle_fault(self, fault: NonFiniteError | None) -> None:
        """
        Stop because of a fault in the rollout, or mark the rollout as one not to learn from.

        :param fault: What was found; ``None``: nothing
        :raises NonFiniteError: the fault, unless such updates are to be skipped and later ones can be learnt from
        """
        if fault is None:
            return
        if self.nonfinite_update != "skip" or any(map(has_spoilt_statistics, normalizers_of(self.env))):
            raise fault
        self._rollout_fault = self._rollout_fault or fault

    def _leaves_out_rollout(self) -> bool:
        """Whether to leave out the rollout just collected; if so, it is counted."""
        fault, self._rollout_fault = self._rollout_fault, None
        if fault is not None:
            self._count_skipped(fault)
            self._log_nonfinite()
        return fault is not None

    def _refuse_step(self, where: str, loss: float | None = None) -> None:
        """
        Deal with an optimiser step that was not taken.

        :param where: Which it was, for the message
        :param loss: Its loss, if known
        :raises NonFiniteError: unless such updates are to be skipped
        """
        fault = update_fault(self.policy, self.rollout_buffer, self.num_timesteps, where, loss)
        if self.nonfinite_update != "skip":
            raise fault
        self._count_skipped(fault)

    def _count_skipped(self, fault: NonFiniteError) -> None:
        self._n_nonfinite_updates += 1
        say(self.logger, "warn", f"An update is skipped. {fault}")

    def _log_nonfinite(self) -> None:
        if self.nonfinite_update == "skip":
            self.logger.record("train/nonfinite_updates", self._n_nonfinite_updates)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_rollout_fault"]
