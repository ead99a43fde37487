"""Action masks: read from the environments, and refused where no policy can act on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.utils import EXPECTED_METHOD_NAME, is_masking_supported
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.nonfinite.rollout import Place


def mask_sizes(action_space: spaces.Space) -> list[int] | None:
    """
    :param action_space: The action space
    :return: how many entries a mask has for each independent choice, in order: [n] for Discrete, ``nvec`` for
        MultiDiscrete, 2 per bit ("no", "yes") for MultiBinary; ``None`` for a space that takes no masks
    """
    if isinstance(action_space, spaces.Discrete):
        return [int(action_space.n)]
    if isinstance(action_space, spaces.MultiDiscrete) and action_space.nvec.ndim == 1:
        sizes: list[int] = action_space.nvec.tolist()
        return sizes
    if isinstance(action_space, spaces.MultiBinary) and isinstance(action_space.n, int):
        return [2] * action_space.n
    return None


class MaskError(ValueError):
    """
    An environment gave an action mask that no policy can act on.

    :param message: The mask, its environment and step, and what a mask has to be
    """


class MaskChecker:
    """
    Stacks masks; refuses those of another shape, with entries that are not true or false, or that allow nothing.

    :param action_space: Discrete, MultiDiscrete or MultiBinary
    """

    def __init__(self, action_space: spaces.Space):
        sizes = mask_sizes(action_space) or [0]
        self.width = sum(sizes)
        self._starts = np.cumsum([0, *sizes[:-1]])

    def __call__(self, given: Sequence[Any], where: object) -> np.ndarray:
        """
        :param given: One mask per environment
        :param where: In what step, for the error
        :return: the masks, shape (E, ΣD), of the environments' own type
        :raises MaskError: it names the environment
        """
        try:
            masks = np.stack(given).reshape(len(given), self.width)
        except ValueError:
            raise self._misshapen(given, where) from None
        if masks.dtype != np.bool_ and not _is_zeros_and_ones(masks):
            raise self._neither_true_nor_false(given, where)
        # One choice, the usual case, is not worth a reduceat.
        allows = masks.any(1) if len(self._starts) == 1 else np.logical_or.reduceat(masks, self._starts, 1).all(1)
        if not allows.all():
            env_index = int(allows.argmin())
            of_what = " for one of the choices" if len(self._starts) > 1 else ""
            raise MaskError(
                f"The action mask of environment {env_index} allows no action{of_what} ({where}): {masks[env_index]}. "
                "It has to allow at least one; an episode without a legal action has to end before."
            )
        return masks

    def _neither_true_nor_false(self, given: Sequence[Any], where: object) -> MaskError:
        env_index = next(i for i, mask in enumerate(given) if not _is_zeros_and_ones(np.asarray(mask)))
        return MaskError(
            f"The action mask of environment {env_index} is {given[env_index]!r} ({where}): its entries have to be "
            "booleans, or zeros and ones."
        )

    def _misshapen(self, given: Sequence[Any], where: object) -> MaskError:
        env_index = next(i for i, mask in enumerate(given) if np.shape(mask) != (self.width,))
        return MaskError(
            f"The action mask of environment {env_index} has the shape {np.shape(given[env_index])} ({where}): its "
            f"action space needs ({self.width},), one entry per action (MultiDiscrete: those of each choice in turn; "
            "MultiBinary: two per bit)."
        )


def _is_zeros_and_ones(masks: np.ndarray) -> bool:
    return masks.dtype.kind in "biuf" and bool(((masks == 0) | (masks == 1)).all())


class MaskReader:
    """
    Reads the masks of all environments, as sb3-contrib does: by their method ``action_masks``.

    :param env: The environments
    :param action_space: Discrete, MultiDiscrete or MultiBinary
    :raises ValueError: an environment has no such method
    """

    def __init__(self, env: VecEnv, action_space: spaces.Space):
        self.env = env
        self._check = MaskChecker(action_space)
        # Asked first: a missing method behind SubprocVecEnv is a bare EOFError.
        if not is_masking_supported(env):
            env_index = env.env_method("has_wrapper_attr", EXPECTED_METHOD_NAME).index(False)
            raise ValueError(
                f"use_masking=True asks every environment for its action_masks() before each step, and environment "
                f"{env_index} of this {type(env.unwrapped).__name__} has no such method at step 0 of the rollout: add "
                "it, wrap the environment in sb3_contrib.common.wrappers.ActionMasker, or call learn(..., "
                "use_masking=False)."
            )

    def __call__(self, place: Place) -> np.ndarray:
        """
        :param place: When, for an error
        :return: whether each action is allowed, shape (E, ΣD), of the environments' own type
        :raises MaskError: see ``MaskChecker``; it names the environment and the step
        """
        return self._check(self.env.env_method(EXPECTED_METHOD_NAME), place)
