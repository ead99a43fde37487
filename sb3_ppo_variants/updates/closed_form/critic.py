"""Fitting the critic on its own in closed form."""

import math

import numpy as np

from sb3_ppo_variants.objectives import ValueLoss
from sb3_ppo_variants.updates.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.updates.closed_form.rollout import FlatRollout


def fit_critic_in_closed_form(
    network: ClosedFormActorCritic,
    rollout: FlatRollout,
    value_loss: ValueLoss,
    batch_size: int | None,
    n_epochs: int,
    max_grad_norm: float | None,
) -> list[float]:
    """
    As ``fit_critic``: minimise the value loss by minibatch steps of Adam on the critic's parameters alone.

    :param network: The policy in numpy
    :param rollout: N rows
    :param value_loss: What is minimised
    :param batch_size: Minibatch size; ``None``: the whole rollout
    :param n_epochs: Passes over the rollout
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :return: the loss of each minibatch
    """
    losses: list[float] = []
    if n_epochs == 0:
        return losses
    ((adam, span),) = network.adams(actor=False, critic=True)
    gradient = network.bound.gradient[span]
    for _ in range(n_epochs):
        shuffled = rollout.take(np.random.permutation(len(rollout)))
        for start in range(0, len(rollout), batch_size or len(rollout)):
            batch = shuffled.part(slice(start, start + (batch_size or len(rollout))))
            passed = network.vf.forward(batch.features)
            values = passed[-1][:, 0]
            losses.append(float(value_loss.value(values, batch.old_values, batch.returns).mean()))
            slope = value_loss.slope(values, batch.old_values, batch.returns) / len(batch)
            network.critic_backward(passed, slope)
            norm = math.sqrt(float(np.dot(gradient, gradient)))
            if max_grad_norm is not None and norm + 1e-6 > max_grad_norm:
                gradient *= max_grad_norm / (norm + 1e-6)
            adam.step(gradient)
    return losses
