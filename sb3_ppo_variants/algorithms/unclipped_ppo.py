"""The surrogate without clipping or penalty."""

from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.objectives import Surrogate, UnclippedSurrogate


class UnclippedPPO(SurrogatePPO, family_name="UnclippedPPO"):
    """
    Maximises E[r·A] − c₁·E[(V − V_target)²] + c₂·E[entropy] for K epochs, r = π/π_old.

    What restrains the step: nothing, unless ``target_kl`` is set. It is the paper's "no clipping or penalty" baseline,
    against which the other variants are measured. Paper: Schulman et al. 2017, arXiv:1707.06347, equation 6 and
    Table 1. Deviations from it: those of ``ClipPPO``.
    """

    def _surrogate(self) -> Surrogate:
        return UnclippedSurrogate()
