"""Simple Policy Optimization."""

from sb3_ppo_variants.algorithms.clip_range_ppo import ClipRangePPO
from sb3_ppo_variants.objectives import SPOSurrogate, Surrogate

#: Smallest ε in use: a schedule may end at 0, where the parabola would be infinitely steep.
_SMALLEST_CLIP_RANGE = 1e-6


class SPO(ClipRangePPO, family_name="SPO"):
    """
    Maximises E[r·A − abs(A)·(r − 1)²/(2ε)] − c₁·E[(V − V_target)²] + c₂·E[entropy], r = π/π_old.

    What restrains the step: each sample's objective is a parabola in r with its maximum at r = 1 + ε·sign A; a ratio
    beyond that is pulled back. Paper: Xie et al. 2024, *Simple Policy Optimization*, arXiv:2401.16025. Deviations from
    it: those of ``ClipPPO``; the authors' code also normalises rewards, decays the learning rate to zero and clips the
    value loss.
    """

    def _surrogate(self) -> Surrogate:
        return SPOSurrogate(max(self.current("clip_range"), _SMALLEST_CLIP_RANGE))
