"""The whole objective of one update: its terms and their weights."""

from dataclasses import dataclass
from typing import Literal

from sb3_ppo_variants.objectives.surrogate import Surrogate
from sb3_ppo_variants.objectives.value_losses import ValueLoss

ReferenceKLDirection = Literal["ref_new", "new_ref"]


@dataclass(frozen=True)
class Objective:
    """
    J = E[surrogate] − kl_coef·E[KL(old‖new)] − reference_kl_coef·E[KL(ref‖new)] + ent_coef·E[entropy]
    − vf_coef·E[value loss], maximised; with ``reference_kl_direction="new_ref"`` KL(new‖ref) in place of KL(ref‖new).

    The coefficients are numbers: schedules are evaluated once per update, before this is made. Source: Schulman et al.
    2017, equations 8 (penalty) and 9 (value and entropy terms).

    :param surrogate: The policy's term
    :param value_loss: The critic's term; ``None`` where no critic is trained
    :param ent_coef: c₂
    :param vf_coef: c₁
    :param kl_coef: β
    :param reference_kl_coef: c, weight of the KL to the reference policy
    :param reference_kl_direction: Which of the two
    """

    surrogate: Surrogate
    value_loss: ValueLoss | None
    ent_coef: float = 0.0
    vf_coef: float = 0.0
    kl_coef: float = 0.0
    reference_kl_coef: float = 0.0
    reference_kl_direction: ReferenceKLDirection = "ref_new"
