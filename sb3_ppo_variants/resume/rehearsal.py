"""An environment's layers, and a second environment that is put into their state to see whether it is the same."""

import pickle
import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor

from sb3_ppo_variants.resume.layers import Layer, capture_layer, dumps, has_protocol, is_code, restore_layer
from sb3_ppo_variants.resume.random_states import RandomStates, restore_random_states


class Event(NamedTuple):
    """
    What an environment was told, and what it returned.

    :param kind: ``"step"`` or ``"reset"``
    :param given: The action, or the arguments
    :param returned: Observation, reward and ends, or the observation
    :param random: The process's random state before it
    """

    kind: str
    given: Any
    returned: Any
    random: RandomStates


class CannotCheck(Exception):  # noqa: N818 (it is no error)
    """
    No twin can be made.

    :param why: Why not
    :param trusted: Whether the state is kept by a protocol of the environment's own
    """

    def __init__(self, why: str, trusted: bool = False):
        super().__init__(why)
        self.trusted = trusted


def chain(env: gym.Env) -> list[gym.Env]:
    """
    :param env: An environment
    :return: it and what it wraps, from outside inwards
    """
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def capture(env: gym.Env) -> bytes:
    """
    :param env: An environment
    :return: its layers, pickled together, for they may share objects
    """
    return dumps([capture_layer(layer) for layer in chain(env)])


def restore(env: gym.Env, pickled: bytes) -> None:
    """
    :param env: An environment made as the one that was captured
    :param pickled: What ``capture`` returned
    """
    for thing, layer in zip(chain(env), pickle.loads(pickled), strict=True):
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


def follows(twin: gym.Env, events: list[Event], with_random: bool = False) -> bool:
    """
    :param twin: An environment in the state from which the events began
    :param events: What another was told since
    :param with_random: Give the process the random state that it had before each of them; it is left so
    :return: whether it returns the same, bit for bit
    """
    for event in events:
        given = deepcopy(event.given)
        if with_random:
            restore_random_states(event.random)
        if not same(event.returned, twin.step(given)[:4] if event.kind == "step" else twin.reset(**given)[0]):
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


def twin_of(env: gym.Env, pickled: bytes) -> gym.Env:
    """
    :param env: An environment
    :param pickled: What ``capture`` returned for it
    :return: another of the same make, to be put into a state by ``restore``; shares nothing with it but functions
    :raises CannotCheck: there is no way to make one
    """
    layers: list[Layer] = pickle.loads(pickled)
    things = chain(env)
    twin = _twin_of_base(things[-1], layers[-1])
    for thing, layer in reversed(list(zip(things, layers, strict=True))[:-1]):
        outer: Any = _bare(thing, layer)
        outer.env, twin = twin, outer
    return twin


def _twin_of_base(base: gym.Env, layer: Layer) -> gym.Env:
    if base.spec is None:
        return _bare(base, layer)
    try:
        return _bare(base, layer)
    except CannotCheck:
        drawn = {"render_mode": None} if "render_mode" in base.spec.kwargs else {}
        with warnings.catch_warnings():
            # The user has seen them when the environment was made.
            warnings.simplefilter("ignore")
            return gym.make(base.spec, **drawn).unwrapped


def _bare(thing: gym.Env, layer: Layer) -> gym.Env:
    """Without attributes, but for functions: those that are kept have still to be put in."""
    name = type(thing).__name__
    if has_protocol(thing):
        raise CannotCheck(f"no second {name} can be made", trusted=True)
    twin = object.__new__(type(thing))
    # A monitor's file is the original's.
    files = {"results_writer"} if isinstance(thing, Monitor) else set()
    for attribute in set(layer.left) - files:
        if not is_code(vars(thing)[attribute]):
            raise CannotCheck(
                f"{name}.{attribute} cannot be copied, and no second {name} could be made to check anything on: give "
                f"ResumableEnv(env, make=...), or {name} the methods get_checkpoint_state and set_checkpoint_state"
            )
        vars(twin)[attribute] = vars(thing)[attribute]
    vars(twin).update(dict.fromkeys(files))
    return twin
