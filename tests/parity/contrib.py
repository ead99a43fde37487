"""A features extractor that actor and critic share, and a callback that measures the constraint of each update."""

import copy
from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class LearnedFeatures(BaseFeaturesExtractor):
    """One layer that actor and critic share."""

    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=8)
        self.layer = th.nn.Linear(observation_space.shape[0], 8)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.tanh(self.layer(observations))


class ConstraintCallback(BaseCallback):
    """Measures KL(old‖new) of each update with torch.distributions, apart from the code under test."""

    def __init__(self):
        super().__init__()
        self.measured: list[float] = []
        self.logged: list[float] = []
        self.accepted: list[float] = []
        self._before: tuple[Any, Any] | None = None

    def _on_step(self) -> bool:
        return True

    def _distribution(self, observations: th.Tensor) -> Any:
        with th.no_grad():
            # Shallow: the policy keeps one distribution object and gives it a new inner one at every call.
            return copy.copy(self.model.policy.get_distribution(observations))

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        observations = th.as_tensor(buffer.observations).reshape(-1, *buffer.obs_shape).clone()
        self._before = observations, self._distribution(observations)

    def _on_rollout_start(self) -> None:
        if self._before is None:
            return
        observations, old = self._before
        kl = kl_divergence(old, self._distribution(observations))
        self.measured.append(float(kl.reshape(len(observations), -1).sum(1).mean()))
        self.logged.append(self.logger.name_to_value["train/kl"])
        self.accepted.append(self.logger.name_to_value["train/is_line_search_success"])
