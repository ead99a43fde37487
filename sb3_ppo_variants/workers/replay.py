"""Callbacks called for each step of a rollout that workers have collected."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ppo_variants.rollouts.acting import Observations
from sb3_ppo_variants.rollouts.collection import Learner, within_bounds
from sb3_ppo_variants.workers.rollout import KeptInfo, from_parts, parts_of
from sb3_ppo_variants.workers.vec_env import STEP_BY_STEP

_KNOWN_PACKAGES = ("stable_baselines3", "sb3_contrib", "sb3_ppo_variants")


class Recorded(NamedTuple):
    """
    A rollout of T steps of E environments.

    :param observations: By key (see ``parts_of``), shape (T + 1, E, …)
    :param actions: shape (T, E, …)
    :param rewards: As the environments gave them, shape (T, E)
    :param dones: shape (T, E)
    :param masks: shape (T, E, ΣD); ``None``: no masks
    :param raw: Observations before ``VecNormalize``, by key, shape (T, E, …); empty: there is none
    :param kept_infos: The infos that have been kept
    """

    observations: dict[Any, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    dones: np.ndarray
    masks: np.ndarray | None
    raw: dict[Any, np.ndarray]
    kept_infos: list[KeptInfo]

    def observed(self, step: int) -> Observations:
        """
        :param step: From 0 to T
        :return: what was acted on there, or what the last step brought
        """
        return from_parts({key: array[step] for key, array in self.observations.items()})

    def infos(self) -> list[list[dict[str, Any]]]:
        """
        :return: T lists of E infos; those that have not been kept say only that no time limit cut an episode off
        """
        n_steps, n_envs = self.rewards.shape
        infos: list[list[dict[str, Any]]] = [
            [{"TimeLimit.truncated": False} for _ in range(n_envs)] for _ in range(n_steps)
        ]
        for kept in self.kept_infos:
            infos[kept.step][kept.env_index] = kept.info
        return infos


def with_children(callback: BaseCallback) -> list[BaseCallback]:
    """
    :param callback: A callback
    :return: it, and those that it holds, directly or not; each once, though two may hold each other
    """
    found, waiting = dict[int, BaseCallback](), [callback]
    while waiting:
        each = waiting.pop()
        if id(each) in found:
            continue
        found[id(each)] = each
        for held in vars(each).values():
            children = held if isinstance(held, list) else [held]
            waiting += [child for child in children if isinstance(child, BaseCallback)]
    return list(found.values())


def is_known(thing: Any) -> bool:
    """
    :param thing: A class or a function
    :return: whether it is SB3's, sb3-contrib's or this package's
    """
    return thing.__module__.partition(".")[0] in _KNOWN_PACKAGES


def may_read_infos(callback: BaseCallback) -> bool:
    """
    :param callback: What ``learn`` was given, wrapped as SB3 wraps it
    :return: ``False`` only where it is known that the infos of ends of episodes are enough
    """
    kinds = {type(child) for child in with_children(callback)}
    functions = {getattr(child, "callback", None) for child in with_children(callback)}
    return not all(map(is_known, kinds)) or any(map(callable, functions))


def replay(
    learner: Learner,
    recorded: Recorded,
    rewards: np.ndarray,
    infos: list[list[dict[str, Any]]],
    step_locals: dict[str, Any],
) -> int:
    """
    Call the callback for each step, with SB3's local names, and count as the collection loop counts.

    :param learner: The algorithm
    :param recorded: The rollout
    :param rewards: shape (T, E)
    :param infos: Its infos
    :param step_locals: The names that do not change within a rollout; the others are added
    :return: the number of steps after which the callback did not end the training
    """
    buffer, callback = step_locals["rollout_buffer"], step_locals["callback"]
    n_steps, n_envs = rewards.shape
    for step in range(n_steps):
        buffer.pos = step
        learner.num_timesteps += n_envs
        dones, actions = recorded.dones[step], recorded.actions[step]
        step_locals.update(
            n_steps=step,
            obs_tensor=_tensors(recorded.observed(step)),
            actions=actions,
            values=th.from_numpy(buffer.values[step])[:, None],
            log_probs=th.from_numpy(buffer.log_probs[step]),
            clipped_actions=within_bounds(learner.policy, learner.action_space, actions),
            new_obs=_read_only(recorded.observed(step + 1)),
            rewards=_read_only(rewards[step]),
            dones=_read_only(dones),
            infos=infos[step],
        )
        if recorded.masks is not None:
            step_locals["action_masks"] = recorded.masks[step]
        callback.update_locals(step_locals)
        if not _goes_on(callback):
            return step
        learner._update_info_buffer(infos[step], dones)
        learner._last_obs, learner._last_episode_starts = recorded.observed(step + 1), dones
    buffer.pos = n_steps
    return n_steps


def _goes_on(callback: BaseCallback) -> bool:
    try:
        return callback.on_step()
    except ValueError as error:
        if "read-only" not in str(error):  # numpy's
            raise
        raise ValueError(
            "A callback edits the new_obs, rewards or dones of a step, but workers have already collected the rollout: "
            f"they are read-only. {STEP_BY_STEP}"
        ) from error


def _read_only(array: Any) -> Any:
    """A view, so that what the training itself goes on with stays writable."""
    parts = {key: part.view() for key, part in parts_of(array).items()}
    for part in parts.values():
        part.flags.writeable = False
    return from_parts(parts)


def _tensors(observations: Observations) -> Any:
    if isinstance(observations, dict):
        return {key: th.as_tensor(part) for key, part in observations.items()}
    return th.as_tensor(observations)
