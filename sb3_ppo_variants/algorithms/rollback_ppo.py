"""PPO with a clipped surrogate that rolls back."""

from typing import ClassVar

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants.algorithms.arguments import ClipRangeArguments
from sb3_ppo_variants.algorithms.clip_range_ppo import ClipRangePPO
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.checks import Check, number
from sb3_ppo_variants.objectives import RollbackSurrogate, Surrogate


class RollbackPPO(ClipRangePPO, family_name="RollbackPPO"):
    """
    Maximises E[min(r·A, f(r)·A)] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old, f(r) = c − α·(r − c) and
    c = clip(r, 1−ε, 1+ε).

    What restrains the step: where the objective of ``ClipPPO`` is flat, this one has the slope −α·r·A, which pulls the
    ratio back. α = 0 is ``ClipPPO``, α = 1 the objective of BPO (arXiv:2604.18578). Paper: Wang et al. 2019, *Truly
    Proximal Policy Optimization*, arXiv:1903.07940, PPO-RB; its trust-region variants TR-PPO and Truly PPO are not
    implemented. Deviations from it: those of ``ClipPPO``.

    :param rollback: α ≥ 0
    """

    checks: ClassVar[dict[str, Check]] = ClipRangePPO.checks | {
        "rollback": number(at_least=0, hint="0 is the clip, 1 is BPO."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        rollback: float = 0.3,
        **kwargs: Unpack[ClipRangeArguments],
    ):
        self.rollback = rollback
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _surrogate(self) -> Surrogate:
        return RollbackSurrogate(self.current("clip_range"), self.rollback)
