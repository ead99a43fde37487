"""PPO with the scopic surrogate."""

from typing import ClassVar

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.coefficient_checks import coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.checks import Check, number
from sb3_ppo_variants.objectives import ScopicSurrogate, Surrogate


class ScopicPPO(SurrogatePPO, family_name="ScopicPPO"):
    """
    Maximises E[(4/τ)·σ(τ·(r − 1))·A] − β·E[KL(old‖new)] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old, with σ
    the logistic sigmoid.

    What restrains the step: the slope fades as r leaves 1, on both sides, and a penalty with weight β on KL(old‖new)
    does what ``KLPenaltyPPO``'s does. Paper: Chen et al. 2022, *The Sufficiency of Off-Policyness and Soft Clipping*,
    arXiv:2205.10047, where it is P3O. Deviations from it: those of ``ClipPPO``; the learning rate does not decay; the
    value is shifted (see ``ScopicSurrogate``).

    :param temperature: τ > 0
    :param kl_coef: β ≥ 0, not adaptive; a coefficient. The authors' code has 0.1 for MuJoCo and 1 for Atari
    """

    checks: ClassVar[dict[str, Check]] = SurrogatePPO.checks | {
        "temperature": number(above=0, hint="Its paper uses 4."),
        "kl_coef": coefficient(at_least=0, hint="0 switches the penalty off."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        temperature: float = 4.0,
        kl_coef: Coefficient = 0.1,
        **kwargs: Unpack[SurrogateArguments],
    ):
        self.temperature = temperature
        self.kl_coef = kl_coef
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _surrogate(self) -> Surrogate:
        return ScopicSurrogate(self.temperature)
