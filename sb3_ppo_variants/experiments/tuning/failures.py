"""Why a trial fails, and how that is found out.

The reason of a failed trial begins with its kind:

- ``config``: the model or the environment could not be made, or the training raised;
- ``env``: the environment raised in ``step`` or ``reset``;
- ``nan``: parameters, observations, rewards or the final return are not finite;
- ``timeout``: it took longer than the study allows. That is checked a few times a second while the environment is
  stepped; if the trial does not come back for another :data:`STUCK_SECONDS`, a timer ends its process.
"""

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import torch as th
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, Ledger, reason
from sb3_ppo_variants.experiments.engine.work import Failure, Reporter, give_reason
from sb3_ppo_variants.experiments.runs.run import NonFiniteScoreError
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite

SAME_ERRORS = 3  # the same config error so many times running ends the study
STUCK_SECONDS = 10.0  # after the timeout; until then a trial that steps its environment ends itself


class RepeatedError(ValueError):
    """The last trials failed alike, and so probably would every further one."""


class Guard:
    """Watches over a trial: the worker's stop, the trial's time, its environments, numbers that are not finite.

    :param reporter: Writes the trial's progress into the ledger
    :param timeout: Seconds that it may take; ``None`` for any time
    """

    def __init__(self, reporter: Reporter, timeout: float | None):
        self.reporter, self.timeout = reporter, timeout
        self.environment_raised = False
        self._start = time.monotonic()
        self._model: BaseAlgorithm | None = None

    def watch(self, model: BaseAlgorithm) -> None:
        """To be called before a model is trained, so that :meth:`kind_of` can tell where an error comes from.

        :param model: The untrained model
        """
        self._model = model
        environments = model.get_env()
        inner = None if environments is None else environments.unwrapped
        if isinstance(inner, DummyVecEnv):
            inner.envs = [_WatchedEnv(env, self) for env in inner.envs]

    def report(self, steps: int, mean_return: float) -> None:
        """To be called a few times a second."""
        self.reporter.check()
        if self.timeout is not None and time.monotonic() - self._start > self.timeout:
            raise Failure(f"timeout: the trial took longer than {self.timeout:g} s; allow more with --trial-timeout")

    def look_at(self, model: BaseAlgorithm) -> None:
        """To be called after each rollout."""
        if (where := not_finite(model)) is not None:
            raise Failure(f"nan: {where} are not finite after {model.num_timesteps} steps")

    def kind_of(self, error: Exception) -> str:
        """What kind of failure ended a run: ``"nan"``, ``"env"`` or ``"config"``.

        :param error: What the training raised
        """
        # First: a policy that is not finite makes the environment or torch raise.
        diverged = self._model is not None and not_finite(self._model) is not None
        if diverged or isinstance(error, NonFiniteScoreError | NonFiniteError):
            return "nan"
        return "env" if self.environment_raised else "config"


class _WatchedEnv(gymnasium.Wrapper):
    """Tells the guard when the environment raises."""

    def __init__(self, env: gymnasium.Env, guard: Guard):
        super().__init__(env)
        self._guard = guard

    def step(self, action: Any) -> Any:
        try:
            return self.env.step(action)
        except Exception:
            self._guard.environment_raised = True
            raise

    def reset(self, **options: Any) -> Any:
        try:
            return self.env.reset(**options)
        except Exception:
            self._guard.environment_raised = True
            raise


@contextlib.contextmanager
def ended_when_stuck(ledger: Ledger, trial: Trial, timeout: float | None) -> Iterator[None]:
    """A context that ends the process when the trial does not come back because its environment or an update hangs.

    The trial is settled as failed first, so that no other worker hangs in it. A coordinator then starts another worker;
    a ``ppo-variants worker`` ends. Code that never releases Python's lock (a simulator in C) keeps the timer from
    running: that trial is lost when its heartbeat is missed, and counts as killed.

    :param ledger: The study
    :param trial: The trial
    :param timeout: Seconds that it may take; ``None`` for any time
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
    rewards = getattr(getattr(model, "rollout_buffer", None), "rewards", None)
    held = {"observations": getattr(model, "_last_obs", None), "rewards": rewards}
    return next((f"the {name}" for name, found in held.items() if not is_finite(found)), None)


_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def _alike_from_the_start(said: Sequence[str], settled: Sequence[FrozenTrial]) -> bool:
    """Whether errors differ only in their numbers, and no trial but the defaults has ever finished.

    Good messages name the value that was proposed, so the same broken rule gives another text each time. If only a part
    of the space breaks the rule, other trials finish.
    """
    finished = [t for t in settled if t.state == TrialState.COMPLETE and t.user_attrs[DESCRIPTION][NUMBER] != 0]
    return not finished and len({_NUMBER.sub("#", text) for text in said}) == 1


def repeated_error(settled: Sequence[FrozenTrial]) -> str | None:
    """The config error that the last :data:`SAME_ERRORS` trials had in common.

    The texts are equal, or they differ only in numbers as long as no trial but the defaults has finished.

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
