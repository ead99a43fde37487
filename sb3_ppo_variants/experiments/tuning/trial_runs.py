"""One trial of a tuning study, as a worker does it: propose settings, look for their twin, train, score, say why not.

A trial trains one run for each environment and tuning seed, environments outside, seeds inside. Runs are
deterministic in their settings, so a trial whose settings have been scored takes the score over.
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna
import torch as th
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, Ledger
from sb3_ppo_variants.experiments.engine.storage import patiently
from sb3_ppo_variants.experiments.engine.work import RESULT, Failure, Reporter, StudyStopped
from sb3_ppo_variants.experiments.runs.provenance import versions
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run, train_run
from sb3_ppo_variants.experiments.runs.seeds import tuning_seeds
from sb3_ppo_variants.experiments.runs.settings import full_settings, run_settings
from sb3_ppo_variants.experiments.search_space.spaces import Dimension, finite_size, settings_of, values_of
from sb3_ppo_variants.experiments.tuning.failures import Guard, ended_when_stuck, kind_of, repeated_error
from sb3_ppo_variants.experiments.tuning.metric import score, scores
from sb3_ppo_variants.experiments.tuning.pruning import Rule
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER, TrialSampler
from sb3_ppo_variants.experiments.tuning.trials import PLAN, TIMEOUT, Curves, StudyPlan, proposed

EXHAUSTED = "space exhausted"
KEPT_POINTS = 50  # of a run's learning curve


class PlanSettings:
    """The settings that a plan's trials pass to the constructor.

    :param plan: The study
    """

    def __init__(self, plan: StudyPlan):
        self.plan = plan
        self.defaults = full_settings(plan.algorithm, run_settings(plan.algorithm, plan.fixed))

    def default_values(self) -> dict[str, Any]:
        """The value of each dimension in trial 0."""
        return values_of(self.plan.space, self.defaults)

    def default_parameters(self) -> dict[str, Any]:
        """Optuna's parameters of trial 0."""
        values = self.default_values()
        return {d.parameter_name(a): d.parameter(values[a]) for a, d in self.plan.space.items()}

    def passed(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial passes to the constructor.

        :param number: The trial's number; 0 passes none but the fixed ones
        :param values: The value of each dimension
        """
        tuned = {} if number == 0 else settings_of(self.plan.space, values, self.defaults)
        return run_settings(self.plan.algorithm, {**self.plan.fixed, **tuned})

    def identity(self, settings: Mapping[str, Any]) -> str:
        """Equal for two settings that give the same constructor call, whether a default is written out or not.

        :param settings: What a trial passes
        """
        return json.dumps(self.defaults | dict(settings), sort_keys=True, default=repr)


def runs(plan: StudyPlan, settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Run]:
    """The runs of given settings, in the order in which a trial does them.

    :param plan: The study
    :param settings: What is passed to the constructor
    :param seeds: Their seeds
    """
    return [
        Run(plan.algorithm, environment, seed, plan.timesteps, plan.n_envs, settings)
        for environment in plan.environments
        for seed in seeds
    ]


class Trials:
    """Does the trials of a tuning study: the executor that stands in the study's attributes.

    :param ledger: The study; its sampler is set
    """

    def __init__(self, ledger: Ledger):
        attributes = ledger.attributes()
        self.ledger = ledger
        self.plan = StudyPlan.from_json(attributes[PLAN])
        self.timeout: float | None = attributes.get(TIMEOUT)
        self.settings = PlanSettings(self.plan)
        self.size = finite_size(self.plan.space)
        self.versions = versions()  # reading them takes longer than a transaction
        view = self._rescored if self.plan.aggregation == "ranks" else lambda study: study
        ledger.study.sampler = TrialSampler(self.plan.sampler, self.plan.sampler_seed, self.plan.space, view)
        th.set_num_threads(1)  # results depend on the thread count

    def __call__(self, description: Mapping[str, Any], reporter: Reporter) -> tuple[float, dict[str, Any]]:
        """Do one trial.

        :param description: Of the trial: its number
        :param reporter: Its line to the ledger
        :return: Its score as of now, and what the ledger keeps
        """
        number = description[NUMBER]
        settled = [t for t in reporter.trials if self.ledger.is_settled(t)]
        if (error := repeated_error(settled)) is not None:
            raise StudyStopped(error)
        if self._is_exhausted(settled):
            raise optuna.TrialPruned(EXHAUSTED)
        values = suggest(reporter.trial, self.plan)
        settings = self.settings.passed(number, values)
        done = [t for t in settled if t.state == TrialState.COMPLETE]
        twin = next((t for t in done if t.user_attrs[RESULT]["identity"] == self.settings.identity(settings)), None)
        if twin is not None:
            result = {**twin.user_attrs[RESULT], "reused": twin.user_attrs[DESCRIPTION][NUMBER]}
        else:
            with ended_when_stuck(self.ledger, reporter.trial, self.timeout):
                result = self._train(number, settings, earlier_curves(settled), reporter)
        others_returns = [t.user_attrs[RESULT]["returns"] for t in done if t is not twin]
        return score(result["returns"], others_returns, self.plan), result

    def _rescored(self, study: optuna.Study) -> optuna.Study:
        """The study with today's ranks: a trial's value in the ledger is its rank among those that came before it."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        ranks = scores([t.user_attrs[RESULT]["returns"] for t in done], self.plan)
        seen = optuna.create_study(direction="maximize")
        for trial in (t for t in trials if t.state == TrialState.PRUNED and t.params):
            seen.add_trial(_bare(trial))
        for trial, rank in zip(done, ranks, strict=True):
            ranked = _bare(trial)
            ranked.value = rank
            seen.add_trial(ranked)
        return seen

    def _is_exhausted(self, settled: Sequence[FrozenTrial]) -> bool:
        if self.size is None:
            return False
        tried = set()
        for trial in settled:
            if (values := proposed(trial, self.plan)) is not None:
                tried.add(self.settings.identity(self.settings.passed(trial.user_attrs[DESCRIPTION][NUMBER], values)))
        return len(tried) >= self.size

    def _train(
        self, number: int, settings: Mapping[str, Any], earlier: Sequence[Curves], reporter: Reporter
    ) -> dict[str, Any]:
        guard = Guard(reporter, self.timeout)
        curves: dict[str, list[Any]] = {environment: [] for environment in self.plan.environments}
        returns: dict[str, list[float]] = {environment: [] for environment in self.plan.environments}
        result = {
            "settings": dict(settings),
            "identity": self.settings.identity(settings),
            "returns": returns,
            "curves": curves,
            "versions": self.versions,
            "reused": None,
        }
        rule = Rule(number, self.plan.timesteps, earlier)
        for index, run in enumerate(runs(self.plan, settings, tuning_seeds(self.plan.seeds))):
            seed = len(returns[run.environment])
            pruner = Pruner(rule, run.environment, seed, curves) if self.plan.pruning else None
            try:
                trained = self.train_run(run, guard, pruner)
            except optuna.TrialPruned:
                if pruner is not None:
                    curves[run.environment].append(pruner.curve)
                    self._keep_pruned(reporter.trial, result, index, pruner)
                raise
            returns[run.environment].append(cast(float, trained.final_return))
            curves[run.environment].append(thinned(trained.curve, self.plan.timesteps))
        return result

    def train_run(self, run: Run, guard: Guard, pruner: "Pruner | None") -> Result:
        """Train one run; a failure says of which kind it is.

        :param run: The run
        :param guard: Watches over it
        :param pruner: Watches its curve; ``None`` without pruning
        """

        def on_point(model: BaseAlgorithm, point: CurvePoint) -> None:
            guard.look_at(model)
            if pruner is not None:
                pruner.look_at(point)

        try:
            return train_run(run, guard.report, on_point)
        except (Failure, optuna.TrialPruned):
            raise
        except Exception as error:
            raise Failure(f"{kind_of(error)}: {type(error).__name__}: {error}") from error

    def _keep_pruned(self, trial: Trial, result: Mapping[str, Any], index: int, pruner: "Pruner") -> None:
        patiently(lambda: trial.set_user_attr(RESULT, dict(result)))
        # TPE ranks pruned trials by their last step and its value.
        value, step = cast(float, pruner.curve[-1][1]), index * self.plan.timesteps + pruner.curve[-1][0]
        patiently(lambda: trial.report(value, step))


def _bare(trial: FrozenTrial) -> FrozenTrial:
    """A copy without what a sampler does not look at, which would be copied again and again."""
    copied = copy.copy(trial)
    copied.user_attrs = {}
    return copied


def earlier_curves(settled: Sequence[FrozenTrial]) -> list[Curves]:
    """The learning curves that pruning compares with: of trials that trained, to their end or until they were pruned.

    :param settled: The settled trials
    """
    results = [t.user_attrs[RESULT] for t in settled if RESULT in t.user_attrs]
    return [result["curves"] for result in results if result["reused"] is None]


@dataclasses.dataclass
class Pruner:
    """Applies the pruning rule to the curve of one run as it grows."""

    rule: Rule
    environment: str
    seed: int
    finished: Curves
    curve: list[tuple[int, float | None]] = dataclasses.field(default_factory=list)

    def look_at(self, point: CurvePoint) -> None:
        """To be called with each new point."""
        self.curve.append((point.timesteps, point.mean_return))
        if (where := self.rule.objection(self.environment, self.seed, self.curve, self.finished)) is not None:
            raise optuna.TrialPruned(f"pruned at {where}")


def suggest(trial: Trial, plan: StudyPlan) -> dict[str, Any]:
    """Let Optuna propose a value for each dimension; a trial that is done again gets those that it had.

    :param trial: The trial
    :param plan: The study
    :return: Argument → value
    """
    values = {}
    for argument, dimension in plan.space.items():
        values[argument] = dimension.value(_parameter(trial, dimension.parameter_name(argument), dimension))
    return values


def _parameter(trial: Trial, name: str, dimension: Dimension) -> Any:
    found = dimension.distribution()
    if isinstance(found, FloatDistribution):
        low, high, log = found.low, found.high, found.log
        return patiently(lambda: trial.suggest_float(name, low, high, log=log))
    if isinstance(found, IntDistribution):
        first, last, scale = found.low, found.high, found.log
        return patiently(lambda: trial.suggest_int(name, first, last, log=scale))
    choices = cast(CategoricalDistribution, found).choices
    return patiently(lambda: trial.suggest_categorical(name, choices))


def thinned(curve: Sequence[CurvePoint], timesteps: int) -> list[list[Any]]:
    """At most :data:`KEPT_POINTS` points of a curve and its last; those that pruning looks at are among them.

    :param curve: The curve
    :param timesteps: Training steps of the run
    :return: [timesteps, mean return] pairs
    """
    kept: dict[int, float | None] = {}
    for place in range(1, KEPT_POINTS + 1):
        point = next((p for p in curve if p.timesteps >= place * timesteps / KEPT_POINTS), curve[-1])
        kept[point.timesteps] = point.mean_return
    return [[steps, mean_return] for steps, mean_return in kept.items()]
