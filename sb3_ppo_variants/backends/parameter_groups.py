"""Which parameters only the critic depends on, and giving them a learning rate of their own."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch as th
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_obs_shape

from sb3_ppo_variants.backends.process_wide import unchecked_distributions
from sb3_ppo_variants.policies import is_recurrent


def parameters_behind(output: th.Tensor, parameters: Iterable[th.nn.Parameter]) -> list[th.nn.Parameter]:
    """
    :param output: A scalar with its autograd history, which is kept
    :param parameters: Candidates
    :return: those that the output depends on, in their order
    """
    candidates = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = th.autograd.grad(output, candidates, allow_unused=True, retain_graph=True)
    return [p for p, gradient in zip(candidates, gradients, strict=True) if gradient is not None]


def without_cudnn() -> AbstractContextManager[Any]:
    """
    :return: while it lasts, recurrent layers are torch's own: cuDNN's have no gradient in evaluation mode, and never a
        second one
    """
    return th.backends.cudnn.flags(enabled=False)


@contextmanager
def evaluation_mode(policy: ActorCriticPolicy) -> Iterator[None]:
    """
    :param policy: Any actor-critic policy
    :return: while it lasts, the policy is as it acts: no dropout, running statistics kept
    """
    was_training = policy.training
    policy.set_training_mode(False)
    try:
        yield
    finally:
        policy.set_training_mode(was_training)


def _blank_observation(policy: ActorCriticPolicy) -> th.Tensor | dict[str, th.Tensor]:
    # Not observation_space.sample(): that would draw from the random stream of an environment that shares the space.
    shape = get_obs_shape(policy.observation_space)
    if isinstance(shape, dict):
        return {key: th.zeros((1, *sub_shape), device=policy.device) for key, sub_shape in shape.items()}
    return th.zeros((1, *shape), device=policy.device)


def _blank_states(policy: Any) -> dict[str, Any]:
    """What a recurrent policy's methods take beside an observation."""
    if not is_recurrent(type(policy)):
        return {}
    zeros = th.zeros(policy.lstm_hidden_state_shape, device=policy.device)
    return {"lstm_states": (zeros, zeros), "episode_starts": th.zeros(1, device=policy.device)}


def critic_only_parameters(policy: ActorCriticPolicy) -> list[th.nn.Parameter]:
    """
    The parameters that the value depends on and the action distribution does not, found by differentiation.

    (A name that contains "value" proves nothing: custom policies call theirs what they like.)

    :param policy: Any actor-critic policy
    :return: the parameters, in the policy's order
    """
    with evaluation_mode(policy), th.enable_grad(), without_cudnn(), unchecked_distributions.held():
        distribution = distribution_at_zeros(policy)
        log_prob = distribution.log_prob(distribution.mode().detach()).sum()
        actor = parameters_behind(log_prob, policy.parameters())
        values = policy.predict_values(_blank_observation(policy), **_blank_states(policy))
        critic = parameters_behind(values.sum(), policy.parameters())
    with th.no_grad():
        distribution_at_zeros(policy)  # the policy keeps its last distribution, and one with a history cannot be copied
    actor_ids = {id(parameter) for parameter in actor}
    return [parameter for parameter in critic if id(parameter) not in actor_ids]


def distribution_at_zeros(policy: Any) -> Distribution:
    """
    :param policy: Any actor-critic policy
    :return: its distribution at an observation of zeros, which shows its kind
    """
    # Unchecked: a features extractor may divide by the norm of what it is given.
    with evaluation_mode(policy), unchecked_distributions.held():
        found = policy.get_distribution(_blank_observation(policy), **_blank_states(policy))
    distribution: Distribution = found[0] if is_recurrent(type(policy)) else found
    return distribution


def separate_critic_rate(policy: ActorCriticPolicy, learning_rate_vf: float) -> None:
    """
    Replace the policy's optimiser by one with two parameter groups: first the actor's and shared, then the critic's.

    :param policy: The policy, not yet trained (the optimiser's state starts anew)
    :param learning_rate_vf: The critic's initial learning rate
    :raises ValueError: the policy has no parameter that only its critic uses
    """
    critic = critic_only_parameters(policy)
    critic_ids = {id(parameter) for parameter in critic}
    actor = [parameter for parameter in policy.parameters() if id(parameter) not in critic_ids]
    if not critic:
        raise ValueError(
            f"learning_rate_vf={learning_rate_vf!r}, but the policy has no parameter that only its critic uses: pass "
            "None."
        )
    groups: list[dict[str, Any]] = [{"params": actor}, {"params": critic, "lr": learning_rate_vf}]
    settings: dict[str, Any] = {"lr": policy.optimizer.param_groups[0]["lr"], **policy.optimizer_kwargs}
    policy.optimizer = policy.optimizer_class(groups, **settings)
