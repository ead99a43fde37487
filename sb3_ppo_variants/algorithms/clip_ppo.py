"""PPO with the clipped surrogate."""

from typing import ClassVar

import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import ObjectiveArguments
from sb3_ppo_variants.algorithms.clip_range_ppo import ClipRangePPO
from sb3_ppo_variants.algorithms.coefficient_checks import coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.checks import Check, number, optional
from sb3_ppo_variants.objectives import ClippedSurrogate, DualClippedSurrogate, SoftClippedSurrogate, Surrogate


class ClipPPO(ClipRangePPO, family_name="ClipPPO"):
    """
    PPO-Clip: maximises E[min(r·A, clip(r, 1−ε, 1+ε)·A)] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old.

    What restrains the step: a sample gives no gradient once its ratio has left [1−ε, 1+ε] in the direction that its
    advantage favours. The ratio itself is not bounded. Paper: Schulman et al. 2017, arXiv:1707.06347, equations 7
    and 9. Deviations from it, all SB3's, among others: advantages are normalised in each minibatch, the gradient's norm
    is limited, and V stands for the missing rewards of an episode that a time limit cut off.

    It replaces SB3's ``PPO``: it has the same arguments, positional ones in the same order up to ``clip_range_vf``, and
    one different default, ``ent_coef=0.01`` instead of 0.0. With ``ent_coef=0.0`` training equals ``PPO``'s bit for bit
    with ``update_backend="autograd"``, and up to rounding in closed form.

    :param clip_range: ε > 0, documented range 0.1 to 0.2; a coefficient
    :param clip_range_high: ε_high > 0 of a band [1−ε, 1+ε_high], a coefficient; ``None``: ε
    :param dual_clip: c > 1: where A < 0 the surrogate is at least c·A (arXiv:1912.09729); ``None``: no such bound
    :param clip_softness: δ ≥ 0: the slope fades linearly over a distance of δ outside the band, instead of ending at
        its edge; 0 is the clip itself. Also with ``clip_range_high`` (both edges) and ``dual_clip`` (A < 0 and r > 1,
        where nothing is clipped); a coefficient
    :param kl_coef: β ≥ 0, weight of a KL penalty in addition to the clipping; a coefficient
    """

    coefficients: ClassVar[tuple[str, ...]] = (*ClipRangePPO.coefficients, "clip_range_high", "clip_softness")
    checks: ClassVar[dict[str, Check]] = ClipRangePPO.checks | {
        "clip_range_high": optional(coefficient(above=0, hint="Pass None for a symmetric band.")),
        "dual_clip": optional(number(above=1, hint="Its paper uses 3; None switches it off.")),
        "clip_softness": coefficient(at_least=0, hint="0 is the clip itself."),
        "kl_coef": coefficient(at_least=0, hint="0 switches the penalty off."),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        batch_size: int | None = 64,
        n_epochs: int = defaults.N_EPOCHS.default,
        gamma: float = defaults.GAMMA.default,
        gae_lambda: float = defaults.GAE_LAMBDA.default,
        clip_range: Coefficient = defaults.CLIP_RANGE.default,
        clip_range_vf: Coefficient | None = None,
        *,
        clip_range_high: Coefficient | None = None,
        dual_clip: float | None = None,
        clip_softness: Coefficient = 0.0,
        kl_coef: Coefficient = 0.0,
        **kwargs: Unpack[ObjectiveArguments],
    ):
        self.clip_range_high = clip_range_high
        self.dual_clip = dual_clip
        self.clip_softness = clip_softness
        self.kl_coef = kl_coef
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            **kwargs,
        )

    def _surrogate(self) -> Surrogate:
        clipped = self._clipped()
        return clipped if self.dual_clip is None else DualClippedSurrogate(clipped, self.dual_clip)

    def _clipped(self) -> ClippedSurrogate | SoftClippedSurrogate:
        high = None if self.clip_range_high is None else self.current("clip_range_high")
        clipped = ClippedSurrogate(self.current("clip_range"), high)
        softness = self.current("clip_softness")
        # Smaller ones are 0 in float32, and 0/0 at the edge of the band.
        return clipped if softness < np.finfo(np.float32).tiny else SoftClippedSurrogate(clipped, softness)

    def _log_common(self) -> None:
        super()._log_common()
        if self.clip_range_high is not None:
            self.logger.record("train/clip_range_high", self.current("clip_range_high"))
        if self.clip_softness != 0:
            self.logger.record("train/clip_softness", self.current("clip_softness"))
