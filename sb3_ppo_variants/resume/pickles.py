"""Pickles of checkpoints: what never goes into one, and where the classes that older ones name are now."""

import io
import pickle
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import VecEnv

_OF_CHECKPOINTS = (
    "box2d.NewWorldEachEpisode",
    "callback.ResumableCheckpointCallback",
    "callback_states.CallbackState",
    "environments.VecEnvState",
    "layers.Layer",
    "logs.LogState",
    "random_states.RandomStates",
    "resumable_env.EnvState",
    "snapshot.Snapshot",
)
#: The classes of this package that checkpoints name: qualified name in older files → qualified name now. When a class
#: moves again, its present name becomes a further key, and all of its values change. No key is ever removed.
MOVED = {f"sb3_ppo_variants.checkpoints.{name}": f"sb3_ppo_variants.resume.{name}" for name in _OF_CHECKPOINTS} | {
    "sb3_ppo_variants.experiments.run.CurvePoint": "sb3_ppo_variants.experiments.runs.run.CurvePoint",
    "sb3_ppo_variants.experiments.run.Recorder": "sb3_ppo_variants.experiments.runs.run.Recorder",
}

# A copy of one of these would not be the object that the attribute is there to reach.
_LIVE = (gym.Env, VecEnv, BaseAlgorithm, BaseCallback, Logger, ResultsWriter, th.nn.Module, th.optim.Optimizer)


def current_name(name: str) -> str:
    """
    :param name: Qualified name of a class, as a checkpoint has it
    :return: its qualified name now
    """
    return MOVED.get(name, name)


def is_mujoco_object(value: Any) -> bool:
    """
    :param value: Anything
    :return: whether its class is MuJoCo's; asked by the name of the module, because MuJoCo may not be installed
    """
    return type(value).__module__.partition(".")[0] == "mujoco"


def dumps(thing: Any) -> bytes:
    """
    :param thing: The object to pickle
    :return: the pickle
    :raises Exception: whatever pickling raises; ``PicklingError`` for an object that reaches a live one (an
        environment, a model, a network, a logger, MuJoCo's objects)
    """
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(thing)
    return file.getvalue()


def loads(pickled: bytes) -> Any:
    """
    :param pickled: What ``dumps`` returned, in this version or an earlier one
    :return: the object; unpickling it runs code of whoever wrote it
    """
    return _Unpickler(io.BytesIO(pickled)).load()


def can_be_kept(value: Any) -> bool:
    """
    :param value: An attribute
    :return: whether ``dumps`` takes it
    """
    try:
        dumps(value)
    except Exception:  # pickling runs the __reduce__ of whatever it meets
        return False
    return True


class _Pickler(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, _LIVE) or is_mujoco_object(thing):
            raise pickle.PicklingError(f"{type(thing).__name__} is not copied")
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        moved = MOVED.get(f"{module}.{name}")
        if moved is not None:
            module, _, name = moved.rpartition(".")
        return super().find_class(module, name)
