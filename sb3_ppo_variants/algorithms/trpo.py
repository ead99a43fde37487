"""Trust region policy optimisation."""

import math
from typing import Any, ClassVar, Literal

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import RolloutArguments
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.backends import (
    ConstrainedSettings,
    ConstrainedUpdate,
    PolicyStep,
    natural_gradient_step,
    search_step,
    take_step,
)
from sb3_ppo_variants.backends.statistics import effective_sample_size
from sb3_ppo_variants.checks import Check, choice, integer, number
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.objectives import SquaredError


class TRPO(OnPolicyVariant, family_name="TRPO"):
    """
    Maximises E[r·A] subject to E_s[KL(old‖new)] ≤ δ, r = π/π_old: one natural-gradient step per rollout.

    What restrains the step: a hard constraint. Conjugate gradients on products with the Fisher matrix F (always damped:
    F + damping·I) give the direction x = F⁻¹g, and ½·xᵀF·x = δ gives its length. A backtracking line search then
    shortens the step until the exact mean KL(old‖new), in nats and summed over action dimensions, is at most δ and the
    objective has improved. The critic is fitted separately. Paper: Schulman et al. 2015, arXiv:1502.05477, equation 14
    and appendix C. Deviation from it: A is GAE, normalised over the rollout, where the paper has sampled Q-values. For
    a distribution of your own, the KL is Schulman's k3 estimate at the actions taken.

    Names and defaults are those of sb3-contrib's ``TRPO``. The differences from it: the direction of the KL
    is the paper's (contrib: KL(new‖old)); the KL is summed over action dimensions (contrib averages, which makes its δ
    A times larger); the conjugate gradient starts at zero (contrib: at random noise); ``sub_sampling_factor`` thins
    only the Fisher product (contrib: gradient, objective and constraint too); conjugate gradients go on for longer
    where the gradient is small; and differentiation finds the critic's parameters (contrib: their names).
    ``TRPO(..., **TRPO.CONTRIB_CONVENTIONS)`` reproduces contrib's numbers with ``sub_sampling_factor=1``, as long as
    the gradient's norm is at least 0.01.

    :param learning_rate: The critic's step size (the policy's is set by δ)
    :param batch_size: Rows of the critic's minibatches; ``None``: the whole rollout
    :param cg_max_steps: Most conjugate-gradient steps, ≥ 1
    :param cg_damping: Added to the Fisher matrix's diagonal, ≥ 0
    :param line_search_shrinking_factor: In (0, 1); each further try multiplies the step by it
    :param line_search_max_iter: Most tries, ≥ 1; if none succeeds the policy stays as it was
    :param n_critic_updates: Epochs of the critic's fit, ≥ 0
    :param target_kl: δ > 0, in nats
    :param sub_sampling_factor: Use every n-th row for the Fisher product, ≥ 1; gradient, constraint and objective
        always use all
    :param ent_coef: c₂ ≥ 0, weight of the entropy bonus, a coefficient; the paper has no entropy term
    :param line_search: ``False`` takes the full step without testing it: the natural policy gradient (Kakade 2001),
        whose KL only approximates δ; the other two arguments of the search have no effect then
    :param kl_direction: ``"old_new"``: KL(old‖new), the paper's; ``"new_old"``: KL(new‖old), sb3-contrib's
    :param kl_reduction: ``"sum"`` over action dimensions; ``"mean"`` over those of Box and MultiBinary actions,
        sb3-contrib's
    :param cg_start: ``"zero"``; ``"noise"``: 1e-4 times a standard normal, sb3-contrib's (draws random numbers)
    """

    #: The settings that reproduce sb3-contrib's numbers.
    CONTRIB_CONVENTIONS: ClassVar[dict[str, Any]] = {
        "kl_direction": "new_old",
        "kl_reduction": "mean",
        "cg_start": "noise",
        "max_grad_norm": None,
    }

    uses_batch_for_critic_only: ClassVar[bool] = True
    checks: ClassVar[dict[str, Check]] = OnPolicyVariant.checks | {
        "cg_max_steps": integer(at_least=1),
        "cg_damping": number(at_least=0),
        "line_search_shrinking_factor": number(above=0, below=1),
        "line_search_max_iter": integer(at_least=1),
        "n_critic_updates": integer(at_least=0),
        "target_kl": number(above=0, hint="The usual range is 0.005 to 0.05."),
        "sub_sampling_factor": integer(at_least=1, hint="1 uses every row."),
        "line_search": choice(True, False),
        "kl_direction": choice("old_new", "new_old"),
        "kl_reduction": choice("sum", "mean"),
        "cg_start": choice("zero", "noise"),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 1e-3,
        n_steps: int = 2048,
        batch_size: int | None = 128,
        gamma: float = defaults.GAMMA.default,
        cg_max_steps: int = 15,
        cg_damping: float = 0.1,
        line_search_shrinking_factor: float = 0.8,
        line_search_max_iter: int = 10,
        n_critic_updates: int = 10,
        gae_lambda: float = defaults.GAE_LAMBDA.default,
        *,
        target_kl: float = 0.01,
        sub_sampling_factor: int = 1,
        ent_coef: Coefficient = 0.0,
        line_search: bool = True,
        kl_direction: Literal["old_new", "new_old"] = "old_new",
        kl_reduction: Literal["sum", "mean"] = "sum",
        cg_start: Literal["zero", "noise"] = "zero",
        max_grad_norm: float | None = None,
        **kwargs: Unpack[RolloutArguments],
    ):
        self.batch_size = batch_size
        self.cg_max_steps = cg_max_steps
        self.cg_damping = cg_damping
        self.line_search_shrinking_factor = line_search_shrinking_factor
        self.line_search_max_iter = line_search_max_iter
        self.n_critic_updates = n_critic_updates
        self.target_kl = target_kl
        self.sub_sampling_factor = sub_sampling_factor
        self.line_search = line_search
        self.kl_direction = kl_direction
        self.kl_reduction = kl_reduction
        self.cg_start = cg_start
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=0.0,  # the critic is fitted separately
            max_grad_norm=max_grad_norm,
            **kwargs,
        )

    def _check_critic_warmup(self) -> None:
        super()._check_critic_warmup()
        if self.n_critic_updates == 0:
            raise ValueError(
                f"critic_warmup={self.critic_warmup} with n_critic_updates=0, which never fits the critic: pass "
                "critic_warmup=0, or n_critic_updates >= 1."
            )

    def train(self) -> None:
        """Improve the policy by one constrained step on the whole rollout, then fit the critic."""
        if self._leaves_out_rollout():
            return
        self._update_learning_rate(self.policy.optimizer)
        backend = self._current_backend()
        if self._n_warmup_updates < self.critic_warmup:
            self._warm_up_critic(backend, self.n_critic_updates)
            return
        with backend.context():
            reference = self._reference_parameters(backend)
            constraint = ConstrainedSettings(
                normalize_advantage=self.normalize_advantage,
                ent_coef=self.current("ent_coef"),
                kl_direction=self.kl_direction,
                kl_reduction=self.kl_reduction,
                sequences=self._sequence_settings(),
                reference_kl_coef=self.current("reference_kl_coef"),
                reference_kl_direction=self.reference_kl_direction,
                reference_parameters=reference,
            )
            update = backend.constrained_update(self.rollout_buffer, constraint)
            step = self._step(update)
            self._follow_reference_kl(backend, reference)
            value_losses = self._fit_critic(backend, self.n_critic_updates, update.parameters, SquaredError())
        self._n_updates += 1
        self._log_step(step, value_losses)

    def _step(self, update: ConstrainedUpdate) -> PolicyStep:
        largest = natural_gradient_step(
            update, self.target_kl, self.cg_max_steps, self.cg_damping, self.sub_sampling_factor, self.cg_start
        )
        objective = float(update.before.objective.detach())
        if largest is None or not math.isfinite(objective):
            self._refuse_step("the policy's step", -objective)
        if not self.line_search:
            return take_step(update, largest)
        return search_step(
            update, largest, self.target_kl, self.line_search_shrinking_factor, self.line_search_max_iter
        )

    def _log_step(self, step: PolicyStep, value_losses: list[float]) -> None:
        """
        Log a step. sb3-contrib's keys keep its meaning: ``policy_objective`` and ``kl_divergence_loss`` of the policy
        now in force (the latter with the direction and reduction chosen), ``value_loss``, ``is_line_search_success``.
        Ours: ``kl``, always KL(old‖new) in nats, summed over action dimensions; ``ratio_max`` and ``ess`` as in
        ``UpdateStatistics``; ``grad_norm`` of the surrogate; ``line_search_tries``; ``nonfinite_step``, 1 where the
        step was not taken because it was not finite.
        """
        self._log_nonfinite()
        evaluation = step.evaluation
        ratio = evaluation.ratio.cpu().double().numpy()  # Apple's GPUs have no float64
        self.logger.record("train/policy_objective", float(evaluation.objective.detach()))
        self.logger.record("train/kl_divergence_loss", float(evaluation.constraint.detach()))
        self.logger.record("train/kl", float(evaluation.kl.detach()))
        self.logger.record("train/ratio_max", float(ratio.max()))
        self.logger.record("train/ess", effective_sample_size(ratio))
        self.logger.record("train/grad_norm", step.grad_norm)
        self.logger.record("train/is_line_search_success", float(step.accepted))
        self.logger.record("train/line_search_tries", step.tries)
        self.logger.record("train/nonfinite_step", float(not step.finite))
        if not step.finite:
            say(
                self.logger,
                "warn",
                "The policy step was not finite and has not been taken; the policy stays as it was.",
            )
        if value_losses:
            self.logger.record("train/value_loss", sum(value_losses) / len(value_losses))
        self._log_common()
