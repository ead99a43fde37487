"""When the closed form computes the same as torch, and the reason when it would not."""

from types import ModuleType

import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from sb3_contrib.common.maskable.distributions import (
    MaskableBernoulliDistribution,
    MaskableCategorical,
    MaskableCategoricalDistribution,
    MaskableMultiCategoricalDistribution,
)
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common import distributions, on_policy_algorithm, policies
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch.nn.modules.module import _has_any_global_hook
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from sb3_ppo_variants.backends.closed_form.layout import Layout, layout_of, steps_taken
from sb3_ppo_variants.backends.closed_form.network import ACTIVATIONS
from sb3_ppo_variants.checks import kind_of
from sb3_ppo_variants.distributions import BetaDistribution
from sb3_ppo_variants.policies import BetaActorCriticPolicy
from sb3_ppo_variants.rollouts.originals import has_own, is_replaced, replaced_method

#: The policies whose forward pass it knows, with the buffer of each.
_POLICIES = {
    ActorCriticPolicy: RolloutBuffer,
    BetaActorCriticPolicy: RolloutBuffer,
    MaskableActorCriticPolicy: MaskableRolloutBuffer,
}
_DISTRIBUTIONS = (
    DiagGaussianDistribution,
    CategoricalDistribution,
    MultiCategoricalDistribution,
    BernoulliDistribution,
    BetaDistribution,
    MaskableCategoricalDistribution,
    MaskableMultiCategoricalDistribution,
    MaskableBernoulliDistribution,
)
#: Methods that the closed form replaces: a user's own, on an instance or on a class, would be ignored.
_CALLS = ("__call__", "_call_impl", "_compiled_call_impl", "forward")
_POLICY_METHODS = (
    *_CALLS,
    "forward_actor",
    "forward_critic",
    "evaluate_actions",
    "predict_values",
    "extract_features",
    "get_distribution",
    "_get_action_dist_from_latent",
    "obs_to_tensor",
)
_MASKING = ("apply_masking",)
_DISTRIBUTION_METHODS = ("proba_distribution", "sample", "mode", "get_actions", "log_prob", "entropy", *_MASKING)
_TORCH_DISTRIBUTION_METHODS = ("sample", "rsample", "log_prob", "entropy", *_MASKING)
_BUFFER_METHODS = ("add", "get", "_get_samples", "compute_returns_and_advantage", "swap_and_flatten", "to_torch")
_OPTIMIZER_METHODS = ("step", "zero_grad")

_MODULES: tuple[type[th.nn.Module], ...] = (th.nn.Linear, th.nn.Flatten, th.nn.Sequential, *ACTIVATIONS)
_TORCH_DISTRIBUTIONS = (
    *(th.distributions.Normal, th.distributions.Categorical, th.distributions.Bernoulli),
    MaskableCategorical,
)
#: The classes whose methods the closed form replaces.
_REPLACED: tuple[tuple[type, tuple[str, ...]], ...] = (
    *((kind, _POLICY_METHODS) for kind in (*_POLICIES, MlpExtractor, FlattenExtractor)),
    *((kind, _CALLS) for kind in _MODULES),
    *((kind, _DISTRIBUTION_METHODS) for kind in _DISTRIBUTIONS),
    *((kind, _TORCH_DISTRIBUTION_METHODS) for kind in _TORCH_DISTRIBUTIONS),
    *((kind, ("extract_features",)) for kind in (BaseModel, BasePolicy)),  # called through super()
    *((kind, _BUFFER_METHODS) for kind in _POLICIES.values()),
    (th.optim.Adam, _OPTIMIZER_METHODS),
    (th.Tensor, ("backward",)),
)
#: The functions that it replaces, where SB3 finds them.
_REPLACED_FUNCTIONS: tuple[tuple[ModuleType, str], ...] = (
    (on_policy_algorithm, "obs_as_tensor"),
    (policies, "preprocess_obs"),
    (distributions, "sum_independent_dims"),
    (th.nn.functional, "mse_loss"),
    (th.nn.utils, "clip_grad_norm_"),
)


def why_not_closed_form(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
    """
    The closed form replaces code that it reproduces exactly; everything else is left to autograd.

    :param policy: The policy
    :param buffer: The rollout buffer
    :return: the first reason why it cannot run; ``None`` if it can
    """
    if type(policy) not in _POLICIES:
        return f"the policy is {kind_of(policy)}, not SB3's MlpPolicy"
    if isinstance(policy.observation_space, spaces.Dict):
        return "the observations are a Dict"
    known_buffer = _POLICIES[type(policy)]
    if type(buffer) is not known_buffer:
        return f"the rollout buffer is {kind_of(buffer)}, not a plain {known_buffer.__name__}"
    reason = _why_not_overridden(policy, buffer) or _why_not_networks(policy)
    if reason is not None:
        return reason
    layout = layout_of(policy)
    return _why_not_parameters(policy, layout) or _why_not_optimizer(policy.optimizer, layout)


def _why_not_overridden(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
    owners = (
        (buffer, _BUFFER_METHODS),
        (policy.optimizer, _OPTIMIZER_METHODS),
        (policy.action_dist, _DISTRIBUTION_METHODS),
        *((module, _POLICY_METHODS) for module in policy.modules()),
    )
    for kind, names in _REPLACED:
        if (name := replaced_method(kind, names)) is not None:
            return f"{kind.__name__}.{name} has been replaced"
    for module, name in _REPLACED_FUNCTIONS:
        if is_replaced(module, name):
            return f"{module.__name__}.{name} has been replaced"
    for owner, names in owners:
        if (name := has_own(owner, names)) is not None:
            return f"a {type(owner).__name__} has a {name} of its own"
    if _has_any_global_hook():
        return "torch has hooks on all modules"
    for part in policy.modules():
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            return f"a {type(part).__name__} has hooks"
    return None


def _why_not_networks(policy: ActorCriticPolicy) -> str | None:
    for extractor in (policy.features_extractor, policy.pi_features_extractor, policy.vf_features_extractor):
        if type(extractor) is not FlattenExtractor:
            return f"the features extractor is {kind_of(extractor)}, not a FlattenExtractor"
        if type(extractor.flatten) is not th.nn.Flatten:
            return f"the features extractor flattens by a {type(extractor.flatten).__name__}"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"the network is {kind_of(policy.mlp_extractor)}, not an MlpExtractor"
    if type(policy.action_dist) not in _DISTRIBUTIONS:
        return f"the action distribution is {kind_of(policy.action_dist)}"
    activations: set[type[th.nn.Module]] = set()
    for net in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        layers = list(net.children())
        if type(net) is not th.nn.Sequential or any(type(layer) is not th.nn.Linear for layer in layers[0::2]):
            return "the hidden layers are not Linear and activation in turn"
        if len(layers) % 2 == 1:
            return "the last hidden layer has no activation"
        activations |= {type(module) for module in layers[1::2]}
        if any(isinstance(module, th.nn.ELU) and module.alpha != 1.0 for module in layers[1::2]):
            return "the ELU's alpha is not 1"
    if not activations <= set(ACTIVATIONS) or len(activations) > 1:
        return f"the activation is {' and '.join(sorted(kind.__name__ for kind in activations))}"
    if type(policy.action_net) is not th.nn.Linear or type(policy.value_net) is not th.nn.Linear:
        return "the output layer is not a Linear"
    linear = [module for module in policy.modules() if isinstance(module, th.nn.Linear)]
    return "a layer has no bias" if any(layer.bias is None for layer in linear) else None


def _why_not_parameters(policy: ActorCriticPolicy, layout: Layout) -> str | None:
    ids = [id(parameter) for parameter in layout.parameters]
    if len(set(ids)) < len(ids):
        return "two layers share a parameter"
    if set(ids) != {id(parameter) for parameter in policy.parameters()}:
        return "the policy has parameters of its own"
    dtypes = {parameter.dtype for parameter in layout.parameters}
    if len(dtypes) > 1 or not dtypes <= {th.float32, th.float64}:
        return f"the parameters are {' and '.join(sorted(map(str, dtypes)))}"
    for name, parameter in policy.named_parameters():
        if not parameter.requires_grad:
            return f"the parameter {name} is frozen"
        if parameter.device.type != "cpu":
            return f"the policy is on {parameter.device}"
        if not parameter.is_contiguous():
            return f"the parameter {name} is not contiguous"
        if parameter.is_shared():
            return f"the parameter {name} is in memory shared with other processes"
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            return f"the parameter {name} has hooks"
    return None


def _why_not_optimizer(optimizer: th.optim.Optimizer, layout: Layout) -> str | None:
    if not hasattr(th, "_fused_adam_"):
        return "this torch has no fused Adam kernel"
    if type(optimizer) is not th.optim.Adam:
        return f"the optimizer is {kind_of(optimizer)}, not Adam"
    for group in optimizer.param_groups:
        for flag in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay"):
            if group.get(flag):
                return f"Adam has {flag}=True"
    if _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        return "torch has hooks on all optimizers"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "the optimizer has hooks"
    groups = [{id(parameter) for parameter in group["params"]} for group in optimizer.param_groups]
    actor, critic = ({id(parameter) for parameter in part} for part in (layout.actor, layout.critic))
    if groups not in ([actor | critic], [actor, critic]):
        return "the optimizer's groups are neither all parameters nor the actor's and the critic's"
    for part in (layout.actor, layout.critic):
        if len({steps_taken(optimizer, parameter) for parameter in part}) > 1:
            return "the optimizer has stepped some parameters of a network more often than others"
    return None
