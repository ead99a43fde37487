"""Acting by one compiled function."""

from typing import ClassVar

import numpy as np

from sb3_ppo_variants.backends.closed_form.actor import ClosedFormActor, ClosedFormForward, require_finite
from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.compiled.actor_critic import NO_MASKS, CompiledActorCritic, writable
from sb3_ppo_variants.backends.closed_form.compiled.loading import kernels
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.rollouts.acting import Forward


class CompiledForward(ClosedFormForward):
    """``ClosedFormForward`` with compiled passes."""

    network_class: ClassVar[type[ClosedFormActorCritic]] = CompiledActorCritic


class CompiledActor(ClosedFormActor):
    """
    ``ClosedFormActor`` with the same random numbers, by one compiled function.

    :param network: The policy
    :raises NonFiniteError: its actions would not be finite
    """

    forward: ClassVar[type[Forward] | None] = CompiledForward
    network: CompiledActorCritic

    def _draw(self, features: np.ndarray, action_masks: np.ndarray | None) -> tuple[Parameters, np.ndarray]:
        network, pi = self.network, self.network.pi
        buffers = pi.buffers(len(features))
        output = buffers.outputs[-1]
        features = writable(features)
        end = buffers.passed, pi.spare
        if network.log_std is not None:
            actions, noise = np.empty_like(output), self._noise.normal(output.shape)
            total = kernels.act_gaussian(
                network.bound.flat, pi.table, network.log_std, features, noise, *end, actions, pi.activation_number
            )
            parameters: Parameters = output, network.log_std
        else:
            actions, noise = np.empty(len(output), np.int64), self._noise.exponential(output.shape)
            masks = NO_MASKS if action_masks is None else np.ascontiguousarray(action_masks, np.bool_)
            total = kernels.act_categorical(
                network.bound.flat, pi.table, masks, features, noise, *end, actions, pi.activation_number
            )
            parameters = (output,)
        require_finite(output, total)
        return parameters, actions
