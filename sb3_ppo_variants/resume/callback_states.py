"""The states of all callbacks of a training."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.resume.environments import VecEnvState, capture_environments, restore_environments
from sb3_ppo_variants.resume.layers import Layer, capture_layer, restore_layer
from sb3_ppo_variants.resume.pickles import current_name

T = TypeVar("T")


class CallbackState(NamedTuple):
    """
    :param layer: Its attributes, or what the protocol returned
    :param environments: States of its own environments (``EvalCallback.eval_env``) by attribute
    """

    layer: Layer
    environments: dict[str, VecEnvState | None]


def all_callbacks(root: BaseCallback) -> list[BaseCallback]:
    """
    :param root: The callback that ``learn`` runs
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


def environments_of_callbacks(root: BaseCallback) -> Iterator[VecEnv]:
    """
    :param root: The callback that ``learn`` runs
    :return: the environments that it and the callbacks in it step themselves
    """
    for callback in all_callbacks(root):
        yield from _own_environments(callback).values()


def capture_callbacks(root: BaseCallback) -> list[CallbackState]:
    """
    :param root: The callback that ``learn`` runs
    :return: the states of all callbacks; they share memory with them
    """
    return [
        CallbackState(
            capture_layer(callback),
            # Unchecked: before the first evaluation nothing could be checked, and there is nothing to lose either.
            {name: capture_environments(env, unchecked=True) for name, env in _own_environments(callback).items()},
        )
        for callback in _kept(all_callbacks(root), _kind)
    ]


def restore_callbacks(root: BaseCallback, states: list[CallbackState]) -> list[str]:
    """
    :param root: The callback that ``learn`` runs
    :param states: What ``capture_callbacks`` returned
    :return: what could not be restored
    :raises ValueError: they are other callbacks
    """
    callbacks = _kept(all_callbacks(root), _kind)
    states = _kept(states, _kind_before)  # an earlier version kept the bar
    kinds, before = [_kind(callback) for callback in callbacks], [_kind_before(state) for state in states]
    if kinds != before:
        raise ValueError(
            f"The checkpoint was made with the callbacks {', '.join(before)}; learn() was given {', '.join(kinds)}: "
            "pass the same ones in the same order."
        )
    faults = []
    for callback, state in zip(callbacks, states, strict=True):
        restore_layer(callback, state.layer)
        own: dict[str, Any] = _own_environments(callback)
        for name, kept in state.environments.items():
            lost = ["it had not been stepped"] if kept is None else restore_environments(own[name], kept)
            faults += [f"{type(callback).__name__}.{name}, {fault}" for fault in lost]
    return faults


def _kind(callback: BaseCallback) -> str:
    return type(callback).__name__


def _kind_before(state: CallbackState) -> str:
    return current_name(state.layer.kind).rpartition(".")[2]


def _kept(all_of_them: list[T], kind: Callable[[T], str]) -> list[T]:
    """Without a progress bar, which ``learn(progress_bar=True)`` puts into a list beside the callback: a training may
    go on with another choice."""
    if [kind(one) for one in all_of_them[:3:2]] == ["CallbackList", "ProgressBarCallback"]:
        return [all_of_them[1], *all_of_them[3:]]
    return all_of_them


def _own_environments(callback: BaseCallback) -> dict[str, VecEnv]:
    return {name: value for name, value in vars(callback).items() if isinstance(value, VecEnv)}
