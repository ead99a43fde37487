"""The whole objective of one update: its terms and their weights."""

from dataclasses import dataclass

from sb3_ppo_variants.objectives.surrogate import Surrogate
from sb3_ppo_variants.objectives.value_losses import ValueLoss


@dataclass(frozen=True)
class Objective:
    """
    J = E[surrogate] − kl_coef·E[KL(old‖new)] + ent_coef·E[entropy] − vf_coef·E[value loss], maximised.

    The coefficients are numbers: schedules are evaluated once per update, before this is made. Source: Schulman et al.
    2017, equations 8 (penalty) and 9 (value and entropy terms).

    :param surrogate: The policy's term
    :param value_loss: The critic's term; ``None`` where no critic is trained
    :param ent_coef: c₂
    :param vf_coef: c₁
    :param kl_coef: β
    """

    surrogate: Surrogate
    value_loss: ValueLoss | None
    ent_coef: float = 0.0
    vf_coef: float = 0.0
    kl_coef: float = 0.0
