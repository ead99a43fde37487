"""What checkpoints leave out of classes of a user's own is named, and nothing else is."""

import io
import threading
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback
from tests.resume.runs import ALGORITHMS, envs, model

MAKE = ALGORITHMS["ClipPPO"]
CARTPOLE = partial(envs, "CartPole-v1")


class Remembers(FlattenExtractor):
    """A user's features extractor with a plain attribute that changes."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space)
        self.rms = RunningMeanStd(shape=observation_space.shape)
        self.constant = RunningMeanStd(shape=observation_space.shape)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        self.rms.update(observations.numpy())
        return super().forward(observations)


class Counts(BaseCallback):
    """A user's callback with an attribute that cannot be pickled, one that can, and what it only leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.counts, self.plain = defaultdict(lambda: 0), 0  # type: ignore[var-annotated]
        # No state, or somebody else's.
        self.rule, self.evaluates_on, self.lock = (lambda: 1), CARTPOLE(1), threading.Lock()
        self.rules, self.others, self.bar = {"a": lambda: 1}, [StopTrainingOnMaxEpisodes(10**6)], io.StringIO()

    def _on_training_start(self) -> None:
        self.network_of_the_model = self.model.policy

    def _on_step(self) -> bool:
        self.counts["steps"] += 1
        return True


class Intrinsic(VecEnvWrapper):
    """A user's wrapper with a network."""

    def __init__(self, env: Any):
        super().__init__(env)
        self.network, self.on = th.nn.Linear(4, 1), [env]
        self.networks = [self.network]

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


class WithNetwork(ClipPPO):
    """A user's algorithm with a network of its own, and with a tensor in its policy that numpy does not have."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.curiosity = th.nn.Linear(2, 2)
        self.policy.features_extractor.half = th.ones(2, dtype=th.bfloat16)


def test_an_algorithms_own_network_is_named_and_its_settings_are_not(tmp_path: Path) -> None:
    kwargs = {"net_arch": [8], "features_extractor_class": Remembers}
    learner = model(WithNetwork, CARTPOLE(), batch_size=16, learning_rate=lambda _: 1e-3, policy_kwargs=kwargs)
    with pytest.warns(UserWarning, match="do not hold") as said:
        learner.learn(256, ResumableCheckpointCallback(tmp_path, 64))
    named = {str(warning.message).partition("do not hold ")[2].partition(",")[0] for warning in said}
    assert named == {"WithNetwork.curiosity", "the policy's features_extractor.rms"}


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    learner = MAKE(Intrinsic(CARTPOLE()), policy_kwargs={"features_extractor_class": Remembers, "net_arch": [8]})
    with pytest.warns(UserWarning, match="Checkpoints do not hold") as said:
        learner.learn(256, [ResumableCheckpointCallback(tmp_path, 64), Counts()])
    named = {str(warning.message).partition("do not hold ")[2].partition(",")[0] for warning in said}
    assert named == {"Counts.counts", "Intrinsic.network", "Intrinsic.networks", "the policy's features_extractor.rms"}
    assert len(said) == 4
