"""SB3's wrappers around a ``WorkerVecEnv`` while workers collect: what runs in the workers, and what follows after."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecMonitor, VecNormalize
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations
from stable_baselines3.common.vec_env.vec_transpose import VecTransposeImage

from sb3_ppo_variants.rollouts.collection import has_own_stepping

_KNOWN = (VecTransposeImage, VecFrameStack, VecMonitor, VecNormalize)
#: What normalises observations.
_NORMALIZING = ("obs_rms", "norm_obs", "norm_obs_keys", "clip_obs", "epsilon")


def wrappers_inside_out(env: VecEnv) -> list[VecEnvWrapper]:
    """
    :param env: A ``WorkerVecEnv`` in its wrappers
    :return: the wrappers, from inside outwards
    """
    found: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        found.insert(0, env)
        env = env.venv
    return found


def why_not_in_workers(wrappers: list[VecEnvWrapper]) -> str | None:
    """
    :param wrappers: From inside outwards
    :return: the first reason why they cannot be around the workers' environments; ``None`` if they can
    """
    for wrapper in wrappers:
        if type(wrapper) not in _KNOWN or has_own_stepping(wrapper):
            return f"the {type(wrapper).__name__} may do something at each step"
    if len([wrapper for wrapper in wrappers if isinstance(wrapper, VecNormalize)]) > 1:
        return "there is more than one VecNormalize"
    return None


# ---- In the workers ----


def acted_through(wrappers: list[VecEnvWrapper]) -> list[VecEnvWrapper]:
    """
    :param wrappers: From inside outwards
    :return: those that observations go through; ``VecMonitor`` follows after
    """
    return [wrapper for wrapper in wrappers if not isinstance(wrapper, VecMonitor)]


def maker_of(wrapper: VecEnvWrapper) -> Callable[[VecEnv], VecEnv]:
    """
    :param wrapper: Around all environments
    :return: puts the same around some of them, in another process
    """
    if isinstance(wrapper, VecTransposeImage):
        return partial(VecTransposeImage, skip=wrapper.skip)
    if isinstance(wrapper, VecFrameStack):
        return partial(_stack, wrapper.stacked_obs)
    return partial(_normalize, cast(VecNormalize, wrapper))


def _stack(stacked: StackedObservations, env: VecEnv) -> VecEnv:
    wrapper = VecFrameStack.__new__(VecFrameStack)
    VecEnvWrapper.__init__(wrapper, env, observation_space=stacked.stacked_observation_space)
    wrapper.stacked_obs = stacked
    return wrapper


def _normalize(normalizer: VecNormalize, env: VecEnv) -> VecEnv:
    # It has been pickled without its environments.
    normalizer.set_venv(env)
    normalizer.training = normalizer.norm_reward = False
    return normalizer


def state_for(wrapper: VecEnvWrapper, own: slice) -> Any:
    """
    :param wrapper: Around all environments
    :param own: Some of them
    :return: what the one around these needs to go on from here, for ``set_state``
    """
    if isinstance(wrapper, VecFrameStack):
        return _rows(wrapper.stacked_obs, own)
    if isinstance(wrapper, VecNormalize):
        return {name: vars(wrapper)[name] for name in _NORMALIZING if name in vars(wrapper)}
    return None


def set_state(wrapper: VecEnvWrapper, state: Any) -> None:
    """
    :param wrapper: What a maker has made
    :param state: What ``state_for`` returned
    """
    if isinstance(wrapper, VecFrameStack):
        wrapper.stacked_obs = state
    elif isinstance(wrapper, VecNormalize):
        vars(wrapper).update(state)


def state_after(wrapper: VecEnvWrapper) -> Any:
    """
    :param wrapper: Around some of the environments, after a rollout
    :return: what changes in the one around all, for ``take_back``
    """
    return wrapper.stacked_obs if isinstance(wrapper, VecFrameStack) else None


def take_back(wrapper: VecEnvWrapper, own: slice, state: Any) -> None:
    """
    :param wrapper: Around all environments
    :param own: Some of them
    :param state: What ``state_after`` returned
    """
    if isinstance(wrapper, VecFrameStack):
        for ours, theirs in zip(_stacks(wrapper.stacked_obs), _stacks(state), strict=True):
            # Not in place: a step has returned this array.
            ours.stacked_obs = ours.stacked_obs.copy()
            ours.stacked_obs[own] = theirs.stacked_obs


def _stacks(stacked: StackedObservations) -> list[Any]:
    parts: dict[str, Any] = getattr(stacked, "sub_stacked_observations", {})
    return list(parts.values()) or [stacked]


def _rows(stacked: StackedObservations, own: slice) -> StackedObservations:
    part: Any = copy.copy(stacked)
    if hasattr(part, "sub_stacked_observations"):
        part.sub_stacked_observations = {key: _rows(each, own) for key, each in part.sub_stacked_observations.items()}
    else:
        part.stacked_obs = part.stacked_obs[own]
    return part


# ---- In the main process, once the rollout is there ----


def needs_statistics(wrappers: list[VecEnvWrapper], n_rows: int) -> bool:
    """
    :param wrappers: From inside outwards
    :param n_rows: Of a rollout
    :return: whether observations are to be normalised, and the statistics are of less than a rollout
    """
    for wrapper in wrappers:
        if isinstance(wrapper, VecNormalize) and wrapper.norm_obs and wrapper.training:
            return any(statistics.count < n_rows for statistics in _statistics(wrapper).values())
    return False


def _statistics(normalizer: VecNormalize) -> dict[Any, RunningMeanStd]:
    found: Any = normalizer.obs_rms
    return found if isinstance(found, dict) else {None: found}


def follow(wrappers: list[VecEnvWrapper], rewards: np.ndarray, dones: np.ndarray, infos: list[Any]) -> np.ndarray:
    """
    Let ``VecMonitor`` and ``VecNormalize`` follow the rewards, step by step and by SB3's own code.

    :param wrappers: From inside outwards
    :param rewards: What the environments gave, shape (T, E)
    :param dones: shape (T, E)
    :param infos: T lists of infos, edited in place
    :return: what comes out of the wrappers, shape (T, E)
    """
    for wrapper in wrappers:
        if isinstance(wrapper, VecMonitor):
            _follow_episodes(wrapper, rewards, dones, infos)
        elif isinstance(wrapper, VecNormalize):
            wrapper.old_reward = rewards[-1].copy()
            rewards = np.stack([_normalized(wrapper, *step) for step in zip(rewards, dones, strict=True)])
    return rewards


class _Recorded:
    """The environments of a ``VecMonitor`` for the duration of one rollout: they give its rewards once more."""

    def __init__(self, rewards: np.ndarray, dones: np.ndarray, infos: list[Any]):
        self._steps = zip(rewards, dones, infos, strict=True)

    def step_wait(self) -> tuple[Any, ...]:
        return (None, *next(self._steps))


def _follow_episodes(monitor: VecMonitor, rewards: np.ndarray, dones: np.ndarray, infos: list[Any]) -> None:
    inside = monitor.venv
    monitor.venv = _Recorded(rewards, dones, list(infos))  # type: ignore[assignment]
    try:
        infos[:] = [monitor.step_wait()[-1] for _ in range(len(rewards))]
    finally:
        monitor.venv = inside


def _normalized(normalizer: VecNormalize, rewards: np.ndarray, dones: np.ndarray) -> np.ndarray:
    if normalizer.training:
        normalizer._update_reward(rewards)
    normalized = normalizer.normalize_reward(rewards)
    normalizer.returns[dones] = 0
    return normalized


def update_statistics(wrappers: list[VecEnvWrapper], raw: dict[Any, np.ndarray]) -> None:
    """
    Update the observation statistics with those of a rollout, all at once.

    :param wrappers: From inside outwards
    :param raw: What ``VecNormalize`` was given, by key, shape (T, E, …)
    """
    for wrapper in wrappers:
        if not isinstance(wrapper, VecNormalize):
            continue
        last = {key: array[-1] for key, array in raw.items()}
        wrapper.old_obs = last.get(None, last)
        if wrapper.training and wrapper.norm_obs:
            for key, statistics in _statistics(wrapper).items():
                # In double precision: a sum over thousands of rows.
                statistics.update(raw[key].reshape(-1, *raw[key].shape[2:]).astype(np.float64))
