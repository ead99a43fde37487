"""Pages, committed results, and how the pages write numbers."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sb3_ppo_variants.experiments.comparison.presets import preset
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.engine.transfer import read_runs
from sb3_ppo_variants.experiments.stats.estimators import (
    center,
    center_interval,
    difference_interval,
    improvement_interval,
    mean_difference,
    mean_improvement,
)
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.pages import ROOT, prose, tables

README = Path("README.md")
ALGORITHMS = Path("sb3_ppo_variants/algorithms/README.md")
BACKENDS = Path("sb3_ppo_variants/backends/README.md")
COMPARE = Path("sb3_ppo_variants/experiments/comparison/README.md")
EXPERIMENTS = Path("sb3_ppo_variants/experiments/README.md")
ENGINE = Path("sb3_ppo_variants/experiments/engine/README.md")
TUNING = Path("sb3_ppo_variants/experiments/tuning/README.md")
RESULTS = Path("zoo_configs/results")


def rows(page: Path, header: str) -> dict[str, list[str]]:
    """First cell → row, of the only table with a header."""
    (table,) = tables(page, header)
    return {row[0]: row for row in table if not row[0].startswith("-")}


def says(page: Path, *texts: str) -> None:
    """The page has each text, wherever its lines end."""
    words = " ".join(prose(page).split())
    for text in texts:
        assert text in words, f"{page} does not say: {text}"


def number(value: float, digits: int, sign: str = "-") -> str:
    """A number as the pages write it, with a minus sign that is one.

    :param sign: ``"+"`` to have the sign of a positive number too
    """
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def between(low: float, high: float, digits: int, sign: str = "-") -> str:
    return f"{number(low, digits, sign)} to {number(high, digits, sign)}"


def bare(interval: str, sign: str = "-") -> str:
    """An interval of a measured table as the pages write it."""
    ends = interval.strip("[]").split(", ")
    return " to ".join(number(float(end), len(end.partition(".")[2]), sign) for end in ends)


def read(path: str) -> Any:
    return json.loads((ROOT / RESULTS / path).read_text(encoding="utf-8"))


@cache
def references() -> dict[str, dict[str, Any]]:
    path = ROOT / "sb3_ppo_variants/experiments/stats/references.json"
    return json.loads(path.read_text(encoding="utf-8"))["environments"]


def table_of(path: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / RESULTS / path)


LONG = {"table1", "table1/sb3_reading"}  # a thousand resamples of hundreds of runs, again and again
MEMORY_FOLDERS = ("memory", "memory/stacked", "memory/fast_form", "memory/pendulum", "memory/pendulum_stacked")
#: Folder of a comparison → its preset and reading; ``None`` for one without.
READINGS: dict[str, tuple[str, str] | None] = {
    "table1": ("table1", "paper"),
    "table1/sb3_reading": ("table1", "sb3"),
    "trust_regions": ("trust_regions", "paper"),
    "trust_regions/deep": ("trust_regions", "paper"),
}
STUDIES = (
    "tuning/longer/clip_ppo",
    "tuning/longer/kl_penalty_ppo",
    "masks",
    "beta/corners",
    "beta/mujoco",
    "learning_rate",
    "learning_rate/confirm",
)
READINGS |= dict.fromkeys(("cartpole", *STUDIES, *MEMORY_FOLDERS))


def committed(folder: str) -> tuple[Results, Sequence[str]]:
    """The committed runs of a comparison, and what its preset notes."""
    reading = READINGS[folder]
    chosen = None if reading is None else preset(*reading)
    records = [dataclasses.replace(r, imported_from=None) for r in read_runs(str(ROOT / RESULTS / folder))]
    names = [record.run.variant for record in records]
    wanted = "sb3:ppo" if chosen is None else chosen.reference
    reference = wanted if wanted in names else names[0]
    published, notes = ({}, ()) if chosen is None else (chosen.published, chosen.notes)
    return Results(records, reference, published), notes


def ratio(measurement: dict[str, Any], ours: str, peer: str) -> tuple[str, str]:
    """Median and range."""
    (found,) = (r for r in measurement["ratios"] if (r["ours"], r["peer"]) == (ours, peer))
    return f"{found['median']:.1f}", f"({found['low']:.1f} to {found['high']:.1f})"


def cell(sample: np.ndarray, digits: int) -> str:
    """Center and 95 % interval."""
    values = list(sample)
    return f"{number(center(values), digits)} ({between(*center_interval(values), digits)})"


def by_ranks(results: Results, variant: str, comparisons: int) -> str:
    """P(better than the reference) over all environments, with the interval of that many comparisons."""
    pairs = [(results.scores(variant, e), results.scores(results.reference, e)) for e in results.environments]
    interval = improvement_interval(pairs, corrected_level(comparisons))
    assert interval is not None
    return f"{mean_improvement(pairs):.2f} ({interval.low:.2f} to {interval.high:.2f})"


def difference(ours: np.ndarray, others: np.ndarray, digits: int, comparisons: int) -> str:
    """With its interval; that many comparisons hold jointly with 95 % confidence."""
    pair = [(ours, others)]
    interval = difference_interval(pair, corrected_level(comparisons))
    return f"{number(mean_difference(pair), digits, '+')} ({between(*interval, digits, '+')})"
