"""Loading a safe file: everything in it is checked before it is used."""

import copy
import math
from collections import deque
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import check_for_correct_spaces

from sb3_ppo_variants.policies import is_recurrent, takes_masks
from sb3_ppo_variants.safe_files.format import read_safe, with_suffix
from sb3_ppo_variants.safe_files.optimizers import PREFIX, optimizer_state_from_data
from sb3_ppo_variants.safe_files.policies import check_fits, check_rollout_size
from sb3_ppo_variants.safe_files.references import PREFIX as REFERENCE_PREFIX
from sb3_ppo_variants.safe_files.references import reference_from_data
from sb3_ppo_variants.safe_files.saving import BESIDE, COUNTERS, KWARGS, SCHEMA
from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping, real, sequence, text, whole
from sb3_ppo_variants.safe_files.settings import (
    SafeAlgorithm,
    attribute_of,
    policies_by_name,
    policy_kwargs_as_data,
    policy_kwargs_from_data,
    setting_from_data,
    setting_names,
)
from sb3_ppo_variants.safe_files.spaces import space_from_data

#: Bytes of the rollout buffer that a file may ask for; its memory is taken only when it is filled.
MAX_ROLLOUT = 2**32
#: Bytes of its action masks, whose memory is taken at once: sb3-contrib's buffers begin with ones.
MAX_MASKS = 2**28
_KEYS = (
    *("schema", "algorithm", "class", "versions", "policy", "policy_kwargs", "param_groups", "observation_space"),
    *("action_space", "n_envs", "rollout_buffer", "rollout_buffer_kwargs", "settings", "left_out", "counters"),
    *("progress", "skipped", "episodes"),
)
#: Only in the files that need them: the others stay readable for earlier versions.
_KEYS_OF_FINE_TUNING = ("reference", "warmup_updates")

_Model = TypeVar("_Model", bound=SafeAlgorithm)


def load_safe(
    cls: type[_Model],
    path: str | PathLike[str],
    env: Any,
    device: th.device | str,
    policy_class: type[ActorCriticPolicy] | None,
    given: dict[str, Any],
) -> _Model:
    """
    :param cls: The class to load
    :param path: The file
    :param env: Environments for further training
    :param device: Device to load to
    :param policy_class: The policy's class, if it is not one of SB3's
    :param given: Checked settings that replace the file's
    :return: the model
    :raises SafeFileError: the file is damaged, of another kind, or describes something that it does not hold
    """
    found = Path(path) if Path(path).exists() else with_suffix(path)
    document, tensors = read_safe(found)
    try:
        state = _state(cls, document, given)
        policy_class = policy_class or _policy_class(cls, document["policy"], state["use_masking"])
        moments = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
        reference = {name: tensor for name, tensor in tensors.items() if name.startswith(REFERENCE_PREFIX)}
        weights = {name: tensor for name, tensor in tensors.items() if name not in moments | reference}
        if "reference" in document and "reference_policy" not in given:
            spaces_of_file = state["observation_space"], state["action_space"]
            of_reference = {name.removeprefix(REFERENCE_PREFIX): tensor for name, tensor in reference.items()}
            state["reference_policy"] = reference_from_data(cls, document["reference"], spaces_of_file, of_reference)
        if "policy_kwargs" in given:
            _refuse_other_policy_kwargs(document["policy_kwargs"], given["policy_kwargs"])
        else:
            state["policy_kwargs"] = policy_kwargs_from_data(document["policy_kwargs"], policy_class)
            # Copies, because features extractors sample from their spaces.
            arguments = {name: copy.deepcopy(state[name]) for name in ("observation_space", "action_space")}
            arguments |= state["policy_kwargs"]
            use_sde = bool(given.get("use_sde", state["use_sde"]))
            if use_sde or is_recurrent(policy_class) or not takes_masks(policy_class):
                arguments["use_sde"] = use_sde
            check_fits(policy_class, arguments, weights)
        if env is not None:
            env = cls._wrap_env(env, state["verbose"])
            check_for_correct_spaces(env, state["observation_space"], state["action_space"])
            state["n_envs"] = env.num_envs
        # Whoever gives both knows how much memory the rollouts take.
        if env is None or "n_steps" not in given:
            check_rollout_size({**state, **given}, weights, MAX_ROLLOUT, MAX_MASKS)
        # From here on as SB3's load.
        model = cls(policy=policy_class, env=env, device=device, _init_setup_model=False)  # type: ignore[call-arg]
        vars(model).update(state)
        vars(model).update({attribute_of(name): value for name, value in given.items()})
        model._given_to_load = frozenset(given)
        model._setup_model()
        _put_weights(model, weights, document["param_groups"], moments)
    except SafeFileError as error:
        raise SafeFileError(f"{found}: {error}") from error
    if model.use_sde:
        model.policy.reset_noise()
    return model


def _state(cls: type[SafeAlgorithm], document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The model's attributes by name, without ``policy_kwargs``."""
    if document.get("schema") != SCHEMA:
        raise SafeFileError(
            f"schema {str(document.get('schema'))[:20]}: this version reads schema {SCHEMA}. Load it with the version "
            "of sb3_ppo_variants that wrote it, or a newer one."
        )
    mapping(document, "the document", _KEYS, _KEYS_OF_FINE_TUNING)
    saved_by = text(document["algorithm"], "the algorithm", cls.family)
    mapping(document["versions"], "versions", optional=document["versions"])
    left_out = sequence(document["left_out"], "left_out", 256) + [name for name in KWARGS if document[name] is None]
    state: dict[str, Any] = {"_saved_by": saved_by, "n_envs": whole(document["n_envs"], "n_envs", 1, 2**20)}
    for name in ("observation_space", "action_space"):
        state[name] = space_from_data(document[name], name)
    _check_action_space(state["action_space"])
    writer = cls.family[saved_by]
    names = {*setting_names(writer), *setting_names(cls)}
    settings = mapping(document["settings"], f"settings (of {text(document['class'], 'the class')})", optional=names)
    for name in left_out:
        if text(name, "left_out") not in given and name in {*setting_names(cls), *BESIDE}:
            raise SafeFileError(f"{name} was left out of the file: pass {name}=... to load_safe().")
    for name, data in settings.items():
        state[attribute_of(name)] = _setting(name, data, writer if name in writer.checks else cls)
    missing = {"n_steps", "gamma", "learning_rate", "use_sde", "verbose", "seed", "stats_window_size"} - set(settings)
    if missing - set(left_out):
        raise SafeFileError(f"settings has no {sorted(missing)[0]}.")
    state |= {"use_sde": state.get("use_sde", False), "verbose": state.get("verbose", 0)}
    state["use_masking"] = given.get("use_masking", state.get("use_masking", False))
    if "n_steps" not in state:
        state["n_steps"] = given["n_steps"]
    state |= _rollout_buffer(document, given)
    counters = mapping(document["counters"], "counters", COUNTERS)
    state |= {name: whole(counters[name], name) for name in COUNTERS}
    state["_current_progress_remaining"] = real(document["progress"], "progress")
    state["_n_nonfinite_updates"] = whole(document["skipped"], "skipped")
    state["_n_warmup_updates"] = whole(document.get("warmup_updates", 0), "warmup_updates")
    window = state.get("_stats_window_size") or given["stats_window_size"]
    return state | _episode_buffers(document["episodes"], window)


def _setting(name: str, data: Any, cls: type[SafeAlgorithm]) -> Any:
    value = setting_from_data(name, data, name in cls.coefficients)
    check = cls.checks.get(name)
    # A coefficient of 0, as rl_zoo3 assigns to a learning rate, is kept, as in SB3's files.
    if check is not None and not (name in cls.coefficients and type(value) in (int, float) and value == 0):
        try:
            check(name, value)
        except (ValueError, TypeError, OverflowError) as error:
            raise SafeFileError(f"{error}"[:400]) from error
    largest = {"stats_window_size": 2**24, "n_steps": 2**40}.get(name, 2**63 - 1)
    if isinstance(value, int) and abs(value) > largest:
        raise SafeFileError(f"{name} is larger than {largest}.")
    return value


def _check_action_space(space: spaces.Space) -> None:
    if isinstance(space, spaces.Dict):
        raise SafeFileError("action_space is a Dict, which these algorithms do not take.")
    if isinstance(space, spaces.Box) and not (math.isfinite(space.low.sum()) and math.isfinite(space.high.sum())):
        raise SafeFileError("action_space has bounds that are not finite.")


def _policy_class(cls: type[SafeAlgorithm], data: Any, use_masking: bool) -> Any:
    policy = mapping(data, "policy", optional=("alias", "class"))
    if "alias" in policy:
        known = policies_by_name(cls, use_masking)
        return known[text(policy["alias"], "policy", known)]
    name = text(policy.get("class"), "policy")
    raise SafeFileError(
        f"The policy is a class of its author's own, {name!r}, which no file brings: pass policy_class=... to "
        "load_safe()."
    )


def _refuse_other_policy_kwargs(of_file: Any, given: dict[str, Any]) -> None:
    """As SB3's ``load`` does. A file from which they were left out takes any that its weights fit."""
    if of_file is None:
        return
    mapping(of_file, "policy_kwargs", optional=of_file)
    try:
        same = _as_given(policy_kwargs_as_data(given)) == _as_given(of_file)
    except ValueError:  # code of the caller's own, which this file does not describe
        same = False
    if not same:
        raise SafeFileError(
            f"policy_kwargs={given!r}: the file's policy was made with {str(of_file)[:200]}, which loading does not "
            "change. Leave policy_kwargs out."
        )


def _as_given(policy_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Without the key that SB3 adds to the caller's dictionary where images are not normalised."""
    of_features = policy_kwargs.get("features_extractor_kwargs")
    if isinstance(of_features, dict):
        of_features = {name: value for name, value in of_features.items() if name != "normalized_image"}
    return {**policy_kwargs, "features_extractor_kwargs": of_features or None}


def _rollout_buffer(document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if document["rollout_buffer"] is not None and "rollout_buffer_class" not in given:
        name = text(document["rollout_buffer"], "rollout_buffer")
        raise SafeFileError(f"The rollout buffer is a {name}, which no file brings: pass rollout_buffer_class=...")
    state: dict[str, Any] = {"rollout_buffer_class": None}
    if "rollout_buffer_kwargs" not in given:
        kwargs = document["rollout_buffer_kwargs"]
        # SB3's own buffers take none.
        allowed = kwargs if "rollout_buffer_class" in given else ()
        state["rollout_buffer_kwargs"] = mapping(kwargs, "rollout_buffer_kwargs", optional=allowed)
    return state


def _episode_buffers(data: Any, window: int) -> dict[str, Any]:
    if data is None:
        return {}
    mapping(data, "episodes", ("infos", "successes"))
    infos = [mapping(info, "an episode", optional=info) for info in sequence(data["infos"], "episodes", window)]
    successes = sequence(data["successes"], "successes", window)
    if any(not isinstance(info.get(key), int | float) for info in infos for key in ("r", "l")):
        raise SafeFileError("An episode has no return r or length l.")
    return {"ep_info_buffer": deque(infos, maxlen=window), "ep_success_buffer": deque(successes, maxlen=window)}


def _put_weights(
    model: SafeAlgorithm, weights: dict[str, th.Tensor], groups: Any, moments: dict[str, th.Tensor]
) -> None:
    parameters = dict(model.policy.named_parameters())
    for name, tensor in weights.items():
        # Parameters only: a buffer (a mask, say) may be infinite on purpose.
        if name in parameters and not bool(th.isfinite(tensor).all()):
            raise SafeFileError(f"{name} is not finite: such a policy cannot act.")
    if any(tensor.dtype == th.float64 for tensor in weights.values()):
        model.policy.double()
    optimizer_state = optimizer_state_from_data(groups, moments, model.policy.optimizer)
    state_dicts: Any = {"policy": weights, "policy.optimizer": optimizer_state}
    try:
        model.set_parameters(state_dicts, True, model.device)
    except (RuntimeError, ValueError, KeyError) as error:
        raise SafeFileError(f"The weights do not fit the policy: {error}") from error
