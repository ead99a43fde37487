"""The surrogate without clipping or penalty."""

from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.objectives import Surrogate, UnclippedSurrogate


class UnclippedPPO(SurrogatePPO):
    """
    Maximises E[r·A] − c₁·E[(V − V_target)²] + c₂·E[entropy] for K epochs, r = π/π_old.

    What restrains the step: nothing (``target_kl`` aside). The paper's "no clipping or penalty" baseline, which shows
    what the other variants are for. Paper: Schulman et al. 2017, arXiv:1707.06347, equation 6 and Table 1; deviations
    from it are those of ``ClipPPO``.

    All arguments are those of ``SurrogatePPO``.
    """

    def _surrogate(self) -> Surrogate:
        return UnclippedSurrogate()
