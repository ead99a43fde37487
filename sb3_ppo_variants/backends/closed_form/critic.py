"""Fitting the critic on its own in closed form."""

import math
from collections.abc import Callable

import numpy as np

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.binding import clipped_step
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.objectives import ValueLoss


def fit_critic_in_closed_form(
    network: ClosedFormActorCritic,
    rollout: FlatRollout,
    value_loss: ValueLoss,
    batch_size: int | None,
    n_epochs: int,
    max_grad_norm: float | None,
    refuse_step: Callable[[str, float], None],
) -> list[float]:
    """
    As ``fit_critic``: minimise the value loss by minibatch steps of Adam on the critic's parameters alone.

    :param network: The policy in numpy
    :param rollout: N rows
    :param value_loss: What is minimised
    :param batch_size: Minibatch size; ``None``: the whole rollout
    :param n_epochs: Passes over the rollout
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :param refuse_step: Told of a step that is not taken because its loss or gradient is not finite
    :return: the loss of each minibatch
    """
    losses: list[float] = []
    if n_epochs == 0:
        return losses
    adams = network.adams(actor=False, critic=True)
    size = batch_size or len(rollout)
    for _ in range(n_epochs):
        for rows in rollout.shuffled(np.random.permutation(len(rollout)), size):
            for batch in rollout.take(rows).split(size):
                passed = network.vf.forward(batch.features)
                values = passed[-1][:, 0]
                loss = float(value_loss.value(values, batch.old_values, batch.returns).mean())
                slope = value_loss.slope(values, batch.old_values, batch.returns) / len(batch)
                network.critic_backward(passed, slope)
                if math.isfinite(clipped_step(adams, max_grad_norm)):
                    losses.append(loss)
                else:
                    refuse_step("a minibatch of the critic", loss)
    return losses
