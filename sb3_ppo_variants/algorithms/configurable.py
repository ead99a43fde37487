"""Settings: arguments that are written down once, checked on entry, and may be schedules."""

import copy
import difflib
import inspect
import io
import logging
import math
import os
import pathlib
import sys
import warnings
from functools import cache
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, Schedule, TensorDict
from typing_extensions import Self

from sb3_ppo_variants.algorithms.adoption import adopt
from sb3_ppo_variants.algorithms.checks import (
    Check,
    Reading,
    choice,
    coefficient,
    instance,
    integer,
    number,
    optional,
)
from sb3_ppo_variants.algorithms.schedules import Coefficient, current_value, parse_coefficient
from sb3_ppo_variants.algorithms.signature import composed_signature, reject_unknown_arguments
from sb3_ppo_variants.nonfinite.error import NonFiniteError

#: What holds for a coefficient that a class sets itself, and so does not check as an argument.
_ANY_COEFFICIENT = coefficient()


def _levels_to_the_user() -> int:
    """How many frames above the caller the first one outside this package is, for a warning that shows its line."""
    levels, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("sb3_ppo_variants."):
        levels, frame = levels + 1, frame.f_back
    return levels


@cache
def _say_that_zips_run_code() -> None:
    # Not a warning: a script under -W error has done nothing wrong.
    logging.getLogger("sb3_ppo_variants").warning(
        "load() reads SB3's zip format, which can run code: load only files that you trust. save_safe() and "
        "load_safe() use a format that cannot. (Said once.)"
    )


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("sb3_ppo_variants.")


class ConfigurableAlgorithm(OnPolicyAlgorithm):
    """
    An on-policy algorithm that knows what its arguments may be.

    A class lists what each of its arguments has to satisfy in ``checks``, and those that may be schedules in
    ``coefficients``; its constructor sets its own arguments and passes the rest on.
    """

    batch_size: int | None
    normalize_advantage: Any
    learning_rate_vf: Coefficient | None
    update_backend: str
    #: Whether minibatches are only for the critic (TRPO), which needs no advantages.
    uses_batch_for_critic_only: ClassVar[bool] = False

    #: The settings that may be schedules.
    coefficients: ClassVar[tuple[str, ...]] = ("learning_rate", "learning_rate_vf", "ent_coef", "vf_coef", "kl_coef")

    #: What each argument has to satisfy.
    checks: ClassVar[dict[str, Check]] = {
        "learning_rate": coefficient(above=0, at_most=1, hint="Adam's usual range is 1e-5 to 1e-2."),
        "learning_rate_vf": optional(coefficient(above=0, at_most=1, hint="Pass None to use learning_rate.")),
        "n_steps": integer(at_least=1),
        "batch_size": optional(integer(at_least=1, hint="Pass None for the whole rollout.")),
        "gamma": number(at_least=0, at_most=1),
        "gae_lambda": number(at_least=0, at_most=1),
        "normalize_advantage": choice(True, False, "rollout"),
        "ent_coef": coefficient(at_least=0, hint="0 switches the entropy bonus off."),
        "vf_coef": coefficient(at_least=0),
        "max_grad_norm": optional(number(above=0, hint="Pass None to switch gradient clipping off.")),
        "use_sde": choice(True, False),
        "sde_sample_freq": integer(at_least=-1, hint="-1 draws once a rollout."),
        "seed": optional(
            integer(at_least=0, at_most=2**32 - 1, hint="Pass None for a run that is not to be repeated.")
        ),
        "bootstrap_truncated": choice(True, False),
        "measure_kl": choice(True, False, None),
        "update_backend": choice("auto", "autograd", "closed_form"),
        "nonfinite_update": choice("raise", "skip"),
    }

    #: What those have to satisfy that SB3 uses before it has stored them, or stores under another name.
    sb3_checks: ClassVar[dict[str, Check]] = {
        "stats_window_size": integer(at_least=1),
        "verbose": integer(at_least=0),
        "policy_kwargs": optional(instance((dict,), "a dictionary of the policy's arguments")),
        "rollout_buffer_kwargs": optional(instance((dict,), "a dictionary of the buffer's arguments")),
        "tensorboard_log": optional(instance((str, os.PathLike), "a folder, or None for no TensorBoard")),
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Arguments are written down once, in the class that owns them; help() and rl_zoo3 see them all.
        if "__init__" in cls.__dict__:
            parent = next(base for base in cls.__mro__[1:] if issubclass(base, OnPolicyAlgorithm))
            cls.__signature__ = composed_signature(cls, parent)  # type: ignore[attr-defined]

    def __new__(cls, *_args: Any, **kwargs: Any) -> Self:
        # Here and not in the constructor, which a wrong name may never reach. A user's own subclass does with its
        # arguments what it likes.
        if _is_ours(cls):
            reject_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    def _check_for_sb3(self, **arguments: Any) -> None:
        """Reject arguments that SB3's constructor would stumble over."""
        for name, value in arguments.items():
            self.sb3_checks[name](name, value)

    def _check_settings(self) -> None:
        """Reject arguments that are wrong by themselves (``checks``) or together. Subclasses add their own."""
        for name, check in self.checks.items():
            check(name, getattr(self, name))
        if self.normalize_advantage and self.n_steps * self.n_envs < 2:
            raise ValueError(
                f"n_steps={self.n_steps} with {self.n_envs} environment gives a rollout of one row, whose advantage "
                "cannot be normalised: raise n_steps or pass normalize_advantage=False."
            )
        self._check_batch_size()

    def _check_batch_size(self) -> None:
        if self.batch_size is None:
            return
        if self.batch_size == 1 and self.normalize_advantage is True and not self.uses_batch_for_critic_only:
            raise ValueError(
                "batch_size=1 leaves no advantages to normalise with: it must be >= 2, or pass "
                'normalize_advantage="rollout" or False.'
            )
        n_rows = self.n_steps * self.n_envs
        if n_rows % self.batch_size == 0:
            return
        if self.batch_size > n_rows:
            short = (
                "is larger than",
                f"each epoch is one minibatch of {n_rows}. Pass None if the whole rollout is meant.",
            )
        else:
            short = (
                "does not divide",
                (
                    f"after {n_rows // self.batch_size} full minibatches comes one of {n_rows % self.batch_size}. A "
                    "batch_size that is a factor of n_steps * n_envs avoids it."
                ),
            )
        warnings.warn(
            f"batch_size={self.batch_size} {short[0]} the rollout of n_steps * n_envs = {n_rows} rows: {short[1]}",
            stacklevel=_levels_to_the_user(),
        )

    def current(self, name: str) -> float:
        """
        :param name: A setting that may be a schedule
        :return: its value at the present progress
        """
        schedule = self._applied_learning_rate() if name == "learning_rate" else getattr(self, name)
        return current_value(name, schedule, self._current_progress_remaining)

    def _check_coefficients(self) -> None:
        """
        Check what the coming update will read from schedules, before it changes anything.

        :raises NonFiniteError: a coefficient is NaN or Inf
        :raises ValueError: a coefficient is out of its range
        """
        fault = self._coefficient_fault()
        if fault is not None and self._current_progress_remaining < 0:
            # The last rollout may end after the total. SB3 reads schedules there all the same; where one leaves its
            # range only there (p * 3e-4 turns negative), all of them are read at the end.
            self._current_progress_remaining = 0.0
            fault = self._coefficient_fault()
        if fault is not None:
            raise fault

    def _coefficient_fault(self) -> ValueError | None:
        for name in self.coefficients:
            if getattr(self, name) is None:
                continue
            value = Reading(self.current(name))
            try:
                self.checks.get(name, _ANY_COEFFICIENT)(name, value)
            except ValueError as error:
                return self._refused_coefficient(value, str(error))
        return None

    def _refused_coefficient(self, value: float, reason: str) -> ValueError:
        message = (
            f"{reason} That is its value at num_timesteps={self.num_timesteps}, remaining progress "
            f"{self._current_progress_remaining:.4g}; the update that would have used it has not begun. Correct the "
            "schedule, or what was assigned."
        )
        if math.isfinite(value):
            return ValueError(message)
        return NonFiniteError(message, "coefficient", None, self.num_timesteps)

    def _setup_model(self) -> None:
        adopt(self)
        for name in self.coefficients:
            setattr(self, name, parse_coefficient(name, getattr(self, name)))
        super()._setup_model()

    def _setup_lr_schedule(self) -> None:
        super()._setup_lr_schedule()
        self._scheduled_learning_rate = self.learning_rate

    def _applied_learning_rate(self) -> Schedule:
        # SB3 reads learning_rate once; an assignment made since then (a callback's) would go unnoticed.
        if self.learning_rate is not self._scheduled_learning_rate:
            learning_rate: Any = parse_coefficient("learning_rate", self.learning_rate)
            self.learning_rate = learning_rate
            self._setup_lr_schedule()
        return self.lr_schedule

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        # Every update begins here.
        self._check_coefficients()
        super()._update_learning_rate(optimizers)
        if self.learning_rate_vf is not None and len(self.policy.optimizer.param_groups) < 2:
            raise ValueError(
                f"learning_rate_vf={self.learning_rate_vf!r} was assigned to a model made without one, whose optimiser "
                "has a single group: pass it to the constructor."
            )
        if self.learning_rate_vf is not None:
            # The optimiser's second group; SB3 has just given both the same rate.
            rate = self.current("learning_rate_vf")
            self.policy.optimizer.param_groups[1]["lr"] = rate
            self.logger.record("train/learning_rate_vf", rate)

    def set_parameters(
        self, load_path_or_dict: str | TensorDict, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """
        As in SB3, except that the model never shares memory with the dictionary (there, Adam's moments of two models
        become one after ``a.set_parameters(b.get_parameters())``).

        :param load_path_or_dict: A saved model, or what ``get_parameters`` returns
        :param exact_match: Whether every parameter has to be there
        :param device: Where to load to
        """
        if isinstance(load_path_or_dict, dict):
            load_path_or_dict = copy.deepcopy(load_path_or_dict)
        super().set_parameters(load_path_or_dict, exact_match, device)

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
        Load a model saved by this class, by another of the family, or by SB3's ``PPO``.

        For files that you trust: SB3's zip holds pickled objects, and loading one runs whatever code its author has put
        there. ``load_safe`` reads files that cannot do that.

        From another class's file come policy, optimiser, spaces, counters, and the settings that mean the same in
        both; the rest are this class's defaults (see ``settings_not_adopted``).

        :param path: The zip
        :param env: An environment to go on training in
        :param device: Where to load to
        :param custom_objects: Replacements for objects that cannot be unpickled
        :param print_system_info: Show versions
        :param force_reset: Reset the environment before training goes on
        :param kwargs: Settings to change; those that the constructor takes are checked as it checks them
        :return: the model
        """
        _say_that_zips_run_code()
        overrides = cls._checked_overrides(kwargs)
        try:
            return super().load(
                path,
                env,
                device,
                custom_objects,
                print_system_info,
                force_reset,
                **overrides,
                _given_to_load=frozenset(overrides),
            )
        except ValueError as error:
            if "learning_rate_vf" in overrides and "parameter group" in str(error):
                raise ValueError(
                    "learning_rate_vf cannot be changed by load: the file's optimiser has another number of parameter "
                    "groups. Load without it, or make a new model with it and use set_parameters for the policy."
                ) from error
            raise

    @classmethod
    def _checked_overrides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        # SB3 writes these into the model unseen, past the constructor; any attribute may be named. So a name is only
        # refused if it is nearly, but not quite, an argument.
        arguments = list(inspect.signature(cls).parameters)
        every_check = cls.sb3_checks | cls.checks
        parsed = {n: parse_coefficient(n, v) if n in cls.coefficients else v for n, v in overrides.items()}
        for name, value in parsed.items():
            if name in every_check:
                every_check[name](name, value)
            elif name not in arguments and difflib.get_close_matches(name, arguments, n=1, cutoff=0.8):
                reject_unknown_arguments(cls, [name])
        return parsed
