"""Run everything that one command requested: open its ledger, keep workers going, return the status of each run."""

from collections.abc import Mapping
from pathlib import Path

from optuna.exceptions import StorageInternalError
from rich.console import Console

from sb3_ppo_variants.experiments.engine.ledger import Ledger, open_ledger
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.status import RequestedRuns, RunStatus
from sb3_ppo_variants.experiments.engine.storage import lost_database, without_password
from sb3_ppo_variants.experiments.engine.workers import Interrupted, coordinate
from sb3_ppo_variants.experiments.runs.run import Run


def do_runs(
    runs: Mapping[str, Run],
    url: str,
    study: str,
    jobs: int,
    log: Path,
    console: Console | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, RunStatus]:
    """Do the runs that are not done yet.

    :param runs: Key → run, in the order in which they are enqueued
    :param url: Normalised database URL of the ledger
    :param study: Name of the study, which is created if it does not exist
    :param jobs: Number of worker processes
    :param log: File for the output of the workers
    :param console: Where to show progress; ``None`` shows nothing
    :param labels: Key → name of the run in the progress display
    :return: Key → status, each ``"done"`` or ``"failed"``
    :raises ValueError: if the study's trials are not plain runs
    :raises Interrupted: on Ctrl-C; finished runs are kept
    :raises ConnectionError: if the connection to the database is lost
    """
    display = Display(runs, console or Console(quiet=True), labels)
    try:
        with open_ledger(url, study, create=True) as ledger, display.progress:
            if ledger.executor is not None:
                raise ValueError(
                    f"The study {study!r} in {without_password(url)} is a tuning study: give another --out"
                )
            return coordinate(_requested(ledger, runs), jobs, log, display)
    except Interrupted as interrupt:
        raise Interrupted(interrupt.done, interrupt.total, without_password(url)) from interrupt
    except StorageInternalError as error:
        raise lost_database(error) from error


def run_statuses(runs: Mapping[str, Run], url: str, study: str) -> dict[str, RunStatus]:
    """The current status of each run in a ledger. Nothing is run or enqueued.

    :param runs: Key → run
    :param url: Normalised database URL of the ledger
    :param study: Name of the study
    :return: Key → status
    :raises ValueError: if there is no such study
    """
    with open_ledger(url, study, create=False) as ledger:
        return _requested(ledger, runs).statuses()


def _requested(ledger: Ledger, runs: Mapping[str, Run]) -> RequestedRuns:
    return RequestedRuns(ledger, {key: run.description() for key, run in runs.items()})
