"""Saving and loading: checked overrides, files of other classes, and the safe format."""

import copy
import difflib
import inspect
import io
import logging
import pathlib
from collections import deque
from collections.abc import Collection, Mapping
from functools import cache
from os import PathLike
from typing import Any

import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv, TensorDict
from typing_extensions import Self

from sb3_ppo_variants.algorithms.arguments import reject_unknown_arguments
from sb3_ppo_variants.algorithms.coefficients import parse_coefficient
from sb3_ppo_variants.algorithms.configurable import ConfigurableAlgorithm
from sb3_ppo_variants.checks import plain_number
from sb3_ppo_variants.safe_files.loading import load_safe
from sb3_ppo_variants.safe_files.saving import save_safe
from sb3_ppo_variants.safe_files.settings import SafeAlgorithm, argument_names, attribute_of

#: Settings that TRPO and the other classes both have, with different meanings.
_TRPO_ONLY_MEANINGS = {"target_kl", "learning_rate", "batch_size", "max_grad_norm"}


@cache
def _say_that_zips_run_code() -> None:
    # Not a warning: a script under -W error has done nothing wrong.
    logging.getLogger("sb3_ppo_variants").warning(
        "load() reads SB3's zip format, which can run code: load only files that you trust. save_safe() and "
        "load_safe() use a format that cannot. (Said once.)"
    )


#: Zips loaded for a function or command that itself says whose files to give it.
announced_zips: set[pathlib.Path] = set()


def _is_of_unknown_origin(path: str | pathlib.Path | io.BufferedIOBase) -> bool:
    """Whether a zip exists, and nobody has said that it is to be trusted."""
    if not isinstance(path, str | pathlib.Path):
        return True
    given = pathlib.Path(path)
    file = next((p for p in (given, given.with_name(f"{given.name}.zip")) if p.is_file()), None)
    return file is not None and file not in announced_zips


def refuse_another_policy(model: BaseAlgorithm, policy: str | type[BasePolicy] | None) -> None:
    """Refuse a policy given to ``load`` that is not the file's: weights fit only the policy that has them.

    :param model: The model from the file
    :param policy: The policy that was given; ``None``: none was
    :raises ValueError: it is another one
    """
    wanted = model._get_policy_from_name(policy) if isinstance(policy, str) else policy
    if wanted not in (None, model.policy_class):
        raise ValueError(
            f"policy={policy!r}: the file has a policy of the class {model.policy_class.__name__}, which loading "
            "does not change. Leave policy out, or make a new model with it."
        )


def settings_not_adopted(cls: type[SafeAlgorithm], saved_by: str) -> set[str]:
    """
    The settings that a class takes from its own defaults although a file of another class may have them.

    Policy, optimiser, spaces, counters and every argument that means the same in both classes are adopted. Three kinds
    of settings are not: the KL coefficient, which may have adapted to another purpose; what the class has no argument
    for; and, to and from TRPO, the settings that mean something else there.

    :param cls: The class that loads
    :param saved_by: The class that saved: a name in ``family``, or ``"PPO"`` for SB3's
    :return: names of settings
    """
    writers: dict[str, type] = {"PPO": PPO, **cls.family}
    if saved_by not in writers or saved_by == cls.family_name:
        return set()
    own, theirs = set(argument_names(cls)), set(inspect.signature(writers[saved_by]).parameters)
    adopted = (own & theirs) - {"kl_coef"}
    if "TRPO" in (saved_by, cls.family_name):
        adopted -= _TRPO_ONLY_MEANINGS
    return (own | theirs) - adopted


def _arguments_of_all(cls: type[SafeAlgorithm]) -> set[str]:
    kinds: list[type] = [PPO, *cls.family.values()]
    return {name for kind in kinds for name in inspect.signature(kind).parameters}


class LoadableAlgorithm(ConfigurableAlgorithm, SafeAlgorithm):
    """
    An algorithm that loads files of its own class, of the others and of SB3's ``PPO``.

    Files name the class that saved them. A class gives this name when it is defined:
    ``class ClipPPO(SurrogatePPO, family_name="ClipPPO")``. Subclasses of it inherit the name.
    """

    def __init_subclass__(cls, family_name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family_name is not None:
            cls.family_name = family_name
            cls.family[family_name] = cls

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """
        Load a model saved by this class, by another of this package, or by SB3's ``PPO``.

        Load only files that you trust: SB3's zip holds pickled objects, and loading one runs whatever code its author
        has put there. ``load_safe`` reads files that cannot do that.

        A file of another class gives policy, optimiser, spaces, counters, and the settings that mean the same in both
        classes. The other settings are this class's defaults (see ``settings_not_adopted``).

        :param path: The zip
        :param env: Environment in which training continues
        :param device: Where to load to
        :param custom_objects: Replacements for objects that cannot be unpickled
        :param print_system_info: Show versions
        :param force_reset: Reset the environment before training goes on
        :param kwargs: Settings to change; arguments of the constructor are checked as the constructor checks them
        :return: the model
        :raises ValueError: a setting to change is out of its range, or ``policy`` or ``use_masking`` contradicts the
            file's policy
        :raises TypeError: a setting to change is of the wrong type, or its name is a misspelt argument
        """
        if _is_of_unknown_origin(path):
            _say_that_zips_run_code()
        given = cls._checked_overrides(kwargs)
        policy = given.pop("policy", None)
        model = super().load(
            path,
            env,
            device,
            custom_objects,
            print_system_info,
            force_reset,
            **{attribute_of(name): value for name, value in given.items()},
            _given_to_load=frozenset(given),
        )
        refuse_another_policy(model, policy)
        if model.use_masking and not given.get("use_masking", True):
            raise ValueError(
                "load(use_masking=False): the file's policy takes masks. learn(use_masking=False) trains it without "
                "asking the environments for them."
            )
        return model

    def save_safe(self, path: str | PathLike[str], exclude: Collection[str] = ()) -> pathlib.Path:
        """
        Save the model without pickle: weights and optimiser state as safetensors, everything else as JSON.

        The file is written completely or not at all. It holds what ``save`` keeps of a model except
        ``tensorboard_log``, which belongs to the machine.

        The statistics of a ``VecNormalize`` belong to the environment, so neither format holds them. Its own ``save``
        is a pickle.

        :param path: The file; ``.safetensors`` is added where there is no suffix
        :param exclude: Arguments to leave out, such as a schedule that is a function of your own; they are given to
            ``load_safe`` again
        :return: the file
        :raises ValueError: an argument is code (named, with the remedy), or a parameter is not finite
        """
        self._parse_coefficients()
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
        Load a file that ``save_safe`` has written. The file may come from anybody: nothing is unpickled, none of its
        content is run, and memory is allocated only for the data that it holds.

        The model predicts and trains on exactly as one that went through ``save`` and ``load``. A file of another class
        is treated as in ``load``.

        :param path: The file
        :param env: Environment in which training continues
        :param device: Where to load to
        :param policy_class: The policy's class, if it is one of your own
        :param kwargs: Arguments of the constructor that replace the file's: what was left out of it
            (``learning_rate``, ``policy_kwargs``, ``rollout_buffer_class``, …), or is to change; ``policy_kwargs``
            cannot
        :return: the model
        :raises ValueError: the file is damaged or forged, or of another kind, or was made with other
            ``policy_kwargs``; the message says what is wrong
        :raises TypeError: an argument that the constructor does not have
        """
        known = argument_names(cls)
        reject_unknown_arguments(cls, [name for name in kwargs if name not in known])
        given = cls._checked_overrides(kwargs)
        policy = given.pop("policy", None)
        model = load_safe(cls, path, env, device, policy_class, given)
        refuse_another_policy(model, policy)
        return model

    @classmethod
    def _checked_overrides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        # SB3 writes these into the model unseen, past the constructor, and any attribute may be named. A name is
        # therefore refused only if it is an argument of another class, or nearly, but not quite, one of this class.
        arguments = argument_names(cls)
        plain = {n: plain_number(v) if n in cls.checks else v for n, v in overrides.items()}
        parsed = {n: parse_coefficient(n, v) if n in cls.coefficients else v for n, v in plain.items()}
        # As the constructor reads it.
        parsed |= {n: {} for n in ("policy_kwargs", "rollout_buffer_kwargs") if n in parsed and parsed[n] is None}
        for name, value in parsed.items():
            if name not in arguments and (
                name in _arguments_of_all(cls) or difflib.get_close_matches(name, arguments, n=1, cutoff=0.8)
            ):
                reject_unknown_arguments(cls, [name])
            if name in cls.checks:
                cls.checks[name](name, value)
        return parsed

    def _setup_model(self) -> None:
        given: frozenset[str] | None = vars(self).pop("_given_to_load", None)
        if given is not None:
            self._restore_defaults(given)
            if "stats_window_size" in given:
                self._cut_windows()
        self._saved_by = self.family_name
        super()._setup_model()

    def _restore_defaults(self, given: frozenset[str]) -> None:
        """Replace with this class's defaults what came from a file but is not adopted."""
        state = vars(self)
        saved_by = state.get("_saved_by", self._saver_of(state))
        replaced = settings_not_adopted(type(self), saved_by)
        if "_saved_by" not in state and state.get("max_grad_norm") == 0:
            # sb3-contrib's TRPO saves a 0 that it never uses. Here it would scale every gradient of the critic to 0.
            replaced.add("max_grad_norm")
        if not replaced:
            return
        defaults = vars(type(self)(policy=self.policy_class, env=None, device=self.device, _init_setup_model=False))
        for name in replaced - given:
            if name in defaults:
                state[name] = defaults[name]
            else:
                state.pop(name, None)

    def _cut_windows(self) -> None:
        """Windows of episodes that came with a file are of its size, and stay so as long as training goes on."""
        for name in ("ep_info_buffer", "ep_success_buffer"):
            if getattr(self, name, None) is not None:
                setattr(self, name, deque(getattr(self, name), maxlen=self._stats_window_size))

    def _saver_of(self, state: Mapping[str, Any]) -> str:
        """SB3's and sb3-contrib's own files do not say who saved them: this class's arguments and the file's do."""
        if "cg_damping" in state and self.family_name != "TRPO":
            return "TRPO"
        # A clip_range that was a function may have been lost on the way from another version of Python.
        return "PPO" if state.keys() & {"clip_range", "n_epochs"} else self.family_name

    def set_parameters(
        self, load_path_or_dict: str | TensorDict, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """
        As in SB3, except that the model never shares memory with the dictionary (there, Adam's moments of two models
        become one after ``a.set_parameters(b.get_parameters())``).

        :param load_path_or_dict: A saved model, or what ``get_parameters`` returns
        :param exact_match: Whether every parameter has to be there
        :param device: Where to load to
        :raises ValueError: the optimiser's state and the model's optimiser have different numbers of parameter groups
        """
        if isinstance(load_path_or_dict, dict):
            # torch copies no tensor that has an autograd history.
            states = [state for state in load_path_or_dict.values() if isinstance(state, dict)]
            tensors = [value for state in states for value in state.values() if isinstance(value, th.Tensor)]
            parameters = copy.deepcopy(load_path_or_dict, {id(t): t.detach().clone() for t in tensors if not t.is_leaf})
        else:
            parameters = load_from_zip_file(load_path_or_dict, device=device, load_data=False)[1]
        state: Any = parameters.get("policy.optimizer")
        theirs = len(state["param_groups"]) if state else 0
        ours = len(self.policy.optimizer.param_groups)
        if state and theirs != ours:
            raise ValueError(
                f"The optimiser's state has {theirs} parameter groups and this model's optimiser has {ours}: "
                "learning_rate_vf cannot be changed by load or set_parameters. Load without it, or make a new "
                'model with it and pass only "policy" to set_parameters, with exact_match=False.'
            )
        super().set_parameters(parameters, exact_match, device)
