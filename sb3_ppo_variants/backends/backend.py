"""The seam: what an algorithm asks of a backend."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.constrained import ConstrainedUpdate
from sb3_ppo_variants.backends.settings import ConstrainedSettings, CriticSettings, UpdateSettings
from sb3_ppo_variants.backends.statistics import UpdateStatistics
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import Objective, ReferenceKLDirection
from sb3_ppo_variants.rollouts import Actor, Rows
from sb3_ppo_variants.rollouts.memory import Memory


class MinibatchEvaluation(Protocol):
    """An objective evaluated on a minibatch, before its gradient is taken."""

    @property
    def approx_kl(self) -> Any:
        """Schulman's k3 estimate of KL(old‖new), averaged over the minibatch: a number."""

    @property
    def kl(self) -> float:
        """KL(old‖new), averaged over the minibatch, where the settings ask for it; NaN elsewhere."""

    @property
    def known_loss(self) -> float | None:
        """The loss −J, where the backend computes it before the step."""


class Update(Protocol):
    """One update of a policy from one rollout: K epochs of minibatch steps on one objective."""

    objective: Objective

    def keep_near(self, reference_parameters: Parameters) -> None:
        """
        Called before the first epoch, if the objective has a KL to a reference policy.

        :param reference_parameters: The reference's distributions, N rows of the flattened rollout each
        """

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        """
        :param batch_size: B; ``None``: the whole rollout
        :return: one pass over the rollout in minibatches, drawn exactly as SB3's buffer draws them
        """

    def evaluate(self, minibatch: Rows) -> MinibatchEvaluation:
        """
        :param minibatch: B rows, as ``epoch`` gave them
        :return: the forward passes; what the statistics need of them is kept
        """

    def step(self, evaluation: Any) -> bool:
        """
        Step the optimiser along the gradient of J, clipped to the largest norm.

        :param evaluation: What ``evaluate`` returned last
        :return: ``False`` if its loss or its gradient's norm is not finite: no step is then taken, and the statistics
            forget the minibatch
        """

    def statistics(self) -> UpdateStatistics:
        """
        :return: the update's numbers, on the host
        """

    def measured_kl(self) -> float:
        """
        :return: mean KL(old‖new) over the whole rollout, in nats; NaN if the old policy was not kept
        """


class Backend(Protocol):
    """
    Acts, and turns a rollout into a change of parameters, for one policy.

    An algorithm says *what* is maximised; a backend says *how* it is evaluated and differentiated. Algorithms never ask
    which backend they have.
    """

    #: As ``update_backend`` names it.
    name: ClassVar[str]
    #: Whether the exact KL over the rollout costs next to nothing and is measured by default.
    measures_kl_cheaply: ClassVar[bool]

    def __init__(self, policy: ActorCriticPolicy):
        """
        :param policy: A policy for which ``why_not`` returns ``None``
        """

    @staticmethod
    def why_not(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
        """
        :param policy: The policy
        :param buffer: The rollout buffer
        :return: the first reason why this backend cannot run; ``None`` if it can
        """

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """
        :param policy: The algorithm's policy now
        :return: whether this backend still works on it and on its memory; if not, make another
        """

    def context(self) -> AbstractContextManager[Any]:
        """
        :return: the context in which updates run
        """

    def actor(self, memory: Memory | None = None) -> Actor:
        """
        :param memory: What the policy remembers, of a policy with memory
        :return: how the collection loop acts
        """

    def update(self, buffer: RolloutBuffer, settings: UpdateSettings) -> Update:
        """
        :param buffer: The full rollout buffer
        :param settings: What is maximised, and how
        :return: the update, not yet begun
        """

    def constrained_update(self, buffer: RolloutBuffer, settings: ConstrainedSettings) -> ConstrainedUpdate:
        """
        :param buffer: The full rollout buffer
        :param settings: What is constrained, and how
        :return: the objective and its constraint at the old policy
        """

    def reference_kl(
        self, buffer: RolloutBuffer, reference_parameters: Parameters, direction: ReferenceKLDirection
    ) -> float:
        """
        :param buffer: The flattened rollout buffer
        :param reference_parameters: The reference's distributions, N rows each
        :param direction: Which KL
        :return: the mean KL between the reference and the policy as it is now, over the whole rollout, in nats
        """

    def fit_critic(
        self, buffer: RolloutBuffer, settings: CriticSettings, refuse_step: Callable[[str, float], None]
    ) -> list[float]:
        """
        Minimise the value loss by minibatch steps of the policy's own optimiser.

        :param buffer: The full rollout buffer
        :param settings: What is minimised, and how
        :param refuse_step: Told of a step that is not taken because its loss or gradient is not finite
        :return: the loss of each minibatch whose step was taken
        """
