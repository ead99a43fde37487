"""What the PPOs with a clip range share."""

from typing import Any, ClassVar

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import FloatSchedule
from typing_extensions import Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.coefficient_checks import coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.checks import Check


class ClipRangePPO(SurrogatePPO):
    """
    A ``SurrogatePPO`` whose surrogate depends on ε.

    :param clip_range: ε > 0, documented range 0.1 to 0.2; a coefficient
    """

    coefficients: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "clip_range",  # the order in which SB3's PPO reads them
        *SurrogatePPO.coefficients[1:],
    )
    checks: ClassVar[dict[str, Check]] = SurrogatePPO.checks | {
        "clip_range": coefficient(above=0, hint="The documented range is 0.1 to 0.2."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        clip_range: Coefficient = defaults.CLIP_RANGE.default,
        **kwargs: Unpack[SurrogateArguments],
    ):
        self.clip_range: Any = clip_range
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        # As in SB3's PPO, for scripts that call model.clip_range(progress).
        self.clip_range = FloatSchedule(self.clip_range)

    def _log_common(self) -> None:
        super()._log_common()
        self.logger.record("train/clip_range", self.current("clip_range"))
