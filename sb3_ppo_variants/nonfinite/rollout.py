"""What in a rollout is not finite: searched in detail only once a cheap check has failed."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.maskable.policies import (
    MaskableActorCriticCnnPolicy,
    MaskableActorCriticPolicy,
    MaskableMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from sb3_ppo_variants.distributions import NonFiniteOutputError
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.policies import (
    BetaActorCriticCnnPolicy,
    BetaActorCriticPolicy,
    BetaMultiInputActorCriticPolicy,
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
)

_LOOK_AT_ENV = (
    "Check what the environment computes there (a division by zero, a simulation that blew up); SB3's VecCheckNan "
    "stops inside the step."
)
_LOOK_AT_POLICY = (
    "The observations and rewards are finite: check the policy's parameters (log_std, the value network) and the "
    "scale of the rewards."
)
_SPOILT_STATISTICS = " VecNormalize's running statistics are spoilt by it: load or make them again."


#: Policies and feature extractors that hand every number of an observation to a network. A user's own code in between
#: may know what to do with a NaN (a missing value, say).
_WITHOUT_OWN_CODE = {
    *(ActorCriticPolicy, ActorCriticCnnPolicy, MultiInputActorCriticPolicy),
    *(MaskableActorCriticPolicy, MaskableActorCriticCnnPolicy, MaskableMultiInputActorCriticPolicy),
    *(RecurrentActorCriticPolicy, RecurrentActorCriticCnnPolicy, RecurrentMultiInputActorCriticPolicy),
    *(MaskableRecurrentActorCriticPolicy, MaskableRecurrentActorCriticCnnPolicy),
    MaskableRecurrentMultiInputActorCriticPolicy,
    *(BetaActorCriticPolicy, BetaActorCriticCnnPolicy, BetaMultiInputActorCriticPolicy),
    *(FlattenExtractor, NatureCNN, CombinedExtractor),
}


#: What the arrays of a rollout buffer are called in an error, in the order in which they are searched.
_BUFFER_ARRAYS = {
    "action": "actions",
    "reward": "rewards",
    "value": "values",
    "log-probability": "log_probs",
    "return": "returns",
    "advantage": "advantages",
}


class Place(NamedTuple):
    """
    A step of the training.

    :param num_timesteps: Steps taken so far, over all environments together
    :param rollout_step: Number of the step within its rollout, from 0
    """

    num_timesteps: int
    rollout_step: int

    def __str__(self) -> str:
        return f"num_timesteps={self.num_timesteps}, step {self.rollout_step} of the rollout, from 0"


def is_finite(observation: Any) -> bool:
    """
    :param observation: An array, or a dictionary of arrays
    :return: whether it has no NaN and no Inf
    """
    return not any(True for _ in _nonfinite_parts(observation))


def nonfinite_parameter(policy: BasePolicy) -> str | None:
    """
    :param policy: Any policy
    :return: the name of its first parameter with a NaN or an Inf; ``None``: all are finite
    """
    parameters = policy.named_parameters()
    return next((name for name, parameter in parameters if not bool(th.isfinite(parameter).all())), None)


def normalizers_of(env: VecEnv | None) -> list[VecNormalize]:
    """
    :param env: Environments in their wrappers; ``None``: there are none
    :return: each ``VecNormalize`` among the wrappers, from outside inwards
    """
    found = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            found.append(env)
        env = env.venv
    return found


def has_spoilt_statistics(normalizer: VecNormalize) -> bool:
    """
    :param normalizer: Around the environments
    :return: whether it would make NaN or Inf of every later observation or reward
    """
    of_observations = normalizer.obs_rms if normalizer.norm_obs else {}
    used = list(of_observations.values()) if isinstance(of_observations, dict) else [of_observations]
    used += [normalizer.ret_rms] if normalizer.norm_reward else []
    return not all(is_finite(statistics.mean) and is_finite(statistics.var) for statistics in used)


def needs_finite_observations(policy: BasePolicy) -> bool:
    """
    :param policy: Any actor-critic policy
    :return: ``False`` for one with code of the user's own between observation and network
    """
    return {type(policy), type(getattr(policy, "features_extractor", None))} <= _WITHOUT_OWN_CODE


class RolloutScanner:
    """
    Finds and names what is not finite while a rollout is collected, and in the whole of it.

    :param policy: The policy that acts
    :param normalizer: The ``VecNormalize`` around the environments, if there is one
    """

    def __init__(self, policy: ActorCriticPolicy, normalizer: VecNormalize | None):
        self.policy = policy
        self.normalizer = normalizer

    def acting_fault(self, observations: Any, place: Place, reason: Exception) -> NonFiniteError | None:
        """
        Why the policy could not act.

        :param observations: What it was to act on, one per environment
        :param place: When
        :param reason: What was raised
        :return: the error that names an observation, a parameter or the output that is not finite; ``None`` if all are
        """
        fault = _observation_fault(observations, place, self.normalizer) or self._parameter_fault(place)
        # "invalid value encountered in dot", say: numpy's own, where warnings are errors.
        if fault is None and isinstance(reason, NonFiniteError | NonFiniteOutputError | RuntimeWarning):
            fault = self._output_fault(place, reason)
        return fault

    def reward_fault(self, rewards: Any, infos: list[dict[str, Any]], place: Place) -> NonFiniteError | None:
        """
        :param rewards: What is about to be stored, shape (E,); for an episode that a time limit cut off, with the
            value of its terminal observation
        :param infos: The step's info dictionaries
        :param place: When
        :return: the error that names the reward, or the terminal observation, that is not finite; ``None`` if all are
        """
        rewards, advice = np.asarray(rewards), _LOOK_AT_ENV
        if self.normalizer is not None and not is_finite(self.normalizer.get_original_reward()):
            # One bad reward spoils the running variance, and with it every environment's normalised reward.
            rewards = self.normalizer.get_original_reward()
            advice += _SPOILT_STATISTICS * self.normalizer.training
        bad = _bad_rows(rewards)
        if not bad:
            return None
        info = infos[bad[0]] if bad[0] < len(infos) else {}
        fault = None
        if info.get("TimeLimit.truncated", False):
            if not is_finite(info.get("terminal_observation", 0.0)):
                return _fault("terminal observation", "", bad, place, _LOOK_AT_ENV)
            fault = self._parameter_fault(place)
        return fault or _fault("reward", f": {rewards[bad[0]]}", bad, place, advice)

    def rollout_fault(self, buffer: RolloutBuffer, new_obs: Any, num_timesteps: int) -> NonFiniteError | None:
        """
        Check a full rollout, in a few sums over whole arrays.

        Observations are left out where ``needs_finite_observations`` is false. What the policy makes of them has to be
        finite all the same.

        :param buffer: With returns and advantages, not yet flattened
        :param new_obs: The observations after the last step
        :param num_timesteps: Steps taken by the end of the rollout
        :return: the error that names the first thing that is not finite, or returns whose squares are not; ``None`` if
            everything is finite
        """
        with np.errstate(all="ignore"):
            # A buffer of the user's own may keep some of them elsewhere.
            arrays = {what: getattr(buffer, name, None) for what, name in _BUFFER_ARRAYS.items()}
            if needs_finite_observations(self.policy):
                observations = getattr(buffer, "observations", None)
                arrays = {"observation": observations, "new observation": new_obs} | arrays
            suspects = [what for what, array in arrays.items() if not _sums_to_a_number(array)]
            for what in suspects:
                fault = self._in_rollout(buffer, what, arrays[what], num_timesteps)
                if fault is not None:
                    return fault
            return _overflow_fault(buffer, num_timesteps)

    def _in_rollout(self, buffer: RolloutBuffer, what: str, array: Any, num_timesteps: int) -> NonFiniteError | None:
        n_steps = buffer.buffer_size
        if what == "new observation":
            return _observation_fault(array, Place(num_timesteps, n_steps), self.normalizer)
        for _, part in _nonfinite_parts(array):
            step = _bad_rows(part)[0]
            # Observations, and what the policy makes of them, are there before the step is taken; rewards after it.
            later_steps = n_steps - step - (what == "reward")
            place = Place(num_timesteps - later_steps * buffer.n_envs, step)
            if what == "observation":
                row = {key: each[step] for key, each in array.items()} if isinstance(array, dict) else array[step]
                return _observation_fault(row, place, None)
            bad = _bad_rows(part[step])
            detail = f": {part[step][bad[0]]}"
            if what == "reward":
                return _fault(what, detail, bad, place, _LOOK_AT_ENV)
            return self._parameter_fault(place) or _fault(what, detail, bad, place, _LOOK_AT_POLICY)
        return None

    def _parameter_fault(self, place: Place) -> NonFiniteError | None:
        name = nonfinite_parameter(self.policy)
        if name is None:
            return None
        return NonFiniteError(
            f"The policy's parameter {name} is not finite ({place}). This class's updates never write such numbers: "
            "check what was loaded or assigned, and callbacks; continue from the last good checkpoint.",
            "parameters",
            None,
            *place,
        )

    def _output_fault(self, place: Place, reason: Exception) -> NonFiniteError:
        """The error for an output that overflows although observations and parameters are finite."""
        sizes = {name: float(p.detach().abs().max()) for name, p in self.policy.named_parameters() if p.numel()}
        largest = max(sizes, key=lambda name: sizes[name])
        return NonFiniteError(
            f"{reason} at {place}, from finite observations and parameters. Check the largest parameter, {largest} "
            f"({sizes[largest]:.3g}), and the scale of the observations: a smaller learning_rate and VecNormalize keep "
            "both small.",
            "output",
            None,
            *place,
        )


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


# ---- The errors ----


def _fault(what: str, detail: str, env_indices: list[int], place: Place, advice: str) -> NonFiniteError:
    listed = ", ".join(map(str, env_indices[:8])) + (", …" if len(env_indices) > 8 else "")
    return NonFiniteError(
        f"The {what} of environment{'s' if len(env_indices) > 1 else ''} {listed} is not finite{detail} ({place}). "
        f"{advice}",
        what,
        env_indices[0],
        *place,
    )


def _observation_fault(observations: Any, place: Place, normalizer: VecNormalize | None) -> NonFiniteError | None:
    """The error for observations, one per environment; ``normalizer``: what has just normalised them."""
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
        return _fault("observation", detail, bad, place, advice)
    return None


def _overflow_fault(buffer: RolloutBuffer, num_timesteps: int) -> NonFiniteError | None:
    if not isinstance(buffer.returns, np.ndarray):
        return None
    returns = buffer.returns.ravel()
    if math.isfinite(np.dot(returns, returns)):
        return None
    largest = int(np.abs(buffer.rewards).argmax())
    step, env_index = place_in_rollout(largest, buffer)
    place = Place(num_timesteps - (buffer.buffer_size - 1 - step) * buffer.n_envs, step)
    return NonFiniteError(
        f"The returns reach {np.abs(returns).max():.3g}, and the sum of their squares, as in the value loss, is not "
        f"finite in {returns.dtype}. The largest reward, {buffer.rewards.flat[largest]:.3g}, is environment "
        f"{env_index}'s ({place}): scale the rewards, with VecNormalize for instance.",
        "loss",
        env_index,
        *place,
    )
