"""The frozen reference policy of a model in a safe file: its weights as tensors, how it is made as JSON."""

import copy
from typing import Any

import torch as th
from gymnasium.spaces import Space
from stable_baselines3.common.utils import ConstantSchedule

from sb3_ppo_variants.checks import kind_of
from sb3_ppo_variants.policies import ReferencePolicy, is_recurrent, takes_masks
from sb3_ppo_variants.safe_files.policies import check_fits
from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping, real, text
from sb3_ppo_variants.safe_files.settings import (
    SafeAlgorithm,
    policies_by_name,
    policy_argument_names,
    policy_kwargs_as_data,
    policy_kwargs_from_data,
)

PREFIX = "reference."
#: Where a policy with memory keeps its further arguments, by name.
_OF_MEMORY = ("lstm_kwargs", "shared_lstm", "enable_critic_lstm")


def reference_as_data(model: SafeAlgorithm) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """
    :param model: A model with a reference policy
    :return: how the reference is made, as JSON values, and its weights, by name
    :raises ValueError: it is of a class of its author's own, or was made with code
    """
    policy, spaces = model.reference_policy.policy, (model.observation_space, model.action_space)
    use_masking = takes_masks(type(policy))
    aliases = {known: alias for alias, known in policies_by_name(type(model), use_masking).items()}
    if type(policy) not in aliases:
        raise ValueError(
            f"reference_policy is {kind_of(policy)}, a class of your own, which a safe file cannot hold: "
            'save_safe(path, exclude=["reference_policy"]) and give it again: load_safe(path, reference_policy=...).'
        )
    try:
        policy_kwargs = policy_kwargs_as_data(_kwargs_of(policy))
    except ValueError as error:
        what = str(error).partition(" cannot be written")[0]
        raise ValueError(
            f"reference_policy was made with {what}, which a safe file cannot hold: save_safe(path, "
            'exclude=["reference_policy"]) and give it again: load_safe(path, reference_policy=...).'
        ) from error
    data = {
        "alias": aliases[type(policy)],
        "use_masking": use_masking,
        "use_sde": bool(getattr(policy, "use_sde", False)),
        "policy_kwargs": policy_kwargs,
    }
    if model.reference_policy.kl_at_start is not None:
        data["kl_at_start"] = model.reference_policy.kl_at_start
    weights = policy.state_dict()
    check_fits(type(policy), _arguments(type(policy), data, spaces), weights)
    return data, {PREFIX + name: tensor for name, tensor in weights.items()}


def reference_from_data(
    cls: type[SafeAlgorithm], data: Any, spaces: tuple[Space, Space], weights: dict[str, th.Tensor]
) -> ReferencePolicy:
    """
    :param cls: The algorithm
    :param data: JSON values
    :param spaces: Of observations and actions
    :param weights: The reference's, by name
    :return: the reference policy
    :raises SafeFileError: the file does not hold such a policy
    """
    mapping(data, "reference", ("alias", "use_masking", "use_sde", "policy_kwargs"), ("kl_at_start",))
    known = policies_by_name(cls, data["use_masking"] is True)
    policy_class: Any = known[text(data["alias"], "reference", known)]
    arguments = _arguments(policy_class, data, spaces)
    check_fits(policy_class, arguments, weights)
    if not all(bool(th.isfinite(tensor).all()) for tensor in weights.values()):
        raise SafeFileError("The reference policy is not finite.")
    policy = policy_class(lr_schedule=ConstantSchedule(1e-3), **arguments)
    policy.load_state_dict(weights)
    reference = ReferencePolicy(policy)
    # Without the states: training goes on with new episodes, at which they begin anew.
    if "kl_at_start" in data:
        reference.kl_at_start = real(data["kl_at_start"], "kl_at_start")
    return reference


def _kwargs_of(policy: Any) -> dict[str, Any]:
    """The arguments with which such a policy is made, without its optimiser's."""
    found = policy._get_constructor_parameters()
    beside = ("share_features_extractor", *_OF_MEMORY)
    found |= {name: getattr(policy, name) for name in beside if hasattr(policy, name)}
    if is_recurrent(type(policy)):
        found |= {"lstm_hidden_size": policy.lstm_actor.hidden_size, "n_lstm_layers": policy.lstm_actor.num_layers}
    names = set(policy_argument_names(type(policy))) - {"optimizer_class", "optimizer_kwargs"}
    return {name: value for name, value in found.items() if name in names and value is not None}


def _arguments(policy_class: type, data: dict[str, Any], spaces: tuple[Space, Space]) -> dict[str, Any]:
    # Copies, because features extractors sample from their spaces.
    observation_space, action_space = copy.deepcopy(spaces)
    kwargs = policy_kwargs_from_data(data["policy_kwargs"], policy_class)
    if is_recurrent(policy_class) or not takes_masks(policy_class):
        kwargs["use_sde"] = data["use_sde"] is True
    return {"observation_space": observation_space, "action_space": action_space, **kwargs}
