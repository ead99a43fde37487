"""The ledger of runs: an Optuna study in a database, SQLite or PostgreSQL.

Each run is a trial with its description in the user attributes. The command enqueues runs, and workers do them
(:mod:`.work`). With Optuna alone, a run can get lost or be done twice in a few ways; the comments say where each is
prevented. A run is "lost" if its trial failed without a reason, that is, if its process died.
"""

import hashlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sb3_ppo_variants.experiments.engine.storage import (
    GRACE_SECONDS,
    HEARTBEAT_SECONDS,
    MAX_RETRIES,
    cannot_open,
    close_storage,
    open_storage,
    patiently,
    quiet,
    study_names,
    without_password,
)

ACTIVE = (TrialState.WAITING, TrialState.RUNNING)

# User attributes of a trial. CLAIM and REASON contain the number of the trial that they were written for: Optuna copies
# all attributes when it retries a stale trial, and a copied claim would make the new trial look claimed.
RUN, DESCRIPTION, CLAIM, REASON = "run", "description", "worker", "reason"

# Key of a description: the parameters that Optuna must propose in this trial, name → value.
FIXED = "fixed"

# User attribute of a study whose trials are not plain runs: their executor, as module:attribute.
# In such a study a trial that has failed or was pruned with a reason is settled and not tried again.
EXECUTOR = "executor"
# User attribute of a study: name of the study that follows when this one is done.
FOLLOWED_BY = "followed_by"
SUFFIX = "-confirmation"  # of the following study's name


def machine() -> str:
    """Host name with a hash of this boot and process namespace: where it is equal, process ids are comparable."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text() + str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{hashlib.sha256(boot.encode()).hexdigest()[:8] if boot else ''}"


def worker_name(pid: int | None = None) -> str:
    """The name under which a process claims its trials.

    :param pid: Id of the process; by default this one
    """
    return f"{machine()}:{os.getpid() if pid is None else pid}"


def open_ledger(
    url: str, name: str, create: bool, heartbeat: int = HEARTBEAT_SECONDS, grace: int = GRACE_SECONDS
) -> "Ledger":
    """Open a study as a ledger.

    :param url: Normalised database URL (:func:`storage_url`)
    :param name: Name of the study
    :param create: Create the study if it does not exist
    :param heartbeat: Seconds between signs of life of a running trial
    :param grace: Seconds without one after which its process counts as dead
    :return: The ledger
    """
    if not create and name not in (names := study_names(url)):
        raise ValueError(f"There is no study {name!r} in {without_password(url)}: it holds {names or 'none'}")
    try:
        storage = open_storage(url, heartbeat, grace)
        # Plain runs propose nothing, and tuning sets its own sampler. The default sampler would read all trials.
        with quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
            )
    except (sqlalchemy.exc.DatabaseError, StorageInternalError) as error:
        raise cannot_open(url, error) from error
    return Ledger(study, storage, url, name, heartbeat, grace)


def claimed_by(trial: FrozenTrial) -> str | None:
    """Name of the worker that claimed this trial, ``None`` if none has."""
    claim = trial.user_attrs.get(CLAIM, {})
    return claim["name"] if claim.get("trial") == trial.number else None


def reason(trial: FrozenTrial) -> str | None:
    """Why this trial failed, ``None`` if it has no reason."""
    said = trial.user_attrs.get(REASON, {})
    return said["text"] if said.get("trial") == trial.number else None


class Ledger:
    """A study whose trials are runs.

    :param study: The study
    :param storage: Its database, closed at the end of a ``with`` block
    :param url: URL of the database
    :param name: Name of the study
    :param heartbeat: See :func:`open_ledger`
    :param grace: See :func:`open_ledger`
    """

    def __init__(
        self, study: optuna.Study, storage: RDBStorage, url: str, name: str, heartbeat: int, grace: int
    ) -> None:
        self.study, self.storage, self.url, self.name = study, storage, url, name
        self.heartbeat, self.grace = heartbeat, grace
        self.executor: str | None = self.attributes().get(EXECUTOR)
        self._unclaimed_since: dict[int, float] = {}

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        close_storage(self.storage)

    def attributes(self) -> dict[str, Any]:
        """The study's user attributes."""
        return patiently(lambda: self.study.user_attrs)

    def keep(self, attribute: str, value: Any) -> None:
        """Set a user attribute of the study."""
        patiently(lambda: self.study.set_user_attr(attribute, value))
        if attribute == EXECUTOR:
            self.executor = value

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the given states, by default all, including surplus ones (see :mod:`.work`)."""
        return patiently(lambda: self.study.get_trials(deepcopy=False, states=states or None))

    def is_settled(self, trial: FrozenTrial) -> bool:
        """Whether a trial settles its run, which is then never done again."""
        if trial.state == TrialState.COMPLETE:
            return True
        ended = trial.state in (TrialState.FAIL, TrialState.PRUNED)
        return self.executor is not None and ended and reason(trial) is not None

    def enqueue(self, key: str, description: Mapping[str, Any], lost: FrozenTrial | None = None) -> None:
        """Add a waiting trial for a run.

        :param key: The run's key
        :param description: Its description
        :param lost: An earlier trial of it whose process died; the parameters that Optuna proposed in it are kept
        """
        trial = create_trial(
            state=TrialState.WAITING,
            params=None if lost is None else lost.params,
            distributions=None if lost is None else lost.distributions,
            user_attrs={RUN: key, DESCRIPTION: dict(description)},
            system_attrs={"fixed_params": dict(description.get(FIXED, {}))},  # like Study.enqueue_trial
        )
        patiently(lambda: self.study.add_trial(trial))

    def fill(self, runs: Mapping[str, Mapping[str, Any]]) -> None:
        """Enqueue each run that is neither settled, waiting nor under way. A second call changes nothing.

        Every command calls this first: a kill between a failure and its retry would otherwise lose the run.

        :param runs: Key → description
        """
        trials = self.trials()
        have = {t.user_attrs.get(RUN) for t in trials if t.state in ACTIVE or self.is_settled(t)}
        lost = {t.user_attrs.get(RUN): t for t in trials if t.state == TrialState.FAIL and t.params}
        for key, description in runs.items():
            if key not in have:
                self.enqueue(key, description, lost.get(key))

    def claim(self, trial: Trial) -> None:
        """Record that this process does the trial."""
        patiently(lambda: trial.set_user_attr(CLAIM, {"name": worker_name(), "trial": trial.number}))

    def release(self, trial: FrozenTrial) -> bool:
        """Fail a running trial whose process is gone.

        :param trial: The trial
        :return: Whether this call failed it; only then must the caller enqueue it again
        """
        try:
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return False  # it finished, or another process failed it, in the meantime
        return True

    def redo(self, trial: FrozenTrial) -> None:
        """Fail a running trial whose process is gone and enqueue its run again."""
        if self.release(trial) and RUN in trial.user_attrs and not self.given_up(trial.user_attrs[RUN]):
            # Read it again: the caller may have read it before its parameters were proposed.
            self.enqueue(trial.user_attrs[RUN], trial.user_attrs[DESCRIPTION], self.trials()[trial.number])

    def given_up(self, key: str) -> bool:
        """Whether a run was lost too often to be tried again."""
        failed = self.trials(TrialState.FAIL)
        return sum(t.user_attrs.get(RUN) == key and reason(t) is None for t in failed) > MAX_RETRIES

    def rescue(self) -> list[FrozenTrial]:
        """Enqueue the runs of dead processes again. Call this repeatedly while waiting.

        A process counts as dead if its heartbeat is older than the grace time (Optuna's rule), if it has not written
        a claim within the grace time (it died between Optuna's claim and its first heartbeat, which Optuna does not
        check), or if it ran on this machine and no longer exists.

        :return: The trials that now wait or run
        """
        with quiet():
            patiently(lambda: fail_stale_trials(self.study))
        active = self.trials(*ACTIVE)
        running = [t for t in active if t.state == TrialState.RUNNING]
        redone = False
        now = time.monotonic()  # the trial's start time comes from the other machine's clock
        self._unclaimed_since = {
            t.number: self._unclaimed_since.get(t.number, now) for t in running if claimed_by(t) is None
        }
        for trial in running:
            owner = claimed_by(trial)
            if owner is None and now - self._unclaimed_since[trial.number] <= self.grace:
                continue
            if owner is None or _is_dead_here(owner):
                self.redo(trial)
                redone = True
        return self.trials(*ACTIVE) if redone else active

    def release_workers(self, names: Sequence[str]) -> None:
        """Fail the running trials of these stopped workers at once, without enqueuing them again.

        :param names: Workers whose processes have ended
        """
        for trial in self.trials(TrialState.RUNNING):
            if claimed_by(trial) in names:
                self.release(trial)


def _is_dead_here(owner: str) -> bool:
    where, _, pid = owner.rpartition(":")
    if where != machine() or where.endswith("/"):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's process
    return False
