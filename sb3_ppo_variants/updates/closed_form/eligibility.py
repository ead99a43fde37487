"""When the closed form computes the same as torch, and the reason when it would not."""

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor

from sb3_ppo_variants.updates.closed_form.network import ACTIVATIONS

_HEADS = (
    DiagGaussianDistribution,
    CategoricalDistribution,
    MultiCategoricalDistribution,
    BernoulliDistribution,
)


def why_not_closed_form(
    policy: ActorCriticPolicy, buffer: RolloutBuffer, observation_space: spaces.Space
) -> str | None:
    """
    The closed form stands in for code that it knows to the letter; anything else it leaves to autograd.

    :param policy: The policy
    :param buffer: The rollout buffer
    :param observation_space: The policy's observation space
    :return: the first reason why it cannot run; ``None`` if it can
    """
    if type(policy) is not ActorCriticPolicy:
        return f"the policy is a {type(policy).__name__}, not SB3's MlpPolicy"
    if isinstance(observation_space, spaces.Dict):
        return "the observations are a Dict"
    if type(buffer) is not RolloutBuffer:
        return f"the rollout buffer is a {type(buffer).__name__}, not SB3's RolloutBuffer"
    return _why_not_networks(policy) or _why_not_parameters(policy) or _why_not_optimizer(policy.optimizer)


def _why_not_networks(policy: ActorCriticPolicy) -> str | None:
    for extractor in (policy.features_extractor, policy.pi_features_extractor, policy.vf_features_extractor):
        if type(extractor) is not FlattenExtractor:
            return f"the features extractor is a {type(extractor).__name__}, not a FlattenExtractor"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"the network is a {type(policy.mlp_extractor).__name__}, not an MlpExtractor"
    if type(policy.action_dist) not in _HEADS:
        return f"the action distribution is a {type(policy.action_dist).__name__}"
    nets = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
    kinds = {type(module) for net in nets for module in net} - {th.nn.Linear}
    if not kinds <= set(ACTIVATIONS) or len(kinds) > 1:
        return f"the activation is {' and '.join(sorted(kind.__name__ for kind in kinds))}"
    if any(isinstance(module, th.nn.ELU) and module.alpha != 1.0 for net in nets for module in net):
        return "the ELU's alpha is not 1"
    if type(policy.action_net) is not th.nn.Linear or type(policy.value_net) is not th.nn.Linear:
        return "the output layer is not a Linear"
    for module in policy.modules():
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
            return f"a {type(module).__name__} has hooks"
    return None


def _why_not_parameters(policy: ActorCriticPolicy) -> str | None:
    for name, parameter in policy.named_parameters():
        if not parameter.requires_grad:
            return f"the parameter {name} is frozen"
        if parameter.device.type != "cpu":
            return f"the policy is on {parameter.device}"
        if parameter.dtype not in (th.float32, th.float64) or not parameter.is_contiguous():
            return f"the parameter {name} is not a contiguous float tensor"
        if parameter._backward_hooks:
            return f"the parameter {name} has hooks"
    return None


def _why_not_optimizer(optimizer: th.optim.Optimizer) -> str | None:
    if not hasattr(th, "_fused_adam_"):
        return "this torch has no fused Adam kernel"
    if type(optimizer) is not th.optim.Adam:
        return f"the optimizer is a {type(optimizer).__name__}, not Adam"
    for group in optimizer.param_groups:
        for flag in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay"):
            if group.get(flag):
                return f"Adam has {flag}=True"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "the optimizer has hooks"
    return None
