"""PPO with a KL penalty, fixed or adaptive."""

from typing import Any, ClassVar

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.coefficient_checks import check_adapts, coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient, kl_adaptive_rate
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.backends import Backend
from sb3_ppo_variants.checks import Check, number, optional
from sb3_ppo_variants.objectives import Surrogate, UnclippedSurrogate, adapt_kl_coef


class KLPenaltyPPO(SurrogatePPO, family_name="KLPenaltyPPO"):
    """
    Maximises E[r·A] − β·E[KL(old‖new)] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old.

    What restrains the step: a penalty with weight β on KL(old‖new), in nats, summed over action dimensions. With a
    target, β follows the exact KL over the rollout, which is measured after each update: β is halved if the KL is below
    target/1.5 and doubled if it is above 1.5·target. Paper: Schulman et al. 2017, arXiv:1707.06347, equation 8 and
    section 4. Deviations from it: those of ``ClipPPO``; β stays within the bounds of ``adapt_kl_coef``; and it
    does not change after an update in which no step was taken (``nonfinite_update="skip"``).

    The KL is exact for SB3's Gaussian, gSDE, categorical, multi-categorical and Bernoulli distributions, and our Beta.
    For a distribution of your own, or a rollout buffer that does not draw through ``_get_samples``, it is Schulman's k3
    estimate from the actions taken.

    :param kl_coef: β ≥ 0, a coefficient; if it adapts, its initial value. ``model.kl_coef`` is the value that the next
        update will use, and is saved with the model
    :param adaptive_kl_target: d_targ > 0 in nats (the paper tries 0.003, 0.01, 0.03); ``None``: β stays fixed, or
        follows its schedule
    :param kl_tolerance: ≥ 1; β changes once the KL is off the target by more than this factor
    :param kl_coef_factor: > 1; the factor by which β then changes. It and ``kl_tolerance`` have no effect without a
        target; with one, the KL is measured even if ``measure_kl=False``
    """

    checks: ClassVar[dict[str, Check]] = SurrogatePPO.checks | {
        "kl_coef": coefficient(at_least=0),
        "adaptive_kl_target": optional(
            number(above=0, hint="The paper tries 0.003 to 0.03; None keeps kl_coef fixed.")
        ),
        "kl_tolerance": number(at_least=1, hint="The paper uses 1.5."),
        "kl_coef_factor": number(above=1, hint="The paper uses 2."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        kl_coef: Coefficient = 1.0,
        adaptive_kl_target: float | None = 0.01,
        kl_tolerance: float = 1.5,
        kl_coef_factor: float = 2.0,
        **kwargs: Unpack[SurrogateArguments],
    ):
        self.kl_coef = kl_coef
        self.adaptive_kl_target = adaptive_kl_target
        self.kl_tolerance = kl_tolerance
        self.kl_coef_factor = kl_coef_factor
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _check_settings(self) -> None:
        super()._check_settings()
        self._check_what_follows_kl()

    def _check_what_follows_kl(self) -> None:
        if self.adaptive_kl_target is None:
            return
        if kl_adaptive_rate(self.learning_rate) is not None:
            raise ValueError(
                f"learning_rate={self.learning_rate!r} follows the KL while adaptive_kl_target="
                f"{self.adaptive_kl_target!r} makes kl_coef follow it: pass adaptive_kl_target=None, or a number or a "
                "schedule as learning_rate."
            )
        check_adapts("kl_coef", self.kl_coef, "adaptive_kl_target", self.adaptive_kl_target)

    def _read_coefficients(self) -> float:
        rate = super()._read_coefficients()
        self._check_what_follows_kl()  # again: they may have been assigned, or come from a file
        return rate

    def _surrogate(self) -> Surrogate:
        return UnclippedSurrogate()

    def _wants_kl(self, backend: Backend) -> bool:
        return self.adaptive_kl_target is not None or super()._wants_kl(backend)

    def _react_to(self, kl: float) -> None:
        """Set the coefficient of the next update from the KL of this one."""
        super()._react_to(kl)
        if self.adaptive_kl_target is not None:
            kl_coef: Any = self.kl_coef
            self.kl_coef = adapt_kl_coef(kl_coef, kl, self.adaptive_kl_target, self.kl_tolerance, self.kl_coef_factor)
