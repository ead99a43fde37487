"""PPO with the drift of Discovered Policy Optimisation."""

from typing import ClassVar

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.checks import Check, number
from sb3_ppo_variants.objectives import DiscoveredSurrogate, Surrogate


class DiscoveredPPO(SurrogatePPO, family_name="DiscoveredPPO"):
    """
    Maximises E[r·A − drift] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old, where the drift is
    relu(u − α·tanh(u/α)) with u = (r − 1)·A for A ≥ 0, and relu(v − β·tanh(v/β)) with v = A·log r for A < 0.

    What restrains the step: a ratio that moves as its advantage favours gains less and less (A ≥ 0), or loses below
    some r < 1 (A < 0). Paper: Lu et al. 2022, *Discovered Policy Optimisation*, arXiv:2210.05639. Deviations from
    it: those of ``ClipPPO``.

    :param drift_alpha: α > 0
    :param drift_beta: β > 0
    """

    checks: ClassVar[dict[str, Check]] = SurrogatePPO.checks | {
        "drift_alpha": number(above=0, hint="Its paper uses 2."),
        "drift_beta": number(above=0, hint="Its paper uses 0.6."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        drift_alpha: float = 2.0,
        drift_beta: float = 0.6,
        **kwargs: Unpack[SurrogateArguments],
    ):
        self.drift_alpha = drift_alpha
        self.drift_beta = drift_beta
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _surrogate(self) -> Surrogate:
        return DiscoveredSurrogate(self.drift_alpha, self.drift_beta)
