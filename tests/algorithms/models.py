"""Small models of every algorithm, and policies and a buffer that are not SB3's."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from sb3_ppo_variants import (
    REINFORCE,
    SPO,
    TRPO,
    ClipPPO,
    DiscoveredPPO,
    KLPenaltyPPO,
    RollbackPPO,
    ScopicPPO,
    UnclippedPPO,
)
from tests.parity.comparing import make_env

#: What every test of the whole contract walks through.
ALGORITHMS = (ClipPPO, KLPenaltyPPO, UnclippedPPO, REINFORCE, TRPO)
#: They differ from ``UnclippedPPO`` in the surrogate alone; ``test_newer_trust_regions.py`` walks through them.
NEWER = (SPO, RollbackPPO, DiscoveredPPO, ScopicPPO)
FAMILY = (*ALGORITHMS, *NEWER)


def settings_for(algorithm: type, **extra: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"n_steps": 64, "seed": 3}
    if algorithm is not REINFORCE:
        settings["batch_size"] = 32
    if algorithm not in (REINFORCE, TRPO):
        settings["n_epochs"] = 2
    settings |= extra
    if algorithm is TRPO:
        settings.pop("measure_kl", None)  # it always does
    return settings


def make(algorithm: type, policy: str = "MlpPolicy", env: dict[str, Any] | None = None, **extra: Any) -> Any:
    return algorithm(policy, make_env(**env or {}), **settings_for(algorithm, **extra))


def parameters_of(model: Any) -> np.ndarray:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().cpu().numpy().copy()


class OwnPolicy(ActorCriticPolicy):
    """A custom policy: other networks, and its own ``evaluate_actions``."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, net_arch={"pi": [8], "vf": [16]}, **kwargs)

    def evaluate_actions(self, obs, actions):
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()


class OwnBuffer(RolloutBuffer):
    """A custom buffer that draws rows in its own way, front to back, and does not say which."""

    def get(self, batch_size=None):
        next(super().get(1))  # flattens
        n_rows = self.buffer_size * self.n_envs
        for start in range(0, n_rows, batch_size or n_rows):
            rows = slice(start, start + (batch_size or n_rows))
            arrays = (self.observations[rows], self.actions[rows])
            flat = (self.values[rows], self.log_probs[rows], self.advantages[rows], self.returns[rows])
            yield RolloutBufferSamples(*map(self.to_torch, (*arrays, *(array.ravel() for array in flat))))


class Foreign(Distribution):
    """A distribution of somebody else's: uniform noise around a mean would do; here a Laplace."""

    def proba_distribution_net(self, *args, **kwargs):
        raise NotImplementedError

    def proba_distribution(self, mean):
        self.distribution = th.distributions.Laplace(mean, th.ones_like(mean))
        return self

    def log_prob(self, actions):
        return self.distribution.log_prob(actions).sum(1)

    def entropy(self):
        return None

    def sample(self):
        return self.distribution.rsample()

    def mode(self):
        return self.distribution.mean

    def actions_from_params(self, *args, **kwargs):
        raise NotImplementedError

    def log_prob_from_params(self, *args, **kwargs):
        raise NotImplementedError


class ForeignPolicy(ActorCriticPolicy):
    """A policy whose distribution has no closed form here."""

    def _get_action_dist_from_latent(self, latent_pi):
        return Foreign().proba_distribution(self.action_net(latent_pi))

    def evaluate_actions(self, obs, actions):
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()
