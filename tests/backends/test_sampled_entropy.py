"""The entropy bonus where the entropy has no closed form, and advantages that a buffer keeps to itself."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from tests.algorithms.models import make


class Nothing(gym.Env):
    """No reward: only the entropy bonus moves the policy."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._draw(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._draw(), 0.0, self.np_random.random() < 0.1, False, {}

    def _draw(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


@pytest.mark.parametrize("algorithm", [UnclippedPPO, ClipPPO, KLPenaltyPPO, REINFORCE, TRPO])
def test_the_bonus_widens_squashed_policies(algorithm: type) -> None:
    # tanh of a narrow Gaussian: its entropy rises with σ.
    kwargs = {"squash_output": True, "log_std_init": -1.5}
    more = {REINFORCE: {"learning_rate": 1e-2}, TRPO: {}}.get(algorithm, {"batch_size": 256, "n_epochs": 3})
    model = algorithm(
        "MlpPolicy",
        Nothing(),
        n_steps=1024,
        seed=0,
        use_sde=True,
        policy_kwargs=kwargs,
        ent_coef=1.0,
        normalize_advantage=False,
        gamma=0.0,
        **more,
    )
    before = model.policy.log_std.detach().mean().item()
    model.learn(2 * 1024)
    assert model.policy.log_std.detach().mean().item() > before + 5e-4


def test_the_clip_restrains_the_bonus_too() -> None:
    class Wide(Nothing):
        action_space = spaces.Box(-1, 1, (6,))

    kwargs = {"squash_output": True, "log_std_init": -1.5}
    settings = {"use_sde": True, "policy_kwargs": kwargs, "normalize_advantage": False, "gamma": 0.0, "seed": 0}
    model = ClipPPO("MlpPolicy", Wide(), n_steps=1024, ent_coef=0.01, **settings).learn(2048)
    logged = model.logger.name_to_value
    assert logged["train/ratio_max"] < 10
    assert logged["train/ess"] > 0.7


class PrivateAdvantages(RolloutBuffer):
    """A buffer that calls its advantages something else."""

    def compute_returns_and_advantage(self, last_values: Any, dones: np.ndarray) -> None:
        super().compute_returns_and_advantage(last_values, dones)
        self.mine = self.advantages
        del self.advantages

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:
        self.advantages = self.mine
        yield from super().get(batch_size)


def test_advantages_that_cannot_be_found_are_not_taken_as_they_are() -> None:
    model = make(ClipPPO, rollout_buffer_class=PrivateAdvantages, normalize_advantage="rollout")
    with pytest.raises(ValueError, match="PrivateAdvantages has no array called advantages: call it so, or pass"):
        model.learn(64)
    make(ClipPPO, rollout_buffer_class=PrivateAdvantages, normalize_advantage=True).learn(64)
