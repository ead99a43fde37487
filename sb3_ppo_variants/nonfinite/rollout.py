"""What in a rollout is not finite: looked for in detail only once a cheap check has failed."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from sb3_ppo_variants.nonfinite.error import NonFiniteError

if TYPE_CHECKING:
    from sb3_ppo_variants.algorithms.base import OnPolicyVariant

_LOOK_AT_ENV = (
    "Look at what the environment computes there (a division by zero, a simulation that blew up); SB3's VecCheckNan "
    "stops inside the step."
)
_LOOK_AT_POLICY = (
    "The observations and rewards are finite: look at the policy's parameters (log_std, the value network) and at the "
    "scale of the rewards."
)
_SPOILT_STATISTICS = " VecNormalize's running statistics are spoilt by it: load or make them again."


def is_finite(observation: Any) -> bool:
    """
    :param observation: An array, or a dictionary of arrays
    :return: whether it has no NaN and no Inf
    """
    return not any(True for _ in _nonfinite_parts(observation))


def needs_finite_observations(policy: ActorCriticPolicy) -> bool:
    """
    :param policy: Any actor-critic policy
    :return: ``False`` for one with code of the user's own between observation and network: it may know what to do with
        a NaN (a missing value, say)
    """
    owners = (type(policy), type(getattr(policy, "features_extractor", None)))
    return all(owner.__module__.startswith("stable_baselines3.") for owner in owners)


def acting_fault(algorithm: "OnPolicyVariant", observations: Any, rollout_step: int) -> NonFiniteError | None:
    """
    Why the policy could not act.

    :param algorithm: Holds the policy and the environments
    :param observations: What it was to act on, one row an environment
    :param rollout_step: Number of the step within the rollout
    :return: the error that names an observation, or else a parameter, that is not finite; ``None`` if all are
    """
    fault = _observation_fault(observations, rollout_step, algorithm.num_timesteps, _normalizer(algorithm))
    return fault or _parameter_fault(algorithm, rollout_step)


def output_fault(algorithm: "OnPolicyVariant", rollout_step: int, reason: Exception) -> NonFiniteError:
    """
    :param algorithm: Holds the policy
    :param rollout_step: Number of the step within the rollout
    :param reason: What the actor said
    :return: the error for an output that overflows although observations and parameters are finite
    """
    parameters = {name: float(p.detach().abs().max()) for name, p in algorithm.policy.named_parameters() if p.numel()}
    largest = max(parameters, key=lambda name: parameters[name])
    return NonFiniteError(
        f"{reason} at num_timesteps={algorithm.num_timesteps}, step {rollout_step} of the rollout, from finite "
        f"observations and parameters. Look at the largest parameter, {largest} ({parameters[largest]:.3g}), and at "
        "the scale of the observations: a smaller learning_rate and VecNormalize keep both small.",
        "output",
        None,
        algorithm.num_timesteps,
        rollout_step,
    )


def reward_fault(
    algorithm: "OnPolicyVariant", rewards: Any, infos: list[dict[str, Any]], rollout_step: int
) -> NonFiniteError | None:
    """
    :param algorithm: Holds the environments
    :param rewards: What is about to be stored, shape (E,): of an episode that a time limit cut off, with the value of
        its terminal observation
    :param infos: The step's info dictionaries
    :param rollout_step: Number of the step within the rollout
    :return: the error that names the reward, or the terminal observation, that is not finite; ``None`` if all are
    """
    rewards, advice = np.asarray(rewards), _LOOK_AT_ENV
    normalizer = _normalizer(algorithm)
    if normalizer is not None and not is_finite(normalizer.get_original_reward()):
        # One bad reward spoils the running variance, and with it every environment's normalised reward.
        rewards = normalizer.get_original_reward()
        advice += _SPOILT_STATISTICS * normalizer.training
    bad = _bad_rows(rewards)
    if not bad:
        return None
    info = infos[bad[0]]
    fault = None
    if info.get("TimeLimit.truncated", False):
        if not is_finite(info.get("terminal_observation", 0.0)):
            return _fault("terminal observation", "", bad, rollout_step, algorithm.num_timesteps, _LOOK_AT_ENV)
        fault = _parameter_fault(algorithm, rollout_step)
    return fault or _fault("reward", f": {rewards[bad[0]]}", bad, rollout_step, algorithm.num_timesteps, advice)


def rollout_fault(algorithm: "OnPolicyVariant", buffer: RolloutBuffer, new_obs: Any) -> NonFiniteError | None:
    """
    Look through a full rollout, in a few sums over whole arrays.

    Observations are left out where ``needs_finite_observations`` is false. What the policy makes of them has to be
    finite all the same.

    :param algorithm: Holds the policy and the environments
    :param buffer: With returns and advantages, not yet flattened
    :param new_obs: The observations after the last step
    :return: the error that names the first thing that is not finite, or returns whose squares are not; ``None`` if all
        is well
    """
    with np.errstate(all="ignore"):
        observations = {}
        if needs_finite_observations(algorithm.policy):
            observations = {"observation": buffer.observations, "new observation": new_obs}
        arrays = observations | {
            "action": buffer.actions,
            "reward": buffer.rewards,
            "value": buffer.values,
            "log-probability": buffer.log_probs,
            "return": buffer.returns,
            "advantage": buffer.advantages,
        }
        suspects = [what for what, array in arrays.items() if not _sums_to_a_number(array)]
        for what in suspects:
            fault = _in_rollout(algorithm, buffer, what, arrays[what])
            if fault is not None:
                return fault
        return _overflow_fault(algorithm, buffer)


def place_in_rollout(row: int, buffer: RolloutBuffer) -> tuple[int, int]:
    """
    :param row: Number of a row of a buffer that may have been flattened
    :param buffer: The buffer
    :return: (step within the rollout, number of the environment)
    """
    if buffer.generator_ready:
        env_index, step = divmod(row, buffer.buffer_size)
        return step, env_index
    step, env_index = divmod(row, buffer.n_envs)
    return step, env_index


# ---- What is not finite ----


def _nonfinite_parts(observation: Any) -> Iterator[tuple[str, np.ndarray]]:
    parts = observation.items() if isinstance(observation, dict) else [("", observation)]
    for key, part in parts:
        array = np.asarray(part)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield key, array


def _bad_rows(array: np.ndarray) -> list[int]:
    return np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1)).tolist()


def _sums_to_a_number(array: Any) -> bool:
    """False if an entry is not finite; also, rarely, if finite ones add up to more than their type holds."""
    if isinstance(array, dict):
        return all(map(_sums_to_a_number, array.values()))
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        return True
    return math.isfinite(np.add.reduce(array, None))


def _normalizer(algorithm: "OnPolicyVariant") -> VecNormalize | None:
    return None if algorithm.env is None else unwrap_vec_normalize(algorithm.env)


# ---- The errors ----


def _fault(
    what: str, detail: str, env_indices: list[int], rollout_step: int, num_timesteps: int, advice: str
) -> NonFiniteError:
    listed = ", ".join(map(str, env_indices[:8])) + (", …" if len(env_indices) > 8 else "")
    return NonFiniteError(
        f"The {what} of environment{'s' if len(env_indices) > 1 else ''} {listed} is not finite{detail} "
        f"(num_timesteps={num_timesteps}, step {rollout_step} of the rollout, from 0). {advice}",
        what,
        env_indices[0],
        num_timesteps,
        rollout_step,
    )


def _observation_fault(
    observations: Any, rollout_step: int, num_timesteps: int, normalizer: VecNormalize | None
) -> NonFiniteError | None:
    """The error for observations, one row an environment; ``normalizer``: what has just normalised them."""
    advice = _LOOK_AT_ENV
    raw = getattr(normalizer, "old_obs", None)
    if normalizer is not None and raw is not None and not is_finite(raw):
        # One bad observation spoils the running mean, and with it every environment's.
        observations = raw
        advice += _SPOILT_STATISTICS * normalizer.training
    for key, array in _nonfinite_parts(observations):
        bad = _bad_rows(array)
        index = tuple(np.argwhere(~np.isfinite(array[bad[0]]))[0].tolist())
        detail = f": {array[bad[0]][index]}" + (f" at index {index}" if index else "") + f" of {key!r}" * bool(key)
        return _fault("observation", detail, bad, rollout_step, num_timesteps, advice)
    return None


def _parameter_fault(algorithm: "OnPolicyVariant", rollout_step: int) -> NonFiniteError | None:
    for name, parameter in algorithm.policy.named_parameters():
        if not bool(th.isfinite(parameter).all()):
            return NonFiniteError(
                f"The policy's parameter {name} is not finite (num_timesteps={algorithm.num_timesteps}, step "
                f"{rollout_step} of the rollout, from 0). This class's updates never write such numbers: look at what "
                "was loaded or assigned, and at callbacks; go on from the last good checkpoint.",
                "parameters",
                None,
                algorithm.num_timesteps,
                rollout_step,
            )
    return None


def _in_rollout(algorithm: "OnPolicyVariant", buffer: RolloutBuffer, what: str, array: Any) -> NonFiniteError | None:
    n_steps = buffer.buffer_size
    if what == "new observation":
        return _observation_fault(array, n_steps, algorithm.num_timesteps, _normalizer(algorithm))
    for _, part in _nonfinite_parts(array):
        step = _bad_rows(part)[0]
        # Observations, and what the policy makes of them, are there before the step is taken; rewards after it.
        later_steps = n_steps - step - (what == "reward")
        num_timesteps = algorithm.num_timesteps - later_steps * buffer.n_envs
        if what == "observation":
            row = {key: each[step] for key, each in array.items()} if isinstance(array, dict) else array[step]
            return _observation_fault(row, step, num_timesteps, None)
        bad = _bad_rows(part[step])
        if what == "reward":
            return _fault(what, f": {part[step][bad[0]]}", bad, step, num_timesteps, _LOOK_AT_ENV)
        fault = _parameter_fault(algorithm, step)
        return fault or _fault(what, f": {part[step][bad[0]]}", bad, step, num_timesteps, _LOOK_AT_POLICY)
    return None


def _overflow_fault(algorithm: "OnPolicyVariant", buffer: RolloutBuffer) -> NonFiniteError | None:
    if not isinstance(buffer.returns, np.ndarray):
        return None
    returns = buffer.returns.ravel()
    if math.isfinite(np.dot(returns, returns)):
        return None
    step, env_index = place_in_rollout(int(np.abs(buffer.rewards).argmax()), buffer)
    n_steps = buffer.buffer_size
    num_timesteps = algorithm.num_timesteps - (n_steps - 1 - step) * buffer.n_envs
    return NonFiniteError(
        f"The returns reach {np.abs(returns).max():.3g}, and the sum of their squares, as in the value loss, is not "
        f"finite in {returns.dtype}. The largest reward, {buffer.rewards.flat[np.abs(buffer.rewards).argmax()]:.3g}, "
        f"is environment {env_index}'s (num_timesteps={num_timesteps}, step {step} of the rollout, from 0): scale the "
        "rewards, with VecNormalize for instance.",
        "loss",
        env_index,
        num_timesteps,
        step,
    )
