"""Do variants have returns of one distribution? Their runs, a rank test, and what difference it would have found."""

import bisect
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from rich.console import Console
from scipy import stats

from sb3_ppo_variants.experiments import Run, train_run
from sb3_ppo_variants.experiments.engine.records import Record, write_runs
from sb3_ppo_variants.experiments.engine.transfer import read_runs

RESULTS = Path(__file__).parents[2] / "zoo_configs/results/parity"
SEEDS = range(10)
SIMULATIONS = 1000
#: Environment, training steps.
ENVIRONMENTS = {"CartPole-v1": 20_480, "Acrobot-v1": 20_480, "Pendulum-v1": 20_480}
#: Three environments at 5 % together (Bonferroni).
LEVEL = 0.05 / len(ENVIRONMENTS)


def runs_of(environment: str, variants: dict[str, dict[str, Any]]) -> dict[str, list[Run]]:
    """
    :param environment: Gymnasium id
    :param variants: Name of a variant → fields of its runs
    :return: the runs by variant
    """
    # Each has seeds of its own: with equal seeds the runs may be copies of each other, and nothing would be tested.
    return {
        name: [
            Run(
                environment=environment,
                timesteps=ENVIRONMENTS[environment],
                seed=1000 * number + seed,
                name=name,
                **own,
            )
            for seed in SEEDS
        ]
        for number, (name, own) in enumerate(variants.items())
    }


def do_runs(folder: str, variants: dict[str, dict[str, Any]]) -> None:
    """
    Do the runs that are missing, and write ``runs.csv`` after each.

    :param folder: Name of the folder in ``RESULTS``
    :param variants: See ``runs_of``
    """
    th.set_num_threads(1)
    file = RESULTS / folder / "runs.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    runs = [run for environment in ENVIRONMENTS for own in runs_of(environment, variants).values() for run in own]
    records = [dataclasses.replace(r, imported_from=None) for r in read_runs(str(file))] if file.exists() else []
    done = {record.run.key() for record in records}
    for run in runs:
        if run.key() not in done:
            records.append(Record(run, "done", train_run(run)))
            write_runs(file, records)
            Console().print(f"{len(records)} of {len(runs)}: {run.label()}")


def committed(folder: str, environment: str) -> dict[str, np.ndarray]:
    """
    :param folder: Name of the folder in ``RESULTS``
    :param environment: Gymnasium id
    :return: final returns by variant
    """
    found: dict[str, list[float]] = {}
    for record in read_runs(str(RESULTS / folder)):
        if record.run.environment == environment and record.result is not None:
            found.setdefault(record.run.variant, []).append(record.result.final_return)
    return {name: np.array(values) for name, values in found.items()}


def table_row(environment: str, samples: dict[str, np.ndarray], digits: int) -> str:
    """
    :param environment: Gymnasium id
    :param samples: Final returns by variant
    :param digits: After the point, of means and differences
    :return: a line of a table: means (standard deviations), the rank test's p, the difference that it can find
    """
    cells = [f"{sample.mean():.{digits}f} ({sample.std(ddof=1):.{digits}f})" for sample in samples.values()]
    found = detectable_difference(list(samples.values()))
    cells += [f"{stats.kruskal(*samples.values()).pvalue:.2f}", f"{found:.{digits}f}"]
    return f"| {environment} | {' | '.join(cells)} |".replace("-", "−").replace("−v1", "-v1")


def detectable_difference(samples: Sequence[np.ndarray]) -> float:
    """
    How far one variant's mean would have to lie from the others' for the test, at its own level, to find it with
    probability 0.8: by simulation, from the spread that was seen around each variant's mean.

    :param samples: Returns of each variant
    """
    generator = np.random.default_rng(0)
    spread = np.concatenate([sample - sample.mean() for sample in samples])
    drawn = generator.choice(spread, (SIMULATIONS, len(samples), len(SEEDS)))

    def power(difference: float) -> float:
        moved = drawn.copy()
        moved[:, 0] += difference
        return float(np.mean(kruskal_of_each(moved) <= LEVEL))

    # In steps of a tenth of a standard deviation.
    steps = 0.1 * spread.std(ddof=len(samples)) * np.arange(1, 60)
    found = bisect.bisect_left(steps, True, key=lambda step: power(step) >= 0.8)
    return float(steps[found]) if found < len(steps) else np.inf


def kruskal_of_each(simulations: np.ndarray) -> np.ndarray:
    """
    ``stats.kruskal`` for many simulations; for one at a time it takes seconds.

    :param simulations: shape (simulations, groups, size of a group)
    :return: p of each
    """
    n_groups, size = simulations.shape[1:]
    n = n_groups * size
    ranks = stats.rankdata(simulations.reshape(-1, n), axis=1)
    sums = ranks.reshape(simulations.shape).sum(2)
    h = 12 / (n * (n + 1)) * (sums**2 / size).sum(1) - 3 * (n + 1)
    return stats.chi2.sf(h / [stats.tiecorrect(row) for row in ranks], n_groups - 1)
