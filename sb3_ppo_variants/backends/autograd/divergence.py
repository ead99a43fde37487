"""KL(old‖new) of a policy in training, measured against what it was when it collected the rollout."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_ppo_variants.distributions import Head, Parameters, head_and_parameters
from sb3_ppo_variants.objectives import k3_estimate
from sb3_ppo_variants.rollouts.minibatches import Samples


class Divergence(Protocol):
    """KL(old‖new) per row, in nats, summed over action dimensions."""

    exact: bool

    def per_row(self, distribution: Distribution, log_ratio: th.Tensor, rows: np.ndarray | slice) -> th.Tensor:
        """
        :param distribution: The policy's distribution now, at the B observations of ``rows``
        :param log_ratio: log π − log π_old of the actions taken there, shape (B,)
        :param rows: The rows of the flattened rollout
        :return: KL(old‖new), shape (B,), differentiable
        """


class ExactDivergence:
    """
    The closed form, against the old distribution's parameters.

    :param head: The family's closed forms
    :param old: Parameters at collection time, one row per row of the flattened rollout; plain tensors of their own,
        because ``policy.action_dist`` is one object that every forward pass overwrites
    """

    exact = True

    def __init__(self, head: Head, old: Parameters):
        self.head = head
        self.old = old

    def per_row(self, distribution: Distribution, log_ratio: th.Tensor, rows: np.ndarray | slice) -> th.Tensor:
        found = head_and_parameters(distribution)
        if found is None:
            raise ValueError(f"The policy's distribution has become a {type(distribution).__name__} in mid-update.")
        return self.head.kl(tuple(parameter[rows] for parameter in self.old), found[1])


class EstimatedDivergence:
    """Schulman's k3 from the actions taken: for distributions without a closed form, and buffers that hide rows."""

    exact = False

    def per_row(self, distribution: Distribution, log_ratio: th.Tensor, rows: np.ndarray | slice) -> th.Tensor:
        return k3_estimate(log_ratio)


def divergence_of(policy: ActorCriticPolicy, rollout: Iterable[Samples]) -> Divergence:
    """
    Note down the old policy: call it before the update's first step.

    :param policy: The policy that collected the rollout, unchanged since
    :param rollout: All rows of the flattened rollout, in order
    :return: the exact divergence, or the estimate where the policy's distribution is not one of SB3's
    """
    was_training = policy.training
    # Acting was done in evaluation mode: the old policy has no dropout.
    policy.set_training_mode(False)
    head: Head | None = None
    chunks: list[Parameters] = []
    with th.no_grad():
        for samples in rollout:
            found = head_and_parameters(policy.get_distribution(samples.observations))
            if found is None:
                break
            head = found[0]
            chunks.append(tuple(parameter.detach().clone() for parameter in found[1]))
    policy.set_training_mode(was_training)
    if head is None:
        return EstimatedDivergence()
    return ExactDivergence(head, tuple(th.cat(parts) for parts in zip(*chunks, strict=True)))


def distribution_after_evaluation(policy: ActorCriticPolicy, observations: PyTorchObs) -> Distribution:
    """
    The distribution at observations for which ``policy.evaluate_actions`` has just been called.

    SB3's own methods leave it in ``policy.action_dist``; a policy that overrides them may not, and is asked again.

    :param policy: The policy
    :param observations: The observations that were evaluated
    :return: the distribution, with its autograd history
    """
    names = ("evaluate_actions", "_get_action_dist_from_latent")
    if all(getattr(type(policy), name) is getattr(ActorCriticPolicy, name) for name in names):
        return policy.action_dist
    return policy.get_distribution(observations)


def as_evaluated(actions: th.Tensor, action_space: spaces.Space) -> th.Tensor:
    """
    :param actions: Actions as the rollout buffer yields them, shape (B, A)
    :param action_space: Their space
    :return: actions as ``evaluate_actions`` wants them: discrete ones are integers of shape (B,)
    """
    return actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions


def mean_divergence(
    policy: ActorCriticPolicy, divergence: Divergence, rollout: Iterable[Samples], action_space: spaces.Space
) -> float:
    """
    KL(old‖new) averaged over the whole rollout.

    :param policy: The policy now
    :param divergence: The old policy, noted down before the update
    :param rollout: All rows of the flattened rollout, in order
    :param action_space: The policy's action space
    :return: nats
    """
    was_training = policy.training
    policy.set_training_mode(False)
    total, n_rows = 0.0, 0
    with th.no_grad():
        for samples in rollout:
            size = len(samples.advantages)
            distribution = policy.get_distribution(samples.observations)
            log_prob = distribution.log_prob(as_evaluated(samples.actions, action_space))
            kl = divergence.per_row(distribution, log_prob - samples.old_log_prob, slice(n_rows, n_rows + size))
            total += float(kl.double().sum())
            n_rows += size
    policy.set_training_mode(was_training)
    return total / n_rows
