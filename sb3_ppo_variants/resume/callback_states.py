"""What is kept of the callbacks of a training."""

from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.resume.environments import (
    VecEnvState,
    begin_check,
    capture_environments,
    make_resumable,
    restore_environments,
)
from sb3_ppo_variants.resume.layers import Layer, capture_layer, restore_layer


class CallbackState(NamedTuple):
    """
    :param layer: Its attributes, or what its own protocol returned
    :param environments: Of its own environments (``EvalCallback.eval_env``) by attribute
    """

    layer: Layer
    environments: dict[str, VecEnvState | None]


def all_callbacks(root: BaseCallback) -> list[BaseCallback]:
    """
    :param root: What ``learn`` was given, as SB3 wraps it
    :return: it, and every callback that it or one of them holds as an attribute or in a list
    """
    found: list[BaseCallback] = []
    waiting = [root]
    while waiting:
        callback = waiting.pop(0)
        if any(callback is one for one in found):
            continue
        found.append(callback)
        for name, value in vars(callback).items():
            if name not in ("parent", "locals", "globals", "model"):
                members = value if isinstance(value, list | tuple) else [value]
                waiting += [member for member in members if isinstance(member, BaseCallback)]
    return found


def own_environments(callback: BaseCallback) -> dict[str, VecEnv]:
    """
    :param callback: A callback
    :return: the environments that it steps itself, by attribute
    """
    return {name: value for name, value in vars(callback).items() if isinstance(value, VecEnv)}


def make_callbacks_resumable(root: BaseCallback) -> None:
    """
    :param root: What ``learn`` was given
    """
    for env in _own_environments(root):
        make_resumable(env)


def check_callbacks(root: BaseCallback) -> None:
    """
    :param root: What ``learn`` was given; its own environments are checked as they are stepped
    """
    for env in _own_environments(root):
        begin_check(env)


def _own_environments(root: BaseCallback) -> list[VecEnv]:
    return [env for callback in all_callbacks(root) for env in own_environments(callback).values()]


def capture_callbacks(root: BaseCallback) -> list[CallbackState]:
    """
    :param root: What ``learn`` was given
    :return: the states of all callbacks; they still share memory
    """
    return [
        CallbackState(
            capture_layer(callback),
            # Before the first evaluation nothing could be checked, and nothing has happened either.
            {name: capture_environments(env, unchecked=True) for name, env in own_environments(callback).items()},
        )
        for callback in all_callbacks(root)
    ]


def restore_callbacks(root: BaseCallback, states: list[CallbackState]) -> list[str]:
    """
    :param root: What ``learn`` was given
    :param states: What ``capture_callbacks`` returned
    :return: what could not be restored
    :raises ValueError: they are other callbacks
    """
    callbacks = all_callbacks(root)
    kinds, before = [type(c).__name__ for c in callbacks], [s.layer.kind.rpartition(".")[2] for s in states]
    if kinds != before:
        raise ValueError(
            f"The checkpoint was made with the callbacks {', '.join(before)}; learn() was given {', '.join(kinds)}: "
            "pass the same ones in the same order."
        )
    faults = []
    for callback, state in zip(callbacks, states, strict=True):
        restore_layer(callback, state.layer)
        own: dict[str, Any] = own_environments(callback)
        for name, kept in state.environments.items():
            lost = ["it had not been stepped"] if kept is None else restore_environments(own[name], kept)
            faults += [f"{type(callback).__name__}.{name}, {fault}" for fault in lost]
    return faults
