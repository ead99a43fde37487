"""CSV files, tables and pictures of a made-up comparison."""

import csv
from pathlib import Path

import matplotlib.image
import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.compare.comparison import write_report
from sb3_ppo_variants.experiments.compare.tables import Report, make_report
from sb3_ppo_variants.experiments.engine.records import Record, gather, version_note
from sb3_ppo_variants.experiments.engine.status import RunStatus
from sb3_ppo_variants.experiments.reporting.curves import draw_curves
from sb3_ppo_variants.experiments.reporting.tables import interval, number
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.files import atomic, safe_name, write_csv


def row(algorithm: str, environment: str, seed: int, score: float | None, version: str = "1") -> Record:
    run = Run(algorithm, environment, seed, 1000, 1, {"ent_coef": 0.01} if algorithm == "sb3:ppo" else {})
    if score is None:
        return Record(run, "failed", reason="RuntimeError: the reason")
    curve = [CurvePoint(250, 0.1, None, None), CurvePoint(500, 0.2, score / 2, 9.0), CurvePoint(1000, 0.5, score, 9.0)]
    return Record(run, "done", Result(score, 20, 1000, 0.5, curve, {"torch": version}))


def cells(report: Report, title: str, first: str) -> list[str]:
    table = next(t for t in report.tables if t.title.startswith(title))
    return next(line for line in table.body if line[0] == first)


@pytest.fixture
def rows() -> list[Record]:
    return [
        *(row("sb3:ppo", "CartPole-v1", seed, score) for seed, score in enumerate([10.0, 20.0, 30.0, 40.0, 90.0])),
        *(row("sb3:a2c", "CartPole-v1", seed, score) for seed, score in enumerate([100.0, 100.0, 100.0, None, None])),
        row("contrib:trpo", "CartPole-v1", 0, 1234.5),
    ]


def test_table_of_an_environment(rows: list[Record]) -> None:
    report = make_report(rows, "sb3:ppo")
    assert report.tables[0].title == "CartPole-v1, 1,000 timesteps, n_envs 1"
    name, score, spread, better, _, speed, n = cells(report, "CartPole-v1", "sb3:ppo")
    assert (name, score, better, speed, n) == ("sb3:ppo", "30.0 (IQM)", "–", "2000", "5")  # (20 + 30 + 40) / 3
    assert spread.startswith("[")
    assert cells(report, "CartPole-v1", "sb3:a2c") == [
        "sb3:a2c",
        "100.0 (mean)",
        "[100.0, 100.0]",
        "1.00",
        "[1.00, 1.00]",
        "2000",
        "3 of 5",
    ]
    assert cells(report, "CartPole-v1", "contrib:trpo")[1:5] == ["1234 (mean)", "–", "1.00", "–"]


def test_settings_that_differ(rows: list[Record]) -> None:
    report = make_report(rows, "sb3:ppo")
    assert cells(report, "Settings", "ent_coef")[1:] == ["0.01", "0.0", "–"]
    assert cells(report, "Settings", "n_steps")[1:] == ["2048", "5", "2048"]
    assert any(note.startswith("Settings that only sb3:a2c has: rms_prop_eps") for note in report.notes)


def test_failures_and_versions_are_said(rows: list[Record]) -> None:
    report = make_report([*rows, row("contrib:trpo", "CartPole-v1", 1, 5.0, version="2")], "sb3:ppo")
    assert "FAILED sb3:a2c CartPole-v1 seed 3: RuntimeError: the reason" in report.notes
    assert report.notes[-1] == "The runs were made with different versions: torch 1 and 2"
    assert "Runs that finished fewer than 100 episodes, so that all count: 10" in report.notes
    assert version_note(rows) is None


def test_several_environments_are_aggregated_by_rank() -> None:
    scores = {("sb3:ppo", "A-v0"): [1.0, 1.0], ("sb3:ppo", "B-v0"): [900.0, 900.0], ("sb3:a2c", "A-v0"): [2.0, 2.0]}
    scores["sb3:a2c", "B-v0"] = [100.0, 900.0]
    rows = [row(a, e, seed, x) for (a, e), xs in scores.items() for seed, x in enumerate(xs)]
    report = make_report(rows, "sb3:ppo")
    assert cells(report, "All 2 environments", "sb3:ppo")[1:3] == ["1.50", "–"]
    # A: a2c always better, 1. B: one run of two worse, the other a tie, (0 + 0 + 0.5 + 0.5) / 4.
    assert cells(report, "All 2 environments", "sb3:a2c")[1:3] == ["1.50", f"{(1 + 0.25) / 2:.2f}"]
    rows.append(row("sb3:a2c", "C-v0", 0, None))
    rows.append(row("sb3:ppo", "C-v0", 0, 1.0))
    report = make_report(rows, "sb3:ppo")
    assert cells(report, "All 2 environments", "sb3:a2c")[1] == "1.50"
    assert any("Left out of the aggregate" in note and "C-v0" in note for note in report.notes)


def test_all_failed_is_still_a_report(tmp_path: Path) -> None:
    comparison = write_report(
        [row("sb3:ppo", "CartPole-v1", 0, None), row("sb3:a2c", "CartPole-v1", 0, None)], tmp_path
    )
    assert cells(comparison.report, "CartPole-v1", "sb3:ppo")[1:] == ["–", "–", "–", "–", "–", "0 of 1"]
    assert len(comparison.failed) == 2
    assert [f.name for f in comparison.files] == ["runs.csv", "curves.csv", "table.md", "report.html"]


def test_markdown_and_screen(rows: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    report = make_report(rows, "sb3:ppo")
    assert "| sb3:a2c | 100.0 (mean) | [100.0, 100.0] |" in report.markdown()
    report.show(Console(width=140))
    shown = capsys.readouterr().out
    assert "[100.0, 100.0]" in shown  # not taken for markup
    assert "P(better than sb3:ppo)" in shown


def test_files(rows: list[Record], tmp_path: Path) -> None:
    comparison = write_report(rows, tmp_path)
    with (tmp_path / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 11
    assert runs[0]["final_return"] == "10.0"
    assert runs[0]["settings"] == '{"ent_coef": 0.01}'
    assert runs[0]["steps_per_second"] == "2000.0"
    assert (runs[8]["state"], runs[8]["reason"], runs[8]["final_return"]) == ("failed", "RuntimeError: the reason", "")
    with (tmp_path / "curves.csv").open() as file:
        curves = list(csv.DictReader(file))
    assert len(curves) == 9 * 3
    assert curves[0]["mean_return"] == ""
    assert curves[2]["mean_return"] == "10.0"
    assert all(f.is_file() for f in comparison.files)
    assert not list(tmp_path.glob(".*"))  # no temporary files left


def test_pictures(rows: list[Record], tmp_path: Path) -> None:
    [path] = draw_curves(rows, tmp_path)
    assert path.name == "curves-CartPole-v1.png"
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 600
    assert len({tuple(pixel) for line in picture[::7, ::7] for pixel in line}) > 5  # something is drawn


def test_gather_reads_what_a_run_keeps() -> None:
    run = Run("sb3:ppo", "CartPole-v1", 0, 10)
    rows = gather({"key": run}, {"key": RunStatus("failed", reason="because")})
    assert rows == [Record(run, "failed", None, "because")]


def test_numbers() -> None:
    assert [number(x) for x in (1234.5, 99.94, -5.128, 0.0)] == ["1234", "99.9", "-5.13", "0.00"]
    assert interval(None) == "–"


def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.csv"
    write_csv(path, ["a"], [[1]])

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "a\n1\n"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o044  # as readable as any file that the user makes


def test_safe_names() -> None:
    assert safe_name("sb3:ppo") == "sb3-ppo"
    assert safe_name("my_package.envs:ALE/Pong-v5") == "my_package.envs-ALE-Pong-v5"
    assert safe_name("../..") == ""
