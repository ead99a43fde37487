"""From environment steps to the rows of an update: the collection loop, returns and minibatches."""

from sb3_ppo_variants.rollouts.acting import Acted, Actor, PolicyActor
from sb3_ppo_variants.rollouts.collection import RolloutRequest
from sb3_ppo_variants.rollouts.gae import generalized_advantages
from sb3_ppo_variants.rollouts.minibatches import minibatches, rows_in_order
from sb3_ppo_variants.rollouts.reference import reference_parameters
from sb3_ppo_variants.rollouts.returns import finished_episodes, returns_to_go
from sb3_ppo_variants.rollouts.rows import Rows

__all__ = [
    "Acted",
    "Actor",
    "PolicyActor",
    "RolloutRequest",
    "Rows",
    "finished_episodes",
    "generalized_advantages",
    "minibatches",
    "reference_parameters",
    "returns_to_go",
    "rows_in_order",
]
