"""The critic's own steps by automatic differentiation."""

from collections.abc import Collection, Iterator

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.update import clipped_step
from sb3_ppo_variants.objectives import ValueLoss
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.minibatches import drawn_rows


class AutogradCriticUpdate:
    """
    ``CriticUpdate`` by torch.

    :param policy: Its critic is fitted by its own optimiser
    :param buffer: The full rollout buffer
    :param value_loss: What is minimised
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :param frozen: Parameters that are not moved
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        buffer: RolloutBuffer,
        value_loss: ValueLoss,
        max_grad_norm: float | None,
        frozen: Collection[th.nn.Parameter],
    ):
        self.policy = policy
        self.buffer = buffer
        self.value_loss = value_loss
        self.max_grad_norm = max_grad_norm
        self.frozen = frozen

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        return drawn_rows(self.buffer, batch_size)

    def step(self, minibatch: Rows) -> tuple[float, bool]:
        values = self.policy.predict_values(minibatch.observations).flatten()
        loss = self.value_loss.mean(values, minibatch.old_values, minibatch.returns)
        self.policy.optimizer.zero_grad()
        loss.backward()
        # None, not zero: Adam would still move a parameter with a zero gradient, by its momentum.
        for parameter in self.frozen:
            parameter.grad = None
        grad_norm = clipped_step(self.policy, loss, self.max_grad_norm)
        return float(loss.detach()), grad_norm is not None
