"""What scheduling and storage of a tuning study cost, and how it scales over workers: a measurement, not a test.

    python -m tests.experiments.engine.scaling [--storage URL] [--seconds 10] [--trials 12]

The trials sleep, so that what is measured is the ledger and the workers and not the processor. Cost: the share of the
workers' time, from the start of the first trial to the end of the last, in which none was under way. Wall: from the
command to its end, with the start of the processes (some seconds, once a study).
"""

import argparse
import tempfile
import time
import uuid
from pathlib import Path

from rich.console import Console

from sb3_ppo_variants.experiments.engine.ledger import open_ledger
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.workers import coordinate
from tests.experiments.tuning.fake_trials import begin, cheap_plan

SEEDS = 2


def measure(storage: str | None, seconds: float, trials: int, jobs: int) -> tuple[float, float]:
    """One study.

    :param storage: Its storage; ``None`` for an SQLite file
    :param seconds: A trial sleeps
    :param trials: How many
    :param jobs: Worker processes
    :return: Seconds from first start to last end, and wall seconds of it all
    """
    with tempfile.TemporaryDirectory() as folder:
        url = storage_url(storage, Path(folder))
        with open_ledger(url, f"scaling-{uuid.uuid4().hex[:8]}", create=True) as ledger:
            plan = cheap_plan(timesteps=round(1000 * seconds / SEEDS), seeds=SEEDS, sampler="tpe")
            requested = begin(ledger, plan, trials)
            start = time.monotonic()
            coordinate(requested, jobs, Path(folder) / "workers.log", lambda statuses: None)
            wall = time.monotonic() - start
            times = [(t.datetime_start, t.datetime_complete) for t in ledger.trials() if t.value is not None]
    span = max(end for _, end in times if end) - min(begun for begun, _ in times if begun)
    return span.total_seconds(), wall


def main() -> None:
    """Measure one worker and two, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", help="database URL (default: an SQLite file)")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a trial sleeps")
    parser.add_argument("--trials", type=int, default=12)
    asked = parser.parse_args()
    console = Console()
    spans, walls = {}, {}
    for jobs in (1, 2):
        spans[jobs], walls[jobs] = measure(asked.storage, asked.seconds, asked.trials, jobs)
        # Each run of a trial may oversleep by a hundredth of a second, which counts as cost here.
        cost = 1 - asked.trials * asked.seconds / (jobs * spans[jobs])
        console.print(
            f"{jobs} workers, {asked.trials} trials of {asked.seconds:g} s: {spans[jobs]:.2f} s, "
            f"cost {100 * cost:.2f} %; {walls[jobs]:.1f} s with the start of the processes",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"two over one: {spans[1] / spans[2]:.2f} times as fast; {walls[1] / walls[2]:.2f} with the start",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
