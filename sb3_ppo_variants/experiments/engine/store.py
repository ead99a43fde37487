"""The store of a command: an Optuna study that holds finished runs, or the trials of a tuning study.

Only the command itself writes to it. A plain run is one trial, added in one transaction when the run has ended, with
its key, description and result in the user attributes. Ledgers of earlier versions, which were also a queue, have the
same attributes, so that their finished runs are read like any others.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sb3_ppo_variants.experiments.engine.records import RUNS, Record
from sb3_ppo_variants.experiments.engine.storage import (
    cannot_open,
    close_storage,
    exists,
    locked,
    lost_database,
    open_storage,
    patiently,
    quiet,
    readable,
    storage_url,
    study_name,
    study_names,
    without_password,
)
from sb3_ppo_variants.experiments.runs.run import Result, Run

# User attributes of a trial. The reason contains the number of the trial that it was written for: in old ledgers,
# Optuna copied the attributes of a stale trial to its successor.
RUN, DESCRIPTION, RESULT, REASON = "run", "description", "result", "reason"
# Of a run that was made elsewhere: where.
IMPORTED = "imported from"

#: What comparisons and studies write besides their ledger.
REPORTS = (RUNS, f"{RUNS}.gz", "report.html", "trials.csv", "study.json")

# User attributes of a study. The executor was the importable name of the code that did the trials of a tuning study.
PLAN, EXECUTOR = "plan", "executor"


def reason(trial: FrozenTrial) -> str | None:
    """Why this trial failed or was pruned, ``None`` if it has no reason."""
    said = trial.user_attrs.get(REASON, {})
    return said["text"] if said and said.get("trial") in (None, trial.number) else None


class Store:
    """A study of finished work.

    :param study: The study
    :param url: Normalised URL of its database
    """

    def __init__(self, study: optuna.Study, url: str):
        self.study, self.url = study, url
        self.name = study.study_name

    @property
    def attributes(self) -> dict[str, Any]:
        """The study's user attributes."""
        return patiently(lambda: self.study.user_attrs)

    def keep(self, attribute: str, value: Any) -> None:
        """Set a user attribute of the study."""
        patiently(lambda: self.study.set_user_attr(attribute, value))

    @property
    def is_of_tuning(self) -> bool:
        """Whether its trials are those of a tuning study, not plain runs."""
        return PLAN in self.attributes or EXECUTOR in self.attributes

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Its trials in the given states, by default all."""
        return patiently(lambda: self.study.get_trials(deepcopy=False, states=states or None))

    def check_is_of_runs(self) -> None:
        """
        :raises ValueError: if its trials are not plain runs
        """
        if self.is_of_tuning:
            raise ValueError(
                f"The study {self.name!r} in {without_password(self.url)} is a tuning study: give another --out"
            )

    def records(self, runs: Sequence[Run]) -> list[Record]:
        """What is kept of runs.

        :param runs: The runs
        :return: One record per run, in their order; of several trials of a run the first that is complete counts, else
            the last that failed
        """
        kept: dict[str, FrozenTrial] = {}
        for trial in self.trials(TrialState.COMPLETE, TrialState.FAIL):
            before = kept.get(key := trial.user_attrs.get(RUN, ""))
            if before is None or before.state != TrialState.COMPLETE:
                kept[key] = trial
        return [_record(run, kept.get(run.key())) for run in runs]

    def all_records(self) -> list[Record]:
        """What is kept of all plain runs; empty for the trials of a tuning study."""
        if self.is_of_tuning:
            return []
        described = [t.user_attrs[DESCRIPTION] for t in self.trials() if DESCRIPTION in t.user_attrs]
        runs = {run.key(): run for run in (Run(**description) for description in described)}
        return self.records(list(runs.values()))

    def add(self, record: Record) -> None:
        """Keep a run that has ended, in one transaction.

        :param record: The run, done or failed
        """
        attributes: dict[str, Any] = {RUN: record.run.key(), DESCRIPTION: record.run.description()}
        if record.imported_from is not None:
            attributes[IMPORTED] = record.imported_from
        if record.result is not None:
            attributes[RESULT] = record.result.to_json()
            trial = create_trial(value=record.result.final_return, user_attrs=attributes)
        else:
            attributes[REASON] = {"text": record.reason, "trial": None}
            trial = create_trial(state=TrialState.FAIL, user_attrs=attributes)
        patiently(lambda: self.study.add_trial(trial))


def _record(run: Run, trial: FrozenTrial | None) -> Record:
    if trial is not None and trial.state == TrialState.COMPLETE:
        result = Result.from_json(trial.user_attrs[RESULT])
        return Record(run, "done", result, imported_from=trial.user_attrs.get(IMPORTED))
    if trial is not None and (why := reason(trial)) is not None:
        return Record(run, "failed", reason=why)
    return Record(run, "missing")


def held_by_others(folder: Path, storage: str | None, runs: Iterable[Run], others: str) -> str | None:
    """What a folder holds of something else, in words; ``None`` if nothing.

    A report whose ledger is not there is something else: nothing could restore it. Runs that share a setting in an
    environment with those in the ledger, whatever the seed, extend them. A command that was interrupted early may have
    kept nothing but what it imported, and reported nothing.

    :param folder: The folder
    :param storage: URL of its ledger, if that lies elsewhere
    :param runs: The runs that are to be done
    :param others: What other runs are called
    :raises ValueError: if it is the ledger of a tuning study
    """
    url, study = storage_url(storage, folder), study_name(folder, storage)
    if not exists(url) or study not in study_names(url):
        found = reports_in(folder)
        return f"{' and '.join(found)} without its ledger (is it in another --storage?)" if found else None
    with open_store(url, study, write=False) as store:
        store.check_is_of_runs()
        records = store.all_records()
    begun = (folder / RUNS).exists() or any(record.imported_from is None for record in records)
    extends = not {_but_for_the_seed(r.run) for r in records}.isdisjoint(map(_but_for_the_seed, runs))
    return others if begun and not extends else None


def refuse_another_report(folder: Path, url: str, study: str) -> None:
    """Refuse a folder with the report of something whose ledger is elsewhere, or has gone.

    :param folder: The folder
    :param url: URL of the ledger that is to be used
    :param study: Name of the study in it
    :raises ValueError: if the folder holds a report and the ledger has no such study
    """
    if (found := reports_in(folder)) and (not exists(url) or study not in study_names(url)):
        raise ValueError(
            f"{folder} holds {' and '.join(found)}, but there is no study {study!r} in {without_password(url)}: give "
            "another folder (--out), the --storage with which it was made, or remove these files"
        )


def reports_in(folder: Path) -> list[str]:
    """What a comparison or a study has written to a folder, besides its ledger.

    :param folder: The folder
    """
    return [name for name in REPORTS if (folder / name).exists()]


def _but_for_the_seed(run: Run) -> str:
    return dataclasses.replace(run, seed=0).key()


@contextmanager
def open_store(url: str, name: str, *, write: bool = True) -> Iterator[Store]:
    """Open a study, in a ``with`` block.

    :param url: Normalised database URL (:func:`.storage.storage_url`)
    :param name: Name of the study
    :param write: Create it if it does not exist, and lock it against other commands
    :raises ValueError: if it cannot be opened, another command writes to it, or it does not exist and is not created
    :raises ConnectionError: if the connection to the database is lost
    """
    if not write and name not in (names := study_names(url)):
        raise ValueError(f"There is no study {name!r} in {without_password(url)}: it holds {names or 'none'}")
    with locked(url, name) if write else nullcontext(), nullcontext(url) if write else readable(url) as at:
        try:
            storage = open_storage(at)
            # Plain runs propose nothing, and tuning sets its own sampler; the default one would read all trials.
            sampler = optuna.samplers.RandomSampler()
            with quiet():
                study = optuna.create_study(
                    storage=storage, study_name=name, direction="maximize", load_if_exists=True, sampler=sampler
                )
        except (sqlalchemy.exc.DatabaseError, StorageInternalError) as error:
            raise cannot_open(url, error) from error
        try:
            yield Store(study, url)
        except StorageInternalError as error:
            raise lost_database(error) from error
        finally:
            close_storage(storage)
