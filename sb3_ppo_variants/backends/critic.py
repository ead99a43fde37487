"""Fitting the critic on its own, where the policy is updated in another way."""

from collections.abc import Callable, Iterator
from typing import Protocol

from sb3_ppo_variants.backends.settings import CriticSettings
from sb3_ppo_variants.rollouts import Rows


class CriticUpdate(Protocol):
    """The critic's minibatch steps, in a backend's way."""

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        """
        :param batch_size: B; ``None``: the whole rollout
        :return: one pass over the rollout in minibatches
        """

    def step(self, minibatch: Rows) -> tuple[float, bool]:
        """
        Step the optimiser along the gradient of the value loss.

        :param minibatch: B rows
        :return: the loss, and whether the step was taken: not if loss or gradient is not finite
        """


def fit_critic(
    critic: CriticUpdate, settings: CriticSettings, refuse_step: Callable[[str, float], None]
) -> list[float]:
    """
    :param critic: The critic's steps
    :param settings: How long and in what parts
    :param refuse_step: Told of a step that is not taken
    :return: the loss of each minibatch whose step was taken
    """
    losses = []
    for _ in range(settings.n_epochs):
        for minibatch in critic.epoch(settings.batch_size):
            loss, taken = critic.step(minibatch)
            if taken:
                losses.append(loss)
            else:
                refuse_step("a minibatch of the critic", loss)
    return losses
