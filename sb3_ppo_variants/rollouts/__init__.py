"""From environment steps to the rows of an update: the collection loop, returns and minibatches."""

from sb3_ppo_variants.rollouts.collection import collect_rollouts
from sb3_ppo_variants.rollouts.minibatches import Minibatch, minibatches, rows_in_order, select
from sb3_ppo_variants.rollouts.returns import finished_episodes, returns_to_go

__all__ = [
    "Minibatch",
    "collect_rollouts",
    "finished_episodes",
    "minibatches",
    "returns_to_go",
    "rows_in_order",
    "select",
]
