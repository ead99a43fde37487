"""What the minibatch loop asks of a backend."""

from collections.abc import Iterator
from typing import Any, Protocol

from sb3_ppo_variants.backends.statistics import UpdateStatistics
from sb3_ppo_variants.objectives import Objective


class Evaluation(Protocol):
    """An objective evaluated on a minibatch, before its gradient is taken."""

    @property
    def approx_kl(self) -> Any:
        """Schulman's k3 estimate of KL(old‖new), averaged over the minibatch: a number."""

    @property
    def known_loss(self) -> float | None:
        """The loss −J, where the backend computes it before the step."""


class Update(Protocol):
    """One update of a policy from one rollout."""

    objective: Objective

    def epoch(self, batch_size: int | None) -> Iterator[Any]:
        """One pass over the rollout, in minibatches of the backend's own kind."""

    def evaluate(self, minibatch: Any) -> Evaluation:
        """Forward passes; what the statistics need is kept."""

    def step(self, evaluation: Any) -> bool:
        """
        Step the optimiser along the gradient of what was evaluated last.

        ``False`` if its loss or its gradient's norm is not finite: no step is then taken, and the statistics forget
        the minibatch.
        """

    def statistics(self) -> UpdateStatistics:
        """The update's numbers."""

    def measured_kl(self) -> float:
        """Mean KL(old‖new) over the whole rollout, in nats."""
