"""The collection loop: environment steps into the rollout buffer."""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from stable_baselines3.common import callbacks, vec_env
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, LogEveryNTimesteps
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import Place, RolloutScanner
from sb3_ppo_variants.rollouts.acting import ACTING_FAILS, Acted, Actor
from sb3_ppo_variants.rollouts.copies import speed_up_copies
from sb3_ppo_variants.rollouts.masking import MaskReader
from sb3_ppo_variants.rollouts.normalization import speed_up_statistics
from sb3_ppo_variants.rollouts.originals import has_own, replaced_method


class Learner(Protocol):
    """What the loop asks of the algorithm that it collects for: SB3's attributes, four members of our own, no more."""

    policy: ActorCriticPolicy
    action_space: spaces.Space
    num_timesteps: int
    gamma: float
    use_sde: bool
    sde_sample_freq: int
    #: Whether to ask the environments before each action which ones they allow.
    masks_rollouts: bool
    #: The observations to act on next. Callbacks may replace them, so they are read from here at every step.
    _last_obs: Any
    _last_episode_starts: Any

    def make_actor(self, rollout_buffer: RolloutBuffer) -> Actor:
        """How to act now; called again where a callback has replaced the policy's weights."""

    def handle_fault(self, fault: NonFiniteError | None) -> None:
        """Deal with a number that is not finite; ``None``: there was none."""

    def complete_rollout(self, rollout_buffer: RolloutBuffer) -> None:
        """What the algorithm computes from a whole rollout, before callbacks see it."""

    def get_vec_normalize_env(self) -> VecNormalize | None:
        """SB3's own."""

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        """SB3's own: the windows of episode returns and lengths."""


class RolloutRequest(NamedTuple):
    """
    A rollout to collect.

    :param learner: The algorithm
    :param env: The environments to step
    :param callback: Told of every step, and of the rollout's start and end
    :param rollout_buffer: The buffer to fill
    :param n_rollout_steps: Steps per environment
    :param bootstrap_truncated: Add γ·V(terminal observation) to the last reward of an episode that a time limit cut
        off (SB3 issue 633); without it a time limit counts as a terminal state
    """

    learner: Learner
    env: VecEnv
    callback: BaseCallback
    rollout_buffer: RolloutBuffer
    n_rollout_steps: int
    bootstrap_truncated: bool

    def locals(self) -> dict[str, Any]:
        """The names of SB3's ``collect_rollouts`` that are the same at every step, for ``callback.locals``."""
        names = {"self": self.learner, "env": self.env, "callback": self.callback}
        return names | {"rollout_buffer": self.rollout_buffer, "n_rollout_steps": self.n_rollout_steps}


def step_through(request: RolloutRequest) -> bool:
    """
    Act for ``n_rollout_steps`` steps, after ``begin_rollout``.

    :param request: The rollout
    :return: ``False`` if the callback ended the training
    """
    learner, env, callback, rollout_buffer, n_rollout_steps, bootstrap_truncated = request
    read_masks = MaskReader(env, learner.action_space) if learner.masks_rollouts else None
    scanner = RolloutScanner(learner.policy, learner.get_vec_normalize_env())
    actor = make_actor(learner, rollout_buffer, scanner, 0)
    with_values = may_read_values(callback) or may_change_the_policy(env)
    # A bad reward is found in the buffer too, at the end of the rollout and at no cost. But one that has gone through
    # VecNormalize has spoilt the others by then, and where it came from is only known at its own step.
    watch_rewards = scanner.normalizer is not None
    step_locals = request.locals()

    for n_steps in range(n_rollout_steps):
        if learner.use_sde and learner.sde_sample_freq > 0 and n_steps % learner.sde_sample_freq == 0:
            learner.policy.reset_noise(env.num_envs)
        masks = None if read_masks is None else read_masks(Place(learner.num_timesteps, n_steps))
        acted = _act(actor, learner, scanner, with_values, masks, n_steps)
        clipped_actions = within_bounds(learner.policy, learner.action_space, acted.actions)
        new_obs, rewards, dones, infos = env.step(clipped_actions)
        learner.num_timesteps += env.num_envs

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
        if acted.lstm_states is not None:
            step_locals["lstm_states"] = acted.lstm_states
        if read_masks is not None:
            step_locals["action_masks"] = masks
        callback.update_locals(step_locals)
        if not callback.on_step():
            actor.catch_up(rollout_buffer)
            return False
        if with_values and not actor.is_current(learner.policy):
            actor = make_actor(learner, rollout_buffer, scanner, n_steps)

        learner._update_info_buffer(infos, dones)
        if bootstrap_truncated and not add_truncated_values(actor, learner.gamma, rewards, dones, infos):
            learner.handle_fault(scanner.reward_fault(rewards, infos, Place(learner.num_timesteps, n_steps)))
        # Python's sum: for a handful of numbers it takes a fraction of numpy's.
        if watch_rewards and not math.isfinite(sum(np.asarray(rewards).tolist())):
            learner.handle_fault(scanner.reward_fault(rewards, infos, Place(learner.num_timesteps, n_steps)))
        actor.store(rollout_buffer, learner._last_obs, acted, rewards, learner._last_episode_starts)
        learner._last_obs = new_obs
        learner._last_episode_starts = dones

    end_rollout(learner, actor, scanner, step_locals | {"n_steps": n_rollout_steps})
    return True


def begin_rollout(request: RolloutRequest) -> None:
    """
    What comes before the first step, as in SB3.

    :param request: The rollout, whose buffer is emptied and whose callback is told
    :raises ValueError: there is no observation to start from
    """
    learner, env = request.learner, request.env
    if learner._last_obs is None:
        raise ValueError("There is no observation to start from: call learn(), which resets the environment.")
    # Switches off dropout, and batch norm's running statistics.
    learner.policy.set_training_mode(False)
    request.rollout_buffer.reset()
    speed_up_copies(env)
    speed_up_statistics(env)
    if learner.use_sde:
        learner.policy.reset_noise(env.num_envs)
    request.callback.on_rollout_start()


def end_rollout(learner: Learner, actor: Actor, scanner: RolloutScanner, step_locals: dict[str, Any]) -> None:
    """
    Advantages, a search for what is not finite, and the callback's end of the rollout.

    :param learner: The algorithm
    :param actor: What has acted
    :param scanner: Searches
    :param step_locals: The names that callbacks see, as the last step left them
    """
    buffer, callback = step_locals["rollout_buffer"], step_locals["callback"]
    # Overflow and NaN are checked next.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        step_locals["values"] = actor.finish(buffer, step_locals["new_obs"], step_locals["dones"])
    learner.handle_fault(scanner.rollout_fault(buffer, step_locals["new_obs"], learner.num_timesteps))
    learner.complete_rollout(buffer)
    if isinstance(learner.action_space, spaces.Discrete):
        # As SB3 leaves them in its locals, having stored them.
        step_locals["actions"] = step_locals["actions"].reshape(-1, 1)
    callback.update_locals(step_locals)
    callback.on_rollout_end()


def _act(
    actor: Actor,
    learner: Learner,
    scanner: RolloutScanner,
    with_values: bool,
    action_masks: np.ndarray | None,
    rollout_step: int,
) -> Acted:
    observations = learner._last_obs
    try:
        with np.errstate(under="ignore"):  # what underflows is 0, as in torch
            return actor.act(observations, with_values, action_masks, learner._last_episode_starts)
    except ACTING_FAILS as error:
        fault = scanner.acting_fault(observations, Place(learner.num_timesteps, rollout_step), error)
        if fault is not None:
            raise fault from error
        raise


def make_actor(learner: Learner, buffer: RolloutBuffer, scanner: RolloutScanner, rollout_step: int) -> Actor:
    """
    :param learner: The algorithm
    :param buffer: To be filled
    :param scanner: Names what is not finite
    :param rollout_step: Number of the step within the rollout, from 0
    :return: how to act
    """
    try:
        return learner.make_actor(buffer)
    except NonFiniteError as error:
        fault = scanner.acting_fault(learner._last_obs, Place(learner.num_timesteps, rollout_step), error)
        if fault is not None:
            raise fault from error
        raise


#: Callbacks known not to read ``values`` or ``log_probs`` from their locals at a step: exactly SB3's own, and
#: sb3-contrib's for masks. Others say so by a class attribute ``reads_step_values = False`` of their own (not an
#: inherited one).
_SB3_CALLBACKS = {c for c in vars(callbacks).values() if isinstance(c, type) and issubclass(c, BaseCallback)}
_SB3_CALLBACKS.add(MaskableEvalCallback)
#: What is called at a step and at the end of a rollout, whose locals are the last step's.
_CALLBACK_METHODS = (
    *("_on_step", "on_step", "update_locals", "update_child_locals", "_on_event"),
    *("_on_rollout_end", "on_rollout_end"),
)


def may_read_values(callback: BaseCallback) -> bool:
    """
    :param callback: What ``learn`` was given, wrapped as SB3 wraps it
    :return: whether a callback could read ``values`` or ``log_probs`` from its locals at a step; ``False`` only where
        it is known that none does
    """
    kind = type(callback)
    if has_own(callback, _CALLBACK_METHODS):
        return True
    if kind not in _SB3_CALLBACKS:
        return vars(kind).get("reads_step_values", True)
    if replaced_method(kind, _CALLBACK_METHODS):
        return True
    if kind is ConvertCallback:
        function: Any = callback.callback  # type: ignore[attr-defined]
        return function is not None and getattr(function, "__func__", None) is not LogEveryNTimesteps._log_data
    if kind is CallbackList:
        return any(map(may_read_values, callback.callbacks))  # type: ignore[attr-defined]
    inner = [getattr(callback, name, None) for name in ("callback", "callback_on_new_best", "callback_after_eval")]
    return any(may_read_values(child) for child in inner if isinstance(child, BaseCallback))


_SB3_VEC_ENVS = {c for c in vars(vec_env).values() if isinstance(c, type) and issubclass(c, VecEnv)}
#: Methods by which a ``VecEnv`` is stepped.
STEPPING = ("step", "step_async", "step_wait")


def has_own_stepping(env: VecEnv) -> bool:
    """
    :param env: A vectorised environment, or a wrapper around it
    :return: whether a stepping method is set on the object itself that does more than watch (a stopwatch, say, declares
        by an attribute ``only_watches = True`` that it does nothing else)
    """
    own = [vars(env)[name] for name in STEPPING if name in vars(env)]
    return not all(getattr(method, "only_watches", False) for method in own)


def _steps_in_its_own_way(env: VecEnv) -> bool:
    return has_own_stepping(env) or replaced_method(type(env), STEPPING) is not None


def may_change_the_policy(env: VecEnv) -> bool:
    """
    Whether a wrapper in the main process could edit the policy's weights, or the observations that it was given,
    between two steps of a rollout, so that values computed at its end would be others.

    SB3's own vectorised environments and wrappers do not; a user's might. (What edits them from inside a single
    environment is not checked.)

    :param env: The vectorised environment with its wrappers
    :return: ``False`` only where all of them are exactly SB3's, with SB3's methods, or declare ``only_steps = True``
        (not an inherited one)
    """
    while (type(env) in _SB3_VEC_ENVS or vars(type(env)).get("only_steps", False)) and not _steps_in_its_own_way(env):
        if not isinstance(env, VecEnvWrapper):
            return False
        env = env.venv
    return True


def within_bounds(policy: ActorCriticPolicy, action_space: spaces.Space, actions: np.ndarray) -> np.ndarray:
    """
    What the environment is given for the policy's actions: a squashed policy's [−1, 1] is scaled to the Box's bounds,
    an unbounded Gaussian's sample is clipped to them, anything else is passed on unchanged.

    :param policy: The policy
    :param action_space: The environment's action space
    :param actions: The policy's actions, one per environment
    :return: the actions to step with
    """
    if not isinstance(action_space, spaces.Box):
        return actions
    if policy.squash_output:
        return policy.unscale_action(actions)
    # np.clip, without what its wrapper costs on small arrays.
    return np.minimum(np.maximum(actions, action_space.low), action_space.high)


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
        # Not before: an environment may leave its infos empty where no episode has ended.
        info = infos[idx] if done else {}
        if info.get("terminal_observation") is not None and info.get("TimeLimit.truncated", False):
            rewards[idx] += gamma * actor.terminal_value(info["terminal_observation"], idx)
            finite = finite and math.isfinite(rewards[idx])
    return finite
