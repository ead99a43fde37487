"""The collection loop: environment steps into the rollout buffer."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import acting_fault, output_fault, reward_fault, rollout_fault
from sb3_ppo_variants.rollouts.acting import Acted, Actor, Observations
from sb3_ppo_variants.rollouts.copies import ease_copies
from sb3_ppo_variants.rollouts.normalization import ease_normalization

if TYPE_CHECKING:
    from sb3_ppo_variants.algorithms.base import OnPolicyVariant


def collect_rollouts(
    algorithm: "OnPolicyVariant",
    env: VecEnv,
    callback: BaseCallback,
    rollout_buffer: RolloutBuffer,
    n_rollout_steps: int,
    make_actor: Callable[[RolloutBuffer], Actor],
    bootstrap_truncated: bool,
) -> bool:
    """
    Act for ``n_rollout_steps`` steps in every environment, fill the buffer, and compute its GAE advantages.

    SB3's semantics to the letter: the same random numbers in the same order, the same names in ``callback.locals``,
    the same array of rewards before callbacks and in the buffer (they may edit it in place).

    :param algorithm: Holds the policy and the last observation
    :param env: The environments to step
    :param callback: Told of every step, and of the rollout's start and end
    :param rollout_buffer: The buffer to fill
    :param n_rollout_steps: Steps per environment
    :param make_actor: How to act, given the buffer; asked again if a callback has replaced the policy's weights
    :param bootstrap_truncated: Add γ·V(terminal observation) to the last reward of an episode that only ran out of
        time (SB3 issue 633); without it a time limit counts as a terminal state
    :return: ``False`` if the callback ended the training
    :raises NonFiniteError: for an observation, action, reward or value that is not finite, naming it; with
        ``nonfinite_update="skip"`` only where the policy cannot act on it, else ``algorithm`` is told
    """
    policy = algorithm.policy
    _begin(algorithm, env, callback, rollout_buffer)
    actor = _made(make_actor, algorithm, rollout_buffer, 0)
    in_full = may_look_at_values(callback) or may_change_the_policy(env)
    # A bad reward is found in the buffer too, at the rollout's end and for nothing; but one that has gone through
    # VecNormalize has spoilt the others by then, and where it came from is only known at its own step.
    watch_rewards = algorithm.get_vec_normalize_env() is not None
    step_locals: dict[str, Any] = {
        "self": algorithm,
        "env": env,
        "callback": callback,
        "rollout_buffer": rollout_buffer,
        "n_rollout_steps": n_rollout_steps,
    }

    for n_steps in range(n_rollout_steps):
        if algorithm.use_sde and algorithm.sde_sample_freq > 0 and n_steps % algorithm.sde_sample_freq == 0:
            policy.reset_noise(env.num_envs)
        acted = _act(actor, algorithm, in_full, n_steps)
        clipped_actions = within_bounds(algorithm, acted.actions)
        new_obs, rewards, dones, infos = env.step(clipped_actions)
        algorithm.num_timesteps += env.num_envs

        step_locals.update(
            n_steps=n_steps,
            obs_tensor=acted.obs_tensor,
            actions=acted.actions,
            values=acted.values,
            log_probs=acted.log_probs,
            clipped_actions=clipped_actions,
            new_obs=new_obs,
            rewards=rewards,
            dones=dones,
            infos=infos,
        )
        callback.update_locals(step_locals)
        if not callback.on_step():
            actor.catch_up(rollout_buffer)
            return False
        if in_full and not actor.is_current():
            actor = _made(make_actor, algorithm, rollout_buffer, n_steps)

        algorithm._update_info_buffer(infos, dones)
        if bootstrap_truncated and not add_truncated_values(actor, algorithm.gamma, rewards, dones, infos):
            algorithm.report(reward_fault(algorithm, rewards, infos, n_steps))
        # Python's sum: for a handful of numbers it takes a fraction of numpy's.
        if watch_rewards and not math.isfinite(sum(rewards.tolist())):
            algorithm.report(reward_fault(algorithm, rewards, infos, n_steps))
        # As SB3 reads them: from the model, where a callback may have put others.
        actor.store(rollout_buffer, algorithm._last_obs, acted, rewards, algorithm._last_episode_starts)  # type: ignore[arg-type]
        algorithm._last_obs = new_obs  # type: ignore[assignment]
        algorithm._last_episode_starts = dones

    _end(algorithm, actor, step_locals | {"n_steps": n_rollout_steps})
    return True


def _begin(algorithm: "OnPolicyVariant", env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer) -> None:
    """What comes before the first step."""
    if algorithm._last_obs is None:
        raise ValueError("There is no observation to start from: call learn(), which resets the environment.")
    # Switches off dropout, and batch norm's running statistics.
    algorithm.policy.set_training_mode(False)
    rollout_buffer.reset()
    ease_copies(env)
    ease_normalization(env)
    if algorithm.use_sde:
        algorithm.policy.reset_noise(env.num_envs)
    callback.on_rollout_start()


def _end(algorithm: "OnPolicyVariant", actor: Actor, step_locals: dict[str, Any]) -> None:
    """What comes after the last step: advantages, a look through the rollout, the callback's end."""
    buffer, callback = step_locals["rollout_buffer"], step_locals["callback"]
    # What overflows or is no number is looked at next.
    with np.errstate(over="ignore", invalid="ignore"):
        step_locals["values"] = actor.finish(buffer, step_locals["new_obs"], step_locals["dones"])
    algorithm.report(rollout_fault(algorithm, buffer, step_locals["new_obs"]))
    if isinstance(algorithm.action_space, spaces.Discrete):
        # As SB3 leaves them in its locals, having stored them.
        step_locals["actions"] = step_locals["actions"].reshape(-1, 1)
    callback.update_locals(step_locals)
    callback.on_rollout_end()


#: What a policy raises when it is given, or makes, numbers that are not finite: ours, torch's, and numpy's where
#: warnings are errors.
_ACTING_FAILS = (ValueError, RuntimeError, RuntimeWarning)


def _act(actor: Actor, algorithm: "OnPolicyVariant", in_full: bool, rollout_step: int) -> Acted:
    observations: Any = algorithm._last_obs
    try:
        return actor.act(observations, in_full)
    except _ACTING_FAILS as error:
        raise_acting_fault(algorithm, observations, rollout_step, error)
        raise


def _made(
    make_actor: Callable[[RolloutBuffer], Actor], algorithm: "OnPolicyVariant", buffer: RolloutBuffer, rollout_step: int
) -> Actor:
    try:
        return make_actor(buffer)
    except NonFiniteError as error:
        raise_acting_fault(algorithm, algorithm._last_obs, rollout_step, error)  # type: ignore[arg-type]
        raise


def raise_acting_fault(
    algorithm: "OnPolicyVariant", observations: Observations, rollout_step: int, reason: Exception
) -> None:
    """
    :param algorithm: Holds the policy and the environments
    :param observations: What it was to act on
    :param rollout_step: Number of the step within the rollout
    :param reason: Why it could not
    :raises NonFiniteError: if numbers that are not finite are the reason
    """
    fault = acting_fault(algorithm, observations, rollout_step)
    # "invalid value encountered in dot", say: numpy's own, where warnings are errors.
    if fault is None and (isinstance(reason, NonFiniteError) or " encountered in " in str(reason)):
        fault = output_fault(algorithm, rollout_step, reason)
    if fault is not None:
        raise fault from reason


#: What is called at a step: one put on an instance of SB3's callbacks is a user's.
_CALLBACK_METHODS = ("_on_step", "on_step", "update_locals", "update_child_locals")


def may_look_at_values(callback: BaseCallback) -> bool:
    """
    Whether a callback could read ``values`` or ``log_probs`` from its locals at a step.

    SB3's own callbacks and this package's do not; a user's might, and is given them.

    :param callback: What ``learn`` was given, wrapped as SB3 wraps it
    :return: ``False`` only where nobody looks
    """
    if not vars(callback).keys().isdisjoint(_CALLBACK_METHODS):
        return True
    if isinstance(callback, CallbackList):
        return any(map(may_look_at_values, callback.callbacks))
    if isinstance(callback, ConvertCallback):
        return callback.callback is not None
    if not type(callback).__module__.startswith(("stable_baselines3.common.callbacks", "sb3_ppo_variants.")):
        return True
    inner = [getattr(callback, name, None) for name in ("callback", "callback_on_new_best", "callback_after_eval")]
    return any(may_look_at_values(child) for child in inner if isinstance(child, BaseCallback))


def may_change_the_policy(env: VecEnv) -> bool:
    """
    Whether a wrapper in the main process could edit the policy's weights between two steps of a rollout, so that
    values left for its end would be another policy's.

    SB3's own vectorised environments and wrappers do not; a user's might. (What edits them from inside a single
    environment is not looked for.)

    :param env: The vectorised environment with its wrappers
    :return: ``False`` only where all of them are SB3's
    """
    while type(env).__module__.startswith("stable_baselines3.common.vec_env."):
        if not isinstance(env, VecEnvWrapper):
            return False
        env = env.venv
    return True


def within_bounds(algorithm: "OnPolicyVariant", actions: np.ndarray) -> np.ndarray:
    """
    What the environment is given for the policy's actions: a squashed policy's [−1, 1] is scaled to the Box's bounds,
    an unbounded Gaussian's sample is clipped to them, anything else passes.

    :param algorithm: Holds the policy and the action space
    :param actions: The policy's actions, one row an environment
    :return: the actions to step with
    """
    if not isinstance(algorithm.action_space, spaces.Box):
        return actions
    if algorithm.policy.squash_output:
        return algorithm.policy.unscale_action(actions)
    # np.clip, without what its wrapper costs on small arrays.
    return np.minimum(np.maximum(actions, algorithm.action_space.low), algorithm.action_space.high)


def add_truncated_values(
    actor: Actor, gamma: float, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]
) -> bool:
    """
    Add γ·V(terminal observation) in place to the rewards of episodes that a time limit cut off.

    :param actor: Values the observation
    :param gamma: γ
    :param rewards: This step's rewards, shape (E,), edited in place
    :param dones: This step's ends of episodes, shape (E,)
    :param infos: This step's info dictionaries
    :return: whether what was added is finite
    """
    finite = True
    for idx, done in enumerate(dones):
        info = infos[idx]
        if done and info.get("terminal_observation") is not None and info.get("TimeLimit.truncated", False):
            rewards[idx] += gamma * actor.terminal_value(info["terminal_observation"])
            finite = finite and math.isfinite(rewards[idx])
    return finite
