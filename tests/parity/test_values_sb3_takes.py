"""Values that SB3's PPO takes and an update can use are taken; a user's callable is called as SB3 calls it."""

from collections import ChainMap, UserDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants import ClipPPO
from tests.parity.comparing import make_env
from tests.parity.test_what_users_replace import SETTINGS, assert_same_as_sb3


class Scaled(RolloutBuffer):
    def __init__(self, *args: Any, scale: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scale = scale


VALUES: list[dict[str, Any]] = [
    {"verbose": True}, {"verbose": np.bool_(False)}, {"verbose": -1}, {"verbose": np.array(0)},
    {"n_steps": np.array(16)}, {"n_steps": np.int64(16)}, {"n_steps": np.uint8(16)},
    {"batch_size": np.array(16)}, {"batch_size": th.tensor(16)}, {"batch_size": np.uint8(16)},
    {"n_epochs": np.array(2)}, {"n_epochs": th.tensor(2)},
    {"gamma": np.float32(0.9)}, {"gae_lambda": np.array(0.9)},
    {"ent_coef": th.tensor(0.01)}, {"vf_coef": th.tensor(0.25)},
    {"max_grad_norm": np.array(0.3)}, {"max_grad_norm": th.tensor(0.3)}, {"max_grad_norm": Decimal("0.25")},
    {"max_grad_norm": float("inf")}, {"target_kl": float("inf")}, {"target_kl": np.array(0.001)},
    {"normalize_advantage": 1}, {"normalize_advantage": 0}, {"normalize_advantage": np.bool_(False)},
    {"use_sde": 1}, {"use_sde": np.bool_(True), "sde_sample_freq": np.array(4)},
    {"use_sde": True, "sde_sample_freq": 4.0},
    {"policy_kwargs": MappingProxyType({"net_arch": [8]})}, {"policy_kwargs": UserDict(net_arch=(8, 4))},
    {"policy_kwargs": ChainMap({"net_arch": {"pi": (8,), "vf": [np.int64(4)]}})},
    {"rollout_buffer_class": Scaled, "rollout_buffer_kwargs": MappingProxyType({"scale": 2.0})},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(VALUES)), ids=lambda number: f"{number}-{next(iter(VALUES[number]))}")
def test_values_that_sb3_takes(number: int) -> None:
    assert_same_as_sb3(make_env, lambda *_: None, **VALUES[number])


@pytest.mark.parametrize("value", [np.float32(0.1), np.array(0.1), th.tensor(0.1), Fraction(1, 10), Decimal("0.1")])
def test_every_kind_of_number_is_a_coefficient(value: Any) -> None:
    """SB3 refuses these: more is taken here, and stored as Python's own number."""
    settings = {"learning_rate": value, "clip_range": value, "clip_range_vf": value, "gamma": value, "vf_coef": value}
    model = ClipPPO("MlpPolicy", make_env(), **SETTINGS | settings).learn(32)
    assert type(model.learning_rate) is float
    assert model.clip_range(1.0) == pytest.approx(0.1)


SCHEDULED = {"learning_rate": 1e-3, "clip_range": 0.1, "clip_range_vf": 0.2}
KINDS: dict[str, Callable[[float], Any]] = {
    "float": float, "array": np.array, "float32": np.float32, "tensor": th.tensor, "Fraction": Fraction,
    "Decimal": Decimal, "str": str, "tensor of one number": lambda value: th.tensor([value]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_return_what_they_like_and_are_called_as_sb3_calls_them(kind: str) -> None:
    """From the constructor on: as often, in the same order, with the same arguments."""

    def calls_of(algorithm: type, **extra: Any) -> tuple[list[Any], Any]:
        calls: list[Any] = []

        def schedule(name: str) -> Callable[[Any], Any]:
            return lambda progress: calls.append((name, progress, type(progress))) or KINDS[kind](SCHEDULED[name])

        schedules = {name: schedule(name) for name in SCHEDULED}
        model = algorithm("MlpPolicy", make_env(), **SETTINGS | schedules | extra).learn(20)
        return calls, model

    theirs, model = calls_of(PPO)
    for backend in ("auto", "autograd"):
        ours, our_model = calls_of(ClipPPO, update_backend=backend)
        assert ours == theirs
        for one, other in zip(our_model.policy.parameters(), model.policy.parameters(), strict=True):
            th.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_a_schedule_that_counts_its_calls() -> None:
    """SB3 logs the learning rate of its first call in an update, and steps with that of its second."""
    logged = []
    for algorithm in (PPO, ClipPPO):
        calls: list[float] = []
        model = algorithm(
            "MlpPolicy",
            make_env(),
            **SETTINGS | {"learning_rate": lambda progress, calls=calls: calls.append(progress) or 1e-3 * len(calls)},
        ).learn(48)
        logged.append((model.logger.name_to_value["train/learning_rate"], calls))
    assert logged[0] == logged[1]


def test_a_schedule_need_not_know_the_start() -> None:
    """SB3 first reads the clip range after a rollout, when some of the training has passed."""
    assert_same_as_sb3(make_env, lambda *_: None, clip_range=lambda progress: {True: 0.2}[progress < 1])


def test_a_subclass_that_sets_the_learning_rate_itself_reads_other_schedules_once() -> None:
    calls: list[float] = []

    class Mine(ClipPPO):
        def _update_learning_rate(self, optimizers: Any) -> None:
            pass

    schedule = {"clip_range": lambda progress: calls.append(progress) or 0.2}
    Mine("MlpPolicy", make_env(), **SETTINGS | schedule).learn(32)
    assert calls == [0.5, 0.0]


def test_a_schedule_out_of_range_is_named_where_it_is_first_used() -> None:
    model = ClipPPO("MlpPolicy", make_env(), **SETTINGS | {"clip_range": lambda progress: -progress})
    with pytest.raises(ValueError, match=r"clip_range=-0.5 is out of range"):
        model.learn(32)
