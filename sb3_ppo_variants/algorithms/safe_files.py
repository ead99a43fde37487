"""Saving and loading without pickle."""

import inspect
import pathlib
from collections.abc import Collection
from os import PathLike
from typing import Any

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Self

from sb3_ppo_variants.algorithms.adoption import family_members, family_name
from sb3_ppo_variants.algorithms.configurable import ConfigurableAlgorithm
from sb3_ppo_variants.algorithms.schedules import parse_coefficient
from sb3_ppo_variants.algorithms.signature import reject_unknown_arguments
from sb3_ppo_variants.safe_files.loading import load_safe
from sb3_ppo_variants.safe_files.saving import save_safe
from sb3_ppo_variants.safe_files.settings import SafeAlgorithm


class SafeFiles(ConfigurableAlgorithm, SafeAlgorithm):
    """
    An algorithm that can be written to a file which holds nothing but numbers and names.

    SB3's own ``save`` and ``load`` are there too. Their zip holds pickled objects, and loading one runs whatever code
    its author has put there.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.family_name = family_name(cls)

    def save_safe(self, path: str | PathLike[str], exclude: Collection[str] = ()) -> pathlib.Path:
        """
        Save the model without pickle: weights and optimiser state as safetensors, all else as JSON beside them.

        The file is written in full or not at all, and holds what ``save`` keeps of a model except
        ``tensorboard_log``, which belongs to the machine.

        The statistics of a ``VecNormalize`` belong to the environment and are in neither; its own ``save`` is a pickle.

        :param path: The file; ``.safetensors`` is added where there is no suffix
        :param exclude: Arguments to leave out, such as a schedule that is a function of your own; they are given to
            ``load_safe`` again
        :return: the file
        :raises ValueError: an argument is code (named, with the remedy), or a parameter is not finite
        """
        for name in self.coefficients:
            setattr(self, name, parse_coefficient(name, getattr(self, name)))
        return save_safe(self, path, exclude)

    @classmethod
    def load_safe(
        cls,
        path: str | PathLike[str],
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        policy_class: type[ActorCriticPolicy] | None = None,
        **kwargs: Any,
    ) -> Self:
        """
        Load what ``save_safe`` has written, whoever wrote it: nothing is unpickled, no code of the file's is run, and
        memory is taken only for what the file brings.

        The model predicts and trains on as one that went through ``save`` and ``load``. A file of another class of the
        family is taken over as by ``load``.

        :param path: The file
        :param env: An environment to go on training in
        :param device: Where to load to
        :param policy_class: The policy's class, if it is one of your own
        :param kwargs: Arguments of the constructor that take the place of the file's: what was left out of it
            (``learning_rate``, ``policy_kwargs``, ``rollout_buffer_class``, …), or is to change
        :return: the model
        :raises ValueError: the file is damaged or forged, or of another kind; what is wrong is named
        """
        if not set(kwargs) <= set(inspect.signature(cls).parameters):
            reject_unknown_arguments(cls, kwargs)
        return load_safe(cls, path, env, device, policy_class, cls._checked_overrides(kwargs), family_members())
