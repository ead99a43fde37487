"""A worker: takes waiting runs from a ledger, one after the other, until nothing waits or runs any more.

What a run is, the executor knows: a function (description, reporter) → (score, what to keep of it). The executor of a
study whose trials are not plain runs stands in the study's attributes, so a worker needs only storage and study.
:func:`main` is a worker process; it reads its :class:`Job` as JSON from stdin.
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
REPORTS = 500  # of one run at most
RESULT = "result"
# Names of executors in users' databases, which never change → where the executors are now.
EXECUTORS = {"sb3_ppo_variants.experiments.tuning_work:Trials": "sb3_ppo_variants.experiments.tuning.trial_runs:Trials"}
SEQUEL_SECONDS = 30.0  # whoever coordinates makes the sequel's runs when it sees that the study is done


class Stopped(KeyboardInterrupt):
    """The worker was asked to stop. Not an ``Exception``: nothing in a run may swallow it."""


class StudyStopped(Stopped):
    """The study has an error that every further trial would have."""


class Failure(Exception):  # noqa: N818 (what the reader of a report calls it)
    """A run has failed, and this text says why in full."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker process works on.

    :param url: Where the ledger is
    :param study: Its name
    :param heartbeat: See :func:`.ledger.open_ledger`
    :param grace: See :func:`.ledger.open_ledger`
    :param execute: ``module:function`` that does one run; the study's own executor comes before it
    :param wanted: Keys of the runs that this command asked for; ``None`` takes all
    :param first: Trials with a lower number were there before this command
    :param poll: Seconds between two looks while others work
    :param parent: Process id of the coordinator; the worker stops when that is no longer its parent
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
    """Consumes a ledger.

    :param ledger: The ledger
    :param execute: Does one run: (description, report) → score and what to keep of it
    :param stop: Asked often; true makes the worker put its run back and end
    :param job: What it works on
    """

    def __init__(self, ledger: Ledger, execute: "Execute", stop: Callable[[], bool], job: Job):
        self.ledger, self.execute, self.stop, self.job = ledger, execute, stop, job
        self._wanted = None if job.wanted is None else frozenset(job.wanted)
        self._current: Trial | None = None
        self.done = 0

    def work(self) -> None:
        """Work until nothing waits or runs any more, or until stopped.

        While others run, it stays: one of them may die, and its run must find somebody.
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
        end = time.monotonic() + self.job.poll
        while time.monotonic() < end and not self.stop():
            time.sleep(0.05)

    def _take_one(self) -> None:
        self._current = None
        try:
            self.ledger.study.optimize(self._objective, n_trials=1, catch=(Exception,))
        except (ValueError, UpdateFinishedTrialError):
            # A late tell: this process was taken for dead (suspended for longer than the grace time), and another one
            # has the run or has finished it. ``catch`` does not cover that.
            if self._current is None or not self._is_finished(self._current.number):
                raise
        except StorageInternalError:
            # The database went away while the trial was told: it has no heartbeat any more and will be redone.
            time.sleep(self.job.poll)

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
            # Two workers raced for the last waiting trial: Optuna made a new one for the loser.
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
        """Why a claimed trial is not to be done, ``None`` if it is."""
        if self._wanted is not None and key not in self._wanted and number < self.job.first:
            # Left waiting by an earlier command that was given up. Should that command still live, it puts it back.
            return "left over from an earlier command"
        for other in others:
            if other.user_attrs.get(RUN) != key or other.number == number:
                continue
            if self.ledger.is_settled(other) or (other.state == TrialState.RUNNING and other.number < number):
                return f"twin of trial {other.number}"  # two commands filled the ledger at once
        return None


def give_reason(trial: Trial, text: str) -> None:
    """Write into a trial why it fails; with that, it is settled once it is told.

    :param trial: The trial
    :param text: Why
    """
    patiently(lambda: trial.set_user_attr(REASON, {"text": text, "trial": trial.number}))


class Reporter:
    """A run's line to its ledger: writes how far it is, seldom, and ends it when the worker is to stop.

    :param trial: The run's trial
    :param stop: See :class:`Worker`
    :param trials: All trials of the ledger, as they were when the run began
    """

    def __init__(self, trial: Trial, stop: Callable[[], bool], trials: Sequence[FrozenTrial]):
        self.trial, self.stop, self.trials = trial, stop, trials
        self._last = -math.inf
        self._spacing = REPORT_SECONDS
        self._written = 0

    def check(self) -> None:
        """End the run when the worker is to stop."""
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
            self._spacing *= 2  # each report is a row that every look at a running trial reads
        with suppress(StorageInternalError):  # a database that is away for a moment must not end the run
            self.trial.report(value, step)


Execute = Callable[[Mapping[str, Any], Reporter], tuple[float, Mapping[str, Any]]]


def executor(ledger: Ledger, job: Job) -> Execute:
    """What does the runs of a ledger: a function, or a class that is made with the ledger and then called.

    :param ledger: The ledger; its own executor comes first
    :param job: The job that names another
    """
    made = resolve(ledger.executor or job.execute)
    return made(ledger) if isinstance(made, type) else made


def resolve(name: str) -> Any:
    """The object behind ``module:attribute``, or behind a name in ``EXECUTORS``."""
    module, _, attribute = EXECUTORS.get(name, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


def stop_on_signals(parent: int | None = None) -> Callable[[], bool]:
    """Let SIGINT and SIGTERM ask this process to stop, and the death of its parent.

    :param parent: See :class:`Job`; ``None`` lets the process outlive its parent
    :return: The function to ask
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked) or (parent is not None and os.getppid() != parent)


def _is_no_stop(record: logging.LogRecord) -> bool:
    """Whether a log record is of anything but a run put back: nothing has failed there."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, Stopped)


def join(job: Job, stop: Callable[[], bool]) -> int:
    """Work on a ledger in this process.

    :param job: What to work on
    :param stop: See :class:`Worker`
    :return: How many runs this process has done
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.get_logger("optuna.study._optimize").addFilter(_is_no_stop)
    with _open(job) as ledger:
        worker = Worker(ledger, executor(ledger, job), stop, job)
        worker.work()
    return worker.done


def join_with_sequel(job: Job, stop: Callable[[], bool], patience: float = SEQUEL_SECONDS) -> int:
    """Work on a ledger, then on the study that comes after it, if any.

    :param job: What to work on
    :param stop: See :class:`Worker`
    :param patience: Seconds to wait for the sequel's runs
    :return: How many runs this process has done
    """
    done = join(job, stop)
    with _open(job) as ledger:
        sequel = ledger.attributes().get(FOLLOWED_BY)
    if sequel is None:
        return done
    job = dataclasses.replace(job, study=sequel)
    end = time.monotonic() + patience
    while time.monotonic() < end and not stop():
        # Runs that are done there say nothing: of an earlier confirmation, whose study has been extended since.
        if sequel in study_names(job.url) and _has_work(job):
            return done + join(job, stop)
        time.sleep(min(job.poll, patience))
    return done


def _open(job: Job) -> Ledger:
    return patiently(lambda: open_ledger(job.url, job.study, create=False, heartbeat=job.heartbeat, grace=job.grace))


def _has_work(job: Job) -> bool:
    with _open(job) as ledger:
        return bool(ledger.trials(*ACTIVE))


def main() -> None:
    """Entry of a worker process."""
    job = Job(**json.load(sys.stdin))
    join(job, stop_on_signals(job.parent))
