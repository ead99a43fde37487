"""Policies with memory and action masks: sb3-contrib's recurrent ones, with its masked distributions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from sb3_contrib.common.maskable.distributions import (
    MaskableCategoricalDistribution,
    MaskableDistribution,
    make_masked_proba_distribution,
)
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

ActionMasks = np.ndarray | th.Tensor | None


class MaskableRecurrentActorCriticPolicy(RecurrentActorCriticPolicy):
    """
    sb3-contrib's ``RecurrentActorCriticPolicy`` whose methods also take ``action_masks``, as its maskable policy's do.

    The arguments are those of ``RecurrentActorCriticPolicy``, except gSDE, which is for continuous actions.
    """

    #: Those of the call under way.
    _action_masks: ActionMasks = None

    def _build(self, lr_schedule: Schedule) -> None:
        masked = make_masked_proba_distribution(self.action_space)
        # SB3 builds the action layer for its own kinds only. These have the same layer.
        stand_in: Distribution
        if isinstance(masked, MaskableCategoricalDistribution):
            stand_in = CategoricalDistribution(masked.action_dim)
        else:
            stand_in = MultiCategoricalDistribution([int(size) for size in masked.action_dims])  # type: ignore[attr-defined]
        self.action_dist = stand_in
        super()._build(lr_schedule)
        self.action_dist = masked

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # Theirs leave these out, so that load() makes another network of the file of save().
        memory = {"lstm_hidden_size": self.lstm_actor.hidden_size, "n_lstm_layers": self.lstm_actor.num_layers}
        names = ("shared_lstm", "enable_critic_lstm", "lstm_kwargs", "share_features_extractor")
        return super()._get_constructor_parameters() | memory | {name: getattr(self, name) for name in names}

    @contextmanager
    def _masked_by(self, action_masks: ActionMasks) -> Iterator[None]:
        before, self._action_masks = self._action_masks, action_masks
        try:
            yield
        finally:
            self._action_masks = before

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        distribution: MaskableDistribution = self.action_dist.proba_distribution(self.action_net(latent_pi))  # type: ignore[assignment]
        if self._action_masks is not None:
            distribution.apply_masking(self._action_masks)
        return distribution

    def forward(  # type: ignore[override]
        self,
        obs: th.Tensor,
        lstm_states: RNNStates,
        episode_starts: th.Tensor,
        deterministic: bool = False,
        action_masks: ActionMasks = None,
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, RNNStates]:
        """
        As in sb3-contrib, with masks.

        :param obs: Observations
        :param lstm_states: States before them
        :param episode_starts: Where they are the first of their episodes
        :param deterministic: The likeliest action instead of a sample
        :param action_masks: Which actions are allowed; ``None``: all
        :return: actions, values, log-probabilities, states after them
        """
        with self._masked_by(action_masks):
            return super().forward(obs, lstm_states, episode_starts, deterministic)

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: th.Tensor,
        actions: th.Tensor,
        lstm_states: RNNStates,
        episode_starts: th.Tensor,
        action_masks: ActionMasks = None,
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        As in sb3-contrib, with masks.

        :param obs: Observations, sequence after sequence
        :param actions: The actions taken
        :param lstm_states: States before each sequence
        :param episode_starts: Where observations are the first of their episodes
        :param action_masks: Which actions were allowed; ``None``: all
        :return: values, log-probabilities, entropies
        """
        with self._masked_by(action_masks):
            return super().evaluate_actions(obs, actions, lstm_states, episode_starts)

    def get_distribution(  # type: ignore[override]
        self,
        obs: PyTorchObs,
        lstm_states: tuple[th.Tensor, th.Tensor],
        episode_starts: th.Tensor,
        action_masks: ActionMasks = None,
    ) -> tuple[Distribution, tuple[th.Tensor, ...]]:
        """
        As in sb3-contrib, with masks.

        :param obs: Observations
        :param lstm_states: The actor's states before them
        :param episode_starts: Where they are the first of their episodes
        :param action_masks: Which actions are allowed; ``None``: all, or those of the call under way
        :return: the distribution, and the states after them
        """
        with self._masked_by(self._action_masks if action_masks is None else action_masks):
            return super().get_distribution(obs, lstm_states, episode_starts)  # type: ignore[arg-type]

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: ActionMasks = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        As in sb3-contrib, with masks.

        :param observation: One observation, or one per environment
        :param state: The actor's states before it; ``None``: zeros
        :param episode_start: Whether it is the first of its episode
        :param deterministic: The likeliest action instead of a sample
        :param action_masks: Which actions are allowed; ``None``: all
        :return: the actions, and the states after them
        """
        with self._masked_by(action_masks):
            predicted: Any = super().predict(observation, state, episode_start, deterministic)
            actions: tuple[np.ndarray, tuple[np.ndarray, ...] | None] = predicted
            return actions


class MaskableRecurrentActorCriticCnnPolicy(MaskableRecurrentActorCriticPolicy, RecurrentActorCriticCnnPolicy):
    """For images: the arguments are those of sb3-contrib's ``RecurrentActorCriticCnnPolicy``."""


class MaskableRecurrentMultiInputActorCriticPolicy(
    MaskableRecurrentActorCriticPolicy, RecurrentMultiInputActorCriticPolicy
):
    """For Dict observations: the arguments are those of sb3-contrib's ``RecurrentMultiInputActorCriticPolicy``."""
