"""A whole rollout of one worker's environments."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ppo_variants.nonfinite.rollout import Place, RolloutScanner
from sb3_ppo_variants.rollouts.acting import ACTING_FAILS, Forward, Observations
from sb3_ppo_variants.rollouts.collection import within_bounds
from sb3_ppo_variants.rollouts.masking import MaskChecker
from sb3_ppo_variants.workers.noise import ActionNoise
from sb3_ppo_variants.workers.packing import tensors_of
from sb3_ppo_variants.workers.share import Share
from sb3_ppo_variants.workers.wrappers import set_state, state_after, wrappers_inside_out


class Plan(NamedTuple):
    """
    What a worker is handed before its first rollout with a policy.

    :param policy: A copy of the policy, whose weights come anew for each rollout
    :param forward: Makes of it what acts
    :param wrappers: Make the ``VecEnvWrapper``s around the environments, from inside outwards
    :param n_envs: E, of all workers together
    :param n_steps: T
    """

    policy: ActorCriticPolicy
    forward: type[Forward]
    wrappers: Sequence[Callable[[VecEnv], VecEnv]]
    n_envs: int
    n_steps: int


class KeptInfo(NamedTuple):
    """
    An info dictionary that the main process needs.

    :param step: Number of the step within the rollout, from 0
    :param env_index: Number of the environment
    :param info: The dictionary
    """

    step: int
    env_index: int
    info: dict[str, Any]


def parts_of(observations: Any) -> dict[Any, np.ndarray]:
    """
    :param observations: An array, or a dictionary of arrays
    :return: the arrays by key; the key of a single one is ``None``
    """
    return observations if isinstance(observations, dict) else {None: observations}


def from_parts(parts: dict[Any, np.ndarray]) -> Observations:
    """
    :param parts: What ``parts_of`` returns
    :return: what it was given
    """
    return parts.get(None, parts)


class RolloutWorker:
    """
    Collects rollouts with one policy.

    A matrix product's last bits depend on its number of rows, so the policy always acts on E rows, each environment at
    its own index; the rows of other workers' environments repeat one of its own observations, which the policy is sure
    to accept.

    :param plan: The policy, and what is around the environments
    :param envs: The environments
    :param arrays: In shared memory: what is recorded, T × E, and the weights
    """

    def __init__(self, plan: Plan, envs: Share, arrays: dict[Any, np.ndarray]):
        self._envs = envs
        self._n_steps, self._n_envs = plan.n_steps, plan.n_envs
        self._own = slice(envs.first, envs.first + envs.num_envs)
        plan.policy.set_training_mode(False)
        self._forward = plan.forward(plan.policy)
        self._env: VecEnv = envs
        for wrap in plan.wrappers:
            self._env = wrap(self._env)
        self._wrappers = wrappers_inside_out(self._env)
        self._normalizer = next((each for each in self._wrappers if isinstance(each, VecNormalize)), None)
        self._raw = _named("raw", arrays)
        tensors = tensors_of(plan.policy)
        self._weights = [(tensors[name], th.from_numpy(array)) for name, array in _named("weights", arrays).items()]
        self._observations = _named("observations", arrays)
        self._actions, self._rewards, self._dones = arrays["actions"], arrays["rewards"], arrays["dones"]
        self._masks: np.ndarray | None = arrays.get("masks")
        self._padded = {key: np.empty(array.shape[1:], array.dtype) for key, array in self._observations.items()}
        self._check_masks = MaskChecker(envs.action_space)
        self._scanner = RolloutScanner(plan.policy, None)

    def collect(
        self, key: int, num_timesteps: int, keep_infos: bool, states: list[Any]
    ) -> tuple[list[KeptInfo], list[Any], list[dict[str, Any]]]:
        """
        Act from the observations in row 0 on, and fill the rows of these environments.

        :param key: Of the rollout's action noise
        :param num_timesteps: Steps of the training before the rollout
        :param keep_infos: Whether all infos are wanted, or only those of the ends of episodes
        :param states: Of the wrappers before the rollout
        :return: the infos, the states of the wrappers after it, and the infos of each environment's last reset
        :raises NonFiniteError: the policy cannot act
        :raises MaskError: it cannot act on an action mask
        """
        for tensor, array in self._weights:
            tensor.copy_(array)
        for wrapper, state in zip(self._wrappers, states, strict=True):
            set_state(wrapper, state)
        own, kept_infos = self._own, list[KeptInfo]()
        for name, padded in self._padded.items():
            padded[:] = self._observations[name][0, own.start]
        noise = ActionNoise(key, self._n_steps, self._n_envs, own)
        space, policy = self._envs.action_space, self._forward.policy
        for step in range(self._n_steps):
            place = Place(num_timesteps + step * self._n_envs, step)
            actions = self._act(noise, place)
            self._actions[step, own] = actions
            new_obs, rewards, dones, infos = self._env.step(within_bounds(policy, space, actions))
            for name, part in parts_of(new_obs).items():
                self._observations[name][step + 1, own] = part
            if self._normalizer is not None:
                for name, part in parts_of(self._normalizer.old_obs).items():
                    self._raw[name][step, own] = part
            self._rewards[step, own] = rewards
            self._dones[step, own] = dones
            for index, info in enumerate(infos):
                # A Monitor may report an episode inside a wrapper whose own goes on.
                if keep_infos or dones[index] or "episode" in info:
                    # A copy: the environment may write to the same arrays again.
                    kept_infos.append(KeptInfo(step, own.start + index, deepcopy(info)))
        return kept_infos, [state_after(wrapper) for wrapper in self._wrappers], self._envs.reset_infos

    def _act(self, noise: ActionNoise, place: Place) -> np.ndarray:
        step, own = place.rollout_step, self._own
        for key, padded in self._padded.items():
            padded[own] = self._observations[key][step, own]
        masks = self._read_masks(place)
        observations = from_parts(self._padded)
        try:
            head, parameters = self._forward(observations, masks)
        except ACTING_FAILS as error:
            # What is not finite is to be found in these environments' rows alone.
            for padded in self._padded.values():
                padded[: own.start] = padded[own.stop :] = 0
            fault = self._scanner.acting_fault(observations, place, error)
            if fault is not None:
                raise fault from error
            raise
        shape = self._actions.shape[2:]
        return noise.actions(head, parameters, step)[own].reshape(-1, *shape)

    def _read_masks(self, place: Place) -> np.ndarray | None:
        if self._masks is None:
            return None
        given: list[Any] = [np.ones(self._masks.shape[2], np.bool_)] * self._n_envs
        given[self._own] = self._envs.action_masks()
        masks = self._check_masks(given, place) != 0
        self._masks[place.rollout_step, self._own] = masks[self._own]
        return masks


def _named(kind: str, arrays: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
    return {name[1]: array for name, array in arrays.items() if isinstance(name, tuple) and name[0] == kind}
