"""Coefficients as an update reads them: checked each time, before anything is changed."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from tests.algorithms.models import ALGORITHMS, make, parameters_of
from tests.nonfinite.faulty import BACKENDS, Remember
from tests.parity.comparing import assert_same_tensors, make_env

#: Coefficients that only some classes read.
PARTICULAR = {
    "clip_range": (ClipPPO,),
    "clip_range_high": (ClipPPO,),
    "clip_range_vf": (ClipPPO, KLPenaltyPPO, UnclippedPPO),
    "kl_coef": (ClipPPO, KLPenaltyPPO),
    "vf_coef": (ClipPPO, KLPenaltyPPO, UnclippedPPO, REINFORCE),
    "learning_rate": ALGORITHMS,
    "learning_rate_vf": ALGORITHMS,
    "ent_coef": ALGORITHMS,
}
CASES = [(algorithm, name) for name, algorithms in PARTICULAR.items() for algorithm in algorithms]


def then(value: float) -> Callable[[float], float]:
    """A schedule for the first of two updates, and what it turns into for the second."""
    return lambda progress: 0.01 if progress > 0.4 else value


def stops_before_the_second_update(model: Any) -> ValueError:
    remember = Remember()
    with pytest.raises(ValueError, match="is out of range") as caught:
        model.learn(3 * 64, remember)
    assert model.num_timesteps == 128
    assert_same_tensors(model.get_parameters(), remember.kept, "untouched")
    return caught.value


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001])
@pytest.mark.parametrize(("algorithm", "name"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_a_schedule_that_leaves_its_range_is_named_before_the_update(algorithm, name, value, backend) -> None:
    more = {"adaptive_kl_target": None} if (algorithm, name) == (KLPenaltyPPO, "kl_coef") else {}
    fault = stops_before_the_second_update(make(algorithm, update_backend=backend, **{name: then(value)}, **more))
    assert str(fault).startswith(f"{name}={value} is out of range: it must be finite and >= 0")
    assert "num_timesteps=128, remaining progress 0.3333" in str(fault)
    assert "Correct the schedule" in str(fault)
    assert isinstance(fault, NonFiniteError) == (not np.isfinite(value))


def test_an_upper_bound_holds_too() -> None:
    fault = stops_before_the_second_update(make(TRPO, learning_rate=then(2.0)))
    assert "learning_rate=2.0 is out of range: it must be finite and >= 0 and <= 1" in str(fault)


def test_it_is_no_update_to_skip() -> None:
    """It would be skipped to the end: nothing about a schedule mends itself."""
    fault = stops_before_the_second_update(make(ClipPPO, nonfinite_update="skip", learning_rate=then(np.nan)))
    assert isinstance(fault, NonFiniteError)
    assert fault.what == "coefficient"


@pytest.mark.parametrize("name", ["learning_rate", "clip_range", "ent_coef"])
def test_what_was_assigned_is_checked_too(name) -> None:
    class Assign(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 100:
                setattr(self.model, name, float("nan"))
            return True

    model = make(ClipPPO)
    with pytest.raises(NonFiniteError, match=rf"^{name}=nan is out of range"):
        model.learn(192, Assign())
    assert np.isfinite(parameters_of(model)).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_a_schedule_may_end_at_zero(algorithm) -> None:
    settings: dict[str, Any] = {"learning_rate": "lin_0.001", "ent_coef": "lin_0.01"}
    if algorithm is ClipPPO:
        settings |= {"clip_range": "lin_0.2", "clip_range_vf": "lin_0.2", "kl_coef": "lin_1"}
    model = make(algorithm, **settings).learn(128)
    assert model.current("learning_rate") == 0.0
    assert np.isfinite(parameters_of(model)).all()


def calls_of_schedules(algorithm: type, **extra: Any) -> list[tuple[str, float]]:
    """Which schedules a training calls, and at what progress."""
    calls: list[tuple[str, float]] = []

    def recorded(name: str, value: float) -> Callable[[float], float]:
        return lambda progress: calls.append((name, progress)) or value

    names = ("clip_range_vf", "clip_range", "learning_rate")
    model = algorithm("MlpPolicy", make_env(), n_steps=64, **{name: recorded(name, 0.01) for name in names}, **extra)
    calls.clear()
    model.learn(128)
    return calls


@pytest.mark.parametrize("backend", BACKENDS)
def test_schedules_are_called_as_sb3_calls_them(backend) -> None:
    """As often, in the same order: a schedule may count its calls or draw random numbers."""
    theirs = calls_of_schedules(PPO)
    assert len(theirs) == 8
    assert calls_of_schedules(ClipPPO, update_backend=backend) == theirs


def test_a_string_that_is_assigned_is_parsed_once() -> None:
    model = make(ClipPPO)
    model.ent_coef = "lin_0.5"
    assert model.current("ent_coef") == 0.5
    parsed = model.ent_coef
    assert isinstance(parsed, LinearSchedule)
    model.learn(64)
    assert model.ent_coef is parsed


def test_an_assignment_counts_at_once() -> None:
    model = make(ClipPPO).learn(64)
    model.clip_range, model.learning_rate = 0.3, "lin_0.5"
    assert model.current("clip_range") == 0.3
    assert model.current("learning_rate") == 0.0  # the training has ended
    model.clip_range = None
    with pytest.raises(ValueError, match="clip_range is None: assign a number or a schedule"):
        model.current("clip_range")


class KeepEach(BaseCallback):
    """The parameters at the end of every rollout, so before its update."""

    def _on_training_start(self) -> None:
        self.kept: list[np.ndarray] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.kept.append(copy.deepcopy(parameters_of(self.model)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_past_the_total_a_schedule_stays_at_its_end(backend) -> None:
    """Two rollouts of 64 for a total of 100: the second update is at progress -0.28, where this rate is negative."""
    watch = KeepEach()
    model = make(ClipPPO, update_backend=backend, learning_rate=lambda progress: 0.01 * progress).learn(100, watch)
    assert model.logger.name_to_value["train/learning_rate"] == 0.0
    np.testing.assert_array_equal(parameters_of(model), watch.kept[1])
    assert not np.array_equal(watch.kept[1], watch.kept[0])


def test_past_the_total_a_schedule_within_its_range_is_read_as_sb3_reads_it() -> None:
    settings = {"n_steps": 64, "n_epochs": 1, "seed": 3, "learning_rate": lambda progress: 0.01 + 0.001 * progress}
    theirs = PPO("MlpPolicy", make_env(), **settings).learn(100)
    ours = ClipPPO("MlpPolicy", make_env(), ent_coef=0.0, update_backend="autograd", **settings).learn(100)
    np.testing.assert_array_equal(parameters_of(ours), parameters_of(theirs))
