"""The numbers on rollout workers and compiled updates are those of the committed measurements."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.numbers.reading import BACKENDS, README, number, ratio, read, rows, says
from tests.pages import tables

WORKERS = Path("sb3_ppo_variants/WORKERS.md")
COLUMNS = [f"{backend}, {n}" for backend in ("closed form", "compiled") for n in ("1 worker", "2 workers")]
SPEED = f"| environment | {' | '.join(COLUMNS)} | closed form, 2 workers over 1 | compiled, 2 workers over 1 |"
GROWTH = "| cores | | steps/s | workers | undivided | rest of collection | update | largest part |"


def median_and_range(values: list[float], digits: int) -> str:
    shown = (number(value, digits) for value in (float(np.median(values)), min(values), max(values)))
    return "{} ({} to {})".format(*shown)


def speed_row(measured: dict[str, Any]) -> list[str]:
    """Of one environment: our speed over the best of SB3's, and what a second worker brings in collection."""
    ratios = {name.removeprefix("clip_ppo ").replace("_", " "): values for name, values in measured["ratios"].items()}
    cells = [median_and_range(ratios[column], 1) for column in COLUMNS]
    gains = [median_and_range(measured["collection"][backend], 2) for backend in ("closed_form", "compiled")]
    return [measured["environment"], *cells, *gains]


def growth_row(line: dict[str, Any]) -> list[str]:
    parts = {name: line[name] for name in ("workers", "undivided", "rest", "update")}
    largest = {"workers": "workers", "undivided": "undivided", "rest": "rest of collection", "update": "update"}
    total, name = sum(parts.values()), max(parts, key=parts.__getitem__)
    undivided = "" if line["measured"] else f"{line['undivided']:.0f}"
    shown = [f"{1e6 / total:.0f}", f"{line['workers']:.0f}", undivided, f"{line['rest']:.0f}", f"{line['update']:.0f}"]
    how = "measured" if line["measured"] else "computed"
    return [str(line["cores"]), how, *shown, f"{largest[name]} ({parts[name] / total:.0%})".replace("%", " %")]


XEON = SPEED.replace("environment", "on an Intel Xeon")


def test_the_table_of_workers_is_the_measured_one() -> None:
    measured = read("speed/workers.json")["measurements"]
    assert list(rows(WORKERS, SPEED).values()) == [speed_row(one) for one in measured]
    best = [median_and_range(one["ratios"]["clip_ppo compiled, 2 workers"], 1)[:-1] for one in measured]
    says(README, "{}; HalfCheetah), {}; Hopper) and {}; Walker2d) times as fast".format(*best))
    assert {len(values) for one in measured for values in one["ratios"].values()} == {5}


def test_the_tables_of_another_machine_are_the_measured_ones() -> None:
    measured = read("speed/workers_xeon.json")["measurements"]
    assert list(rows(WORKERS, XEON).values()) == [speed_row(one) for one in measured]
    apart = {one["environment"]: 0 for one in measured}
    for here, there in zip(read("speed/workers.json")["measurements"], measured, strict=True):
        for column, values in there["ratios"].items():
            apart[there["environment"]] += max(values) < min(here["ratios"][column])
            assert there["environment"] == "HalfCheetah-v5" or np.median(values) < np.median(here["ratios"][column])
    assert apart == {"HalfCheetah-v5": 0, "Hopper-v5": 3, "Walker2d-v5": 2}
    found = [median_and_range(one["ratios"]["clip_ppo compiled, 2 workers"], 1) for one in measured]
    says(README, "On an Intel Xeon it was {}, {} and {} times, in three rounds".format(*found))
    assert {len(values) for one in measured for values in one["ratios"].values()} == {3}
    (eight,) = read("speed/workers_8_xeon.json")["measurements"]
    expected = [growth_row(line) for line in eight["growth"] if line["backend"] == "compiled"]
    (shown,) = tables(WORKERS, GROWTH)
    assert [row for row in shown if not row[0].startswith("-")] == expected
    says(
        WORKERS,
        f"with 8 workers {median_and_range(eight['ratios']['clip_ppo compiled, 8 workers'], 1)} times the speed",
    )


def test_what_is_said_about_one_core() -> None:
    one, eight = read("speed/compiled.json")["measurements"]
    for measured in (one, eight):
        compiled = ratio(measured, "clip_ppo compiled", "sb3:ppo")
        closed_form = ratio(measured, "clip_ppo", "sb3:ppo")
        (added,) = (r["added"] for r in measured["ratios"] if r["ours"] == "clip_ppo compiled")
        cells = [" ".join(closed_form), " ".join(compiled), f"{added:.1f}", f"{np.median(measured['floor']):.0f}"]
        expected = f"| {measured['environment']} | {measured['n_envs']} | {' | '.join(cells)} |"
        says(BACKENDS, expected)
