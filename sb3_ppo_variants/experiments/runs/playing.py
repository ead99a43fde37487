"""Playing a model with the action masks of its environment, in code that does not know masks."""

from typing import Any

import numpy as np
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.policies import takes_masks


class WithMasks:
    """
    A model whose ``predict`` asks the environments for their masks. Otherwise it is the model.

    So SB3's ``evaluate_policy`` plays it; sb3-contrib's, which passes masks, loses the states of a recurrent policy.

    :param model: A model with masks
    :param env: The environments that it plays
    :raises ValueError: they have no masks
    """

    def __init__(self, model: BaseAlgorithm, env: VecEnv):
        if not is_masking_supported(env):
            raise ValueError(
                "The model was trained with action masks, and this environment has no method action_masks(): give it "
                "the one that the training had."
            )
        self.model, self.env = model, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """As the model's, with the masks."""
        model: Any = self.model
        actions: tuple[np.ndarray, tuple[np.ndarray, ...] | None]
        masks = get_action_masks(self.env)
        actions = model.predict(observation, state, episode_start, deterministic, action_masks=masks)
        return actions


def with_masks(model: BaseAlgorithm, env: VecEnv) -> Any:
    """A model that plays environments by ``predict(observation, state, episode_start, deterministic)``.

    :param model: Any model
    :param env: The environments
    :return: The model itself if it takes no masks, else one that gets them from the environments
    :raises ValueError: if they have none
    """
    return WithMasks(model, env) if takes_masks(type(model.policy)) else model


class EvaluatesWithMasks(EvalCallback):
    """SB3's ``EvalCallback``, also for models with action masks."""

    reads_step_values = False

    def init_callback(self, model: BaseAlgorithm) -> None:
        """
        :param model: The model that is trained
        """
        super().init_callback(model)
        self.model = with_masks(model, self.eval_env)
