"""The random numbers with which workers draw actions: one stream per environment."""

from collections.abc import Callable

import numpy as np
import torch as th

from sb3_ppo_variants.distributions import Bernoulli, Beta, Categorical, Gaussian, Head, MultiCategorical, Parameters
from sb3_ppo_variants.distributions.beta import MARGIN, concentrations

_Draw = Callable[[np.random.Generator, tuple[int, int], type], np.ndarray]


def _normal(generator: np.random.Generator, shape: tuple[int, int], dtype: type) -> np.ndarray:
    return generator.standard_normal(shape, dtype)


def _exponential(generator: np.random.Generator, shape: tuple[int, int], dtype: type) -> np.ndarray:
    # Never zero: p/0 would choose what has no probability.
    return np.maximum(generator.standard_exponential(shape, dtype), np.finfo(dtype).tiny)


def _uniform(generator: np.random.Generator, shape: tuple[int, int], dtype: type) -> np.ndarray:
    return generator.random(shape, dtype)


_DRAWS: dict[type, _Draw] = {
    Gaussian: _normal,
    Categorical: _exponential,
    MultiCategorical: _exponential,
    Bernoulli: _uniform,
}


class ActionNoise:
    """
    Draws the actions of one rollout.

    The numbers of an environment depend on the key and on its own number alone, not on which worker it is in, and are
    drawn for the whole rollout at once where the distribution allows it.

    :param key: Of the rollout
    :param n_steps: T
    :param n_envs: E, of all workers together
    :param own: Which environments are this worker's
    """

    def __init__(self, key: int, n_steps: int, n_envs: int, own: slice):
        self._n_steps, self._n_envs, self._own = n_steps, n_envs, own
        seeds = (np.random.SeedSequence(key, spawn_key=(index,)) for index in range(own.start, own.stop))
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        self._numbers: np.ndarray | None = None

    def actions(self, head: Head, parameters: Parameters, step: int) -> np.ndarray:
        """
        :param head: Of the policy
        :param parameters: Those of E rows; what the rows of other workers' environments hold does not matter
        :param step: Number of the step within the rollout, from 0
        :return: E actions, of which this worker's count
        """
        if isinstance(head, Beta):
            return self._beta(parameters[0])
        if self._numbers is None:
            self._numbers = self._drawn(head, parameters[0])
        numbers = self._numbers[step]
        if isinstance(head, Gaussian):
            mean, log_std = parameters
            return mean + np.exp(log_std) * numbers
        if isinstance(head, Bernoulli):
            # σ(logit) = ½(1 + tanh(½·logit)) cannot overflow.
            return (numbers < 0.5 * (1 + np.tanh(0.5 * parameters[0]))).astype(np.float32)
        if isinstance(head, MultiCategorical):
            blocks = zip(head.blocks(parameters[0]), head.blocks(numbers), strict=True)
            return np.stack([_choose(log_p, noise) for log_p, noise in blocks], axis=1)
        return _choose(parameters[0], numbers)

    def _drawn(self, head: Head, example: np.ndarray) -> np.ndarray:
        """Numbers for the whole rollout, shape (T, E, numbers per action); ones for other workers' environments."""
        if type(head) not in _DRAWS:
            raise TypeError(f"Workers cannot sample from a {type(head).__name__}.")
        width, dtype = example.shape[1], example.dtype.type
        numbers = np.ones((self._n_steps, self._n_envs, width), dtype)
        for index, generator in enumerate(self._generators, self._own.start):
            numbers[:, index] = _DRAWS[type(head)](generator, (self._n_steps, width), dtype)
        return numbers

    def _beta(self, outputs: np.ndarray) -> np.ndarray:
        alpha, beta = (part.numpy() for part in concentrations(th.from_numpy(outputs)))
        fractions = np.full_like(alpha, 0.5)
        for index, generator in enumerate(self._generators, self._own.start):
            fractions[index] = generator.beta(alpha[index], beta[index])
        return 2 * np.clip(fractions, MARGIN, 1 - MARGIN) - 1


def _choose(log_p: np.ndarray, exponentials: np.ndarray) -> np.ndarray:
    """One of D for each row of log p: the argmax of p over standard exponentials."""
    return np.argmax(np.exp(log_p) / exponentials, axis=-1)
