"""The state of one object: an environment, one of its wrappers, a callback.

A class with the protocol decides itself what is kept: ``get_checkpoint_state()`` returns an object that can be pickled,
``set_checkpoint_state(state)`` takes it back. Of every other object, the attributes that can be pickled are kept.
"""

import importlib
import pickle
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from sb3_ppo_variants.resume.pickles import can_be_kept, current_name, is_mujoco_object

# Attributes that lead to other objects, or say how the object was made.
_LINKS: tuple[tuple[type, set[str]], ...] = (
    (gym.Wrapper, {"env", "spec", "_cached_spec"}),
    (gym.Env, {"spec"}),
    (VecEnv, {"venv", "class_attributes"}),
    (BaseCallback, {"model", "locals", "globals", "parent"}),
)


class Layer(NamedTuple):
    """
    The state of one object.

    :param kind: Qualified name of its class, checked when the state is restored
    :param own: What the protocol returned
    :param attributes: Without the protocol: the attributes that can be kept
    :param left: The names of those that cannot
    :param simulators: Pickled MuJoCo data by attribute
    :param seconds: Seconds since a Monitor's start
    :param file: The text of a Monitor's CSV file
    """

    kind: str
    own: Any = None
    attributes: dict[str, Any] | None = None
    left: tuple[str, ...] = ()
    simulators: dict[str, bytes] | None = None
    seconds: float = 0.0
    file: str | None = None


def has_protocol(thing: Any) -> bool:
    """
    :param thing: An environment, a wrapper, a callback
    :return: whether its class has both methods of the protocol
    """
    return hasattr(type(thing), "get_checkpoint_state") and hasattr(type(thing), "set_checkpoint_state")


def capture_layer(thing: Any) -> Layer:
    """
    :param thing: An environment, a wrapper, a callback
    :return: its state; shares memory with it, so pickle it at once (``dumps``)
    """
    kind = _kind(thing)
    if has_protocol(thing):
        return Layer(kind, own=thing.get_checkpoint_state())
    present = {name: value for name, value in vars(thing).items() if name not in links_of(thing)}
    kept = {name: value for name, value in present.items() if can_be_kept(value)}
    simulators = {name: pickle.dumps(value) for name, value in present.items() if _is_simulator(value)}
    timed = isinstance(thing, Monitor | VecMonitor)
    return Layer(
        kind,
        attributes=kept,
        left=tuple(present.keys() - kept.keys()),
        simulators=simulators,
        seconds=time.time() - thing.t_start if timed else 0.0,
        file=written(thing.results_writer.file_handler) if timed and thing.results_writer else None,
    )


def restore_layer(thing: Any, layer: Layer) -> None:
    """
    :param thing: An object made in the same way as the captured one
    :param layer: The state; no other object may share memory with it
    :raises ValueError: the object is of another class
    """
    if _kind(thing) != current_name(layer.kind):
        raise ValueError(f"The checkpoint holds the state of {layer.kind} where there is {_kind(thing)} now.")
    if layer.attributes is None:
        thing.set_checkpoint_state(layer.own)
        return
    for name in vars(thing).keys() - layer.attributes.keys() - set(layer.left) - links_of(thing):
        delattr(thing, name)
    put_attributes(thing, layer.attributes)
    for name, data in (layer.simulators or {}).items():
        _restore_simulator(thing, name, data)
    if isinstance(thing, Monitor | VecMonitor):
        thing.t_start = time.time() - layer.seconds
        writer = getattr(thing, "results_writer", None)
        if writer is not None and layer.file is not None:
            rewrite(writer.file_handler, layer.file)


def written(file: Any) -> str:
    """
    :param file: An open text file
    :return: its contents, with the line ends that it has
    """
    file.flush()
    return Path(file.name).read_bytes().decode(file.encoding)


def rewrite(file: Any, text: str) -> None:
    """
    :param file: An open text file
    :param text: Its new contents
    """
    file.seek(0)
    file.truncate()
    file.flush()
    file.buffer.write(text.encode(file.encoding))
    file.flush()


def put_attributes(thing: Any, attributes: dict[str, Any]) -> None:
    """
    :param thing: An object
    :param attributes: Its new attributes. Spaces are updated in place, because models, environments and wrappers share
        them
    """
    for name, value in attributes.items():
        present = vars(thing).get(name)
        if isinstance(value, spaces.Space) and type(present) is type(value):
            vars(present).update(vars(value))
        else:
            vars(thing)[name] = value


def links_of(thing: Any) -> set[str]:
    """
    :param thing: An environment, a wrapper, a callback
    :return: the attributes that lead to other objects, or say how it was made
    """
    return next((names for kind, names in _LINKS if isinstance(thing, kind)), set())


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


# ---- MuJoCo ----


def _is_simulator(value: Any) -> bool:
    return is_mujoco_object(value) and type(value).__name__ == "MjData"


def _restore_simulator(thing: Any, name: str, data: bytes) -> None:
    mujoco = importlib.import_module("mujoco")
    models = [value for value in vars(thing).values() if isinstance(value, mujoco.MjModel)]
    # The whole data, not only mj_setState's integration state: Ant and Humanoid compute their next reward from
    # positions that were derived in the last substep.
    mujoco.mj_copyData(vars(thing)[name], models[0], pickle.loads(data))
