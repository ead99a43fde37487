"""Fitting the critic on its own, where the policy is updated in another way."""

import math
from collections.abc import Callable, Collection

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.update import gradient_norm
from sb3_ppo_variants.objectives import ValueLoss


def fit_critic(
    policy: ActorCriticPolicy,
    buffer: RolloutBuffer,
    value_loss: ValueLoss,
    batch_size: int | None,
    n_epochs: int,
    frozen: Collection[th.nn.Parameter],
    max_grad_norm: float | None,
    refuse_step: Callable[[str, float], None],
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
    :param refuse_step: Told of a step that is not taken because its loss or gradient is not finite
    :return: the loss of each minibatch
    """
    losses = []
    for _ in range(n_epochs):
        for samples in buffer.get(batch_size):
            values = policy.predict_values(samples.observations).flatten()
            loss = value_loss.mean(values, samples.old_values, samples.returns)
            policy.optimizer.zero_grad()
            loss.backward()
            # None, not zero: Adam would still move a parameter with a zero gradient, by its momentum.
            for parameter in frozen:
                parameter.grad = None
            grad_norm = gradient_norm(policy.parameters())
            if not math.isfinite(float(grad_norm + loss.detach())):
                refuse_step("a minibatch of the critic", float(loss.detach()))
                continue
            losses.append(loss.detach())
            if max_grad_norm is not None:
                th.nn.utils.clip_grads_with_norm_(policy.parameters(), max_grad_norm, grad_norm)
            policy.optimizer.step()
    return th.stack(losses).cpu().double().tolist() if losses else []
