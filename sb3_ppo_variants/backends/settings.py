"""What an algorithm tells a backend of an update: each setting is declared once."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import numpy as np
import torch as th

from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import Objective, ReferenceKLDirection, ValueLoss
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage

KLDirection = Literal["old_new", "new_old"]
KLReduction = Literal["sum", "mean"]


class SequenceSettings(NamedTuple):
    """
    How the rollout of a policy with memory is cut; without effect on others.

    :param length: L, rows of a sequence at most; ``None``: sb3-contrib's minibatches
    :param refresh_states: With a length: recompute the states before sequences before each epoch but the first
    """

    length: int | None = None
    refresh_states: bool = True


class UpdateSettings(NamedTuple):
    """
    K epochs of minibatch steps.

    :param objective: What is maximised
    :param normalize_advantage: See ``AdvantageNormalizer``
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :param keep_old_policy: Note the old policy for its KL even if the objective has no penalty
    :param kept_rows: Which rows of the flattened rollout count, shape (N,); ``None``: all
    :param sequences: How the rollout of a policy with memory is cut
    :param minibatch_kl: Compute the exact KL(old‖new) of each minibatch even if the objective has no penalty
    """

    objective: Objective
    normalize_advantage: NormalizeAdvantage = False
    max_grad_norm: float | None = None
    keep_old_policy: bool = False
    kept_rows: np.ndarray | None = None
    sequences: SequenceSettings = SequenceSettings()
    minibatch_kl: bool = False

    @property
    def needs_minibatch_kl(self) -> bool:
        """Whether each minibatch's KL to the old policy is needed."""
        return self.minibatch_kl or self.objective.kl_coef > 0

    @property
    def needs_old_policy(self) -> bool:
        """Whether the KL to the old policy is needed, of minibatches or to be measured after the update."""
        return self.keep_old_policy or self.needs_minibatch_kl


class ConstrainedSettings(NamedTuple):
    """
    One step under a KL constraint.

    :param normalize_advantage: See ``AdvantageNormalizer``
    :param ent_coef: Weight of the entropy
    :param kl_direction: Which KL is constrained
    :param kl_reduction: Whether it is summed or averaged over action dimensions
    :param sequences: How the rollout of a policy with memory is cut
    :param reference_kl_coef: Weight of the KL to the reference policy, subtracted from the objective
    :param reference_kl_direction: Which KL that is
    :param reference_parameters: The reference's distributions, N rows of the flattened rollout each; empty without one
    """

    normalize_advantage: NormalizeAdvantage
    ent_coef: float
    kl_direction: KLDirection
    kl_reduction: KLReduction
    sequences: SequenceSettings = SequenceSettings()
    reference_kl_coef: float = 0.0
    reference_kl_direction: ReferenceKLDirection = "ref_new"
    reference_parameters: Parameters = ()


class CriticSettings(NamedTuple):
    """
    The critic fitted on its own.

    :param value_loss: What is minimised
    :param batch_size: B; ``None``: the whole rollout
    :param n_epochs: Passes over the rollout
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :param frozen: Parameters that the action distribution depends on. The critic does not move layers shared by both;
        otherwise the trust region would not hold
    :param sequences: How the rollout of a policy with memory is cut
    :param evaluation_mode: Whether the policy is in evaluation mode, in which layers such as BatchNorm keep their
        running statistics
    """

    value_loss: ValueLoss
    batch_size: int | None
    n_epochs: int
    max_grad_norm: float | None
    frozen: Collection[th.nn.Parameter]
    sequences: SequenceSettings = SequenceSettings()
    evaluation_mode: bool = False
