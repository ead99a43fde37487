"""An environment's layers, and a second environment that is put into their state to see whether it behaves the same."""

import types
import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor

from sb3_ppo_variants.resume.layers import Layer, capture_layer, has_protocol, restore_layer
from sb3_ppo_variants.resume.pickles import dumps, loads
from sb3_ppo_variants.resume.random_states import RandomStates, restore_random_states


class Event(NamedTuple):
    """
    One call of an environment and its result.

    :param kind: ``"step"`` or ``"reset"``
    :param given: The action, or the arguments of the reset
    :param returned: Observation, reward, terminated and truncated, or the observation
    :param random: The process's random states before the call
    """

    kind: str
    given: Any
    returned: Any
    random: RandomStates


class CannotCheck(Exception):  # noqa: N818 (it is no error)
    """
    No second environment can be made.

    :param why: The reason
    :param trusted: Whether the environment has the protocol of ``layers``, whose state is kept unchecked
    """

    def __init__(self, why: str, trusted: bool = False):
        super().__init__(why)
        self.trusted = trusted


def chain(env: gym.Env) -> list[gym.Env]:
    """
    :param env: An environment
    :return: it and the environments that it wraps, from outside inwards
    """
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def capture(env: gym.Env) -> bytes:
    """
    :param env: An environment
    :return: its layers in one pickle, because they may share objects
    """
    return dumps([capture_layer(layer) for layer in chain(env)])


def restore(env: gym.Env, pickled: bytes) -> None:
    """
    :param env: An environment made in the same way as the captured one
    :param pickled: What ``capture`` returned
    """
    for thing, layer in zip(chain(env), loads(pickled), strict=True):
        restore_layer(thing, layer)


def replay(env: gym.Env, reset: dict[str, Any], actions: Any) -> Any:
    """
    :param env: An environment as it was before a reset
    :param reset: The arguments of the reset
    :param actions: The actions since
    :return: the last observation
    """
    observation, _ = env.reset(**deepcopy(reset))
    for action in actions:
        observation = env.step(deepcopy(action))[0]
    return observation


def follows(second: gym.Env, events: list[Event], with_random: bool = False) -> bool:
    """
    :param second: An environment in the state in which the first one was before the events
    :param events: The calls of the first one since
    :param with_random: Restore the process's random states before each call; those after the last one are left
    :return: whether it returns the same, bit for bit
    """
    for event in events:
        given = deepcopy(event.given)
        if with_random:
            restore_random_states(event.random)
        if not same(event.returned, second.step(given)[:4] if event.kind == "step" else second.reset(**given)[0]):
            return False
    return True


def same(a: Any, b: Any) -> bool:
    """
    :param a: Numbers, arrays, or dictionaries and sequences of them
    :param b: Others
    :return: whether they are equal to the bit
    """
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.hasobject or a.dtype != b.dtype or a.shape != b.shape:
        return type(a) is type(b) and bool(np.array_equal(a, b))
    return bool(a.tobytes() == b.tobytes())


def second_of(env: gym.Env, pickled: bytes) -> gym.Env:
    """
    Make a second environment without its attributes, which ``restore`` puts in.

    :param env: An environment
    :param pickled: What ``capture`` returned for it
    :return: one of the same classes, which shares nothing with it but functions
    :raises CannotCheck: there is no way to make one
    """
    layers: list[Layer] = loads(pickled)
    things = chain(env)
    second = _second_base(things[-1], layers[-1])
    for thing, layer in reversed(list(zip(things, layers, strict=True))[:-1]):
        outer: Any = _bare(thing, layer)
        outer.env, second = second, outer
    return second


def _second_base(base: gym.Env, layer: Layer) -> gym.Env:
    try:
        return _bare(base, layer)
    except CannotCheck:
        if base.spec is None:
            raise
        undrawn = {"render_mode": None} if "render_mode" in base.spec.kwargs else {}
        with warnings.catch_warnings():
            # The user saw them when the environment was made.
            warnings.simplefilter("ignore")
            return gym.make(base.spec, **undrawn).unwrapped


def _bare(thing: gym.Env, layer: Layer) -> gym.Env:
    """An object of the same class with no attributes but functions: those that are kept are put in by ``restore``."""
    name = type(thing).__name__
    if has_protocol(thing):
        raise CannotCheck(f"no second {name} can be made", trusted=True)
    second = object.__new__(type(thing))
    # A monitor's file belongs to the first environment.
    files = {"results_writer"} if isinstance(thing, Monitor) else set()
    for attribute in set(layer.left) - files:
        value = vars(thing)[attribute]
        if not isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
            raise CannotCheck(
                f"{name}.{attribute} cannot be copied, and no second {name} could be made to check anything on: give "
                f"ResumableEnv(env, make=...), or {name} the methods get_checkpoint_state and set_checkpoint_state"
            )
        vars(second)[attribute] = value
    vars(second).update(dict.fromkeys(files))
    return second
