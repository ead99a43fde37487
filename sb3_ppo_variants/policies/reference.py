"""A frozen policy, near which a policy in training is kept."""

import copy
import hashlib
from typing import Any

import cloudpickle
import torch as th
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import BasePolicy
from typing_extensions import Self

from sb3_ppo_variants.distributions import Parameters, head_and_parameters
from sb3_ppo_variants.policies.kinds import is_recurrent


class ReferencePolicy:
    """
    A frozen copy of a policy. With memory it remembers the environments by states of its own.

    It is not a module: as an attribute of a model it joins neither ``policy.parameters()`` nor ``get_parameters()``,
    and in SB3's zip it is one more attribute, which SB3's own classes load and ignore.

    :param policy: The policy; it is copied
    """

    def __init__(self, policy: BasePolicy):
        self.policy: Any = _frozen_copy(policy)
        #: Hidden and cell states before the next row, each of shape (layers, E, units); ``None``: nothing seen yet.
        self.states: tuple[th.Tensor, ...] | None = None
        #: KL(ref‖π) before the first update, in nats; ``None`` until then.
        self.kl_at_start: float | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of its weights, which tells two references apart."""
        contents = hashlib.sha256()
        for name, tensor in self.policy.state_dict().items():
            contents.update(name.encode() + tensor.cpu().numpy().tobytes())
        return contents.hexdigest()

    def to(self, device: th.device | str) -> Self:
        """
        :param device: Where its weights and states are moved
        :return: itself
        """
        self.policy.to(device)
        if self.states is not None:
            self.states = tuple(state.to(device) for state in self.states)
        return self

    def parameters_at(self, observations: Any, episode_starts: th.Tensor, n_envs: int) -> Parameters:
        """
        Its distributions at some rows; with memory, its states move on to the end of these rows.

        :param observations: As its methods take them, B rows: some consecutive steps of environment 0, the same steps
            of environment 1, …
        :param episode_starts: 1 where an episode begins, shape (B,)
        :param n_envs: E
        :return: the parameters of its head (see ``head_and_parameters``), B rows each
        :raises ValueError: the KL to its distribution has no closed form
        """
        with th.no_grad():
            if is_recurrent(type(self.policy)):
                states = self._states_of(n_envs)
                distribution, self.states = self.policy.get_distribution(observations, states, episode_starts)
            else:
                distribution = self.policy.get_distribution(observations)
            found = head_and_parameters(distribution)
        if found is None:
            raise ValueError(f"reference_policy: the KL to a {type(distribution).__name__} has no closed form.")
        return found[1]

    def _states_of(self, n_envs: int) -> tuple[th.Tensor, ...]:
        lstm = self.policy.lstm_actor
        if self.states is None or self.states[0].shape[1] != n_envs:
            shape = (lstm.num_layers, n_envs, lstm.hidden_size)
            self.states = (th.zeros(shape, device=self.policy.device), th.zeros(shape, device=self.policy.device))
        return self.states

    # Pickled as bytes and for the CPU: a model is loaded on machines without this one's device, and checkpoints of
    # sb3_ppo_variants.resume take no modules.

    def __getstate__(self) -> dict[str, Any]:
        states = None if self.states is None else tuple(state.cpu() for state in self.states)
        frozen = _frozen_copy(self.policy).to("cpu")
        return {"policy": cloudpickle.dumps(frozen), "states": states, "kl_at_start": self.kl_at_start}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, policy=cloudpickle.loads(state["policy"]))


def _frozen_copy(policy: Any) -> Any:
    """A copy that cannot be trained, in float32, as observations are."""
    # Neither the optimiser with its moments, nor what the last pass left in the distribution: it may have a history of
    # gradients, which cannot be copied.
    left_out: dict[int, Any] = {}
    if isinstance(getattr(policy, "optimizer", None), th.optim.Optimizer):
        left_out[id(policy.optimizer)] = ()
    if isinstance(getattr(policy, "action_dist", None), Distribution):
        left_out[id(policy.action_dist)] = _without_tensors(policy.action_dist)
    frozen = copy.deepcopy(policy, left_out).float()
    vars(frozen).pop("optimizer", None)
    frozen.set_training_mode(False)
    return frozen.requires_grad_(False)


def _without_tensors(distribution: Distribution) -> Any:
    blank = copy.copy(distribution)
    for name, value in vars(distribution).items():
        if isinstance(value, th.Tensor | th.distributions.Distribution | list) and name != "action_dims":
            setattr(blank, name, None)
    return blank
