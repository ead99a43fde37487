"""Acting with memory: the states of a recurrent policy between two steps."""

from typing import Any, ClassVar

import numpy as np
import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.rollouts.acting import Acted, Forward, Observations, PolicyActor, as_tensor, if_masked, on_host


class Memory:
    """
    What a recurrent policy remembers of the environments; it outlives a rollout and the actors in it.

    :param policy: The policy
    :param n_envs: E
    """

    def __init__(self, policy: RecurrentActorCriticPolicy, n_envs: int):
        lstm = policy.lstm_actor
        zeros = (th.zeros(lstm.num_layers, n_envs, lstm.hidden_size, device=policy.device) for _ in range(4))
        hidden_pi, cell_pi, hidden_vf, cell_vf = zeros
        #: Before the next step: hidden and cell states of actor and critic, each of shape (layers, E, units).
        self.states = RNNStates((hidden_pi, cell_pi), (hidden_vf, cell_vf))
        #: After the step under way, which becomes ``states`` once it is stored.
        self.after = self.states


class RecurrentActor(PolicyActor):
    """
    Acts through the ``forward`` of a recurrent policy.

    :param policy: The policy
    :param memory: Its states, which each stored step moves on
    """

    # Its states would have to travel.
    forward: ClassVar[type[Forward] | None] = None

    def __init__(self, policy: Any, memory: Memory):
        super().__init__(policy)
        self.memory = memory

    def act(
        self,
        observations: Observations,
        with_values: bool = True,
        action_masks: np.ndarray | None = None,
        episode_starts: np.ndarray | None = None,
    ) -> Acted:
        with th.no_grad():
            obs_tensor = as_tensor(observations, self.device)
            starts = self._flags(episode_starts)
            actions, values, log_probs, after = self.policy(
                obs_tensor, self.memory.states, starts, **if_masked(action_masks)
            )
        self.memory.after = after
        return Acted(on_host(actions), obs_tensor, values, log_probs, action_masks, after)

    def _flags(self, episode_starts: Any) -> th.Tensor:
        return th.tensor(episode_starts, dtype=th.float32, device=self.device)

    def store(
        self,
        buffer: RolloutBuffer,
        observations: Observations,
        acted: Acted,
        rewards: np.ndarray,
        episode_starts: np.ndarray,
    ) -> None:
        super().store(buffer, observations, acted, rewards, episode_starts)
        self.memory.states = self.memory.after

    def _beside(self, acted: Acted) -> dict[str, Any]:
        return {**super()._beside(acted), "lstm_states": self.memory.states}

    def value(self, observation: Observations, env_index: int) -> Any:
        # The critic's states after the step; the observation does not begin an episode.
        states = tuple(part[:, env_index : env_index + 1].contiguous() for part in self.memory.after.vf)
        policy: Any = self.policy
        return policy.predict_values(policy.obs_to_tensor(observation)[0], states, self._flags([False]))[0]

    def values(self, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        policy: Any = self.policy
        observations, states = as_tensor(new_obs, self.device), self.memory.after.vf
        found: th.Tensor = policy.predict_values(observations, states, self._flags(dones))
        return found
