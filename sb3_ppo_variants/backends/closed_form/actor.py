"""Acting in closed form: the collection loop's forward passes in numpy."""

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.binding import Attachments
from sb3_ppo_variants.backends.closed_form.rollout import flat_masks
from sb3_ppo_variants.backends.closed_form.threads import hot_loop
from sb3_ppo_variants.distributions import Bernoulli, Beta, Categorical, Gaussian, Head, MultiCategorical, Parameters
from sb3_ppo_variants.distributions.bernoulli import log_sigmoid
from sb3_ppo_variants.distributions.beta import sample_beta
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite
from sb3_ppo_variants.rollouts.acting import Acted, Forward, Observations
from sb3_ppo_variants.rollouts.gae import generalized_advantages


class ClosedFormForward:
    """
    ``Forward`` in closed form.

    :param policy: Its parameters become views of shared memory
    """

    network_class: ClassVar[type[ClosedFormActorCritic]] = ClosedFormActorCritic

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy
        self.network = self.network_class(policy)

    def __call__(self, observations: Observations, action_masks: np.ndarray | None = None) -> tuple[Head, Parameters]:
        features = self.network.features(observations)
        return self.network.head, _parameters(self.network, features, action_masks)


def _parameters(network: ClosedFormActorCritic, features: np.ndarray, action_masks: np.ndarray | None) -> Parameters:
    output = network.pi.forward(features)[-1]
    require_finite(output, np.add.reduce(output, None))
    return network.head_parameters(output, action_masks)


class ClosedFormActor:
    """
    Acts as ``policy.forward`` does, drawing the same random numbers from torch's generator.

    :param network: The policy in numpy
    :raises NonFiniteError: its actions would not be finite
    """

    forward: ClassVar[type[Forward] | None] = ClosedFormForward

    def __init__(self, network: ClosedFormActorCritic):
        self.network = network
        self._action_shape = network.policy.action_space.shape
        # What is left for later is computed from the stored actions; those of an integer Box, say, were rounded.
        space = network.policy.action_space
        self._stores_exactly = not isinstance(space, spaces.Box) or space.dtype in (np.float32, np.float64)
        # An integer Box under VecNormalize: the buffer cuts off what comes after the point.
        self._keeps_integers = np.issubdtype(network.policy.observation_space.dtype, np.integer)
        self._is_discrete = isinstance(network.policy.observation_space, spaces.Discrete)
        self._n_left = 0
        self._attachments = Attachments(network.policy)
        self._check_spread()
        self._noise = Noise(th.float64 if network.dtype == np.float64 else th.float32)

    def _check_spread(self) -> None:
        log_std = self.network.log_std
        if log_std is None:
            return
        with np.errstate(over="ignore"):
            if not np.isfinite(np.exp(log_std)).all():
                raise NonFiniteError(f"The actions' standard deviation is not finite: log_std is {log_std},")

    def act(
        self,
        observations: Observations,
        with_values: bool = True,
        action_masks: np.ndarray | None = None,
        episode_starts: np.ndarray | None = None,
    ) -> Acted:
        network = self.network
        features = network.features(observations)
        parameters, actions = self._draw(features, action_masks)
        shaped = actions.reshape(-1, *self._action_shape)  # type: ignore[misc]
        cut_off = self._keeps_integers and np.asarray(observations).dtype.kind == "f"
        if not with_values and self._stores_exactly and not cut_off:
            return Acted(shaped, action_masks=action_masks)
        log_probs = network.head.log_prob(parameters, actions)
        # A copy: the next pass overwrites the network's output.
        values = network.vf.forward(features)[-1].copy()
        return Acted(
            shaped,
            th.as_tensor(observations, device="cpu"),
            th.from_numpy(values),
            th.from_numpy(log_probs),
            action_masks,
        )

    def _draw(self, features: np.ndarray, action_masks: np.ndarray | None) -> tuple[Parameters, np.ndarray]:
        """The distributions, and an action from each."""
        parameters = _parameters(self.network, features, action_masks)
        return parameters, self._sample(parameters)

    def store(
        self,
        buffer: RolloutBuffer,
        observations: Observations,
        acted: Acted,
        rewards: np.ndarray,
        episode_starts: np.ndarray,
    ) -> None:
        # Straight into the arrays: the buffer is known to be exactly SB3's or sb3-contrib's, whose add() makes a copy
        # of each array first.
        row = buffer.pos
        n_envs = buffer.n_envs
        if self._is_discrete:
            observations = observations.reshape(n_envs, *buffer.obs_shape)  # type: ignore[union-attr]
        buffer.observations[row] = observations
        buffer.actions[row] = acted.actions.reshape(n_envs, -1)
        buffer.rewards[row] = rewards
        buffer.episode_starts[row] = episode_starts
        if acted.action_masks is not None:
            buffer.action_masks[row] = acted.action_masks  # type: ignore[attr-defined]
        if acted.values is None or acted.log_probs is None:
            self._n_left += 1
        else:
            buffer.values[row] = acted.values.numpy()[:, 0]
            buffer.log_probs[row] = acted.log_probs.numpy()
        buffer.pos = row + 1
        buffer.full = buffer.pos == buffer.buffer_size

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        return self.network.is_bound_to(policy) and self._attachments.are_unchanged()

    def catch_up(self, buffer: RolloutBuffer) -> None:
        if self._n_left == 0:
            return
        # For all rows so far, many at a time: nobody has changed the policy since.
        steps_at_once = max(self.network.chunk_rows // buffer.n_envs, 1)
        with hot_loop():
            for start in range(0, buffer.pos, steps_at_once):
                self._fill_in(buffer, slice(start, min(start + steps_at_once, buffer.pos)))
        self._n_left = 0

    def complete(self, buffer: RolloutBuffer) -> None:
        self._n_left = buffer.pos
        self.catch_up(buffer)

    def _fill_in(self, buffer: RolloutBuffer, steps: slice) -> None:
        network, shape = self.network, (steps.stop - steps.start, buffer.n_envs)
        features = network.features(buffer.observations[steps].reshape(-1, *buffer.obs_shape))
        actions = network.actions(buffer.actions[steps].reshape(-1, buffer.action_dim))
        masks = flat_masks(buffer, steps)
        parameters = network.head_parameters(network.pi.forward(features)[-1], masks)
        buffer.log_probs[steps] = network.head.log_prob(parameters, actions).reshape(shape)
        buffer.values[steps] = network.vf.forward(features)[-1].reshape(shape)

    def terminal_value(self, observation: Observations, env_index: int) -> Any:
        network = self.network
        # Shaped like a batch of one, as policy.obs_to_tensor does.
        batch = np.asarray(observation).reshape(-1, *network.policy.observation_space.shape)  # type: ignore[misc]
        # A tanh would make a number of an Inf.
        if not is_finite(batch):
            return math.nan
        return network.vf.forward(network.features(batch))[-1][0, 0]

    def finish(self, buffer: RolloutBuffer, new_obs: Observations, dones: np.ndarray) -> th.Tensor:
        self.catch_up(buffer)
        values = self.network.vf.forward(self.network.features(new_obs))[-1].copy()
        buffer.advantages = generalized_advantages(
            buffer.rewards,
            buffer.values,
            buffer.episode_starts,
            values[:, 0],
            dones,
            buffer.gamma,
            buffer.gae_lambda,
        )
        buffer.returns = buffer.advantages + buffer.values
        return th.from_numpy(values)

    def _sample(self, parameters: Parameters) -> np.ndarray:
        head = self.network.head
        if isinstance(head, Categorical):
            return self._choose(parameters[0])
        if isinstance(head, MultiCategorical):
            return np.stack([self._choose(block) for block in head.blocks(parameters[0])], axis=1)
        if isinstance(head, Bernoulli):
            # torch.bernoulli: uniform < p.
            return th.bernoulli(th.from_numpy(np.exp(log_sigmoid(parameters[0])))).numpy()
        if isinstance(head, Beta):
            return sample_beta(th.from_numpy(parameters[0])).numpy()
        if isinstance(head, Gaussian):
            mean, log_std = parameters
            return mean + np.exp(log_std) * self._noise.normal(mean.shape)
        raise TypeError(f"The closed form cannot sample from a {type(head).__name__}.")

    def _choose(self, log_p: np.ndarray) -> np.ndarray:
        """Draw one of D for each row of log p, as torch.multinomial does: argmax of p over standard exponentials."""
        return np.argmax(np.exp(log_p) / self._noise.exponential(log_p.shape), axis=-1)


def require_finite(output: np.ndarray, total: float) -> None:
    """
    As torch.distributions does: acting on NaN would train on silently, and spoil every parameter.

    :param output: The policy network's
    :param total: Its sum, which is finite only if all its terms are
    :raises NonFiniteError: it is not
    """
    if not math.isfinite(total):
        raise NonFiniteError(f"The policy's output is {output}")


class Noise:
    """
    torch's random numbers as numpy arrays that are overwritten at the next draw.

    :param dtype: Of the numbers
    """

    def __init__(self, dtype: th.dtype):
        self._dtype = dtype
        self._shape: tuple[int, ...] | None = None

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """
        :param shape: The same at nearly every call: its memory is kept
        :return: standard normal numbers, those of ``torch.randn``
        """
        self._keep(shape).normal_()
        return self._array

    def exponential(self, shape: tuple[int, ...]) -> np.ndarray:
        """
        :param shape: As in ``normal``
        :return: standard exponential numbers, those of ``torch.Tensor.exponential_``
        """
        self._keep(shape).exponential_()
        return self._array

    def _keep(self, shape: tuple[int, ...]) -> th.Tensor:
        if shape != self._shape:
            self._shape, self._tensor = shape, th.empty(shape, dtype=self._dtype, device="cpu")
            self._array = self._tensor.numpy()
        return self._tensor
