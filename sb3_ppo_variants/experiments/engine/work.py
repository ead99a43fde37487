"""A worker: takes waiting runs from a ledger, one after the other, until none is waiting or running.

The executor does a run: it is a function (description, reporter) → (score, result to keep). If a study's trials are
not plain runs, its attributes name their executor, so a worker needs only storage and study.
:func:`main` is a worker process; it reads its :class:`WorkerConfig` as JSON from stdin.
"""

import dataclasses
import importlib
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import (
    ACTIVE,
    DESCRIPTION,
    FOLLOWED_BY,
    REASON,
    RUN,
    Ledger,
    open_ledger,
)
from sb3_ppo_variants.experiments.engine.storage import patiently, study_names

REPORT_SECONDS = 1.0
REPORTS = 500  # per run, at most
RESULT = "result"
# Names of executors in users' databases, which never change → where the executors are now.
MOVED_EXECUTORS = {
    "sb3_ppo_variants.experiments.tuning_work:Trials": "sb3_ppo_variants.experiments.tuning.trial_runs:Trials"
}
SEQUEL_SECONDS = 30.0  # the coordinator enqueues the sequel's runs once it sees that the study is done


class Stopped(KeyboardInterrupt):
    """The worker was asked to stop. Not an ``Exception``: no handler within a run may catch it."""


class StudyStopped(Stopped):
    """The study has an error that every further trial would have too."""


class Failure(Exception):  # noqa: N818 (reports call it a failure)
    """A run has failed. The message is the complete reason; no exception type is put before it."""


@dataclasses.dataclass(frozen=True)
class WorkerConfig:
    """What a worker process works on, and how.

    :param url: Database URL of the ledger
    :param study: Name of its study
    :param heartbeat: See :func:`.ledger.open_ledger`
    :param grace: See :func:`.ledger.open_ledger`
    :param execute: ``module:function`` that does one run; the study's own executor takes precedence
    :param wanted: Keys of the runs that this command requested; ``None`` takes all
    :param first: Trials with a lower number are older than this command
    :param poll: Seconds between two polls of the ledger while other workers are busy
    :param parent: Process id of the coordinator; the worker stops when it is no longer its parent
    """

    url: str
    study: str
    heartbeat: int
    grace: int
    execute: str = "sb3_ppo_variants.experiments.runs.run:execute"
    wanted: tuple[str, ...] | None = None
    first: int = 0
    poll: float = 1.0
    parent: int | None = None


class Worker:
    """Does the waiting runs of a ledger.

    :param ledger: The ledger
    :param execute: Does one run: (description, report) → (score, result to keep)
    :param stop: Called often; once it returns true, the worker puts its run back and ends
    :param config: What it works on
    """

    def __init__(self, ledger: Ledger, execute: "Execute", stop: Callable[[], bool], config: WorkerConfig):
        self.ledger, self.execute, self.stop, self.config = ledger, execute, stop, config
        self._wanted = None if config.wanted is None else frozenset(config.wanted)
        self._current: Trial | None = None
        self.done = 0

    def work(self) -> None:
        """Work until no run is waiting or running, or until stopped.

        The worker stays while other workers are busy: if one dies, its run needs another worker.
        """
        while not self.stop():
            active = self.ledger.rescue()
            if not active:
                return
            if any(t.state == TrialState.WAITING for t in active):
                try:
                    self._take_one()
                except StudyStopped as error:
                    self._put_back()
                    raise ValueError(str(error)) from error
                except Stopped:
                    self._put_back()
                    return
            else:
                self._pause()

    def _pause(self) -> None:
        end = time.monotonic() + self.config.poll
        while time.monotonic() < end and not self.stop():
            time.sleep(0.05)

    def _take_one(self) -> None:
        self._current = None
        try:
            self.ledger.study.optimize(self._objective, n_trials=1, catch=(Exception,))
        except (ValueError, UpdateFinishedTrialError):
            # A late tell: this process was suspended for longer than the grace time and taken for dead, and another
            # has the run or has finished it. ``catch`` does not cover that.
            if self._current is None or not self._is_finished(self._current.number):
                raise
        except StorageInternalError:
            # The database was lost while the trial was told: its heartbeat has stopped, so it will be redone.
            time.sleep(self.config.poll)

    def _is_finished(self, number: int) -> bool:
        return self.ledger.trials()[number].state.is_finished()

    def _put_back(self) -> None:
        if self._current is not None and RUN in self._current.user_attrs and self._is_finished(self._current.number):
            attributes = self._current.user_attrs
            self.ledger.fill({attributes[RUN]: attributes[DESCRIPTION]})

    def _objective(self, trial: Trial) -> float:
        self._current = trial
        attributes = patiently(lambda: trial.user_attrs)
        if RUN not in attributes:
            # Two workers raced for the last waiting trial, and Optuna made a new one for the loser.
            raise optuna.TrialPruned("surplus")
        self.ledger.claim(trial)
        others = self.ledger.trials()
        if (why := self._superfluous(trial.number, attributes[RUN], others)) is not None:
            raise optuna.TrialPruned(why)
        try:
            score, result = self.execute(attributes[DESCRIPTION], Reporter(trial, self.stop, others))
            if not math.isfinite(score):
                raise ValueError(f"The score is {score}, not a finite number")
            patiently(lambda: trial.set_user_attr(RESULT, dict(result)))
        except Exception as error:
            plain = isinstance(error, Failure | optuna.TrialPruned)
            give_reason(trial, str(error) if plain else f"{type(error).__name__}: {error}")
            raise
        self.done += 1
        return score

    def _superfluous(self, number: int, key: str, others: Sequence[FrozenTrial]) -> str | None:
        """Why a claimed trial need not be done, ``None`` if it must be."""
        if self._wanted is not None and key not in self._wanted and number < self.config.first:
            # An earlier command left it waiting. If that command is still running, it enqueues the run again.
            return "left over from an earlier command"
        for other in others:
            if other.user_attrs.get(RUN) != key or other.number == number:
                continue
            if self.ledger.is_settled(other) or (other.state == TrialState.RUNNING and other.number < number):
                return f"duplicate of trial {other.number}"  # two commands filled the ledger at once
        return None


def give_reason(trial: Trial, text: str) -> None:
    """Write the reason of a failure into a trial; once told, a trial with a reason is settled.

    :param trial: The trial
    :param text: The reason
    """
    patiently(lambda: trial.set_user_attr(REASON, {"text": text, "trial": trial.number}))


class Reporter:
    """Writes a run's progress to its ledger now and then, and ends the run when the worker must stop.

    :param trial: The run's trial
    :param stop: See :class:`Worker`
    :param trials: All trials of the ledger when the run began
    """

    def __init__(self, trial: Trial, stop: Callable[[], bool], trials: Sequence[FrozenTrial]):
        self.trial, self.stop, self.trials = trial, stop, trials
        self._last = -math.inf
        self._spacing = REPORT_SECONDS
        self._written = 0

    def check(self) -> None:
        """End the run if the worker must stop."""
        if self.stop():
            raise Stopped

    def __call__(self, step: int, value: float) -> None:
        self.check()
        now = time.monotonic()
        if now - self._last < self._spacing:
            return
        self._last = now
        self._written += 1
        if self._written % (REPORTS // 2) == 0:
            self._spacing *= 2  # every poll of a running trial reads all its reports
        with suppress(StorageInternalError):  # a short loss of the database must not end the run
            self.trial.report(value, step)


Execute = Callable[[Mapping[str, Any], Reporter], tuple[float, Mapping[str, Any]]]


def executor(ledger: Ledger, config: WorkerConfig) -> Execute:
    """The executor of a ledger's runs: a function, or an instance of a class made with the ledger.

    :param ledger: The ledger; if it names an executor, that one is used
    :param config: Names the executor otherwise
    """
    name = ledger.executor or config.execute
    module, _, attribute = MOVED_EXECUTORS.get(name, name).partition(":")
    made = getattr(importlib.import_module(module), attribute)
    return made(ledger) if isinstance(made, type) else made


def stop_on_signals(parent: int | None = None) -> Callable[[], bool]:
    """Ask this process to stop on SIGINT, on SIGTERM and when its parent dies.

    :param parent: See :class:`WorkerConfig`; ``None`` lets the process outlive its parent
    :return: A function that returns whether the process was asked to stop
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked) or (parent is not None and os.getppid() != parent)


def _is_no_stop(record: logging.LogRecord) -> bool:
    """Whether a log record is not about a run that was put back: nothing has failed there."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, Stopped)


def join(config: WorkerConfig, stop: Callable[[], bool]) -> int:
    """Work on a ledger in this process.

    :param config: What to work on
    :param stop: See :class:`Worker`
    :return: Number of runs that this process has done
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.get_logger("optuna.study._optimize").addFilter(_is_no_stop)
    with _open(config) as ledger:
        worker = Worker(ledger, executor(ledger, config), stop, config)
        worker.work()
    return worker.done


def join_with_sequel(config: WorkerConfig, stop: Callable[[], bool], patience: float = SEQUEL_SECONDS) -> int:
    """Work on a ledger, then on the study that follows it, if any.

    :param config: What to work on
    :param stop: See :class:`Worker`
    :param patience: Seconds to wait for the sequel's runs
    :return: Number of runs that this process has done
    """
    done = join(config, stop)
    with _open(config) as ledger:
        sequel = ledger.attributes().get(FOLLOWED_BY)
    if sequel is None:
        return done
    config = dataclasses.replace(config, study=sequel)
    end = time.monotonic() + patience
    while time.monotonic() < end and not stop():
        # Finished runs there do not count: they may belong to the confirmation before the study was extended.
        if sequel in study_names(config.url) and _has_work(config):
            return done + join(config, stop)
        time.sleep(min(config.poll, patience))
    return done


def _open(config: WorkerConfig) -> Ledger:
    return patiently(
        lambda: open_ledger(config.url, config.study, create=False, heartbeat=config.heartbeat, grace=config.grace)
    )


def _has_work(config: WorkerConfig) -> bool:
    with _open(config) as ledger:
        return bool(ledger.trials(*ACTIVE))


def main() -> None:
    """Entry point of a worker process."""
    config = WorkerConfig(**json.load(sys.stdin))
    join(config, stop_on_signals(config.parent))
