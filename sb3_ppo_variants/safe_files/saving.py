"""Saving a model as a safe file, in which everything is data."""

import math
import platform
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch as th

from sb3_ppo_variants import __version__
from sb3_ppo_variants.policies import ReferencePolicy
from sb3_ppo_variants.rollouts.buffers import KNOWN_BUFFERS
from sb3_ppo_variants.safe_files.format import with_suffix, write_safe
from sb3_ppo_variants.safe_files.optimizers import PREFIX, optimizer_as_data
from sb3_ppo_variants.safe_files.references import PREFIX as REFERENCE_PREFIX
from sb3_ppo_variants.safe_files.references import reference_as_data
from sb3_ppo_variants.safe_files.settings import (
    SafeAlgorithm,
    attribute_of,
    plain,
    policies_by_name,
    policy_kwargs_as_data,
    setting_as_data,
    setting_names,
)
from sb3_ppo_variants.safe_files.spaces import space_as_data

#: Version of the document. A reader refuses any other.
SCHEMA = 1
#: SB3's counters.
COUNTERS = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_episode_num", "_n_updates")
#: Arguments that have keys of their own beside the settings, and may be left out too.
KWARGS = ("policy_kwargs", "rollout_buffer_kwargs")
#: All that may be left out beside the settings.
BESIDE = (*KWARGS, "reference_policy")


def save_safe(model: SafeAlgorithm, path: str | PathLike[str], exclude: Collection[str] = ()) -> Path:
    """
    :param model: The model
    :param path: The file; ``.safetensors`` is added where there is no suffix
    :param exclude: Arguments to leave out, which have to be passed to ``load_safe`` again
    :return: the file
    :raises ValueError: an argument is code, a number is not finite, or more than the policy and its optimiser is to be
        kept
    """
    unknown = set(exclude) - set(setting_names(type(model))) - set(BESIDE)
    if unknown:
        raise ValueError(f"exclude={sorted(exclude)}: {type(model).__name__} has no setting {sorted(unknown)[0]!r}.")
    names, variables = model._get_torch_save_params()
    if further := sorted({*names, *variables} - {"policy", "policy.optimizer"}):
        raise ValueError(
            f"{type(model).__name__} also keeps {', '.join(further)} (_get_torch_save_params), for which the safe "
            "format has no place: use save()."
        )
    tensors = dict(model.get_parameters()["policy"])
    clash = [name for name in tensors if name.startswith((PREFIX, REFERENCE_PREFIX))]
    if clash:
        raise ValueError(
            f"The policy's {clash[0]!r} has a name that the safe format keeps for optimiser and reference: rename it."
        )
    groups, moments = optimizer_as_data(model.policy.optimizer)
    description = _description(model, groups, exclude)
    reference: dict[str, th.Tensor] = {}
    if model.reference_policy is not None and "reference_policy" not in exclude:
        if not isinstance(model.reference_policy, ReferencePolicy):
            model._freeze_reference()  # it has been assigned
        description["reference"], reference = reference_as_data(model)
    if model._n_warmup_updates > 0:
        description["warmup_updates"] = model._n_warmup_updates
    for name, tensor in [*model.policy.named_parameters(), *moments.items(), *reference.items()]:
        if not bool(th.isfinite(tensor).all()):
            raise ValueError(
                f"{name} is not finite: such a model can neither act nor learn, and a safe file does not hold one. Go "
                "back to the last good checkpoint (save() writes it all the same)."
            )
    target = with_suffix(path)
    write_safe(target, description, tensors | moments | reference)
    return target


def _description(model: SafeAlgorithm, groups: list[dict[str, Any]], exclude: Collection[str]) -> dict[str, Any]:
    aliases = {policy: alias for alias, policy in policies_by_name(type(model), model.use_masking).items()}
    policy_class: Any = model.policy_class
    known = {"alias": aliases[policy_class]} if policy_class in aliases else {"class": policy_class.__name__[:200]}
    buffer_class = model.rollout_buffer_class
    settings = {}
    for name in setting_names(type(model)):
        if name not in exclude and hasattr(model, attribute_of(name)):
            settings[name] = setting_as_data(name, getattr(model, attribute_of(name)))
    return {
        "schema": SCHEMA,
        "algorithm": model.family_name,
        "class": type(model).__name__[:200],
        "versions": _versions(),
        "policy": known,
        "policy_kwargs": None if "policy_kwargs" in exclude else policy_kwargs_as_data(model.policy_kwargs),
        # The known ones follow from the observation space and the policy.
        "rollout_buffer": None
        if buffer_class is None or buffer_class in KNOWN_BUFFERS
        else buffer_class.__name__[:200],
        "rollout_buffer_kwargs": None
        if "rollout_buffer_kwargs" in exclude
        else plain("rollout_buffer_kwargs", model.rollout_buffer_kwargs),
        "observation_space": space_as_data(model.observation_space),
        "action_space": space_as_data(model.action_space),
        "n_envs": model.n_envs,
        "settings": settings,
        "left_out": sorted(exclude),
        "counters": {name: _counted(model, name) for name in COUNTERS},
        "progress": float(model._current_progress_remaining),
        "skipped": model._n_nonfinite_updates,
        "episodes": _episodes(model),
        "param_groups": groups,
    }


def _counted(model: SafeAlgorithm, name: str) -> int:
    count = getattr(model, name)
    return int(count) if math.isfinite(count) else model.num_timesteps  # learn(inf) trains until a callback ends it


def _versions() -> dict[str, str]:
    modules = (stable_baselines3, th, np, gymnasium)
    versions = {module.__name__: str(module.__version__) for module in modules}
    return versions | {"python": platform.python_version(), "sb3_ppo_variants": __version__}


def _episodes(model: SafeAlgorithm) -> dict[str, Any] | None:
    """The window of episodes behind ``rollout/ep_rew_mean``; ``None`` before the first ``learn``."""
    if model.ep_info_buffer is None or model.ep_success_buffer is None:
        return None
    window = model._stats_window_size
    infos = [{key: _number(value) for key, value in info.items()} for info in list(model.ep_info_buffer)[-window:]]
    successes = [_number(success) for success in list(model.ep_success_buffer)[-window:]]
    # JSON has no NaN (an episode of a skipped update), and its mean would not be worth logging.
    complete = [info for info in infos if info.get("r") is not None and info.get("l") is not None]
    return {"infos": complete, "successes": [success for success in successes if success is not None]}


def _number(value: Any) -> Any:
    """The value, if it is a finite number; anything else that a Monitor was told to keep is left out."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else None
