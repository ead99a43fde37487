"""A frozen reference policy, and a KL subtracted from the objective that keeps the policy in training near it."""

import pathlib
import warnings
import zipfile
from os import PathLike, fspath
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.algorithms.backend import BackendChoice
from sb3_ppo_variants.algorithms.coefficient_checks import check_adapts
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.configurable import ConfigurableAlgorithm
from sb3_ppo_variants.algorithms.nonfinite import NonFiniteChoice
from sb3_ppo_variants.backends import Backend, distribution_at_zeros
from sb3_ppo_variants.checks import kind_of
from sb3_ppo_variants.distributions import Parameters, head_and_parameters
from sb3_ppo_variants.files import checked_path
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.nonfinite.rollout import nonfinite_parameter, normalizers_of
from sb3_ppo_variants.objectives import ReferenceKLDirection, adapt_kl_coef
from sb3_ppo_variants.policies import ReferencePolicy
from sb3_ppo_variants.rollouts import reference_parameters
from sb3_ppo_variants.rollouts.minibatches import draws_as_sb3


class ReferenceChoice(ConfigurableAlgorithm, BackendChoice, NonFiniteChoice):
    """
    An on-policy algorithm whose objective may lose c·KL to a frozen policy, as in fine-tuning.

    The reference's distributions are computed once per rollout and travel with its rows; the rest is a matter of the
    objective and of the backends, so every algorithm takes a reference.
    """

    #: As given to the constructor, and from the first ``_setup_model`` on a ``ReferencePolicy``.
    reference_policy: Any = None
    reference_kl_coef: Coefficient = 0.0
    reference_kl_direction: ReferenceKLDirection = "ref_new"
    adaptive_reference_kl_target: float | None = None

    def _setup_model(self) -> None:
        given = vars(self).get("_given_to_load", {"reference_policy"})
        if isinstance(self.reference_policy, ReferencePolicy) and "reference_policy" in given:
            # Another model's, with its states: only the policy is taken. One that came with a file stays as it is.
            self.reference_policy = self.reference_policy.policy
        super()._setup_model()
        self._freeze_reference()

    def _check_settings(self) -> None:
        super()._check_settings()
        self._check_reference_kl_coef()

    def _read_coefficients(self) -> float:
        rate = super()._read_coefficients()
        self._check_reference_kl_coef()  # again: they may have been assigned
        return rate

    def _check_reference_kl_coef(self) -> None:
        coef, target = self.reference_kl_coef, self.adaptive_reference_kl_target
        if self.reference_policy is None and (coef != 0 or target is not None):
            raise ValueError(
                f"reference_kl_coef={coef!r} and adaptive_reference_kl_target={target!r} without a reference_policy: "
                "pass a model, a policy or a file as reference_policy, or leave them out."
            )
        if target is not None:
            check_adapts("reference_kl_coef", coef, "adaptive_reference_kl_target", target)

    # ---- The reference ----

    def _freeze_reference(self) -> None:
        """Replace what was given, assigned or loaded by a frozen copy on this model's device."""
        if self.reference_policy is None:
            return
        self.checks["reference_policy"]("reference_policy", self.reference_policy)
        if not draws_as_sb3(self.rollout_buffer):
            raise ValueError(
                f"reference_policy with a {type(self.rollout_buffer).__name__}, which draws minibatches itself: pass "
                "rollout_buffer_class=None."
            )
        reference = self.reference_policy
        policy = self._given_policy(reference)
        self._check_reference(policy)
        if not isinstance(reference, ReferencePolicy):
            reference = ReferencePolicy(policy)
        self.reference_policy = reference.to(self.device)

    def _given_policy(self, given: Any) -> Any:
        if isinstance(given, str | PathLike):
            path = self._reference_path(given)
            load = type(self).load if zipfile.is_zipfile(path) else type(self).load_safe  # type: ignore[attr-defined]
            # Loading draws weights and would take over the seed of the file: the draws of this model stay its own.
            on_gpu = [self.device] if self.device.type == "cuda" else []
            try:
                with th.random.fork_rng(on_gpu):
                    given = load(path, device=self.device, seed=None)
            except (AssertionError, KeyError) as error:  # how SB3 says that a zip holds no model
                raise ValueError(
                    f"reference_policy={fspath(given)!r} holds no model ({error}): pass a file that save or save_safe "
                    "wrote. A state dictionary is loaded into a policy first, and the policy is passed."
                ) from error
        return given.policy if isinstance(given, BaseAlgorithm | ReferencePolicy) else given

    def _reference_path(self, given: str | PathLike[str]) -> pathlib.Path:
        try:
            return checked_path(given)
        except ValueError as error:
            raise ValueError(f"reference_policy={fspath(given)!r}: {error} Pass a saved model's path.") from error

    def _check_reference(self, policy: Any) -> None:
        for name in ("observation_space", "action_space"):
            theirs, ours = getattr(policy, name), getattr(self, name)
            if theirs != ours:
                raise ValueError(
                    f"reference_policy has the {name} {theirs}, and this model {ours}: they have to be equal. Pass a "
                    "reference that was trained in such an environment."
                )
        if not hasattr(policy, "get_distribution"):
            raise ValueError(
                f"reference_policy is {kind_of(policy)}, which has no distribution of actions: pass an "
                "actor-critic policy."
            )
        bad = nonfinite_parameter(policy)
        if bad is not None:
            raise ValueError(
                f"reference_policy has NaN or Inf in {bad}: its weights have to be finite. Pass an earlier checkpoint "
                "of it."
            )
        with th.no_grad():
            distributions = [distribution_at_zeros(each) for each in (policy, self.policy)]
        kinds = [
            found and (found[0], each.squash_output)
            for found, each in zip(map(head_and_parameters, distributions), (policy, self.policy), strict=True)
        ]
        if kinds[0] is None or kinds[0] != kinds[1]:
            theirs, ours = (type(distribution).__name__ for distribution in distributions)
            raise ValueError(
                f"reference_policy has a {theirs}, and this model a {ours}: the KL between them has no closed form "
                "here. Pass a reference with the same kind of distribution, one of SB3's, sb3-contrib's or the Beta."
            )

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        # Said in learn, once it is known in which environment.
        moves = any(normalizer.training and normalizer.norm_obs for normalizer in normalizers_of(self.env))
        if self.reference_policy is not None and moves:
            warnings.warn(
                "reference_policy with a VecNormalize whose statistics are still updated: they change what the "
                "reference sees, and with it the reference. Use the statistics that it was trained with: "
                "env = VecNormalize.load(path, venv), then env.training = False. Returns may be normalised by another "
                "VecNormalize with norm_obs=False.",
                stacklevel=4,
            )
        return super()._setup_learn(*args, **kwargs)

    # ---- An update ----

    def _reference_parameters(self, backend: Backend) -> Parameters:
        """
        The reference's distributions at the rollout's rows; empty without one. Asked for once per rollout, because a
        reference with memory then moves on to the next.
        """
        if self.reference_policy is None:
            return ()
        if not isinstance(self.reference_policy, ReferencePolicy):
            self._freeze_reference()  # it has been assigned
        reference: ReferencePolicy = self.reference_policy.to(self.device)  # a copied model's is on the CPU
        parameters = reference_parameters(reference, self.rollout_buffer)
        if reference.kl_at_start is None:
            reference.kl_at_start = backend.reference_kl(self.rollout_buffer, parameters, "ref_new")
            self.logger.record("train/reference_kl_start", reference.kl_at_start)
            say(self.logger, "info", f"KL(reference‖policy) before the first update: {reference.kl_at_start:.4g} nats")
        return parameters

    def _pass_over_rollout(self, backend: Backend) -> None:
        """Let a reference with memory move on over a rollout that the policy does not learn from."""
        self._reference_parameters(backend)

    def _leaves_out_rollout(self) -> bool:
        if not super()._leaves_out_rollout():
            return False
        self._pass_over_rollout(self._current_backend())
        return True

    def _follow_reference_kl(self, backend: Backend, parameters: Parameters) -> None:
        """
        After an update, log ``reference_kl``, the exact mean KL to the reference over the rollout in nats, and
        ``reference_kl_coef``, the coefficient that the update used. Set that of the next update.
        """
        if not parameters:
            return
        kl = backend.reference_kl(self.rollout_buffer, parameters, self.reference_kl_direction)
        self.logger.record("train/reference_kl", kl)
        self.logger.record("train/reference_kl_coef", self.current("reference_kl_coef"))
        if self.adaptive_reference_kl_target is not None:
            coef: Any = self.reference_kl_coef
            self.reference_kl_coef = adapt_kl_coef(coef, kl, self.adaptive_reference_kl_target)
