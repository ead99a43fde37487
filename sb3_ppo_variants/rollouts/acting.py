"""Ways to act: what the collection loop asks of a policy."""

import math
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common import on_policy_algorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.distributions import Head, Parameters, head_and_parameters
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite, needs_finite_observations

Observations = np.ndarray | dict[str, np.ndarray]
#: What a policy raises when it is given, or makes, numbers that are not finite: ours, torch's, and numpy's where
#: warnings are errors.
ACTING_FAILS = (ValueError, RuntimeError, RuntimeWarning)


class Acted(NamedTuple):
    """
    One step of E environments, in the types that SB3's callbacks know.

    :param actions: shape (E, …)
    :param obs_tensor: The observations
    :param values: V, shape (E, 1); ``None`` if left for later
    :param log_probs: log π(a|s), shape (E,); ``None`` if left for later
    :param action_masks: Which actions were allowed, shape (E, ΣD); ``None``: all, or the policy knows no masks
    :param lstm_states: A recurrent policy's states after the step
    """

    actions: np.ndarray
    obs_tensor: Any = None
    values: th.Tensor | None = None
    log_probs: th.Tensor | None = None
    action_masks: np.ndarray | None = None
    lstm_states: RNNStates | None = None


class Forward(Protocol):
    """The distributions of a policy's actions; what acts in a worker draws from them."""

    policy: ActorCriticPolicy

    def __init__(self, policy: ActorCriticPolicy):
        """
        :param policy: The policy
        """

    def __call__(self, observations: Observations, action_masks: np.ndarray | None = None) -> tuple[Head, Parameters]:
        """
        :param observations: B of them
        :param action_masks: Which actions are allowed, shape (B, ΣD); ``None``: all
        :return: the head, and its parameters as numpy arrays
        :raises NonFiniteError: they are not finite
        """


class Actor(Protocol):
    """Acts, values, and turns a full buffer's rewards into advantages."""

    #: Makes from a policy what acts like this in a worker; ``None``: this acts in the main process only.
    forward: ClassVar[type[Forward] | None]

    def act(
        self,
        observations: Observations,
        with_values: bool = True,
        action_masks: np.ndarray | None = None,
        episode_starts: np.ndarray | None = None,
    ) -> Acted:
        """
        :param observations: One per environment
        :param with_values: Whether values and log-probabilities may be read before ``finish``; if not, an actor may
            leave them until then, when they cost less
        :param action_masks: Which actions are allowed, shape (E, ΣD); ``None``: all
        :param episode_starts: Whether the observations are the first of their episodes, shape (E,), for a policy with
            memory
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

    def complete(self, buffer: RolloutBuffer) -> None:
        """
        Compute the values and log-probabilities of all rows of a buffer that others have filled, in fixed-size chunks,
        so that the numbers do not depend on who filled it.

        :param buffer: Filled with everything else
        """

    def terminal_value(self, observation: Observations, env_index: int) -> Any:
        """
        :param observation: The last observation of one environment's episode
        :param env_index: Which environment
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


def as_tensor(observations: Observations, device: th.device) -> Any:
    """
    :param observations: One per environment
    :param device: Where to put them
    :return: a tensor, or a dictionary of tensors
    """
    # SB3's function where SB3's loop finds it: somebody may have replaced it there.
    return on_policy_algorithm.obs_as_tensor(observations, device)  # type: ignore[attr-defined]


def if_masked(action_masks: np.ndarray | None) -> dict[str, Any]:
    """
    :param action_masks: Which actions are allowed
    :return: an argument, if there are masks: SB3's own policies and buffers do not take it
    """
    return {} if action_masks is None else {"action_masks": action_masks}


def on_host(actions: th.Tensor) -> np.ndarray:
    """
    :param actions: A policy's
    :return: the same in numpy
    :raises NonFiniteError: they are not finite
    """
    array = actions.cpu().numpy()
    # Torch's own check lets an infinite σ pass.
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NonFiniteError(f"The policy's actions are {array}")
    return array


def as_evaluated(actions: th.Tensor, action_space: spaces.Space) -> th.Tensor:
    """
    :param actions: Actions as the rollout buffer yields them, shape (B, A)
    :param action_space: Their space
    :return: actions as ``evaluate_actions`` wants them: discrete ones are integers of shape (B,)
    """
    return actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions


class PolicyForward:
    """
    ``Forward`` by torch, of a policy whose ``forward`` is SB3's or sb3-contrib's: draw from ``get_distribution``.

    :param policy: The policy
    """

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy

    def __call__(self, observations: Observations, action_masks: np.ndarray | None = None) -> tuple[Head, Parameters]:
        policy: Any = self.policy
        with th.no_grad():
            known = head_and_parameters(
                policy.get_distribution(as_tensor(observations, policy.device), **if_masked(action_masks))
            )
        if known is None:
            raise TypeError(f"There is no head for a {type(policy.action_dist).__name__}.")
        head, tensors = known
        parameters = tuple(tensor.cpu().numpy() for tensor in tensors)
        if not all(map(is_finite, parameters)):
            raise NonFiniteError(f"The parameters of the actions' distributions are {parameters}")
        return head, parameters


#: Rows at once of a pass over a whole rollout, whose memory they bound.
_ROWS_AT_ONCE = 256


class PolicyActor:
    """
    Acts through the policy's own ``forward``: right for every policy of SB3 and every maskable one of sb3-contrib.

    :param policy: The policy
    """

    forward: ClassVar[type[Forward] | None] = PolicyForward

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy
        self.device = policy.device

    def act(
        self,
        observations: Observations,
        with_values: bool = True,
        action_masks: np.ndarray | None = None,
        episode_starts: np.ndarray | None = None,
    ) -> Acted:
        with th.no_grad():
            obs_tensor = as_tensor(observations, self.device)
            actions, values, log_probs = self.policy(obs_tensor, **if_masked(action_masks))
        return Acted(on_host(actions), obs_tensor, values, log_probs, action_masks)

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
        buffer.add(*row, **self._beside(acted))

    def _beside(self, acted: Acted) -> dict[str, Any]:
        """What the policy's buffer keeps of a step in addition to SB3's, by the names of its arguments."""
        return if_masked(acted.action_masks)

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return policy is self.policy

    def catch_up(self, buffer: RolloutBuffer) -> None:
        pass

    def complete(self, buffer: RolloutBuffer) -> None:
        n_steps = max(_ROWS_AT_ONCE // buffer.n_envs, 1)
        with th.no_grad():
            for start in range(0, buffer.pos, n_steps):
                self._complete(buffer, slice(start, min(start + n_steps, buffer.pos)))

    def _complete(self, buffer: RolloutBuffer, steps: slice) -> None:
        def rows(array: np.ndarray) -> np.ndarray:
            return array[steps].reshape(-1, *array.shape[2:])

        given: Any = buffer.observations
        observations = {k: rows(v) for k, v in given.items()} if isinstance(given, dict) else rows(given)
        # As SB3's buffers hand them to an update.
        actions = th.as_tensor(rows(buffer.actions).astype(np.float32, copy=False), device=self.device)
        actions = as_evaluated(actions, self.policy.action_space)
        masks = rows(buffer.action_masks) if hasattr(buffer, "action_masks") else None
        values, log_probs, _ = self.policy.evaluate_actions(
            as_tensor(observations, self.device), actions, **if_masked(masks)
        )
        shape = buffer.values[steps].shape
        buffer.values[steps] = values.cpu().numpy().reshape(shape)
        buffer.log_probs[steps] = log_probs.cpu().numpy().reshape(shape)

    def terminal_value(self, observation: Observations, env_index: int) -> Any:
        # A tanh would make a number of an Inf.
        if not is_finite(observation) and needs_finite_observations(self.policy):
            return math.nan
        with th.no_grad():
            return self.value(observation, env_index)

    def value(self, observation: Observations, env_index: int) -> Any:
        """
        :param observation: One environment's, after its last step
        :param env_index: Which environment
        :return: V of it
        """
        return self.policy.predict_values(self.policy.obs_to_tensor(observation)[0])[0]

    def values(self, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        """
        :param new_obs: The observations after the last step
        :param dones: Which of the episodes it ended
        :return: V of them, shape (E, 1)
        """
        return self.policy.predict_values(as_tensor(new_obs, self.device))

    def finish(self, buffer: RolloutBuffer, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        with th.no_grad():
            values = self.values(new_obs, dones)
        buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        return values
