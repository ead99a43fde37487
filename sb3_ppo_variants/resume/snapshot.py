"""The state of a training between two rollouts."""

import io
import time
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.policies import ReferencePolicy
from sb3_ppo_variants.resume.callback_states import CallbackState, capture_callbacks, restore_callbacks
from sb3_ppo_variants.resume.environments import VecEnvState, restore_environments
from sb3_ppo_variants.resume.layers import put_attributes
from sb3_ppo_variants.resume.logs import LogState, capture_logs, restore_logs
from sb3_ppo_variants.resume.pickles import can_be_kept, dumps, loads
from sb3_ppo_variants.resume.random_states import RandomStates, capture_random_states, restore_random_states

# gSDE's noise, drawn at the start of a rollout and used until the next draw.
_NOISE = ("exploration_mat", "exploration_matrices")


class Snapshot(NamedTuple):
    """
    Everything that the rest of a training depends on, at the start of a rollout (the update before it is done, the
    rollout buffer empty) or at the end of the training.

    :param tensors: ``torch.save`` of the state dictionaries of policy and optimiser
    :param attributes: The model's attributes that can be pickled: counters, settings as callbacks have changed them,
        the KL coefficient, last observations, windows of episodes
    :param seconds: Seconds since the training's start
    :param noise: gSDE's matrices
    :param training_mode: Whether the policy is in training mode
    :param environments: State of the training environments
    :param callbacks: States of all callbacks
    :param logs: State of the logger
    :param random: Random states of this process
    :param lstm_states: What a recurrent policy remembers of the environments; ``None``: it has no memory
    """

    tensors: bytes
    attributes: dict[str, Any]
    seconds: float
    noise: dict[str, th.Tensor]
    training_mode: bool
    environments: VecEnvState
    callbacks: list[CallbackState]
    logs: LogState
    random: RandomStates
    lstm_states: Any = None


def take_snapshot(
    model: OnPolicyAlgorithm, environments: VecEnvState, callback: BaseCallback, iterations: int
) -> bytes:
    """
    :param model: The model, between two rollouts
    :param environments: What ``capture_environments`` has just returned for its environments
    :param callback: The callback that ``learn`` runs
    :param iterations: Iterations of the training so far
    :return: a pickled ``Snapshot``
    """
    names, _ = model._get_torch_save_params()
    tensors = io.BytesIO()
    th.save({name: attrgetter(name)(model).state_dict() for name in names}, tensors)
    snapshot = Snapshot(
        tensors=tensors.getvalue(),
        attributes=_attributes(model),
        seconds=(time.time_ns() - model.start_time) / 1e9,
        noise=_noise(model),
        training_mode=model.policy.training,
        environments=environments,
        callbacks=capture_callbacks(callback),
        logs=capture_logs(model.logger, iterations),
        random=capture_random_states(),
        lstm_states=getattr(model, "_last_lstm_states", None),
    )
    return dumps(snapshot)


def put_snapshot(pickled: bytes, model: OnPolicyAlgorithm, callback: BaseCallback) -> list[str]:
    """
    :param pickled: What ``take_snapshot`` returned; unpickling it runs code of whoever wrote it
    :param model: A model made in the same way as the captured one, at the start of its first rollout or of its training
    :param callback: The callback that ``learn`` runs
    :return: what could not be restored, and what follows, in sentences
    :raises ValueError: the environments, the policy or the callbacks differ from the captured ones
    """
    snapshot: Snapshot = loads(pickled)
    # The snapshot is a pickle, so these may be one too: an optimiser's settings can be numpy's numbers.
    tensors = th.load(io.BytesIO(snapshot.tensors), map_location=model.device, weights_only=False)
    model.set_parameters(tensors, exact_match=True, device=model.device)
    put_attributes(model, snapshot.attributes)
    reference = getattr(model, "reference_policy", None)
    if isinstance(reference, ReferencePolicy):
        reference.to(model.device)
    model.start_time = time.time_ns() - round(snapshot.seconds * 1e9)
    model.policy.set_training_mode(snapshot.training_mode)
    for name, matrix in snapshot.noise.items():
        setattr(model.policy.action_dist, name, matrix.to(model.device))
    if snapshot.lstm_states is not None:
        states: Any = snapshot.lstm_states
        on_device = (tuple(part.to(model.device) for part in of) for of in states)
        model._last_lstm_states = type(states)(*on_device)  # type: ignore[attr-defined]
    env: Any = model.get_env()
    faults = [
        f"{fault}. All environments begin a new episode." for fault in restore_environments(env, snapshot.environments)
    ]
    if faults:
        model._last_obs = env.reset()
        model._last_episode_starts = np.ones((env.num_envs,), dtype=bool)
    faults += [f"{fault}." for fault in restore_callbacks(callback, snapshot.callbacks)]
    restore_logs(model.logger, snapshot.logs)
    # Last, because resets draw from the generators.
    restore_random_states(snapshot.random)
    return faults


def _attributes(model: OnPolicyAlgorithm) -> dict[str, Any]:
    state_dicts, tensors = model._get_torch_save_params()
    excluded = {*model._excluded_save_params(), *(name.split(".")[0] for name in (*state_dicts, *tensors))}
    excluded |= {"device", "start_time"}
    return {name: value for name, value in vars(model).items() if name not in excluded and can_be_kept(value)}


def _noise(model: OnPolicyAlgorithm) -> dict[str, th.Tensor]:
    distribution = getattr(model.policy, "action_dist", None)
    return {name: getattr(distribution, name).detach() for name in _NOISE if hasattr(distribution, name)}
