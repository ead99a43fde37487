"""Why a trial fails, and how that is seen.

A trial that fails says why, and the first word is the kind:

- ``config``: the model or the environment could not be made, or the training raised;
- ``env``: the environment raised in ``step`` or ``reset``;
- ``nan``: parameters, observations, rewards or the final return are not finite;
- ``timeout``: it took longer than the study allows. That is looked at a few times a second while the environment is
  stepped; where it does not come back for :data:`STUCK_SECONDS` more, a timer ends its process.
"""

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import gymnasium
import numpy as np
import torch as th
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, Ledger, reason
from sb3_ppo_variants.experiments.engine.work import Failure, Reporter, give_reason
from sb3_ppo_variants.experiments.runs.run import NonFiniteScoreError
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER
from sb3_ppo_variants.nonfinite.error import NonFiniteError

SAME_ERRORS = 3  # the same config error so many times running ends the study
STUCK_SECONDS = 10.0  # after the timeout; until then a trial that steps its environment ends itself


class RepeatedError(ValueError):
    """The last trials failed alike, and so probably would every further one."""


class Guard:
    """Watches over a trial: the worker's stop, the trial's time, numbers that are not finite.

    :param reporter: The trial's line to the ledger
    :param timeout: Seconds that it may take; ``None``: any
    """

    def __init__(self, reporter: Reporter, timeout: float | None):
        self.reporter, self.timeout = reporter, timeout
        self._start = time.monotonic()

    def report(self, steps: int, mean_return: float) -> None:
        """To be called a few times a second."""
        self.reporter.check()
        if self.timeout is not None and time.monotonic() - self._start > self.timeout:
            raise Failure(f"timeout: the trial took longer than {self.timeout:g} s; allow more with --trial-timeout")

    def look_at(self, model: BaseAlgorithm) -> None:
        """To be called after each rollout."""
        if (where := not_finite(model)) is not None:
            raise Failure(f"nan: {where} are not finite after {model.num_timesteps} steps")


@contextlib.contextmanager
def ended_when_stuck(ledger: Ledger, trial: Trial, timeout: float | None) -> Iterator[None]:
    """A context whose process is ended when the trial does not come back: its environment, or an update, hangs.

    The trial is settled as failed first, so that nobody hangs in it again; a coordinator starts another worker, a
    ``ppo-variants worker`` ends. Code that holds Python's lock for ever (a simulator in C) keeps the timer from
    running: that trial is lost when its heartbeat is missed, and counts as killed.

    :param ledger: The study
    :param trial: The trial
    :param timeout: Seconds that it may take; ``None``: any
    """
    if timeout is None:
        yield
        return
    timer = threading.Timer(timeout + STUCK_SECONDS, _end_process, [ledger, trial, timeout])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(ledger: Ledger, trial: Trial, timeout: float) -> None:
    text = (
        f"timeout: the trial hung: it was to end after {timeout:g} s and did not come back for {STUCK_SECONDS:g} s "
        "more, in a step of the environment or in an update; its process was ended"
    )
    try:
        give_reason(trial, text)
    except UpdateFinishedTrialError:
        return  # it came back in the meantime
    if ledger.release(ledger.trials()[trial.number]):
        sys.stderr.write(f"trial {trial.number}: {text}\n")
        sys.stderr.flush()
        os._exit(1)


def not_finite(model: BaseAlgorithm) -> str | None:
    """Which of a model's numbers are not finite, ``None`` if all are.

    :param model: The model
    """
    if not all(bool(th.isfinite(p).all()) for p in model.policy.parameters()):
        return "the policy's parameters"
    buffer = getattr(model, "rollout_buffer", None)
    held = {"observations": getattr(model, "_last_obs", None), "rewards": getattr(buffer, "rewards", None)}
    for name, found in held.items():
        for array in found.values() if isinstance(found, dict) else [found]:
            if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
                return f"the {name}"
    return None


def kind_of(error: Exception) -> str:
    """What kind of failure ended a run: ``"nan"``, ``"env"`` or ``"config"``.

    :param error: What the training raised, with its traceback
    """
    callers = []
    trace = error.__traceback__
    while trace is not None:
        callers.append((trace.tb_frame.f_locals.get("self"), trace.tb_frame.f_code.co_name))
        trace = trace.tb_next
    # First: a policy that is not finite makes the environment or torch raise.
    models = [caller for caller, _ in callers if isinstance(caller, BaseAlgorithm) and hasattr(caller, "policy")]
    if isinstance(error, NonFiniteScoreError | NonFiniteError) or any(
        not_finite(model) is not None for model in models
    ):
        return "nan"
    in_environment = any(isinstance(caller, gymnasium.Env) and name in ("step", "reset") for caller, name in callers)
    return "env" if in_environment else "config"


_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def _alike_from_the_start(said: Sequence[str], settled: Sequence[FrozenTrial]) -> bool:
    """Whether errors differ in nothing but their numbers, and no trial but the defaults has ever finished.

    Good messages name the value that was proposed, so that the same rule is broken in other words. It may be a rule
    that only a part of the space breaks: then other trials finish.
    """
    finished = [t for t in settled if t.state == TrialState.COMPLETE and t.user_attrs[DESCRIPTION][NUMBER] != 0]
    return not finished and len({_NUMBER.sub("#", text) for text in said}) == 1


def repeated_error(settled: Sequence[FrozenTrial]) -> str | None:
    """The config error that the last :data:`SAME_ERRORS` trials had in common.

    To the letter; or but for the numbers in it, as long as no trial but the defaults has finished.

    :param settled: The study's settled trials
    :return: The newest one's, and what to do; ``None`` if there is none
    """
    last = sorted(settled, key=lambda t: t.datetime_complete)[-SAME_ERRORS:]  # type: ignore[arg-type, return-value]
    said = [reason(t) or "" for t in last]
    if len(last) < SAME_ERRORS or not (len(set(said)) == 1 or _alike_from_the_start(said, settled)):
        return None
    text = said[-1]
    if not text.startswith("config: "):
        return None
    return (
        f"The last {SAME_ERRORS} trials failed with the same error, {text!r}: the study is stopped. Correct the space "
        f"or the fixed settings and start it with another --out"
    )
