"""The distributions of a reference policy at the rows of a rollout."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.distributions import Parameters, masked_logits
from sb3_ppo_variants.policies import ReferencePolicy, is_recurrent
from sb3_ppo_variants.rollouts.buffers import keeps_states
from sb3_ppo_variants.rollouts.minibatches import CHUNK_SIZE, flatten, rows_at


def move_states_on(reference: ReferencePolicy, buffer: RolloutBuffer) -> None:
    """
    Move the states of a reference with memory on over the rows of a rollout that a callback has ended, as the policy's
    have moved.

    :param reference: The reference policy
    :param buffer: The rollout buffer, full up to its position
    """
    if not is_recurrent(type(reference.policy)):
        return
    stored = buffer.observations
    for step in range(buffer.pos):
        if isinstance(stored, dict):
            observations: Any = {name: buffer.to_torch(part[step]) for name, part in stored.items()}
        else:
            observations = buffer.to_torch(stored[step])
        reference.parameters_at(observations, buffer.to_torch(buffer.episode_starts[step]), buffer.n_envs)


def reference_parameters(reference: ReferencePolicy, buffer: RolloutBuffer) -> Parameters:
    """
    One pass over a rollout, called once for each: the states of a reference with memory move on to its end.

    :param reference: The reference policy
    :param buffer: The full rollout buffer, which is flattened; its masks apply to the reference too
    :return: the parameters of the reference's distributions, N rows of the flattened rollout each
    """
    flatten(buffer)
    n_steps, n_envs = buffer.buffer_size, buffer.n_envs
    # SB3's own buffers leave these as they were.
    starts = (buffer.episode_starts if keeps_states(buffer) else buffer.swap_and_flatten(buffer.episode_starts)).ravel()
    first_rows = np.arange(n_envs)[:, None] * n_steps
    steps_at_once = max(CHUNK_SIZE // n_envs, 1)
    found: Parameters = ()
    for step in range(0, n_steps, steps_at_once):
        numbers = (first_rows + np.arange(step, min(step + steps_at_once, n_steps))).ravel()
        rows = rows_at(buffer, numbers)
        parts = reference.parameters_at(rows.observations, buffer.to_torch(starts[numbers]), n_envs)
        masks: th.Tensor | None = None if rows.action_masks is None else rows.action_masks.bool()
        found = found or tuple(part.new_empty((n_steps * n_envs, *part.shape[1:])) for part in parts)
        for whole, part in zip(found, parts, strict=True):
            whole[numbers] = masked_logits(part, masks)
    return found
