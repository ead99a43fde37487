"""The critic's own steps in closed form."""

from collections.abc import Iterator

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.binding import clipped_step
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.backends.settings import CriticSettings
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.minibatches import drawing_order


class ClosedFormCriticUpdate:
    """
    ``CriticUpdate`` by hand: minibatch steps of Adam on the critic's parameters alone.

    :param network: The policy in numpy
    :param rollout: N rows
    :param settings: What is minimised, and how; its frozen parameters are the actor's, which this critic does not share
    """

    def __init__(self, network: ClosedFormActorCritic, rollout: FlatRollout, settings: CriticSettings):
        self.network = network
        self.rollout = rollout
        self.settings = settings
        self.adams = network.adams(actor=False, critic=True)

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        size = batch_size or len(self.rollout)
        for numbers in self.rollout.stretches(drawing_order(len(self.rollout), kept=None), size):
            yield from self.rollout.take(numbers).split(size)

    def step(self, minibatch: Rows) -> tuple[float, bool]:
        passed = self.network.vf.forward(minibatch.observations)
        value_loss = self.settings.value_loss
        arguments = passed[-1][:, 0], minibatch.old_values, minibatch.returns
        loss = float(value_loss.value(*arguments).mean())
        self.network.critic_backward(passed, value_loss.slope(*arguments) / len(minibatch))
        return loss, clipped_step(self.adams, self.settings.max_grad_norm) is not None
