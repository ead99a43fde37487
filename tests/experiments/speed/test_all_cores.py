"""The speed of rollout workers: what is measured, and what is computed from it. Nothing here asserts a time."""

import json
from io import StringIO

import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.speed import as_json, speed_of_workers, workers_tables
from sb3_ppo_variants.experiments.speed.all_cores import CollectionParts, backends, growth, our_name


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_a_measurement_adds_up_and_can_be_shown_and_kept(capsys: pytest.CaptureFixture) -> None:
    (measurement,) = speed_of_workers(["CartPole-v1"], [2], [8], 2, rounds=1, progress_bar=True)
    assert capsys.readouterr().out == ""  # the progress bars
    ours = [our_name(backend, workers) for backend in backends() for workers in (1, 2)]
    theirs = ["DummyVecEnv, 1 thread", "DummyVecEnv, 2 threads", "SubprocVecEnv"]
    assert list(measurement.splits) == [*ours, *(f"sb3:ppo, {name}" for name in theirs)]
    best = min(measurement.splits[f"sb3:ppo, {name}"].totals()[0] for name in theirs)
    for name in ours:
        split = measurement.splits[name]
        assert min(split.workers + split.rest + split.update) > 0
        assert measurement.ratios[name] == [best / split.totals()[0]]
    one, two = (measurement.splits[our_name("closed_form", workers)] for workers in (1, 2))
    assert measurement.collection["closed_form"] == [one.collection()[0] / two.collection()[0]]
    console = Console(record=True, width=300, file=StringIO())
    for table in workers_tables(measurement):
        console.print(table)
    shown = console.export_text()
    assert all(name in shown for name in measurement.splits)
    assert "with a progress bar" in shown
    (kept,) = json.loads(json.dumps(as_json([measurement])))["measurements"]
    assert kept["cores"] == 2
    assert [one["cores"] for one in kept["growth"]][:7] == [1, 2, 4, 8, 16, 32, 64]


def test_growth_divides_the_workers_time_and_nothing_else() -> None:
    # 60 / w + 2
    parts = [CollectionParts([workers], [3.0], [10.0]) for workers in (62.0, 32.0)]
    found = growth("closed_form", parts)
    assert [(one.cores, one.measured) for one in found[:3]] == [(1, True), (2, True), (4, False)]
    assert [one.total for one in found[:2]] == [75.0, 45.0]
    four, last = found[2], found[-1]
    assert [four.workers, four.undivided, four.rest, four.update] == pytest.approx([15.0, 2.0, 3.0, 10.0])
    assert (four.largest, last.largest, last.cores) == ("workers", "update", 64)
    assert growth("closed_form", parts[:1]) == found[:1]


@pytest.mark.parametrize(
    ("workers", "divided", "undivided"),
    # Least squares with one of the two alone: (60·1 + 28·½) / (1² + ½²), and the mean.
    [((60.0, 28.0), 59.2, 0.0), ((20.0, 24.0), 0.0, 22.0)],
)
def test_no_part_that_noise_makes_negative(workers: tuple[float, ...], divided: float, undivided: float) -> None:
    found = growth("closed_form", [CollectionParts([w], [3.0], [10.0]) for w in workers])
    assert [found[2].workers, found[2].undivided] == pytest.approx([divided / 4, undivided])


def test_more_workers_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.speed.all_cores.available_cores", lambda: 2)
    with pytest.raises(ValueError, match=r"--workers 3 must be at most 2, the cores that this process may use"):
        next(speed_of_workers(["CartPole-v1"], [8], [8], 3))


def test_more_workers_than_environments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--workers 3 must be 1 to 2, one environment per worker at least"):
        next(speed_of_workers(["CartPole-v1"], [8, 2], [8], 3))
