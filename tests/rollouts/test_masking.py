"""Masks that no policy can act on are refused with environment and step, and environments without masks at once."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from sb3_ppo_variants import ClipPPO
from tests.environments import MaskedWalk, RandomWalk

SETTINGS: dict[str, Any] = {
    "n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu", "use_masking": True
}  # fmt: skip
BAD_STEP = 19


class Faulty(MaskedWalk):
    """Changes its mask at one step of its training, counted from 0."""

    def __init__(self, fault: Callable[[np.ndarray], Any], actions: str = "discrete", at: int = BAD_STEP):
        super().__init__(actions=actions)
        self.fault, self.at, self.total_steps = fault, at, 0

    def step(self, action: Any) -> Any:
        self.total_steps += 1
        return super().step(action)

    def action_masks(self) -> Any:
        return self.fault(self.masks) if self.total_steps == self.at else self.masks


def train_on(fault: Callable[[np.ndarray], Any], actions: str = "discrete", **settings: Any) -> ClipPPO:
    kind = settings.pop("kind", DummyVecEnv)
    env = kind([lambda: MaskedWalk(actions=actions), lambda: Faulty(fault, actions)])
    try:
        return ClipPPO("MlpPolicy", env, **SETTINGS | settings).learn(64)
    finally:
        env.close()


FAULTS: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "too short": (lambda mask: mask[:-1], r"has the shape \(2,\) .*: its action space needs \(3,\), one entry per"),
    "too long": (lambda mask: np.r_[mask, mask], r"has the shape \(6,\)"),
    "forgotten": (lambda mask: None, r"has the shape \(\)"),
    "one dimension too many": (lambda mask: mask[None], r"has the shape \(1, 3\)"),
    "probabilities": (lambda mask: mask * 0.5, r"is array\(.*its entries have to be booleans, or zeros and ones"),
    "not a number": (lambda mask: mask * np.nan, r"is array\(\[nan"),
    "words": (lambda mask: mask.astype(str), r"is .*its entries have to be booleans"),
    "objects": (lambda mask: mask.astype(object), r"is .*its entries have to be booleans"),
    "signs": (lambda mask: np.where(mask, 1, -1), r"is .*its entries have to be booleans"),
    "nothing": (lambda mask: mask & False, r"allows no action \(.*\[False False False\].*at least one"),
    "nothing, in zeros": (lambda mask: mask * 0, r"allows no action \(.*\[0 0 0\]"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_a_faulty_mask_is_named_with_environment_and_step(name: str, update_backend: str) -> None:
    fault, says = FAULTS[name]
    with pytest.raises(ValueError, match=f"^The action mask of environment 1 {says}") as caught:
        train_on(fault, update_backend=update_backend)
    # The second rollout has begun with step 16.
    assert f"num_timesteps={2 * BAD_STEP}, step {BAD_STEP - 16} of the rollout" in str(caught.value)


@pytest.mark.parametrize("actions", ["multi_discrete", "multi_binary"])
def test_each_choice_needs_an_action(actions: str) -> None:
    def forbid_the_last_choice(mask: np.ndarray) -> np.ndarray:
        return np.r_[mask[:-2], False, False]

    with pytest.raises(ValueError, match="environment 1 allows no action for one of the choices"):
        train_on(forbid_the_last_choice, actions)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_faulty_mask_from_another_process() -> None:
    with pytest.raises(ValueError, match=r"environment 1 allows no action \(num_timesteps=38, step 3"):
        train_on(lambda mask: mask & False, kind=lambda makers: SubprocVecEnv(makers, start_method="fork"))


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "integers": lambda mask: mask.astype(np.int8),
    "floats": lambda mask: mask.astype(np.float64),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_masks_may_be_lists_and_numbers(form: str, update_backend: str) -> None:
    class Own(MaskedWalk):
        def action_masks(self) -> Any:
            return FORMS[form](self.masks)

    results = []
    for kind in (MaskedWalk, Own):
        env = DummyVecEnv([kind, kind])
        model = ClipPPO("MlpPolicy", env, **SETTINGS, update_backend=update_backend).learn(64)
        results.append(np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()]))
        assert sum(env.get_attr("n_invalid")) == 0
    np.testing.assert_array_equal(*results)


def test_an_error_of_the_environments_own_is_not_hidden() -> None:
    def fail(mask: np.ndarray) -> Any:
        raise ValueError("a bug of my own")

    with pytest.raises(ValueError, match="a bug of my own"):
        train_on(fail)


def fork(makers: list[Callable[[], gym.Env]]) -> VecEnv:
    return SubprocVecEnv(makers, start_method="fork")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [DummyVecEnv, fork])
def test_an_environment_without_masks_is_named(kind: Callable[..., VecEnv]) -> None:
    env = VecNormalize(kind([MaskedWalk, lambda: RandomWalk(actions="discrete")]))
    model = ClipPPO("MlpPolicy", env, **SETTINGS)
    with pytest.raises(ValueError, match=r"environment 1 of this (Dummy|Subproc)VecEnv has no such method at step 0"):
        model.learn(32)
    model.learn(32, use_masking=False)
    assert model.num_timesteps == 32
    env.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_masks_from_a_wrapper_behind_processes() -> None:
    def allow_the_first(env: gym.Env) -> np.ndarray:
        return np.array([True, False, False])

    env = fork([lambda: ActionMasker(RandomWalk(actions="discrete"), allow_the_first) for _ in range(2)])
    model = ClipPPO("MlpPolicy", env, **SETTINGS).learn(32)
    assert not model.rollout_buffer.actions.any()
    env.close()
