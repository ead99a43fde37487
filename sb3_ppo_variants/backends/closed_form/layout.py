"""In which order the closed form lays out the parameters of SB3's MLP policy."""

from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy


class Layout(NamedTuple):
    """
    The actor's parameters, then the critic's.

    :param pi: weights and biases of the policy network and the action layer, in turn
    :param log_std: log σ, if the distribution has one
    :param critic: weights and biases of the value network and the value layer, in turn
    """

    pi: list[th.nn.Parameter]
    log_std: list[th.nn.Parameter]
    critic: list[th.nn.Parameter]

    @property
    def actor(self) -> list[th.nn.Parameter]:
        """What the action distribution depends on."""
        return self.pi + self.log_std

    @property
    def parameters(self) -> list[th.nn.Parameter]:
        """All of them, in the layout's order."""
        return self.actor + self.critic


def steps_taken(optimizer: th.optim.Optimizer, parameter: th.nn.Parameter) -> float:
    """
    :param optimizer: Adam
    :param parameter: One of its parameters
    :return: how many steps it has taken
    """
    # Not state[parameter]: that would make an entry.
    state: dict[str, Any] = optimizer.state.get(parameter, {})
    return float(state.get("step", 0.0))


def layout_of(policy: ActorCriticPolicy) -> Layout:
    """
    :param policy: A policy whose networks are Linear layers with biases and activations in turn
    :return: its parameters, as they are now
    """

    def weights_and_biases(*modules: th.nn.Module) -> list[th.nn.Parameter]:
        return [p for module in modules if isinstance(module, th.nn.Linear) for p in module.parameters()]

    has_log_std = isinstance(policy.action_dist, DiagGaussianDistribution)
    return Layout(
        weights_and_biases(*policy.mlp_extractor.policy_net, policy.action_net),
        [policy.log_std] if has_log_std else [],
        weights_and_biases(*policy.mlp_extractor.value_net, policy.value_net),
    )
