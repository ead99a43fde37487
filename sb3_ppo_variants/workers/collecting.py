"""Rollouts that workers collect on their own: the main process's side."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.util import obs_space_info

from sb3_ppo_variants.checks import kind_of
from sb3_ppo_variants.distributions import head_of
from sb3_ppo_variants.nonfinite.rollout import Place, RolloutScanner
from sb3_ppo_variants.policies import is_recurrent
from sb3_ppo_variants.rollouts.acting import Actor
from sb3_ppo_variants.rollouts.collection import (
    STEPPING,
    Learner,
    RolloutRequest,
    add_truncated_values,
    begin_rollout,
    end_rollout,
    has_own_stepping,
    make_actor,
    may_read_values,
    step_through,
)
from sb3_ppo_variants.rollouts.masking import MaskReader, mask_sizes
from sb3_ppo_variants.rollouts.originals import has_own, replaced_method
from sb3_ppo_variants.workers.packing import Fingerprint, pack, tensors_of, without_optimizer
from sb3_ppo_variants.workers.replay import Recorded, is_known, may_read_infos, replay
from sb3_ppo_variants.workers.rollout import Plan, parts_of
from sb3_ppo_variants.workers.shared_memory import SharedArrays
from sb3_ppo_variants.workers.vec_env import WorkerVecEnv
from sb3_ppo_variants.workers.wrappers import (
    acted_through,
    follow,
    maker_of,
    needs_statistics,
    state_for,
    take_back,
    update_statistics,
    why_not_in_workers,
    wrappers_inside_out,
)

_BUFFERS = (RolloutBuffer, DictRolloutBuffer, MaskableRolloutBuffer, MaskableDictRolloutBuffer)
#: Methods by which a policy acts, SB3's, sb3-contrib's and ours from ``get_distribution``, and by which the main
#: process then computes values.
_ACTING = ("forward", "get_distribution", "_get_action_dist_from_latent", "evaluate_actions")
#: Methods of its distribution that the workers do without.
_DRAWING = ("proba_distribution", "sample", "get_actions")


def collect_rollouts(request: RolloutRequest) -> bool:
    """
    Act for ``n_rollout_steps`` steps in every environment, fill the buffer, and compute its GAE advantages.

    This has exactly SB3's semantics: the same random numbers in the same order, the same names in ``callback.locals``,
    the same array of rewards in front of callbacks and in the buffer (they may edit it in place).

    The workers of a ``WorkerVecEnv`` collect the rollout on their own where they can; otherwise they step the
    environments, and a warning says once why. The random numbers of the actions are then not SB3's: they depend on
    torch's generator and the number of the environment, and not on the number of workers.

    :param request: The rollout
    :return: ``False`` if the callback ended the training
    :raises NonFiniteError: for an observation, action, reward or value that is not finite, naming it; with
        ``nonfinite_update="skip"`` only where the policy cannot act on it, else the learner is told
    :raises ValueError: an environment has no masks, or one that no policy can act on
    """
    begin_rollout(request)
    env, workers = request.env, request.env.unwrapped
    if not isinstance(workers, WorkerVecEnv):
        return step_through(request)
    reason = why_not_by_workers(request.learner, env, request.callback, request.rollout_buffer)
    if reason is None and needs_statistics(wrappers_inside_out(env), request.n_rollout_steps * env.num_envs):
        return step_through(request)
    if reason is None:
        try:
            return _collect_by_workers(workers, request)
        except CannotSendError as error:
            reason = str(error)
    if reason not in workers.reasons_told:
        workers.reasons_told.add(reason)
        warnings.warn(f"The workers step the environments and do not collect on their own: {reason}.", stacklevel=4)
    return step_through(request)


def why_not_by_workers(
    learner: Learner, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer
) -> str | None:
    """
    :param learner: The algorithm
    :param env: A ``WorkerVecEnv`` in its wrappers
    :param callback: What ``learn`` was given, wrapped as SB3 wraps it
    :param rollout_buffer: The buffer to fill
    :return: why workers cannot collect whole rollouts; ``None`` if they can
    """
    workers: Any = env.unwrapped
    if may_read_values(callback) and not workers.replay_callbacks:
        return (
            "a callback of your own may read or change something at each step. WorkerVecEnv(replay_callbacks=True) "
            "calls it after the rollout instead"
        )
    if _steps_in_its_own_way(workers):
        return f"the {type(workers).__name__} may do something of its own at each step"
    wrappers = wrappers_inside_out(env)
    reason = why_not_in_workers(wrappers) or _why_not_policy(learner) or _why_not_observations(wrappers)
    if reason is None and type(rollout_buffer) not in _BUFFERS:
        reason = f"the rollout buffer is {kind_of(rollout_buffer)}"
    return reason


def _steps_in_its_own_way(workers: VecEnv) -> bool:
    if not isinstance(workers, WorkerVecEnv):  # it is asked in advance, whether workers could
        return False
    return has_own_stepping(workers) or any(
        getattr(type(workers), name) is not getattr(WorkerVecEnv, name) for name in (*STEPPING, "reset")
    )


def _why_not_observations(wrappers: Sequence[VecEnvWrapper]) -> str | None:
    # Values are computed from the buffer.
    for wrapper in wrappers:
        if isinstance(wrapper, VecNormalize) and wrapper.norm_obs:
            dtypes = obs_space_info(wrapper.observation_space)[2]
            for key in wrapper.norm_obs_keys or dtypes:
                if np.issubdtype(dtypes[key], np.integer):
                    return f"the buffer rounds VecNormalize's observations to {dtypes[key]}"
    return None


def _why_not_policy(learner: Learner) -> str | None:
    policy: Any = learner.policy
    if learner.use_sde:
        return "gSDE's noise is drawn for all environments together"
    if is_recurrent(type(policy)):
        return "the policy has memory"
    if policy.device.type != "cpu":
        return f"the policy is on {policy.device}"
    for name in _ACTING:
        if not is_known(getattr(type(policy), name)) or has_own(policy, (name,)):
            return f"the {type(policy).__name__} has a {name}() of its own"
    if policy._forward_hooks or policy._forward_pre_hooks:
        return f"the {type(policy).__name__} has forward hooks"
    kind = type(policy.action_dist)
    if head_of(policy.action_dist) is None or kind is SquashedDiagGaussianDistribution:
        return f"the actions are drawn from a {kind.__name__}"
    if (method := has_own(policy.action_dist, _DRAWING) or replaced_method(kind, _DRAWING)) is not None:
        return f"the {kind.__name__} has a {method}() of its own"
    space = learner.action_space
    if isinstance(space, spaces.Box) and space.dtype not in (np.float32, np.float64):
        return f"the actions are of type {space.dtype}"
    return None


def _collect_by_workers(workers: WorkerVecEnv, request: RolloutRequest) -> bool:
    learner, env, callback, rollout_buffer, n_rollout_steps, bootstrap_truncated = request
    if learner.masks_rollouts:
        MaskReader(env, learner.action_space)  # raises where an environment has none
    scanner = RolloutScanner(learner.policy, None)
    actor = make_actor(learner, rollout_buffer, scanner, 0)
    if workers.collector is None:
        workers.collector = Collector(workers)
    wrappers = wrappers_inside_out(env)
    try:
        recorded: Recorded = workers.collector.record(learner, env, actor, n_rollout_steps, may_read_infos(callback))
        infos = recorded.infos()
        if learner.get_vec_normalize_env() is not None:
            _check_rewards(learner, scanner, recorded, infos)
        rewards = follow(wrappers, recorded.rewards, recorded.dones, infos)
        _fill(rollout_buffer, recorded, rewards, learner._last_episode_starts)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            actor.complete(rollout_buffer)
        if bootstrap_truncated:
            _bootstrap(learner, actor, scanner, rollout_buffer, recorded, infos)
    except CannotSendError:
        raise
    except BaseException:
        # The environments stand in or after a rollout that is lost: learn() will reset them.
        learner._last_obs = None
        raise
    step_locals = request.locals()
    workers.is_replaying = True
    try:
        is_over = replay(learner, recorded, rewards, infos, step_locals) == n_rollout_steps
    finally:
        workers.is_replaying = False
        learner._last_obs, learner._last_episode_starts = recorded.observed(n_rollout_steps), recorded.dones[-1]
    rollout_buffer.full = is_over
    if is_over:
        step_locals |= {"n_steps": n_rollout_steps, "rewards": rollout_buffer.rewards[-1]}
        step_locals |= {"new_obs": learner._last_obs, "dones": learner._last_episode_starts}
        end_rollout(learner, actor, scanner, step_locals)
    update_statistics(wrappers, recorded.raw)
    return is_over


def _check_rewards(
    learner: Learner, scanner: RolloutScanner, recorded: Recorded, infos: list[list[dict[str, Any]]]
) -> None:
    """Find a reward that is not finite before ``VecNormalize`` spreads it."""
    n_envs = recorded.rewards.shape[1]
    for step in np.flatnonzero(~np.isfinite(recorded.rewards).all(1)).tolist():
        place = Place(learner.num_timesteps + (step + 1) * n_envs, step)
        learner.handle_fault(scanner.reward_fault(recorded.rewards[step], infos[step], place))


def _fill(buffer: Any, recorded: Recorded, rewards: np.ndarray, first_starts: np.ndarray) -> None:
    n_steps, n_envs = recorded.rewards.shape
    for key, array in recorded.observations.items():
        kept = buffer.observations if key is None else buffer.observations[key]
        kept[:] = array[:-1].reshape(kept.shape)
    buffer.actions[:] = recorded.actions.reshape(n_steps, n_envs, -1)
    buffer.rewards[:] = rewards
    buffer.episode_starts[0] = first_starts
    buffer.episode_starts[1:] = recorded.dones[:-1]
    if recorded.masks is not None:
        buffer.action_masks[:] = recorded.masks
    buffer.pos, buffer.full = n_steps, True


def _bootstrap(
    learner: Learner,
    actor: Actor,
    scanner: RolloutScanner,
    buffer: RolloutBuffer,
    recorded: Recorded,
    infos: list[list[dict[str, Any]]],
) -> None:
    n_envs = recorded.rewards.shape[1]
    for step in np.flatnonzero(recorded.dones.any(1)).tolist():
        if not add_truncated_values(actor, learner.gamma, buffer.rewards[step], recorded.dones[step], infos[step]):
            place = Place(learner.num_timesteps + (step + 1) * n_envs, step)
            learner.handle_fault(scanner.reward_fault(buffer.rewards[step], infos[step], place))


class CannotSendError(Exception):
    """A policy or a wrapper that cannot be pickled, or something in it."""


class Collector:
    """
    Has the workers of a ``WorkerVecEnv`` collect rollouts. They receive the policy once, and its weights through shared
    memory for each rollout.

    :param workers: The environments
    """

    def __init__(self, workers: WorkerVecEnv):
        self._team = workers.team
        self._n_envs = workers.num_envs
        # What the workers have been handed, and what could not be and why.
        self._handed: tuple[Any, ...] = ()
        self._refused: tuple[tuple[Any, ...], str] = (), ""
        self._arrays: dict[Any, np.ndarray] = {}

    def record(self, learner: Learner, env: VecEnv, actor: Actor, n_steps: int, keep_infos: bool) -> Recorded:
        """
        :param learner: The algorithm
        :param env: The environments in their wrappers
        :param actor: Says how to act
        :param n_steps: T
        :param keep_infos: Whether all infos are wanted, or only those of the ends of episodes
        :return: a rollout, from the learner's last observations on
        :raises CannotSendError: nothing has been collected then
        """
        self._hand_over(learner, env, actor, n_steps)
        arrays = self._arrays
        for name, tensor in tensors_of(learner.policy).items():
            arrays["weights", name][...] = tensor.numpy()
        keys = list(parts_of(learner._last_obs))
        for key, part in parts_of(learner._last_obs).items():
            arrays["observations", key][0] = part
        # From torch's generator, so that it follows from the seed, and is continued by an exact resume.
        noise_key = int(th.randint(2**62, ()))
        wrappers, shares = acted_through(wrappers_inside_out(env)), [member.envs for member in self._team.members]
        given = (
            (noise_key, learner.num_timesteps, keep_infos, [state_for(wrapper, own) for wrapper in wrappers])
            for own in shares
        )
        answers = self._team.ask("collect", given)
        for own, (_, states, _) in zip(shares, answers, strict=True):
            for wrapper, state in zip(wrappers, states, strict=True):
                take_back(wrapper, own, state)
        workers: Any = env.unwrapped
        workers.reset_infos = [info for _, _, infos in answers for info in infos]
        return Recorded(
            {key: arrays["observations", key].copy() for key in keys},
            arrays["actions"].copy(),
            arrays["rewards"].copy(),
            arrays["dones"].copy(),
            arrays["masks"].copy() if "masks" in arrays else None,
            {key: arrays["raw", key].copy() for key in keys if ("raw", key) in arrays},
            [kept for kept_infos, _, _ in answers for kept in kept_infos],
        )

    def _hand_over(self, learner: Learner, env: VecEnv, actor: Actor, n_steps: int) -> None:
        wrappers = acted_through(wrappers_inside_out(env))
        forward = actor.forward
        try:
            wanted = forward, n_steps, learner.masks_rollouts, Fingerprint(learner.policy, *wrappers)
        except Exception as error:  # objects of the user's own may raise anything, or be nested too deep
            raise CannotSendError(f"the policy's parts cannot be listed ({type(error).__name__}: {error})") from error
        if wanted == self._handed:
            return
        if wanted == self._refused[0]:
            raise CannotSendError(self._refused[1])
        if forward is None:
            raise TypeError(f"{type(actor).__name__} acts in the main process only.")
        makers = [maker_of(wrapper) for wrapper in wrappers]
        plan = Plan(without_optimizer(learner.policy), forward, makers, self._n_envs, n_steps)
        try:
            packed = pack(plan)
        except Exception as error:  # pickling runs the __reduce__ of whatever it meets
            parts = " or ".join(["the policy", *(type(wrapper).__name__ for wrapper in wrappers)])
            self._refused = wanted, f"{parts} cannot be sent to them ({type(error).__name__}: {error})"
            raise CannotSendError(self._refused[1]) from error
        memory = SharedArrays(self._fields(learner, n_steps) | self._raw_fields(wrappers, n_steps))
        self._team.share(memory, "plan", packed)
        self._arrays = memory.arrays
        self._handed = wanted

    def _raw_fields(self, wrappers: list[VecEnvWrapper], n_steps: int) -> dict[Any, Any]:
        for wrapper in wrappers:
            if isinstance(wrapper, VecNormalize):
                keys, shapes, dtypes = obs_space_info(wrapper.venv.observation_space)
                return {("raw", key): ((n_steps, self._n_envs, *shapes[key]), np.dtype(dtypes[key])) for key in keys}
        return {}

    def _fields(self, learner: Learner, n_steps: int) -> dict[Any, Any]:
        policy: Any = learner.policy
        space, rows = learner.action_space, (n_steps, self._n_envs)
        fields: dict[Any, Any] = {}
        for key, part in parts_of(learner._last_obs).items():
            fields["observations", key] = (n_steps + 1, *part.shape), part.dtype
        example = next(iter(policy.parameters())).numpy(force=True)
        discrete = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        fields["actions"] = (*rows, *space.shape), np.dtype(np.int64) if discrete else example.dtype  # type: ignore[misc]
        fields["rewards"] = rows, np.dtype(np.float32)
        fields["dones"] = rows, np.dtype(np.bool_)
        if learner.masks_rollouts:
            fields["masks"] = (*rows, sum(mask_sizes(space) or [])), np.dtype(np.bool_)
        for name, tensor in tensors_of(policy).items():
            fields["weights", name] = tuple(tensor.shape), tensor.numpy().dtype
        return fields
