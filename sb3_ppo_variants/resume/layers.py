"""What is kept of one object: an environment, one of its wrappers, a callback.

By its own protocol if its class has one (``get_checkpoint_state()`` returns something that can be pickled,
``set_checkpoint_state(state)`` takes it back), otherwise its attributes, as far as they can be pickled.
"""

import importlib
import io
import pickle
import time
import types
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

# A copy of one of these would be another thing than what the attribute is there to reach.
_LIVE = (gym.Env, VecEnv, BaseAlgorithm, BaseCallback, Logger, ResultsWriter, th.nn.Module, th.optim.Optimizer)
# What ties a layer to others, and what it was made from.
_LINKS: tuple[tuple[type, set[str]], ...] = (
    (gym.Wrapper, {"env", "spec", "_cached_spec"}),
    (gym.Env, {"spec"}),
    (VecEnv, {"venv", "class_attributes"}),
    (BaseCallback, {"model", "locals", "globals", "parent"}),
)


class Layer(NamedTuple):
    """
    What is kept of one object.

    :param kind: Its class, for the check when it is put back
    :param own: What its own protocol returned
    :param attributes: Without a protocol: the attributes that can be kept
    :param left: The names of those that cannot
    :param simulators: Pickled MuJoCo data by attribute
    :param seconds: Since a Monitor's start
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
    :return: whether its class says itself what is to be kept of it
    """
    return hasattr(type(thing), "get_checkpoint_state") and hasattr(type(thing), "set_checkpoint_state")


def capture_layer(thing: Any) -> Layer:
    """
    :param thing: An environment, a wrapper, a callback
    :return: what is kept of it; still shares memory with it, so pickle it at once (``dumps``)
    """
    kind = _kind(thing)
    if has_protocol(thing):
        return Layer(kind, own=thing.get_checkpoint_state())
    present = {name: value for name, value in vars(thing).items() if name not in _links(thing)}
    kept = {name: value for name, value in present.items() if can_be_kept(value)}
    simulators = {name: pickle.dumps(value) for name, value in present.items() if _is_simulator(value)}
    timed = isinstance(thing, Monitor | VecMonitor)
    return Layer(
        kind,
        attributes=kept,
        left=tuple(present.keys() - kept.keys()),
        simulators=simulators,
        seconds=time.time() - thing.t_start if timed else 0.0,
        file=_written(thing.results_writer) if timed else None,
    )


def restore_layer(thing: Any, layer: Layer) -> None:
    """
    :param thing: An object made as the one that was captured
    :param layer: What was kept of it, not shared with any other object
    :raises ValueError: it is of another class
    """
    if _kind(thing) != layer.kind:
        raise ValueError(f"The checkpoint holds the state of {layer.kind} where there is {_kind(thing)} now.")
    if layer.attributes is None:
        thing.set_checkpoint_state(layer.own)
        return
    for name in vars(thing).keys() - layer.attributes.keys() - set(layer.left) - _links(thing):
        delattr(thing, name)
    put_attributes(thing, layer.attributes)
    for name, data in (layer.simulators or {}).items():
        _restore_simulator(thing, name, data)
    if isinstance(thing, Monitor | VecMonitor):
        thing.t_start = time.time() - layer.seconds
        writer = getattr(thing, "results_writer", None)
        if writer is not None and layer.file is not None:
            rewrite(writer.file_handler, layer.file)


def rewrite(file: Any, text: str) -> None:
    """
    :param file: An open text file
    :param text: What it is to hold
    """
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def dumps(thing: Any) -> bytes:
    """
    :param thing: What is to be kept
    :return: pickled
    :raises Exception: whatever pickling raises; ``PicklingError`` for what reaches into a live object
    """
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(thing)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, _LIVE) or _package(thing) == "mujoco":
            raise pickle.PicklingError(f"{type(thing).__name__} is not copied")
        return NotImplemented


def can_be_kept(value: Any) -> bool:
    """
    :param value: An attribute
    :return: whether it pickles, and does not reach into a live object
    """
    try:
        dumps(value)
    except Exception:  # pickling runs the __reduce__ of whatever it meets
        return False
    return True


def is_code(value: Any) -> bool:
    """
    :param value: An attribute
    :return: whether it is a function, which two objects may share
    """
    return isinstance(value, types.FunctionType | types.BuiltinFunctionType | type)


def put_attributes(thing: Any, attributes: dict[str, Any]) -> None:
    """
    :param thing: An object
    :param attributes: What it is given; spaces keep their identity, for models, environments and wrappers share them
    """
    for name, value in attributes.items():
        present = vars(thing).get(name)
        if isinstance(value, spaces.Space) and type(present) is type(value):
            vars(present).update(vars(value))
        else:
            vars(thing)[name] = value


def _links(thing: Any) -> set[str]:
    return next((names for kind, names in _LINKS if isinstance(thing, kind)), set())


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _package(thing: Any) -> str:
    return type(thing).__module__.partition(".")[0]


def _written(writer: ResultsWriter | None) -> str | None:
    if writer is None:
        return None
    writer.file_handler.flush()
    return Path(writer.file_handler.name).read_text()


# ---- MuJoCo ----


def _is_simulator(value: Any) -> bool:
    return type(value).__name__ == "MjData" and _package(value) == "mujoco"


def _restore_simulator(thing: Any, name: str, data: bytes) -> None:
    mujoco = importlib.import_module("mujoco")
    models = [value for value in vars(thing).values() if isinstance(value, mujoco.MjModel)]
    # All of it and not only mj_setState's integration state: Ant and Humanoid compute their next reward from positions
    # that were derived in the last substep.
    mujoco.mj_copyData(vars(thing)[name], models[0], pickle.loads(data))
