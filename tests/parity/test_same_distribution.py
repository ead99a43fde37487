"""Long form: the two backends and SB3's PPO give returns of one distribution; the test says how much it could see.

``python -m tests.parity.test_same_distribution`` writes the runs to ``zoo_configs/results/parity/runs.csv``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch as th
from rich.console import Console
from scipy import stats

from sb3_ppo_variants.experiments import Run, train_run
from sb3_ppo_variants.experiments.engine.records import Record, write_runs

RUNS = Path(__file__).parents[2] / "zoo_configs/results/parity/runs.csv"

SEEDS = range(10)
SIMULATIONS = 1000
SETTINGS = {"ent_coef": 0.0, "n_steps": 512}
#: Environment, training steps.
ENVIRONMENTS = {"CartPole-v1": 20_480, "Acrobot-v1": 20_480, "Pendulum-v1": 20_480}
#: Three environments at 5 % together (Bonferroni).
LEVEL = 0.05 / len(ENVIRONMENTS)
VARIANTS = {
    "closed form": ("clip_ppo", {"update_backend": "closed_form"}),
    "autograd": ("clip_ppo", {"update_backend": "autograd"}),
    "SB3's PPO": ("sb3:ppo", {}),
}


def runs_of(environment: str, variant: str) -> list[Run]:
    algorithm, extra = VARIANTS[variant]
    # Each has seeds of its own: with equal seeds the runs are copies of each other, and nothing would be tested.
    offset = 1000 * list(VARIANTS).index(variant)
    steps, settings = ENVIRONMENTS[environment], SETTINGS | extra
    return [Run(algorithm, environment, offset + seed, steps, 1, settings, variant) for seed in SEEDS]


def returns(environment: str, variant: str) -> np.ndarray:
    return np.array([train_run(run).final_return for run in runs_of(environment, variant)])


def detectable_difference(samples: list[np.ndarray]) -> float:
    """
    How far one variant's mean would have to lie from the others' for the test below, at its own level, to find it
    with probability 0.8: by simulation, from the spread that was seen around each variant's mean.
    """
    generator = np.random.default_rng(0)
    spread = np.concatenate([sample - sample.mean() for sample in samples])
    drawn = generator.choice(spread, (SIMULATIONS, len(samples), len(SEEDS)))

    def power(difference: float) -> float:
        moved = drawn.copy()
        moved[:, 0] += difference
        return float(np.mean([stats.kruskal(*groups).pvalue <= LEVEL for groups in moved]))

    # In steps of a tenth of a standard deviation.
    steps = 0.1 * spread.std(ddof=len(samples)) * np.arange(1, 60)
    return float(next((step for step in steps if power(step) >= 0.8), np.inf))


@pytest.mark.long
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_returns_are_statistically_indistinguishable(environment: str, capsys) -> None:
    samples = {variant: returns(environment, variant) for variant in VARIANTS}
    result = stats.kruskal(*samples.values())
    with capsys.disabled():
        print(f"\n{environment}, {ENVIRONMENTS[environment]} steps, {len(SEEDS)} seeds each")  # noqa: T201
        for variant, sample in samples.items():
            print(f"  {variant:12} mean {sample.mean():8.1f}  sd {sample.std(ddof=1):6.1f}")  # noqa: T201
        found = detectable_difference(list(samples.values()))
        print(f"  Kruskal-Wallis p = {result.pvalue:.3f}; found with power 0.8: a difference of {found:.1f}")  # noqa: T201
    assert result.pvalue > LEVEL


def main() -> None:
    """Do the runs and write them after each."""
    th.set_num_threads(1)
    runs, records = [run for e in ENVIRONMENTS for v in VARIANTS for run in runs_of(e, v)], list[Record]()
    for run in runs:
        records.append(Record(run, "done", train_run(run)))
        Console().print(f"{len(records)} of {len(runs)}: {run.label()}")
        write_runs(RUNS, records)


if __name__ == "__main__":
    main()
