"""The critic's own steps by automatic differentiation."""

from collections.abc import Iterator

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.update import clipped_step
from sb3_ppo_variants.backends.settings import CriticSettings
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.minibatches import drawn_rows


class AutogradCriticUpdate:
    """
    ``CriticUpdate`` by torch.

    :param policy: Its critic is fitted by its own optimiser
    :param buffer: The full rollout buffer
    :param settings: What is minimised, and how
    """

    def __init__(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, settings: CriticSettings):
        self.policy = policy
        self.buffer = buffer
        self.settings = settings

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        return drawn_rows(self.buffer, batch_size)

    def step(self, minibatch: Rows) -> tuple[float, bool]:
        values = self.policy.predict_values(minibatch.observations).flatten()
        loss = self.settings.value_loss.mean(values, minibatch.old_values, minibatch.returns)
        self.policy.optimizer.zero_grad()
        loss.backward()
        # None, not zero: Adam would still move a parameter with a zero gradient, by its momentum.
        for parameter in self.settings.frozen:
            parameter.grad = None
        grad_norm = clipped_step(self.policy, loss, self.settings.max_grad_norm)
        return float(loss.detach()), grad_norm is not None
