"""Invalid-action masking: which policies and buffers it needs, and what ``learn`` and ``predict`` are given."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_ppo_variants.algorithms.hints import policy_hint
from sb3_ppo_variants.checks import choice
from sb3_ppo_variants.policies import (
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
    is_recurrent,
    takes_masks,
)
from sb3_ppo_variants.rollouts.buffers import buffer_class_for, keeps_masks
from sb3_ppo_variants.rollouts.masking import MaskChecker, MaskError, mask_sizes


class MaskingChoice(OnPolicyAlgorithm):
    """
    An on-policy algorithm whose environments may say which actions are invalid.

    Masks change the policy's distributions, which then hold only the allowed actions, and nothing else: every
    algorithm takes them. Policies, buffers and distributions are sb3-contrib's.
    """

    #: The policies by name, as ``policy_aliases`` has them, where there are masks.
    maskable_policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **MaskablePPO.policy_aliases,
        "MlpLstmPolicy": MaskableRecurrentActorCriticPolicy,
        "CnnLstmPolicy": MaskableRecurrentActorCriticCnnPolicy,
        "MultiInputLstmPolicy": MaskableRecurrentMultiInputActorCriticPolicy,
    }

    use_masking: bool = False
    #: Whether the environments are asked for masks in the present ``learn``.
    masks_rollouts: bool = False
    _warned_of_no_masks: bool = False

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        known = self.maskable_policy_aliases if self.use_masking else self.policy_aliases
        if policy_name in known:
            return known[policy_name]
        if policy_name not in self.policy_aliases:
            raise ValueError(f"policy={policy_name!r} is unknown: {policy_hint(policy_name, list(known))}")
        return super()._get_policy_from_name(policy_name)

    def _setup_model(self) -> None:
        is_maskable = takes_masks(self.policy_class)
        if self.use_masking or is_maskable:
            self._check_spaces()
        if self.use_masking and not is_maskable:
            raise ValueError(
                f"use_masking=True needs a policy that takes masks, and {self.policy_class.__name__} does not: derive "
                "it from sb3_contrib.common.maskable.policies.MaskableActorCriticPolicy, or pass a name, such as "
                '"MlpPolicy". A model trained without masks gives its weights to one with them by set_parameters.'
            )
        self.use_masking = self.masks_rollouts = is_maskable
        if not is_maskable:
            super()._setup_model()
            return
        policy_class = self.policy_class
        known_buffer: Any = buffer_class_for(self.observation_space, is_recurrent(policy_class), takes_masks=True)
        self.rollout_buffer_class = self.rollout_buffer_class or known_buffer
        if not is_recurrent(policy_class):
            # SB3 passes use_sde to every policy, and sb3-contrib's have no such argument.
            self.policy_class = _without_use_sde(policy_class)  # type: ignore[assignment]
        try:
            super()._setup_model()
        finally:
            self.policy_class = policy_class
        self._check_buffer(known_buffer)

    def _check_spaces(self) -> None:
        if self.use_sde or mask_sizes(self.action_space) is None:
            raise ValueError(
                f"use_masking=True with the action space {self.action_space}{' and use_sde=True' * self.use_sde}: "
                "masks are for Discrete actions, and for MultiDiscrete and MultiBinary of one dimension, without gSDE."
            )

    def _check_buffer(self, known: type) -> None:
        if not keeps_masks(self.rollout_buffer):
            raise ValueError(
                f"use_masking=True needs a rollout buffer that keeps the masks, and "
                f"{type(self.rollout_buffer).__name__} does not: derive it from {known.__module__}.{known.__name__} or "
                "pass rollout_buffer_class=None."
            )

    def _choose_masking(self, use_masking: bool | None) -> None:
        """
        :param use_masking: As given to ``learn``; ``None``: as the model was made
        :raises ValueError: masks are asked for, and the model was made without
        """
        if use_masking is not None:
            choice(True, False)("use_masking", use_masking)
        if use_masking and not self.use_masking:
            raise ValueError(
                f"learn(use_masking=True): this model was made without masks; {type(self).__name__}(..., "
                "use_masking=True) makes one with them."
            )
        self.masks_rollouts = self.use_masking if use_masking is None else use_masking

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        As in SB3; a model with masks warns once if it is given none, because it then also takes invalid actions.

        :param observation: One observation, or one per environment
        :param state: Passed on; of recurrent policies
        :param episode_start: Passed on; of recurrent policies
        :param deterministic: Whether to take the likeliest action instead of a sample
        :param action_masks: Which actions are allowed, as ``env.action_masks()`` or, for several environments,
            ``sb3_contrib.common.maskable.utils.get_action_masks(env)`` says
        :return: the actions, and ``state``
        :raises ValueError: masks for a model without them, of another shape than the action space's, not one per
            observation, or that allow nothing
        """
        if not self.use_masking:
            if action_masks is not None:
                raise ValueError(
                    f"predict(action_masks=...): this model was made without masks; {type(self).__name__}(..., "
                    "use_masking=True) makes one with them."
                )
            return super().predict(observation, state, episode_start, deterministic)
        if action_masks is None:
            self._warn_of_no_masks()
        else:
            self._check_masks(np.asarray(action_masks), observation)
        policy: Any = self.policy
        actions: tuple[np.ndarray, tuple[np.ndarray, ...] | None]
        actions = policy.predict(observation, state, episode_start, deterministic, action_masks=action_masks)
        return actions

    def _warn_of_no_masks(self) -> None:
        if not self._warned_of_no_masks:
            self._warned_of_no_masks = True
            # sb3-contrib's evaluators lose the states of a policy with memory.
            evaluators = "those of sb3_contrib.common.maskable"
            if is_recurrent(self.policy_class):
                evaluators = "with_masks and EvaluatesWithMasks of sb3_ppo_variants.experiments.runs.playing"
            warnings.warn(
                "predict() without action_masks: this model was trained with masks and now also takes invalid actions. "
                "Pass action_masks=env.action_masks(). SB3's evaluate_policy and EvalCallback know no masks: use "
                f"{evaluators}. (Said once.)",
                stacklevel=3,
            )

    def _check_masks(self, masks: np.ndarray, observation: Any) -> None:
        check = MaskChecker(self.action_space)
        n_masks, left_over = divmod(masks.size, check.width)
        check([masks] if left_over or not n_masks else list(masks.reshape(n_masks, -1)), "in predict")
        if isinstance(observation, tuple):
            return  # with the infos of a reset, which the policy says
        tensors: Any = self.policy.obs_to_tensor(observation)[0]
        wanted = len(next(iter(tensors.values())) if isinstance(tensors, dict) else tensors)
        if n_masks != wanted:
            raise MaskError(f"predict: there must be one action mask per observation; got {n_masks} for {wanted}.")

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "masks_rollouts", "_warned_of_no_masks"]


def _without_use_sde(policy_class: type) -> Callable[..., Any]:
    @functools.wraps(policy_class, updated=())
    def make(*args: Any, use_sde: bool, **kwargs: Any) -> Any:  # noqa: ARG001
        return policy_class(*args, **kwargs)

    return make
