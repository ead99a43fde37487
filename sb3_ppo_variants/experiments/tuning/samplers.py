"""The samplers of a tuning study: Optuna's, made anew for each trial from (sampler seed, number of the trial).

A sampler that lives as long as its process goes wrong either way: with a seed, each worker and each resumed command
proposes the same sequence again; without one, nothing can be repeated. Made anew for each trial, the numbers drawn
depend on the trial alone. What TPE and GP propose also depends on the trials that have finished by then.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.store import DESCRIPTION
from sb3_ppo_variants.experiments.runs.registry import did_you_mean
from sb3_ppo_variants.experiments.search_space.spaces import Space

STARTUP_TRIALS = 10  # drawn at random before TPE and GP model anything; Optuna's default
NUMBER = "trial"  # of a description: the trial's place in its study

SAMPLERS: Mapping[str, str] = {
    "tpe": "TPE, a tree-structured Parzen estimator",
    "random": "random search",
    "gp": "Bayesian optimisation with a Gaussian process",
}


def check_sampler(name: str) -> str:
    """The name, or a clear error.

    :param name: ``"tpe"``, ``"random"`` or ``"gp"``
    :raises ValueError: for any other name
    """
    if name not in SAMPLERS:
        raise ValueError(f"The sampler is one of {', '.join(SAMPLERS)}, got {name!r}.{did_you_mean(name, SAMPLERS)}")
    return name


def make_sampler(name: str, seed: int) -> BaseSampler:
    """One of Optuna's samplers.

    :param name: ``"tpe"``, ``"random"`` or ``"gp"``
    :param seed: Its seed
    """
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


class TrialSampler(BaseSampler):
    """Samples each trial with a sampler of its own.

    :param name: ``"tpe"``, ``"random"`` or ``"gp"``
    :param seed: Sampler seed of the study
    :param space: What is searched. Given, not inferred from the trials: one trial without parameters (earlier
        versions could leave one) would empty the inferred space, and TPE would then sample each parameter independently
    :param view: The study as the inner sampler is to see it; by default as it is
    """

    def __init__(
        self,
        name: str,
        seed: int,
        space: Space,
        view: Callable[[optuna.Study], optuna.Study] = lambda study: study,
    ):
        self.name, self.seed, self.view = check_sampler(name), seed, view
        distributions = {d.parameter_name(argument): d.distribution for argument, d in space.items()}
        self.space = {parameter: d for parameter, d in distributions.items() if not d.single()}
        self._sampler = make_sampler(name, seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Make the trial's sampler."""
        number = trial.user_attrs.get(DESCRIPTION, {}).get(NUMBER, trial.number)
        self._sampler = make_sampler(self.name, int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return dict(self.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Passed on."""
        return self._sampler.sample_relative(self.view(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Passed on."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Passed on."""
        self._sampler.after_trial(study, trial, state, values)
