"""Fitting the critic on its own, where the policy is updated in another way."""

from collections.abc import Collection

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.objectives import ValueLoss


def fit_critic(
    policy: ActorCriticPolicy,
    buffer: RolloutBuffer,
    value_loss: ValueLoss,
    batch_size: int | None,
    n_epochs: int,
    frozen: Collection[th.nn.Parameter],
    max_grad_norm: float | None,
) -> list[float]:
    """
    Minimise the value loss by minibatch gradient descent, leaving the policy's parameters alone.

    :param policy: Its critic is fitted by its own optimiser
    :param buffer: The full rollout buffer
    :param value_loss: What is minimised
    :param batch_size: Minibatch size; ``None``: the whole rollout
    :param n_epochs: Passes over the rollout
    :param frozen: Parameters that the policy depends on: layers shared by both are not moved by the critic, or the
        trust region would not hold
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :return: the loss of each minibatch
    """
    losses = []
    for _ in range(n_epochs):
        for samples in buffer.get(batch_size):
            values = policy.predict_values(samples.observations).flatten()
            loss = value_loss.mean(values, samples.old_values, samples.returns)
            losses.append(loss.detach())
            policy.optimizer.zero_grad()
            loss.backward()
            # None, not zero: Adam would still move a parameter with a zero gradient, by its momentum.
            for parameter in frozen:
                parameter.grad = None
            if max_grad_norm is not None:
                th.nn.utils.clip_grad_norm_(policy.parameters(), max_grad_norm)
            policy.optimizer.step()
    return th.stack(losses).cpu().double().tolist() if losses else []
