"""Do the runs of one command: open its ledger, keep workers going, say where each run stands in the end."""

from collections.abc import Mapping
from pathlib import Path

from optuna.exceptions import StorageInternalError
from rich.console import Console

from sb3_ppo_variants.experiments.engine.ledger import open_ledger
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.standings import Batch, Standing
from sb3_ppo_variants.experiments.engine.storage import lost_database, without_password
from sb3_ppo_variants.experiments.engine.work import Job
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
) -> dict[str, Standing]:
    """Do what is not done yet; done again, it does nothing.

    :param runs: Key → run, in the order in which they are enqueued
    :param url: Normalised database URL of the ledger
    :param study: Name of the study; made if it is not there
    :param jobs: Worker processes
    :param log: What the workers say
    :param console: Where to show progress; ``None`` shows nothing
    :param labels: Key → what to call a run there
    :return: Key → ``"done"`` or ``"failed"``
    :raises ValueError: when the study's trials are not plain runs
    :raises Interrupted: on Ctrl-C; what has finished is kept
    :raises ConnectionError: when the database is lost
    """
    display = Display(runs, console or Console(quiet=True), labels)
    try:
        with open_ledger(url, study, create=True) as ledger, display.live():
            if ledger.executor is not None:
                raise ValueError(
                    f"The study {study!r} in {without_password(url)} is a tuning study: give another --out"
                )
            batch = Batch(ledger, {key: run.description() for key, run in runs.items()})
            job = Job(ledger.url, ledger.name, ledger.heartbeat, ledger.grace, wanted=tuple(runs), first=batch.first)
            return coordinate(batch, job, jobs, log, display)
    except Interrupted as interrupt:
        raise Interrupted(interrupt.done, interrupt.total, without_password(url)) from interrupt
    except StorageInternalError as error:
        raise lost_database(error) from error


def look(runs: Mapping[str, Run], url: str, study: str) -> dict[str, Standing]:
    """Where the runs of a command stand in its ledger by now; nothing is run or enqueued.

    :param runs: Key → run
    :param url: Normalised database URL of the ledger
    :param study: Name of the study
    :return: Key → its standing
    :raises ValueError: when there is no such study
    """
    with open_ledger(url, study, create=False) as ledger:
        return Batch(ledger, {key: run.description() for key, run in runs.items()}).standings()
