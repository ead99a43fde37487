"""The state of vectorised environments, and of the wrappers around them."""

from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

from sb3_ppo_variants.resume.descriptions import described
from sb3_ppo_variants.resume.layers import Layer, capture_layer, has_protocol, restore_layer
from sb3_ppo_variants.resume.resumable_env import EnvState, ResumableEnv, describe_env
from sb3_ppo_variants.workers import WorkerVecEnv

_NOT_WRAPPED = (
    "it is in another process and not in a ResumableEnv: make it by make_vec_env(..., wrapper_class=ResumableEnv, "
    "vec_env_cls=SubprocVecEnv)"
)
# VecEnv.seed() and set_options() leave these for the next reset, which in an evaluation may come much later.
_PENDING = ("_seeds", "_options")


class VecEnvState(NamedTuple):
    """
    :param wrappers: States of the ``VecEnvWrapper``s, from outside inwards
    :param own: State of the ``VecEnv`` inside them, if it has the protocol of ``layers``
    :param envs: Otherwise, the state of each environment
    :param pending: Seeds and options that the next reset will hand to the environments
    """

    wrappers: list[Layer]
    own: Layer | None
    envs: list[EnvState]
    pending: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default)

    def lost(self) -> list[str]:
        """
        :return: which environments' states are not kept, and why, one text per reason
        """
        return _by_reason(["" if one.kept else one.why_not for one in self.envs])

    def awaited(self) -> list[str]:
        """
        :return: which environments' states can be kept only once their next episode has begun, and why
        """
        return _by_reason([one.why_not if one.later else "" for one in self.envs])


def make_resumable(env: VecEnv) -> None:
    """
    Put the environments of a ``DummyVecEnv`` or a ``WorkerVecEnv`` into ``ResumableEnv``s, where they are not in one
    already.

    :param env: Any vectorised environment
    """
    inner = env.unwrapped
    if isinstance(inner, DummyVecEnv):
        inner.envs = [_tracked(one) for one in inner.envs]
    elif isinstance(inner, WorkerVecEnv):
        inner.wrap_environments(_tracked)


def _tracked(env: gym.Env) -> gym.Env:
    return env if _is_tracked(env) else ResumableEnv(env)


def _is_tracked(env: gym.Env) -> bool:
    """Whether a ``ResumableEnv`` holds the state of all layers: those outside it say that they have none."""
    while isinstance(env, gym.Wrapper) and has_protocol(env) and capture_layer(env).own is None:
        env = env.env
    return isinstance(env, ResumableEnv)


def describe_environments(env: VecEnv) -> dict[str, Any] | None:
    """
    :param env: Any vectorised environment
    :return: a description of each environment, by number, as JSON values; ``None`` where they cannot be asked
    """
    inner = env.unwrapped
    if isinstance(inner, DummyVecEnv):
        return {str(number): describe_env(one) for number, one in enumerate(inner.envs)}
    if not _is_reached(inner):
        return None
    return {str(number): one for number, one in enumerate(inner.env_method("describe_checkpoint"))}


#: VecNormalize's settings; its other attributes are statistics.
_NORMALIZES = ("norm_obs", "norm_obs_keys", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")


def describe_wrappers(env: VecEnv) -> dict[str, Any]:
    """
    :param env: Any vectorised environment
    :return: its ``VecEnvWrapper``s from outside inwards, by number, with the settings of a ``VecNormalize``, as JSON
        values
    """
    return {str(number): _describe_wrapper(wrapper) for number, wrapper in enumerate(wrappers_of(env))}


def _describe_wrapper(wrapper: VecEnvWrapper) -> dict[str, Any]:
    names = _NORMALIZES if isinstance(wrapper, VecNormalize) else ()
    return {"class": type(wrapper).__qualname__, **{name: described(getattr(wrapper, name)) for name in names}}


def begin_check(env: VecEnv) -> None:
    """
    Let every environment check, in its coming steps, that its state can be kept.

    :param env: Any vectorised environment
    """
    inner = env.unwrapped
    if _is_reached(inner):
        inner.env_method("begin_checkpoint_check")


def capture_environments(env: VecEnv, unchecked: bool = False) -> VecEnvState | None:
    """
    :param env: Any vectorised environment, between two steps
    :param unchecked: Capture even what has not been checked yet
    :return: the state; ``None``: too early, the environments have to be stepped first
    """
    inner = env.unwrapped
    wrappers = [capture_layer(wrapper) for wrapper in wrappers_of(env)]
    pending = {name: deepcopy(vars(inner)[name]) for name in _PENDING if name in vars(inner)}
    if has_protocol(inner):
        return VecEnvState(wrappers, capture_layer(inner), [], pending)
    if not _is_reached(inner):
        return VecEnvState(wrappers, None, [EnvState(False, _NOT_WRAPPED)] * inner.num_envs, pending)
    envs = inner.env_method("capture_checkpoint", unchecked)
    return None if None in envs else VecEnvState(wrappers, None, envs, pending)


def restore_environments(env: VecEnv, state: VecEnvState) -> list[str]:
    """
    :param env: A vectorised environment made in the same way as the captured one
    :param state: The state
    :return: which environments could not be restored, and why; unless this is empty, all of them have to be reset
    :raises ValueError: it has other wrappers, or another number of environments
    """
    inner, wrappers = env.unwrapped, wrappers_of(env)
    n_envs = inner.num_envs if state.own else len(state.envs)
    if (len(wrappers), inner.num_envs) != (len(state.wrappers), n_envs):
        raise ValueError(
            f"The checkpoint is of {n_envs} environments in {len(state.wrappers)} VecEnvWrappers; there are "
            f"{inner.num_envs} in {len(wrappers)} now: make them as they were."
        )
    for wrapper, layer in zip(wrappers, state.wrappers, strict=True):
        restore_layer(wrapper, layer)
    vars(inner).update(state.pending)
    if state.own is not None:
        restore_layer(inner, state.own)
        return []
    if not _is_reached(inner):
        return _by_reason([_NOT_WRAPPED] * n_envs)
    return _by_reason([inner.env_method("restore_checkpoint", one, indices=i)[0] for i, one in enumerate(state.envs)])


def _by_reason(faults: list[str]) -> list[str]:
    which = {fault: [str(i) for i, one in enumerate(faults) if one == fault] for fault in faults if fault}
    return [f"environment {', '.join(numbers)}: {fault}" for fault, numbers in which.items()]


def _is_reached(inner: VecEnv) -> bool:
    return isinstance(inner, DummyVecEnv | SubprocVecEnv | WorkerVecEnv) and all(inner.env_is_wrapped(ResumableEnv))


def wrappers_of(env: VecEnv) -> list[VecEnvWrapper]:
    """
    :param env: Any vectorised environment
    :return: its ``VecEnvWrapper``s, from outside inwards
    """
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        wrappers.append(env)
        env = env.venv
    return wrappers
