"""What scripts for SB3 rely on during collection."""

from typing import Any

import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_ppo_variants import ClipPPO

SETTINGS: dict[str, Any] = {
    "n_steps": 64, "batch_size": 64, "n_epochs": 1, "ent_coef": 0.0, "seed": 0, "device": "cpu"
}  # fmt: skip


class SparseInfos(VecEnvWrapper):
    """Infos only in steps in which an episode has ended; an empty list otherwise."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards, dones, infos if dones.any() else []


@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_infos_may_be_empty_where_no_episode_has_ended(update_backend: str) -> None:
    def env() -> SparseInfos:
        return SparseInfos(make_vec_env("CartPole-v1", 2, seed=0))

    ours = ClipPPO("MlpPolicy", env(), update_backend=update_backend, **SETTINGS).learn(256)
    theirs = PPO("MlpPolicy", env(), **SETTINGS).learn(256)
    for one, other in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_subclass_of_sb3s_callbacks_is_given_values() -> None:
    seen = []

    class Reading(CallbackList):
        def on_step(self) -> bool:
            seen.append(self.locals["values"].shape)
            return super().on_step()

    ClipPPO("MlpPolicy", "CartPole-v1", **SETTINGS).learn(64, Reading([]))
    assert seen == [(1, 1)] * 64
