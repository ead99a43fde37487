"""The executor of a tuning study: what a worker does for one trial.

It lets the sampler propose settings, trains one run for each environment and tuning seed (environments outside, seeds
inside), and scores them. Runs are deterministic in their settings, so a trial whose settings have already been scored
reuses the returns.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna
import torch as th
from optuna.trial import FrozenTrial, Trial, TrialState
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, Ledger
from sb3_ppo_variants.experiments.engine.storage import patiently
from sb3_ppo_variants.experiments.engine.work import RESULT, Failure, Reporter, StudyStopped
from sb3_ppo_variants.experiments.runs.provenance import versions
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run, train_run
from sb3_ppo_variants.experiments.runs.seeds import tuning_seeds
from sb3_ppo_variants.experiments.search_space.spaces import finite_size
from sb3_ppo_variants.experiments.tuning.failures import Guard, ended_when_stuck, repeated_error
from sb3_ppo_variants.experiments.tuning.metric import Returns
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import objection
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER, TrialSampler
from sb3_ppo_variants.experiments.tuning.trials import EXHAUSTED, PLAN, TIMEOUT, proposed

KEPT_POINTS = 50  # of a run's learning curve


class Trials:
    """Does the trials of a tuning study: the executor that stands in the study's attributes.

    :param ledger: The study; its sampler is set
    """

    def __init__(self, ledger: Ledger):
        attributes = ledger.attributes()
        self.ledger = ledger
        self.plan = StudyPlan.from_json(attributes[PLAN])
        self.timeout: float | None = attributes.get(TIMEOUT)
        self.size = finite_size(self.plan.space)
        self.versions = versions()  # reading them takes longer than a transaction
        view = self._rescored if self.plan.metric.relative else lambda study: study
        ledger.study.sampler = TrialSampler(self.plan.sampler, self.plan.sampler_seed, self.plan.space, view)
        th.set_num_threads(1)  # results depend on the thread count

    def __call__(self, description: Mapping[str, Any], reporter: Reporter) -> tuple[float, dict[str, Any]]:
        """Do one trial.

        :param description: Of the trial: its number
        :param reporter: Writes the trial's progress into the ledger
        :return: Its score against the trials that have finished by now, and what the ledger keeps
        """
        number = description[NUMBER]
        settled = [t for t in reporter.trials if self.ledger.is_settled(t)]
        if (error := repeated_error(settled)) is not None:
            raise StudyStopped(error)
        if self._is_exhausted(settled):
            raise optuna.TrialPruned(EXHAUSTED)
        values = suggest(reporter.trial, self.plan)
        settings = self.plan.passed(number, values)
        identity = self.plan.identity(settings)
        done = [t for t in settled if t.state == TrialState.COMPLETE]
        equal = next((t for t in done if t.user_attrs[RESULT]["identity"] == identity), None)
        if equal is not None:
            result = {**equal.user_attrs[RESULT], "reused": equal.user_attrs[DESCRIPTION][NUMBER]}
        else:
            with ended_when_stuck(self.ledger, reporter.trial, self.timeout):
                result = self._train(number, settings, earlier_returns(settled), reporter)
        others = [t.user_attrs[RESULT]["returns"] for t in done if t is not equal]
        return self.plan.metric.score(result["returns"], others), result

    def _rescored(self, study: optuna.Study) -> optuna.Study:
        """The study with scores against all finished trials; the ledger has those against the trials before."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        scores = self.plan.metric.scores([t.user_attrs[RESULT]["returns"] for t in done])
        seen = optuna.create_study(direction="maximize")
        for trial in (t for t in trials if t.state == TrialState.PRUNED and t.params):
            seen.add_trial(_bare(trial))
        for trial, score in zip(done, scores, strict=True):
            rescored = _bare(trial)
            rescored.value = score
            seen.add_trial(rescored)
        return seen

    def _is_exhausted(self, settled: Sequence[FrozenTrial]) -> bool:
        if self.size is None:
            return False
        tried = set()
        for trial in settled:
            if (values := proposed(trial, self.plan)) is not None:
                tried.add(self.plan.identity(self.plan.passed(trial.user_attrs[DESCRIPTION][NUMBER], values)))
        return len(tried) >= self.size

    def _train(
        self, number: int, settings: Mapping[str, Any], earlier: Sequence[Returns], reporter: Reporter
    ) -> dict[str, Any]:
        guard = Guard(reporter, self.timeout)
        curves: dict[str, list[Any]] = {environment: [] for environment in self.plan.environments}
        returns: dict[str, list[float]] = {environment: [] for environment in self.plan.environments}
        result = {
            "settings": dict(settings),
            "identity": self.plan.identity(settings),
            "returns": returns,
            "curves": curves,
            "versions": self.versions,
            "reused": None,
        }
        for run in self.plan.runs(settings, tuning_seeds(self.plan.seeds)):
            trained = self.train_run(run, guard)
            returns[run.environment].append(cast(float, trained.final_return))
            curves[run.environment].append(thinned(trained.curve, self.plan.timesteps))
            why = objection(number, returns, earlier, self.plan) if self.plan.pruning else None
            if why is not None:
                patiently(lambda: reporter.trial.set_user_attr(RESULT, result))
                # TPE ranks pruned trials by their last step and its value.
                score, runs = self.plan.metric.score(returns, ()), sum(map(len, returns.values()))
                patiently(lambda score=score, runs=runs: reporter.trial.report(score, runs))  # type: ignore[misc]
                raise optuna.TrialPruned(why)
        return result

    def train_run(self, run: Run, guard: Guard) -> Result:
        """Train one run; the reason of a failure begins with its kind.

        :param run: The run
        :param guard: Watches over it
        """

        def on_point(model: BaseAlgorithm, _point: CurvePoint) -> None:
            guard.look_at(model)

        try:
            return train_run(run, guard.report, on_point, guard.watch)
        except (Failure, optuna.TrialPruned):
            raise
        except Exception as error:
            raise Failure(f"{guard.kind_of(error)}: {type(error).__name__}: {error}") from error


def _bare(trial: FrozenTrial) -> FrozenTrial:
    """A copy without what samplers do not read, which Optuna would copy again and again."""
    copied = copy.copy(trial)
    copied.user_attrs = {}
    return copied


def earlier_returns(settled: Sequence[FrozenTrial]) -> list[Returns]:
    """The returns that pruning compares with: of trials that trained, to their end or until they were pruned.

    :param settled: The settled trials
    """
    results = [t.user_attrs[RESULT] for t in settled if RESULT in t.user_attrs]
    return [result["returns"] for result in results if result["reused"] is None]


def suggest(trial: Trial, plan: StudyPlan) -> dict[str, Any]:
    """Let Optuna propose a value for each dimension; a trial that is repeated gets the values that it had.

    :param trial: The trial
    :param plan: The study
    :return: Argument → value
    """
    return {a: patiently(lambda a=a, d=d: d.suggest(trial, a)) for a, d in plan.space.items()}  # type: ignore[misc]


def thinned(curve: Sequence[CurvePoint], timesteps: int) -> list[list[Any]]:
    """At most :data:`KEPT_POINTS` points of a curve and its last.

    :param curve: The curve
    :param timesteps: Training steps of the run
    :return: [timesteps, mean return] pairs
    """
    kept: dict[int, float | None] = {}
    for place in range(1, KEPT_POINTS + 1):
        point = next((p for p in curve if p.timesteps >= place * timesteps / KEPT_POINTS), curve[-1])
        kept[point.timesteps] = point.mean_return
    return [[steps, mean_return] for steps, mean_return in kept.items()]
