"""SB3's MLP actor-critic in numpy, sharing its parameters' memory."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs

from sb3_ppo_variants.backends.closed_form.binding import BoundAdam, BoundParameters, Inventory, clipped_step
from sb3_ppo_variants.backends.closed_form.layout import layout_of, steps_taken
from sb3_ppo_variants.backends.closed_form.network import ACTIVATIONS, MLP, Activation, LinearLayer
from sb3_ppo_variants.distributions import Categorical, Head, MultiCategorical, Parameters, head_of, masked_logits
from sb3_ppo_variants.distributions.categorical import log_softmax
from sb3_ppo_variants.rollouts.acting import Observations


def activation_of(policy: ActorCriticPolicy) -> Activation:
    """
    :param policy: A policy for which ``why_not_closed_form`` returns ``None``
    :return: what is between its layers
    """
    for net in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        for module in net:
            if type(module) in ACTIVATIONS:
                return ACTIVATIONS[type(module)]
    # No hidden layer, so nothing to activate.
    return ACTIVATIONS[th.nn.Tanh]


#: Limits of a chunk in a pass over a whole rollout: its widest layer stays in the processor's cache. Smaller chunks are
#: dominated by overhead.
CHUNK_NUMBERS, LEAST_ROWS, MOST_ROWS = 1 << 17, 64, 2048


def _layers(arrays: list[np.ndarray]) -> list[LinearLayer]:
    return [LinearLayer(weight, bias) for weight, bias in zip(arrays[0::2], arrays[1::2], strict=True)]


class Evaluated(NamedTuple):
    """
    A policy on B rows; valid until the next pass over that many rows.

    :param pi: What the policy network's layers were given, and its output
    :param vf: The same of the value network; ``None`` without values
    :param parameters: The distributions
    :param log_prob: log π(a|s), shape (B,)
    :param slopes: ∂ log π / ∂ parameters, row by row
    :param entropy: shape (B,)
    """

    pi: list[np.ndarray]
    vf: list[np.ndarray] | None
    parameters: Parameters
    log_prob: np.ndarray
    slopes: Parameters
    entropy: np.ndarray


class Slopes(NamedTuple):
    """
    The slopes of a loss L with which a backward pass begins.

    :param log_prob: ∂L/∂ log π(a|s), shape (B,)
    :param entropy: ∂L/∂ entropy, the same in all rows
    :param others: What further terms of L add to ∂L/∂ parameters, row by row, one array per parameter each
    :param values: ∂L/∂V, shape (B,); ``None`` leaves the critic's gradient as it is
    """

    log_prob: np.ndarray
    entropy: float
    others: list[Parameters]
    values: np.ndarray | None


class ClosedFormActorCritic:
    """
    Forward and backward passes of a policy for which ``why_not_closed_form`` returns ``None``.

    The actor's parameters (policy network, action layer, log σ) are one vector, the critic's another.

    :param policy: The policy; its parameters become views of shared memory
    """

    def __init__(self, policy: ActorCriticPolicy):
        self.policy = policy
        self._inventory = Inventory(policy)
        layout = layout_of(policy)
        self.bound = BoundParameters(layout.parameters)
        self._n_weights, self._n_actor, self._n_all = len(layout.pi), len(layout.actor), len(layout.parameters)
        self.actor_span = self.bound.span(0, self._n_actor)

        arrays = self.bound.memory.arrays
        gradients = self.bound.shaped(self.bound.gradient, 0, self._n_all)
        self.pi = self._network(0, self._n_weights)
        self.vf = self._network(self._n_actor, self._n_all)
        self.log_std = arrays[self._n_weights] if layout.log_std else None
        self._pi_gradient = _layers(gradients[: self._n_weights])
        self._vf_gradient = _layers(gradients[self._n_actor :])
        self._log_std_gradient = gradients[self._n_weights] if layout.log_std else None
        self._adams: dict[tuple[int, int], BoundAdam] = {}
        self.dtype = self.bound.flat.dtype
        widest = max(max(layer.weight.shape) for layer in (*self.pi.layers, *self.vf.layers))
        #: Rows at once of a pass over a whole rollout, whose memory they bound.
        self.chunk_rows = min(max(CHUNK_NUMBERS // widest, LEAST_ROWS), MOST_ROWS)
        head = head_of(policy.action_dist)
        if head is None:
            raise TypeError(f"The closed form has no head for a {type(policy.action_dist).__name__}.")
        self.head: Head = head
        space = policy.observation_space
        self._is_plain_box = isinstance(space, spaces.Box) and not is_image_space(space)

    def _network(self, start: int, stop: int) -> MLP:
        """The network of the layout's parameters from number ``start`` to before ``stop``."""
        return MLP(_layers(self.bound.memory.arrays[start:stop]), activation_of(self.policy))

    @property
    def actor_parameters(self) -> list[th.nn.Parameter]:
        """The actor's parameters, in the order of their vector."""
        return self.bound.parameters[: self._n_actor]

    def is_bound_to(self, policy: ActorCriticPolicy) -> bool:
        """
        :param policy: The algorithm's policy now
        :return: whether it is this one and its parameters still live in the shared memory
        """
        return policy is self.policy and self._inventory.is_complete() and self.bound.still_live_here()

    # ---- In and out ----

    def features(self, observations: Observations) -> np.ndarray:
        """
        :param observations: B observations as the environment gives them
        :return: what the networks are given, shape (B, n_features)
        :raises TypeError: the observations are no array
        """
        if not isinstance(observations, np.ndarray):
            raise TypeError(f"Unrecognized type of observation {type(observations)}")  # as SB3's obs_as_tensor
        if self._is_plain_box:
            # SB3 goes through float32 whatever the policy's own type.
            rows = observations.reshape(len(observations), -1).astype(np.float32, copy=False)
            return rows.astype(self.dtype, copy=False)
        space = self.policy.observation_space
        tensor = preprocess_obs(th.as_tensor(observations, device="cpu"), space, self.policy.normalize_images)
        return tensor.flatten(1).numpy().astype(self.dtype, copy=False)  # type: ignore[union-attr]

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """
        :param actions: B actions as the rollout buffer has them, shape (B, A)
        :return: as the head takes them
        """
        if isinstance(self.head, Categorical):
            return actions.astype(np.int64, copy=False).ravel()
        if isinstance(self.head, MultiCategorical):
            return actions.astype(np.int64, copy=False)
        return actions.astype(np.float32, copy=False).astype(self.dtype, copy=False)

    # ---- Forward ----

    def head_parameters(self, output: np.ndarray, action_masks: np.ndarray | None = None) -> Parameters:
        """
        :param output: The policy network's output, shape (B, n_outputs)
        :param action_masks: Which actions are allowed, same shape; ``None``: all
        :return: the head's parameters
        """
        if self.log_std is not None:
            return output, self.log_std
        output = masked_logits(output, action_masks)
        if isinstance(self.head, Categorical):
            return (log_softmax(output),)
        if isinstance(self.head, MultiCategorical):
            return (np.concatenate([log_softmax(block) for block in self.head.blocks(output)], -1),)
        return (output,)

    def evaluate(
        self, features: np.ndarray, actions: np.ndarray, action_masks: np.ndarray | None, with_values: bool
    ) -> Evaluated:
        """
        :param features: What the networks are given, shape (B, n_features)
        :param actions: As the head takes them
        :param action_masks: Which actions are allowed, shape (B, n_outputs); ``None``: all
        :param with_values: Whether to evaluate the value network too
        :return: forward passes to the log-probability of the actions, and its slopes
        """
        pi = self.pi.forward(features)
        parameters = self.head_parameters(pi[-1], action_masks)
        log_prob, slopes = self.head.log_prob_and_slope(parameters, actions)
        vf = self.vf.forward(features) if with_values else None
        return Evaluated(pi, vf, parameters, log_prob, slopes, self.head.entropy(parameters))

    # ---- Backward ----

    def backward(self, evaluated: Evaluated, slopes: Slopes) -> None:
        """
        Write ∂L/∂θ into ``bound.gradient``.

        :param evaluated: What ``evaluate`` returned last
        :param slopes: Of L
        """
        d_parameters = [slope * slopes.log_prob[:, None] for slope in evaluated.slopes]
        if slopes.entropy != 0:
            entropy_slopes = self.head.entropy_slope(evaluated.parameters)
            for d_parameter, slope in zip(d_parameters, entropy_slopes, strict=True):
                d_parameter += slopes.entropy * slope
        for term in slopes.others:
            for d_parameter, slope in zip(d_parameters, term, strict=True):
                d_parameter += slope
        self.actor_backward(evaluated.pi, tuple(d_parameters))
        if slopes.values is not None and evaluated.vf is not None:
            self.critic_backward(evaluated.vf, slopes.values)

    def step(
        self, evaluated: Evaluated, slopes: Slopes, adams: list[BoundAdam], max_grad_norm: float | None
    ) -> float | None:
        """
        Step along −∂L/∂θ.

        :param evaluated: As in ``backward``
        :param slopes: As in ``backward``
        :param adams: What is stepped, as ``adams`` returned it
        :param max_grad_norm: See ``clipped_step``
        :return: See ``clipped_step``
        """
        self.backward(evaluated, slopes)
        return clipped_step(adams, max_grad_norm)

    def actor_backward(self, passed: list[np.ndarray], d_parameters: Parameters) -> None:
        """
        :param passed: What ``pi.forward`` returned
        :param d_parameters: ∂L/∂ parameters, row by row; log σ is shared by all rows, so its slopes are summed
        """
        self.pi.backward(passed, d_parameters[0], self._pi_gradient)
        if self._log_std_gradient is not None:
            np.matmul(self.pi.ones(len(d_parameters[1])), d_parameters[1], out=self._log_std_gradient)

    def critic_backward(self, passed: list[np.ndarray], d_values: np.ndarray) -> None:
        """
        :param passed: What ``vf.forward`` returned
        :param d_values: ∂L/∂V, shape (B,)
        """
        self.vf.backward(passed, d_values[:, None], self._vf_gradient)

    def actor_tangent(self, passed: list[np.ndarray], vector: np.ndarray) -> Parameters:
        """
        :param passed: What ``pi.forward`` returned
        :param vector: a direction of the actor's parameters, shape (P,)
        :return: how the head's parameters (logits for the discrete ones) move, row by row
        """
        parts = self.bound.shaped(vector, 0, self._n_actor)
        moved = self.pi.tangent(passed, _layers(parts[: self._n_weights]))
        if self.log_std is not None:
            return moved, np.broadcast_to(parts[-1], moved.shape)
        return (moved,)

    # ---- The optimiser ----

    def adams(self, actor: bool, critic: bool) -> list[BoundAdam]:
        """
        :param actor: Whether the actor's parameters are stepped
        :param critic: Whether the critic's are
        :return: Adam for each run of parameters with a learning rate of its own; the moments live in the policy's own
            optimiser
        """
        optimizer = self.policy.optimizer
        runs = [(0, self._n_actor)] * actor + [(self._n_actor, self._n_all)] * critic
        if actor and critic and len(optimizer.param_groups) == 1 and self._has_stepped_together():
            runs = [(0, self._n_all)]
        for run in runs:
            # Kept from update to update: the moments stay the tensors that they are.
            if run not in self._adams or not self._adams[run].is_current(optimizer):
                parameters, span = self.bound.parameters[slice(*run)], self.bound.span(*run)
                group = self._group_of(parameters[0])
                self._adams[run] = BoundAdam(
                    optimizer, group, parameters, self.bound.flat[span], self.bound.gradient[span]
                )
        return [self._adams[run] for run in runs]

    def _has_stepped_together(self) -> bool:
        first_of_actor, first_of_critic = self.bound.parameters[0], self.bound.parameters[self._n_actor]
        steps = (steps_taken(self.policy.optimizer, parameter) for parameter in (first_of_actor, first_of_critic))
        return len(set(steps)) == 1

    def _group_of(self, wanted: th.nn.Parameter) -> dict[str, Any]:
        for group in self.policy.optimizer.param_groups:
            if any(parameter is wanted for parameter in group["params"]):
                return group
        raise ValueError("The policy's optimizer does not hold its parameters.")
