"""Ways to act: what the collection loop asks of a policy."""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common import on_policy_algorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite, needs_finite_observations

Observations = np.ndarray | dict[str, np.ndarray]


class Acted(NamedTuple):
    """
    One step of E environments, in the types that SB3's callbacks know.

    :param actions: shape (E, …)
    :param obs_tensor: The observations
    :param values: V, shape (E, 1); ``None`` if left for later
    :param log_probs: log π(a|s), shape (E,); ``None`` if left for later
    :param action_masks: Which actions were allowed, shape (E, ΣD); ``None``: all, or the policy knows no masks
    """

    actions: np.ndarray
    obs_tensor: Any = None
    values: th.Tensor | None = None
    log_probs: th.Tensor | None = None
    action_masks: np.ndarray | None = None


class Actor(Protocol):
    """Acts, values, and turns a full buffer's rewards into advantages."""

    def act(
        self, observations: Observations, with_values: bool = True, action_masks: np.ndarray | None = None
    ) -> Acted:
        """
        :param observations: One per environment
        :param with_values: Whether values and log-probabilities may be read before ``finish``; if not, an actor may
            leave them until then, when they cost less
        :param action_masks: Which actions are allowed, shape (E, ΣD); ``None``: all
        :return: sampled actions with their values and log-probabilities
        """

    def store(
        self,
        buffer: RolloutBuffer,
        observations: Observations,
        acted: Acted,
        rewards: np.ndarray,
        episode_starts: np.ndarray,
    ) -> None:
        """
        Add one step to the buffer.

        :param buffer: A buffer with a free row
        :param observations: What was acted on
        :param acted: What was done
        :param rewards: shape (E,)
        :param episode_starts: Whether the observations were the first of their episodes, shape (E,)
        """

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """
        :param policy: The algorithm's policy now
        :return: whether it still acts by this policy as it is; if not (a callback has replaced weights or added a hook,
            say), make another
        """

    def catch_up(self, buffer: RolloutBuffer) -> None:
        """
        Compute what ``act`` has left for later.

        :param buffer: Its rows so far are completed
        """

    def terminal_value(self, observation: Observations) -> Any:
        """
        :param observation: The last observation of one environment's episode
        :return: V of it, a number
        """

    def finish(self, buffer: RolloutBuffer, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        """
        Catch up, and compute the buffer's returns and advantages.

        :param buffer: Filled with steps
        :param new_obs: The observations after the last step
        :param dones: Which of the episodes the last step ended
        :return: V of ``new_obs``
        """


def _as_tensor(observations: Observations, device: th.device) -> Any:
    # SB3's function where SB3's loop finds it: somebody may have replaced it there.
    return on_policy_algorithm.obs_as_tensor(observations, device)  # type: ignore[attr-defined]


def _if_masked(action_masks: np.ndarray | None) -> dict[str, Any]:
    # SB3's own policies and buffers have no such argument.
    return {} if action_masks is None else {"action_masks": action_masks}


class PolicyActor:
    """
    Acts through the policy's own ``forward``: right for every policy of SB3 and every maskable one of sb3-contrib.

    :param policy: The policy
    :param device: Where it lives
    """

    def __init__(self, policy: ActorCriticPolicy, device: th.device):
        self.policy = policy
        self.device = device

    def act(
        self, observations: Observations, with_values: bool = True, action_masks: np.ndarray | None = None
    ) -> Acted:
        with th.no_grad():
            obs_tensor = _as_tensor(observations, self.device)
            actions, values, log_probs = self.policy(obs_tensor, **_if_masked(action_masks))
        on_host = actions.cpu().numpy()
        # Torch's own check lets an infinite σ pass.
        if on_host.dtype.kind == "f" and not np.isfinite(on_host).all():
            raise NonFiniteError(f"The policy's actions are {on_host}")
        return Acted(on_host, obs_tensor, values, log_probs, action_masks)

    def store(
        self,
        buffer: RolloutBuffer,
        observations: Observations,
        acted: Acted,
        rewards: np.ndarray,
        episode_starts: np.ndarray,
    ) -> None:
        actions = acted.actions
        if isinstance(self.policy.action_space, spaces.Discrete):
            actions = actions.reshape(-1, 1)
        row: Any = (observations, actions, rewards, episode_starts, acted.values, acted.log_probs)
        buffer.add(*row, **_if_masked(acted.action_masks))

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return policy is self.policy

    def catch_up(self, buffer: RolloutBuffer) -> None:
        pass

    def terminal_value(self, observation: Observations) -> Any:
        # A tanh would make a number of an Inf.
        if not is_finite(observation) and needs_finite_observations(self.policy):
            return math.nan
        with th.no_grad():
            return self.policy.predict_values(self.policy.obs_to_tensor(observation)[0])[0]

    def finish(self, buffer: RolloutBuffer, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        with th.no_grad():
            values = self.policy.predict_values(_as_tensor(new_obs, self.device))
        buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        return values
