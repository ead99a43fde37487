"""The trials of a tuning study as sets of runs: what is started next, and when a trial is told.

The sampler proposes the settings of a trial, one run is done for each tuning seed and environment (seeds outside, so
that pruning can compare early), and the trial is told its score. With several jobs the runs of one trial are spread
first, so that the sampler sees as many finished trials as possible.

Runs are kept in a study of their own beside that of the trials. A run that is kept is never repeated, whichever trial
wants it. A trial that was under way when a command ended keeps its settings, and goes on when the command is rerun.
"""

import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.storage import patiently, quiet
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, REASON, RESULT, RUN, Store
from sb3_ppo_variants.experiments.engine.task import Progress
from sb3_ppo_variants.experiments.runs.guard import TOO_LONG
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Run
from sb3_ppo_variants.experiments.runs.seeds import tuning_seeds
from sb3_ppo_variants.experiments.search_space.spaces import finite_size
from sb3_ppo_variants.experiments.tuning.failures import RepeatedError, repeated_error
from sb3_ppo_variants.experiments.tuning.metric import Returns
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.progress import StudyDisplay
from sb3_ppo_variants.experiments.tuning.pruning import objection
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER, TrialSampler
from sb3_ppo_variants.experiments.tuning.trials import number_of, proposed, read_trials, settled

KEPT_POINTS = 50  # of a run's learning curve


@dataclasses.dataclass
class OpenTrial:
    """A trial that has settings and is not told yet.

    :param trial: Optuna's trial
    :param number: Its place in the study
    :param settings: What the constructor is given
    :param runs: Key → run, in the order in which they are done
    """

    trial: Trial
    number: int
    settings: Mapping[str, Any]
    runs: Mapping[str, Run]


class TrialsToDo:
    """The trials of a study that are not settled yet.

    :param store: Keeps the trials
    :param run_store: Keeps their runs
    :param plan: The study's plan
    :param trials: How many trials are wanted
    :param timeout: Seconds that the runs of a trial may take together; ``None`` for any time
    :param display: Shows them
    """

    def __init__(
        self, store: Store, run_store: Store, plan: StudyPlan, trials: int, timeout: float | None, display: StudyDisplay
    ):
        self.store, self.run_store, self.plan, self.timeout, self.display = store, run_store, plan, timeout, display
        view = self._rescored if plan.metric.relative else lambda study: study
        store.study.sampler = TrialSampler(plan.sampler, plan.sampler_seed, plan.space, view)
        self.total = trials
        self._size = finite_size(plan.space)
        self._settled = settled(store.trials())
        self._ended: dict[str, Record] = {}  # the runs of open trials that have ended
        self._started: set[str] = set()
        self._open: list[OpenTrial] = []
        self._missing = sorted(set(range(trials)) - set(map(number_of, self._settled)), reverse=True)
        display.begin(read_trials(store, plan))
        self._stop_if_all_fail_alike()
        self._take_up_what_was_under_way()

    @property
    def done(self) -> int:
        """How many trials are settled."""
        return len(self._settled)

    @property
    def is_to_do(self) -> bool:
        """Whether anything is left to do."""
        return self.done < self.total and not self.is_exhausted

    # ---- What the coordinator calls ----

    def next(self) -> tuple[Run, float | None] | None:
        while True:
            for trial in self._open:
                for key, run in trial.runs.items():
                    if key not in self._ended and key not in self._started:
                        self._started.add(key)
                        return run, self._time_left(trial)
            if not self._missing or self.is_exhausted:
                return None
            self._ask(self._missing.pop())

    def take(self, record: Record) -> None:
        key = record.run.key()
        self._started.discard(key)
        self.run_store.add(record)
        self._ended[key] = record
        for trial in [t for t in self._open if key in t.runs]:
            self._tell_if_decided(trial)

    def show(self, under_way: Mapping[str, Progress | None]) -> None:
        runs = {key: (trial, run) for trial in self._open for key, run in trial.runs.items()}
        labels = {key: f"trial {trial.number} {run.environment} seed {run.seed}" for key, (trial, run) in runs.items()}
        self.display.show({labels[key]: (runs[key][1], at) for key, at in under_way.items() if key in runs})

    # ---- Asking ----

    @property
    def is_exhausted(self) -> bool:
        """Whether every setting in the space has been tried or is under way."""
        if self._size is None:
            return False
        tried = {self.plan.identity(trial.settings) for trial in self._open}
        for trial in self._settled:
            if (values := proposed(trial, self.plan)) is not None:
                tried.add(self.plan.identity(self.plan.passed(number_of(trial), values)))
        return len(tried) >= self._size

    def _take_up_what_was_under_way(self) -> None:
        study = self.store.study
        for left in self.store.trials(TrialState.RUNNING, TrialState.WAITING):
            number = left.user_attrs.get(DESCRIPTION, {}).get(NUMBER)
            if left.state == TrialState.RUNNING and number in self._missing:
                self._missing.remove(number)
                self._begin(patiently(lambda left=left: Trial(study, left._trial_id)), number)  # type: ignore[misc]
            else:
                # Left by a kill between two transactions, or by the queue of an earlier version.
                patiently(lambda left=left: study._storage.set_trial_state_values(left._trial_id, TrialState.FAIL))  # type: ignore[misc]

    def _ask(self, number: int) -> None:
        study = self.store.study
        values = self.plan.default_values() if number == 0 else {}
        fixed = {d.parameter_name(a): d.parameter(values[a]) for a, d in self.plan.space.items() if a in values}
        attributes = {RUN: f"trial {number}", DESCRIPTION: {NUMBER: number}}
        patiently(lambda: study.enqueue_trial(fixed, attributes))
        self._begin(patiently(study.ask), number)

    def _begin(self, trial: Trial, number: int) -> None:
        settings = self.plan.passed(number, suggest(trial, self.plan))
        runs = {run.key(): run for run in self.plan.runs(settings, tuning_seeds(self.plan.seeds))}
        opened = OpenTrial(trial, number, settings, runs)
        self._open.append(opened)
        if self._equal(opened) is None:
            kept = self.run_store.records(list(runs.values()))
            self._ended |= {record.run.key(): record for record in kept if record.state == "done"}
        self._tell_if_decided(opened)

    def _time_left(self, trial: OpenTrial) -> float | None:
        return None if self.timeout is None else max(self.timeout - self._seconds(trial), 0.1)

    def _seconds(self, trial: OpenTrial) -> float:
        results = [self._ended[key].result for key in trial.runs if key in self._ended]
        return sum(result.seconds for result in results if result is not None)

    # ---- Telling ----

    def _tell_if_decided(self, trial: OpenTrial) -> None:
        if (equal := self._equal(trial)) is not None:
            self._tell(trial, {**equal.user_attrs[RESULT], "reused": number_of(equal)})
            return
        ended = [self._ended[key] for key in trial.runs if key in self._ended]
        reasons = [str(record.reason) for record in ended if record.result is None]
        if self.timeout is not None and (
            self._seconds(trial) > self.timeout or any(r.startswith(TOO_LONG) for r in reasons)
        ):
            reasons = [
                f"timeout: the trial took longer than {self.timeout:g} s; allow more with --trial-timeout, in a study "
                "with another --out, since a trial that failed counts and is not repeated"
            ]
        if reasons:
            self._tell(trial, None, TrialState.FAIL, reasons[0])
        elif len(ended) == len(trial.runs):
            self._tell(trial, self._result(trial, ended))
        elif self.plan.pruning:
            in_order = list(itertools.takewhile(lambda key: key in self._ended, trial.runs))
            result = self._result(trial, [self._ended[key] for key in in_order])
            earlier = self._returns(trial)
            if (why := objection(trial.number, result["returns"], earlier, self.plan)) is not None:
                # TPE ranks pruned trials by their last step and its value.
                score = self.plan.metric.score(result["returns"], earlier)
                patiently(lambda: trial.trial.report(score, len(in_order)))
                self._tell(trial, result, TrialState.PRUNED, why)

    def _tell(
        self,
        trial: OpenTrial,
        result: Mapping[str, Any] | None,
        state: TrialState | None = None,
        why: str | None = None,
    ) -> None:
        asked = trial.trial
        if result is not None:
            patiently(lambda: asked.set_user_attr(RESULT, dict(result)))
        if why is not None:
            patiently(lambda: asked.set_user_attr(REASON, {"text": why, "trial": asked.number}))
        score = None
        if state is None and result is not None:
            score = self.plan.metric.score(result["returns"], self._returns(trial))
        patiently(lambda: self.store.study.tell(asked, score, state))
        self._open.remove(trial)
        self._settled.append(self.store.trials()[asked.number])
        wanted = {key for other in self._open for key in other.runs}
        self._ended = {key: record for key, record in self._ended.items() if key in wanted}
        self.display.update(read_trials(self.store, self.plan))
        self._stop_if_all_fail_alike()

    def _stop_if_all_fail_alike(self) -> None:
        if (error := repeated_error(self._settled)) is not None:
            raise RepeatedError(error)

    def _equal(self, trial: OpenTrial) -> FrozenTrial | None:
        """A finished trial with equal settings: as runs are deterministic, it would come out the same."""
        identity = self.plan.identity(trial.settings)
        done = [t for t in self._settled if t.state == TrialState.COMPLETE]
        return next((t for t in done if t.user_attrs[RESULT]["identity"] == identity), None)

    def _returns(self, trial: OpenTrial) -> list[Returns]:
        """The returns of the settled trials that have other settings and were trained."""
        identity = self.plan.identity(trial.settings)
        results = [t.user_attrs[RESULT] for t in self._settled if RESULT in t.user_attrs]
        return [r["returns"] for r in results if r["reused"] is None and r["identity"] != identity]

    def _result(self, trial: OpenTrial, records: Sequence[Record]) -> dict[str, Any]:
        """What the study keeps of a trial."""
        returns: dict[str, list[float | None]] = {environment: [] for environment in self.plan.environments}
        curves: dict[str, list[Any]] = {environment: [] for environment in self.plan.environments}
        results = [record.result for record in records if record.result is not None]
        for record, result in zip(records, results, strict=True):
            returns[record.run.environment].append(result.final_return)
            curves[record.run.environment].append(thinned(result.curve, self.plan.timesteps))
        return {
            "seconds": sum(result.seconds for result in results),
            "settings": dict(trial.settings),
            "identity": self.plan.identity(trial.settings),
            "returns": returns,
            "curves": curves,
            # An environment adds the versions of its simulator.
            "versions": {name: version for result in results for name, version in result.versions.items()},
            "reused": None,
        }

    def _rescored(self, study: optuna.Study) -> optuna.Study:
        """The study with scores against all finished trials; the ledger has those against the trials before."""
        trials = study.get_trials(deepcopy=False)
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        scores = self.plan.metric.scores([t.user_attrs[RESULT]["returns"] for t in done])
        with quiet():
            seen = optuna.create_study(direction="maximize")
        for trial in trials:
            # Those under way too, so that samplers propose others; the one that is asked for has no value yet.
            is_open = trial.state == TrialState.RUNNING and len(trial.params) == len(self.plan.space)
            if is_open or (trial.state == TrialState.PRUNED and trial.params):
                seen.add_trial(_bare(trial))
        for trial, score in zip(done, scores, strict=True):
            rescored = _bare(trial)
            rescored.value = score
            seen.add_trial(rescored)
        return seen


def _bare(trial: FrozenTrial) -> FrozenTrial:
    """A copy without what samplers do not read, which Optuna would copy again and again."""
    copied = copy.copy(trial)
    copied.user_attrs = {}
    return copied


def suggest(trial: Trial, plan: StudyPlan) -> dict[str, Any]:
    """Let Optuna propose a value for each dimension; a trial that is taken up again keeps the values that it has.

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
    if not curve:  # of an imported run
        return []
    kept: dict[int, float | None] = {}
    for place in range(1, KEPT_POINTS + 1):
        point = next((p for p in curve if p.timesteps >= place * timesteps / KEPT_POINTS), curve[-1])
        kept[point.timesteps] = point.mean_return
    return [[steps, mean_return] for steps, mean_return in kept.items()]
