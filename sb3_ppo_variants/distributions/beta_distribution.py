"""The Beta distribution as SB3's policies want it."""

from typing import Literal

import torch as th
from stable_baselines3.common.distributions import Distribution
from typing_extensions import Self

from sb3_ppo_variants.distributions.beta import Beta, concentrations, sample_beta, softplus

DeterministicAction = Literal["mean", "mode"]


class NonFiniteOutputError(ValueError):
    """Raised when a Beta policy is to act on outputs that are not finite; in a rollout it is a ``NonFiniteError``."""


class BetaDistribution(Distribution):
    """
    Independent Betas on [−1, 1], one per action dimension.

    :param action_dim: A, number of action dimensions
    :param deterministic_action: What ``get_actions(deterministic=True)`` returns
    """

    outputs: th.Tensor

    def __init__(self, action_dim: int, deterministic_action: DeterministicAction = "mean"):
        super().__init__()
        self.action_dim = action_dim
        self.deterministic_action = deterministic_action

    def proba_distribution_net(self, latent_dim: int) -> th.nn.Module:
        """
        :param latent_dim: Width of the last layer of the policy network
        :return: the layer whose outputs are the distribution's: A for α, then A for β
        """
        return th.nn.Linear(latent_dim, 2 * self.action_dim)

    def proba_distribution(self, outputs: th.Tensor) -> Self:
        """
        :param outputs: Those of the layer, shape (B, 2A)
        :return: the distribution
        """
        self.outputs = outputs
        return self

    def _finite_outputs(self) -> th.Tensor:
        if not bool(self.outputs.isfinite().all()):
            raise NonFiniteOutputError(
                f"The outputs that give a Beta its α and β must be finite, and are {self.outputs}"
            )
        return self.outputs

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: In [−1, 1], shape (B, A)
        :return: log π(a|s), shape (B,)
        """
        log_prob: th.Tensor = Beta().log_prob((self.outputs,), actions)
        return log_prob

    def entropy(self) -> th.Tensor:
        """
        :return: nats, shape (B,)
        """
        entropy: th.Tensor = Beta().entropy((self.outputs,))
        return entropy

    def sample(self) -> th.Tensor:
        """
        :return: actions in (−1, 1), shape (B, A)
        :raises NonFiniteOutputError: an output is not finite
        """
        # Given such outputs, torch would look for a sample forever.
        return sample_beta(self._finite_outputs())

    def mode(self) -> th.Tensor:
        """
        :return: SB3's name for the deterministic action: the mean, or the mode, shape (B, A)
        :raises NonFiniteOutputError: an output is not finite
        """
        # In float64, because both α − 1 may be tiny.
        outputs = self._finite_outputs().double()
        alpha, beta = softplus(outputs).chunk(2, -1) if self.deterministic_action == "mode" else concentrations(outputs)
        return (2 * alpha / (alpha + beta) - 1).to(self.outputs.dtype)

    def actions_from_params(self, outputs: th.Tensor, deterministic: bool = False) -> th.Tensor:
        """
        :param outputs: As for ``proba_distribution``
        :param deterministic: The mean or mode instead of a sample
        :return: actions, shape (B, A)
        """
        return self.proba_distribution(outputs).get_actions(deterministic)

    def log_prob_from_params(self, outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        :param outputs: As for ``proba_distribution``
        :return: sampled actions, and their log-probabilities
        """
        actions = self.actions_from_params(outputs)
        return actions, self.log_prob(actions)
