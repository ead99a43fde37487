"""Settings of an algorithm: checked in the constructor, read once per update where they are coefficients."""

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import update_learning_rate
from typing_extensions import Self

from sb3_ppo_variants.algorithms.arguments import (
    declared_names,
    full_docstring,
    reject_unknown_arguments,
    visible_signature,
)
from sb3_ppo_variants.algorithms.coefficient_checks import coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient, Reading, kl_adaptive_rate, parse_coefficient
from sb3_ppo_variants.checks import Check, choice, instance, integer, number, optional, plain_number
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.objectives.adaptive_kl import AdaptEvery
from sb3_ppo_variants.policies import ReferencePolicy
from sb3_ppo_variants.rollouts.originals import replaced_method
from sb3_ppo_variants.safe_files.settings import attribute_of


class ConfigurableAlgorithm(OnPolicyAlgorithm):
    """
    An on-policy algorithm that checks its settings.

    A class lists the check of each of its arguments in ``checks``, and the arguments that may be schedules in
    ``coefficients``. Its constructor stores its own arguments and passes the rest on.

    A coefficient is an attribute like any other: a number, a schedule, or a string that is parsed when it is first
    needed. Each update begins by reading and checking all of them once, and ``current`` returns what it has read.
    """

    batch_size: int | None
    normalize_advantage: Any
    learning_rate_vf: Coefficient | None
    #: Whether minibatches are only for the critic (TRPO), which needs no advantages.
    uses_batch_for_critic_only: ClassVar[bool] = False

    #: The settings that may be schedules, in the order in which an update reads them.
    coefficients: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "learning_rate_vf",
        "ent_coef",
        "vf_coef",
        "kl_coef",
        "reference_kl_coef",
    )

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
        "max_grad_norm": optional(number(above=0, infinite=True, hint="Pass None to switch gradient clipping off.")),
        "use_sde": choice(True, False),
        "use_masking": choice(True, False),
        "sequence_length": optional(integer(at_least=1, hint="8 to 32 is fast; None for sb3-contrib's minibatches.")),
        "refresh_states": choice(True, False),
        "reference_policy": optional(
            instance(
                (BaseAlgorithm, BasePolicy, ReferencePolicy, str, os.PathLike), "a model, a policy, or a file's path"
            )
        ),
        "reference_kl_coef": coefficient(at_least=0, hint="0 only measures the KL to the reference_policy."),
        "reference_kl_direction": choice("ref_new", "new_ref"),
        "adaptive_reference_kl_target": optional(
            number(above=0, hint="Usual targets are 0.01 to 0.1; None keeps reference_kl_coef fixed.")
        ),
        "critic_warmup": integer(at_least=0, hint="0 trains the policy from the first update on."),
        "sde_sample_freq": number(at_least=-1, infinite=True, hint="-1 draws once a rollout."),
        "seed": optional(
            integer(at_least=0, at_most=2**32 - 1, hint="Pass None for a run that is not to be repeated.")
        ),
        "bootstrap_truncated": choice(True, False),
        "measure_kl": choice(True, False, None),
        "update_backend": choice("auto", "autograd", "closed_form", "compiled"),
        "nonfinite_update": choice("raise", "skip"),
        "stats_window_size": integer(at_least=1),
        "verbose": instance((Real,), "0, 1 or 2"),
        "policy_kwargs": optional(instance((Mapping,), "a dictionary of the policy's arguments")),
        "rollout_buffer_kwargs": optional(instance((Mapping,), "a dictionary of the buffer's arguments")),
        "tensorboard_log": optional(instance((str, os.PathLike), "a folder, or None for no TensorBoard")),
    }

    _readings: Mapping[str, Reading] = {}
    _scheduled_learning_rate: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        algorithms = (base for base in cls.__mro__[1:] if issubclass(base, OnPolicyAlgorithm))
        parent = next(base for base in algorithms if "__init__" in vars(base))
        if "__init__" in vars(cls):
            cls.__signature__ = visible_signature(cls, parent)  # type: ignore[attr-defined]
        if hasattr(cls, "__signature__") and cls.__doc__ is not None:
            cls.__doc__ = full_docstring(cls, parent)

    def __new__(cls, *_args: Any, **kwargs: Any) -> Self:
        # Before any constructor runs: a name that one of them sets itself, such as gae_lambda in REINFORCE, would not
        # reach the shared one. A subclass with unannotated ** may use them freely.
        if declared_names(cls.__init__) is not None:
            reject_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    def _check_settings(self) -> None:
        """Reject arguments that are out of range or contradict each other. Subclasses add their own rules."""
        for name, check in self.checks.items():
            attribute = attribute_of(name)
            value = plain_number(getattr(self, attribute))
            check(name, value)
            setattr(self, attribute, value)
        self._check_minibatches()

    def _check_minibatches(self) -> None:
        """Reject sizes that contradict each other, or the normalisation of advantages."""
        if self.normalize_advantage and self.n_steps * self.n_envs < 2:
            raise ValueError(
                f"n_steps={self.n_steps} with {self.n_envs} environment gives a rollout of one row, whose advantage "
                "cannot be normalised: raise n_steps or pass normalize_advantage=False."
            )
        per_minibatch = self.normalize_advantage and self.normalize_advantage != "rollout"
        if self.batch_size == 1 and per_minibatch and not self.uses_batch_for_critic_only:
            raise ValueError(
                "batch_size=1 leaves no advantages to normalise with: it must be >= 2, or pass "
                'normalize_advantage="rollout" or False.'
            )

        length = getattr(self, "sequence_length", None)
        if length is not None and self.batch_size is not None and self.batch_size % length != 0:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of sequence_length={length}: minibatches consist of "
                f"whole sequences. Pass {max(round(self.batch_size / length), 1) * length}, or None for the whole "
                "rollout."
            )

    def _short_minibatch(self) -> str | None:
        """A warning if the last minibatch of an epoch is smaller than ``batch_size``."""
        n_rows = self.n_steps * self.n_envs
        if self.batch_size is None or n_rows % self.batch_size == 0:
            return None
        rollout = f"the rollout of n_steps * n_envs = {n_rows} rows"
        if self.batch_size > n_rows:
            return (
                f"batch_size={self.batch_size} is larger than {rollout}: each epoch is one minibatch of {n_rows}. Pass "
                "None if the whole rollout is meant."
            )
        return (
            f"batch_size={self.batch_size} does not divide {rollout}: after {n_rows // self.batch_size} full "
            f"minibatches comes one of {n_rows % self.batch_size}. A batch_size that is a factor of n_steps * n_envs "
            "avoids it."
        )

    def _setup_model(self) -> None:
        self._parse_coefficients()
        super()._setup_model()

    def _setup_lr_schedule(self) -> None:
        super()._setup_lr_schedule()
        self._scheduled_learning_rate = self.learning_rate

    def _parse_coefficients(self) -> None:
        """Replace each string among the coefficients by the schedule that it stands for (see ``parse_coefficient``)."""
        for name in self.coefficients:
            setattr(self, name, parse_coefficient(name, getattr(self, name)))

    def _coefficient(self, name: str) -> float | Schedule:
        """A coefficient as it now stands, parsed."""
        given = getattr(self, name)
        if isinstance(given, str | np.generic | np.ndarray | th.Tensor):
            setattr(self, name, parse_coefficient(name, plain_number(given)))
        value: float | Schedule | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{name} is None: assign a number or a schedule.")
        if name != "learning_rate":
            return value
        # SB3 makes the schedule once; a learning rate assigned since then (by a callback) would go unnoticed.
        if value is not self._scheduled_learning_rate:
            self._setup_lr_schedule()
        return self.lr_schedule

    def current(self, name: str) -> float:
        """
        :param name: A coefficient
        :return: its value in the present update; between updates, at the present progress
        :raises ValueError: it is ``None``
        """
        value, progress = self._coefficient(name), self._current_progress_remaining
        reading = self._readings.get(name)
        if reading is None or reading.coefficient is not value or reading.progress != progress:
            # Kept: an update whose subclass sets the learning rate in another way reads each schedule once, too.
            reading = Reading.of(value, progress)
            self._readings = {**self._readings, name: reading}
        return reading.value

    def _read_coefficients(self) -> float:
        """
        Read what the coming update needs, before it changes anything.

        :return: the learning rate for the log
        :raises NonFiniteError: a coefficient is NaN or Inf
        :raises ValueError: a coefficient is out of its range
        """
        # SB3 reads the learning rate twice, for the log and for the optimiser: a schedule that keeps a state of its own
        # (a counter, a random draw) gets the same calls here.
        logged = self._checked_reading("learning_rate")
        names = [name for name in self.coefficients if getattr(self, name) is not None]
        self._readings = {name: self._checked_reading(name) for name in names}
        return logged.value

    def _checked_reading(self, name: str) -> Reading:
        reading = Reading.of(self._coefficient(name), self._current_progress_remaining)
        try:
            self.checks.get(name, coefficient())(name, reading)
        except ValueError as error:
            message = (
                f"{error} That is its value at num_timesteps={self.num_timesteps}, remaining progress "
                f"{reading.progress:.4g}; the update that would have used it has not begun. Correct the schedule, or "
                "what was assigned."
            )
            if math.isfinite(reading.value):
                raise ValueError(message) from None
            raise NonFiniteError(message, "coefficient", None, self.num_timesteps) from None
        return reading

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        # Every update begins here.
        if replaced_method(BaseAlgorithm, ("_update_learning_rate",)):
            super()._update_learning_rate(optimizers)
            return
        try:
            logged_rate = self._read_coefficients()
        except ValueError:
            if self._current_progress_remaining >= 0:
                raise
            # The last rollout may end after the total. SB3 reads schedules there all the same; where one leaves its
            # range only there (p * 3e-4 turns negative), all of them are read at the end.
            self._current_progress_remaining = 0.0
            logged_rate = self._read_coefficients()
        if self.learning_rate_vf is not None and len(self.policy.optimizer.param_groups) < 2:
            raise ValueError(
                f"learning_rate_vf={self.learning_rate_vf!r} was assigned to a model made without one, whose optimiser "
                "has a single group: pass it to the constructor."
            )
        self.logger.record("train/learning_rate", logged_rate)
        self._set_learning_rates(optimizers if isinstance(optimizers, list) else [optimizers])
        if self.learning_rate_vf is not None:
            self.logger.record("train/learning_rate_vf", self.current("learning_rate_vf"))

    def _set_learning_rates(self, optimizers: list[th.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            update_learning_rate(optimizer, self.current("learning_rate"))
        if self.learning_rate_vf is not None:
            # The optimiser's second group holds what only the critic uses.
            self.policy.optimizer.param_groups[1]["lr"] = self.current("learning_rate_vf")

    def _rate_follows_kl(self, every: AdaptEvery) -> bool:
        rate = kl_adaptive_rate(self.learning_rate)
        return rate is not None and rate.every == every

    def _adapt_learning_rate(self, kl: float) -> None:
        """Put into force the rate that follows from a KL."""
        rate = kl_adaptive_rate(self.learning_rate)
        assert rate is not None
        self.learning_rate = rate.after(kl)
        self._setup_lr_schedule()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_readings"]
