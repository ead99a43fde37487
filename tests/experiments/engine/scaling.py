"""What scheduling and storage cost, and how they scale: a measurement, not a test.

    python -m tests.experiments.engine.scaling [--storage URL] [--seconds 10] [--runs 12] [--instant 1000]

First runs that sleep, in one process and in two: this measures the engine, not the processor. Cost is the share of
the processes' time, from the start of the first run to the end of the last, in which none slept. Then come runs of no
length.
"""

import argparse
import tempfile
import time
import uuid
from pathlib import Path

from rich.console import Console

from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.executors import LocalExecutor
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import open_store
from tests.experiments import fakes


def measure(storage: str | None, seconds: float, count: int, jobs: int) -> tuple[float, float]:
    """Some runs.

    :param storage: Their storage; ``None`` for an SQLite file
    :param seconds: A run sleeps
    :param count: How many
    :param jobs: Worker processes
    :return: Seconds from the start of the first to the end of the last, and wall seconds of it all
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [fakes.make_run("run", seconds, folder / "log", seed) for seed in range(count)]
        start = time.monotonic()
        with open_store(storage_url(storage, folder), f"scaling-{uuid.uuid4().hex[:8]}") as store:
            do_runs(runs, store, lambda: LocalExecutor(jobs, folder / "workers.log", fakes.quick), folder)
        wall = time.monotonic() - start
        times = [float(line.split()[-1]) for line in (folder / "log").read_text().splitlines()]
    return max(times) - min(times), wall


def main() -> None:
    """Measure, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", help="database URL (default: an SQLite file)")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a run sleeps")
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--instant", type=int, default=1000, help="runs of no length")
    asked = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    spans, walls = {}, {}
    for jobs in (1, 2):
        spans[jobs], walls[jobs] = measure(asked.storage, asked.seconds, asked.runs, jobs)
        cost = 1 - asked.runs * asked.seconds / (jobs * spans[jobs])
        console.print(
            f"{jobs} processes, {asked.runs} runs of {asked.seconds:g} s: {spans[jobs]:.2f} s, "
            f"cost {100 * cost:.2f} %; {walls[jobs]:.1f} s with the start of the processes"
        )
    console.print(f"two over one: {spans[1] / spans[2]:.2f}; {walls[1] / walls[2]:.2f} with the start")
    for count in (asked.instant // 4, asked.instant // 2, asked.instant):
        span, _ = measure(asked.storage, 0.0, count, 1)
        console.print(f"{count} instant runs in one process: {1000 * span / count:.1f} ms each")


if __name__ == "__main__":
    main()
