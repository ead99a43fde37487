"""The critic's own steps by automatic differentiation."""

from collections.abc import Iterator

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.evaluation import values_at
from sb3_ppo_variants.backends.autograd.refreshing import refresh_states
from sb3_ppo_variants.backends.autograd.update import clipped_step, mean_value_loss
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
        self._n_epochs = 0

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        sequences = self.settings.sequences
        if self._n_epochs > 0:
            refresh_states(self.policy, self.buffer, sequences)
        self._n_epochs += 1
        return drawn_rows(self.buffer, batch_size, sequences.length)

    def step(self, minibatch: Rows) -> tuple[float, bool]:
        values = values_at(self.policy, minibatch)
        loss = mean_value_loss(self.settings.value_loss, values, minibatch)
        self.policy.optimizer.zero_grad()
        loss.backward()
        # None, not zero: Adam would still move a parameter with a zero gradient, by its momentum.
        for parameter in self.settings.frozen:
            parameter.grad = None
        grad_norm = clipped_step(self.policy, loss, self.settings.max_grad_norm)
        return float(loss.detach()), grad_norm is not None
