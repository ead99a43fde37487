"""CSV files, tables and pictures of a made-up comparison."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.comparison.comparison import write_files
from sb3_ppo_variants.experiments.comparison.overall_pictures import interval_figure, profile_figure
from sb3_ppo_variants.experiments.comparison.results import Results, score_by_steps
from sb3_ppo_variants.experiments.comparison.tables import ComparisonTables, comparison_tables
from sb3_ppo_variants.experiments.engine.records import Record, learning_curves, version_note
from sb3_ppo_variants.experiments.reporting.curves import Subplot, curve_figure, draw_curves, subplots
from sb3_ppo_variants.experiments.reporting.tables import interval, number
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from tests.experiments.html_reader import read

TWO = ("CartPole-v1", "Acrobot-v1")


def record(algorithm: str, environment: str, seed: int, score: float | None, version: str = "1") -> Record:
    run = Run(algorithm, environment, seed, 1000, 1, {"ent_coef": 0.01} if algorithm == "sb3:ppo" else {})
    if score is None:
        return Record(run, "failed", reason="RuntimeError: the reason")
    curve = [CurvePoint(250, 0.1, None, None), CurvePoint(500, 0.2, score / 2, 9.0), CurvePoint(1000, 0.5, score, 9.0)]
    return Record(run, "done", Result(score, 20, 1000, 0.5, curve, {"torch": version}))


def cells(tables: ComparisonTables, title: str, first: str) -> list[str]:
    table = next(t for t in tables.tables if t.title.startswith(title))
    return next(line for line in table.body if line[0] == first)


@pytest.fixture
def records() -> list[Record]:
    return [
        *(record("sb3:ppo", "CartPole-v1", seed, score) for seed, score in enumerate([10.0, 20.0, 30.0, 40.0, 90.0])),
        *(
            record("sb3:a2c", "CartPole-v1", seed, score)
            for seed, score in enumerate([100.0, 100.0, 100.0, None, None])
        ),
        record("contrib:trpo", "CartPole-v1", 0, 1234.5),
    ]


def test_the_picture_of_scores_says_their_budgets() -> None:
    environments, algorithms = ("CartPole-v1", "Acrobot-v1"), ("clip_ppo", "sb3:ppo")
    records = [record(a, e, seed, 50.0 + seed) for a in algorithms for e in environments for seed in range(3)]
    figure = interval_figure(Results(records, "sb3:ppo", {"clip_ppo": 0.5, "sb3:ppo": 0.4}, 2_000_000))
    assert figure.axes[0].get_xlabel().startswith("score after 1,000 steps\n(")
    assert figure.legends[0].get_texts()[-1].get_text() == "published, after 2,000,000 steps"
    unpublished = interval_figure(Results(records, "sb3:ppo"))
    assert [text.get_text() for text in unpublished.legends[0].get_texts()] == ["mean, 95 %", "IQM, 95 %"]


def test_an_environment_in_which_nothing_is_learnt_is_not_on_the_papers_scale() -> None:
    # Uniform actions have 21.61 on CartPole and −499.85 on Acrobot.
    returns = {"CartPole-v1": (100.0, 50.0), "Acrobot-v1": (-500.0, -500.0)}
    records = [
        record(algorithm, environment, seed, score + seed / 10)
        for environment, both in returns.items()
        for algorithm, score in zip(("clip_ppo", "sb3:ppo"), both, strict=True)
        for seed in range(2)
    ]
    results = Results(records, "sb3:ppo", {"clip_ppo": 0.5, "sb3:ppo": 0.4})
    assert [list(scale.ends) for scale in results.scales] == [["CartPole-v1"]] * 4
    notes = comparison_tables(results).notes
    assert any("no row is better than the random policy there: Acrobot-v1" in note for note in notes)
    nothing_learnt = [r for r in records if r.run.environment == "Acrobot-v1"]
    assert Results(nothing_learnt, "sb3:ppo", results.published).scales == []


@pytest.mark.parametrize(("lowest", "said"), [(-600.0, ""), (-1000.0, " (cut off; scores reach −1.26)")])
def test_the_picture_of_profiles_says_where_it_is_cut_off(lowest: float, said: str) -> None:
    algorithms = ("clip_ppo", "sb3:ppo")
    records = [record(a, "CartPole-v1", seed, 50.0 + seed) for a in algorithms for seed in range(3)]
    # On Acrobot uniform actions have −499.85 and the reference −100.
    records += [record(a, "Acrobot-v1", seed, lowest - seed) for a in algorithms for seed in range(3)]
    results = Results(records, "sb3:ppo")
    figure = profile_figure(results, subplots(results.variants, None, "sb3:ppo"))
    assert figure.axes[0].get_xlabel() == f"score τ{said}"


def test_profiles_of_scores_that_are_all_beyond_are_drawn_from_left_to_right() -> None:
    # On Acrobot uniform actions have −499.85 and the reference −100.
    made = [record(a, e, s, 900.0 + s) for a in ("clip_ppo", "sb3:ppo") for e in TWO for s in range(3)]
    results = Results(made, "sb3:ppo")
    axes = profile_figure(results, subplots(results.variants, None, "sb3:ppo")).axes[0]
    thresholds = np.asarray(axes.get_lines()[0].get_xdata(), dtype=float)
    assert thresholds[0] < thresholds[-1]


def test_table_of_an_environment(records: list[Record]) -> None:
    tables = comparison_tables(Results(records, "sb3:ppo"))
    assert tables.tables[0].title == "CartPole-v1, 1,000 timesteps, n_envs 1"
    name, score, spread, covers, by_steps, *compared, speed, n = cells(tables, "CartPole-v1", "sb3:ppo")
    assert (name, score, speed, n) == ("sb3:ppo", "30.0 (IQM)", "2000", "5")  # (20 + 30 + 40) / 3
    # 20 episodes of 9 steps; only the last point is within 10 % of 1000.
    assert (covers, by_steps) == ("18 %", "30.0 (18 %)")
    assert compared == ["–"] * 5
    assert spread.startswith("[")
    assert cells(tables, "CartPole-v1", "sb3:a2c") == [
        "sb3:a2c",
        "100.0 (mean)",
        "[100.0, 100.0]",
        "18 %",
        "100.0 (18 %)",
        "62.0",  # of means, since one of both has three runs: 100 − 190 / 5
        "[13.3, 110.7]",  # Welch's with 4 degrees of freedom, 97.5 % for each of two
        "1.00",
        "[0.53, 1.00]",
        "0.038",  # 2 of C(8, 3) = 56 divisions, 0.036, estimated with 9999, since there are ties
        "2000",
        "3 of 5",
    ]
    assert cells(tables, "CartPole-v1", "contrib:trpo")[1:3] == ["1234 (mean)", "–"]
    assert cells(tables, "CartPole-v1", "contrib:trpo")[5:10] == ["1196", "–", "1.00", "–", "0.33"]


def test_the_score_by_steps_and_the_share_that_it_covers() -> None:
    """At step 9500 the last 100 episodes, of 38 steps each on average, have begun at step 5700."""
    points = [(9000, 1.0, 30.0), (9500, 2.0, 38.0), (10_000, 4.0, 40.0)]
    curve = [CurvePoint(steps, 1.0, mean, length) for steps, mean, length in points]
    result = Result(4.0, 900, 10_000, 1.0, curve, {})
    assert score_by_steps(result) == (3.0, pytest.approx((10_000 - 5700) / 10_000))
    unknown = [CurvePoint(steps, 1.0, mean, None) for steps, mean, _ in points]
    assert score_by_steps(dataclasses.replace(result, curve=unknown)) == (3.0, None)
    assert score_by_steps(dataclasses.replace(result, curve=[])) is None


def test_a_share_below_one_per_cent_is_not_written_as_zero() -> None:
    """100 episodes of 50 steps are 5000 of 1,001,472 steps: 0.499 %."""
    run = Run("clip_ppo", "Acrobot-v1", 0, 1_000_000, 1)
    result = Result(-100.0, 20_000, 1_001_472, 1.0, [CurvePoint(1_001_472, 1.0, -100.0, 50.0)], {})
    tables = comparison_tables(Results([Record(run, "done", result)], "clip_ppo"))
    assert cells(tables, "Acrobot-v1", "clip_ppo")[3:5] == ["0.5 %", "-100.0 (0.5 %)"]


def test_published_scores_in_an_environment_without_a_random_policys_return() -> None:
    names, environments = ("sb3:ppo", "sb3:a2c"), ("CartPole-v1", "Unknown-v0")
    found = [record(name, where, seed, 100.0 + seed) for name in names for where in environments for seed in (0, 1)]
    some = comparison_tables(Results(found, "sb3:ppo", dict.fromkeys(names, 0.5)))
    assert some.overall[0].title.startswith("Published and measured, mean over 1 environment (")
    unknown = "because no return of a random policy is known there: Unknown-v0"
    assert any(unknown in note for note in some.notes)
    none = [r for r in found if r.run.environment == "Unknown-v0"]
    assert len(comparison_tables(Results(none, "sb3:ppo", dict.fromkeys(names, 0.5))).single) == 1


def test_runs_that_are_all_equal_share_their_rank_however_many_they_are() -> None:
    """The means of ten and of nine numbers 0.955 differ in the last bit."""
    each = [
        (name, where, seed)
        for name, n in (("sb3:ppo", 10), ("sb3:a2c", 9))
        for where in ("A-v0", "B-v0")
        for seed in range(n)
    ]
    found = [record(*one, 0.955) for one in each]
    (table,) = comparison_tables(Results(found, "sb3:ppo")).overall
    assert [row[1:4] for row in table.body] == [["1.5", "1.5 to 1.5", "0.50"]] * 2


def test_the_order_in_which_a_file_has_settings_is_no_difference() -> None:
    orders = ({"norm_obs": True, "clip_obs": 5.0}, {"clip_obs": 5.0, "norm_obs": True})
    found = [record(name, "CartPole-v1", 0, 1.0) for name in ("clip_ppo", "unclipped_ppo")]
    found = [
        dataclasses.replace(r, run=dataclasses.replace(r.run, normalize=order))
        for r, order in zip(found, orders, strict=True)
    ]
    (settings,) = comparison_tables(Results(found, "clip_ppo")).settings
    assert "VecNormalize" not in [line[0] for line in settings.body]


def test_settings_that_differ(records: list[Record]) -> None:
    tables = comparison_tables(Results(records, "sb3:ppo"))
    assert cells(tables, "Settings", "ent_coef")[1:] == ["0.01", "0.0", "–"]
    assert cells(tables, "Settings", "n_steps")[1:] == ["2048", "5", "2048"]
    assert any(note.startswith("Settings that only sb3:a2c has: rms_prop_eps") for note in tables.notes)


def test_failures_and_versions_are_said(records: list[Record]) -> None:
    tables = comparison_tables(
        Results([*records, record("contrib:trpo", "CartPole-v1", 1, 5.0, version="2")], "sb3:ppo")
    )
    assert "FAILED sb3:a2c CartPole-v1 seed 3: RuntimeError: the reason" in tables.notes
    assert "Tracebacks of failed runs are in workers.log, in the output folder." in tables.notes
    mixed = "The runs were made with different versions: torch 1 and 2. Within one row (marked †): contrib:trpo"
    assert tables.notes[-1] == mixed
    assert [line[0] for line in tables.single[0].body if line[0].endswith("†")] == ["contrib:trpo †"]
    assert "Runs that finished fewer than 100 episodes, so that all count: 10" in tables.notes
    assert version_note(records) is None


def test_a_simulator_is_missing_only_beside_runs_in_its_environment(records: list[Record]) -> None:
    def made(environment: str, **versions: str) -> Record:
        return Record(Run("a", environment, 0, 1), "done", Result(1.0, 1, 1, 1.0, [], {"torch": "1", **versions}))

    here, elsewhere, earlier = made("Reacher-v5", mujoco="4"), made("CartPole-v1"), made("Reacher-v5")
    assert version_note([here, elsewhere]) is None
    assert "mujoco 4 and not recorded" in str(version_note([here, elsewhere, earlier]))


def test_several_environments_are_aggregated_by_rank() -> None:
    scores = {("sb3:ppo", "A-v0"): [1.0, 1.0], ("sb3:ppo", "B-v0"): [900.0, 900.0], ("sb3:a2c", "A-v0"): [2.0, 2.0]}
    scores["sb3:a2c", "B-v0"] = [100.0, 900.0]
    records = [record(a, e, seed, x) for (a, e), xs in scores.items() for seed, x in enumerate(xs)]
    tables = comparison_tables(Results(records, "sb3:ppo"))
    assert cells(tables, "All 2 environments", "sb3:ppo")[1] == "1.5"
    assert cells(tables, "All 2 environments", "sb3:ppo")[4:7] == ["–"] * 3
    # A: a2c always better, 1. B: one run of two worse, the other a tie, (0 + 0 + 0.5 + 0.5) / 4.
    _, rank, spread, first, better, *_ = cells(tables, "All 2 environments", "sb3:a2c")
    assert (rank, better) == ("1.5", f"{(1 + 0.25) / 2:.2f}")
    assert spread == "1 to 1.5"  # always first in A; in B a resample of 900 and 900, spread by √2, is first too
    assert float(first) + float(cells(tables, "All 2 environments", "sb3:ppo")[3]) == pytest.approx(1)
    records.append(record("sb3:a2c", "C-v0", 0, None))
    records.append(record("sb3:ppo", "C-v0", 0, 1.0))
    tables = comparison_tables(Results(records, "sb3:ppo"))
    assert cells(tables, "All 2 environments", "sb3:a2c")[1] == "1.5"
    assert any("Left out of the aggregate" in note and "C-v0" in note for note in tables.notes)


def test_a_row_that_fails_everywhere_takes_nothing_from_the_others() -> None:
    for environments in (("CartPole-v1", "Acrobot-v1"), ("A-v0", "B-v0")):  # with a scale, and by ranks
        each = [(environment, seed) for environment in environments for seed in (0, 1)]
        good = [
            record(name, e, seed, x + seed) for name, x in (("sb3:ppo", 20.0), ("sb3:a2c", 90.0)) for e, seed in each
        ]
        found = [*good, *(record("contrib:trpo", e, seed, None) for e, seed in each)]
        alone, together = (comparison_tables(Results(records, "sb3:ppo")) for records in (good, found))
        # The first cells: the intervals are corrected for one variant more.
        assert [row[:2] for row in together.overall[0].body] == [row[:2] for row in alone.overall[0].body]
        assert "contrib:trpo cannot be compared, for want of finished runs" in together.verdict
        assert "they have no finished run in one of its environments: contrib:trpo" in "\n".join(together.notes)


def test_a_published_row_that_fails_everywhere_takes_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    # Intervals of correlations take seconds, and are not what this is about.
    monkeypatch.setattr("sb3_ppo_variants.experiments.stats.aggregates.bootstrap", lambda *_, **__: None)
    names = ("clip_ppo", "unclipped_ppo", "reinforce", "kl_penalty_ppo")
    each = [(environment, seed) for environment in ("CartPole-v1", "Acrobot-v1") for seed in (0, 1)]
    of_rows = {name: [record(name, e, seed, 30.0 * i + seed) for e, seed in each] for i, name in enumerate(names)}
    of_rows["kl_penalty_ppo"] = [record("kl_penalty_ppo", e, seed, None) for e, seed in each]
    published = {name: 0.1 * i for i, name in enumerate(names)}
    together = comparison_tables(Results([r for found in of_rows.values() for r in found], "clip_ppo", published))
    del of_rows["kl_penalty_ppo"], published["kl_penalty_ppo"]
    alone = comparison_tables(Results([r for found in of_rows.values() for r in found], "clip_ppo", published))
    assert len(together.overall) > 4
    assert [table.title for table in together.overall] == [table.title for table in alone.overall]
    assert [row[0] for row in together.overall[0].body] == [row[0] for row in alone.overall[0].body]


def test_what_the_report_says_first(tmp_path: Path) -> None:
    def first(scores: dict[str, list[float]]) -> str:
        records = [record(a, "A-v0", seed, x) for a, xs in scores.items() for seed, x in enumerate(xs)]
        write_files(records, tmp_path)
        return " ".join("".join(read((tmp_path / "report.html").read_text(encoding="utf-8")).text).split())

    assert "A-v0: sb3:ppo and sb3:a2c share the highest final return, 500" in first(
        {"sb3:ppo": [500.0, 500.0], "sb3:a2c": [500.0, 500.0]}
    )
    one = first({"sb3:ppo": [1.0], "sb3:a2c": [2.0]})
    assert "sb3:a2c has the highest final return, 2.00; a run of it beats one of sb3:ppo with probability 1.00." in one


def test_runs_that_share_seeds_of_environments_are_named() -> None:
    def notes(n_envs: int, seeds: tuple[int, ...]) -> str:
        made = [record(name, "A-v0", seed, 1.0 * seed) for name in ("sb3:ppo", "sb3:a2c") for seed in seeds]
        records = [dataclasses.replace(r, run=dataclasses.replace(r.run, n_envs=n_envs)) for r in made]
        return "\n".join(comparison_tables(Results(records, "sb3:ppo")).notes)

    said = "with n_envs 4, runs whose seeds are less than 4 apart have environments that begin alike"
    assert said in notes(4, (0, 1, 2))
    assert "begin alike" not in notes(4, (0, 4, 8))
    assert "begin alike" not in notes(1, (0, 1, 2))


def test_notes_say_what_few_runs_mean() -> None:
    def notes(seeds: int) -> str:
        records = [record(name, "A-v0", seed, 1.0 * seed) for name in ("sb3:ppo", "sb3:a2c") for seed in range(seeds)]
        return "\n".join(comparison_tables(Results(records, "sb3:ppo")).notes)

    assert "With 3 runs against 3 in one environment, p cannot be below 0.10" in notes(3)
    assert "Few runs (as few as 3)" in notes(3)
    assert "Few runs (as few as 9)" in notes(9)
    assert "p cannot be" not in notes(4)
    assert "Few runs" not in notes(10)


def test_notes_on_few_runs_look_at_those_that_are_compared() -> None:
    def notes(*counts: tuple[str, int, int]) -> str:
        """Variant, its runs in A-v0, its runs in B-v0."""
        made = [
            record(name, environment, seed, 1.0 * seed)
            for name, *sizes in counts
            for environment, n in zip(("A-v0", "B-v0"), sizes, strict=True)
            for seed in range(n)
        ]
        return "\n".join(comparison_tables(Results(made, "sb3:ppo")).notes)

    thin = notes(("sb3:ppo", 3, 1), ("sb3:a2c", 3, 1))
    assert "Few runs (as few as 3)" in thin
    assert "With 3 runs against 3 in one environment, p cannot be below 0.10" in thin
    assert "p cannot be" not in notes(("sb3:ppo", 10, 10), ("sb3:a2c", 3, 3))  # 2/286
    assert "rows with fewer than 5 runs are means" in notes(("sb3:ppo", 4, 5), ("sb3:a2c", 5, 5))
    assert "are means, those of the others" not in notes(("sb3:ppo", 5, 5), ("sb3:a2c", 5, 5))


def test_the_report_does_not_call_settings_the_same_that_only_one_row_has(tmp_path: Path) -> None:
    found = write_files(
        [record(a, "CartPole-v1", seed, 9.0) for a in ("clip_ppo", "sb3:ppo") for seed in (0, 1)], tmp_path
    )
    assert any(note.startswith("Settings that only clip_ppo has: ") for note in found.report.notes)
    assert "All rows have the same settings" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_many_rows_have_the_reference_in_black_in_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = []
    monkeypatch.setattr("sb3_ppo_variants.experiments.reporting.curves.save", lambda figure, path: path)
    monkeypatch.setattr("sb3_ppo_variants.experiments.comparison.report.save", lambda figure, path: path)

    def seen(*args: Any, **kwargs: Any) -> list[Subplot]:
        divided.append(subplots(*args, **kwargs))
        return divided[-1]

    monkeypatch.setattr("sb3_ppo_variants.experiments.reporting.curves.subplots", seen)
    monkeypatch.setattr("sb3_ppo_variants.experiments.comparison.report.subplots", seen)
    named = [record("clip_ppo", e, 0, 9.0 + i) for i in range(9) for e in ("CartPole-v1", "Acrobot-v1")]
    made = [dataclasses.replace(r, run=dataclasses.replace(r.run, name=f"row {i // 2}")) for i, r in enumerate(named)]
    write_files(made, tmp_path)
    assert len(divided) == 3  # curves.png, profiles.png, the report's curves
    for found in divided:
        assert [subplot.styles["row 0"][0] for subplot in found] == ["#000000"] * 2


def test_markdown_shows_what_looks_like_html() -> None:
    made = [record("clip_ppo", "A-v0", 0, None), record("sb3:ppo", "A-v0", 0, 1.0)]
    failed = dataclasses.replace(made[0], reason="TypeError: <class 'int'>\nis no env")
    text = comparison_tables(Results([failed, made[1]], "sb3:ppo")).markdown()
    assert "\n- FAILED clip_ppo A-v0 seed 0: TypeError: &lt;class 'int'> is no env\n" in text


def test_a_difference_that_rounds_to_zero_shows_its_side() -> None:
    by_name = {"sb3:ppo": [0.001, 0.002, 0.0015], "sb3:a2c": [0.002, 0.003, 0.0025]}
    made = [record(a, "A-v0", seed, x) for a, xs in by_name.items() for seed, x in enumerate(xs)]
    row = cells(comparison_tables(Results(made, "sb3:ppo")), "A-v0", "sb3:a2c")
    half = 2.776445105 * np.sqrt(2 * 0.0005**2 / 3)  # t with four degrees of freedom
    assert row[5:7] == ["0.0010", f"[{0.001 - half:#.2g}, {0.001 + half:#.2g}]"]


def test_all_failed_is_still_a_report(tmp_path: Path) -> None:
    comparison = write_files(
        [record("sb3:ppo", "CartPole-v1", 0, None), record("sb3:a2c", "CartPole-v1", 0, None)], tmp_path
    )
    assert cells(comparison.report, "CartPole-v1", "sb3:ppo")[1:] == ["–"] * 10 + ["0 of 1"]
    assert len(comparison.failed) == 2
    assert [f.name for f in comparison.files] == ["runs.csv", "curves.csv", "table.md", "report.html"]


def test_markdown_and_screen(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    tables = comparison_tables(Results(records, "sb3:ppo"))
    assert "| sb3:a2c | 100.0 (mean) | [100.0, 100.0] |" in tables.markdown()
    tables.show(Console(width=240))
    shown = capsys.readouterr().out
    assert "[100.0, 100.0]" in shown  # not taken for markup
    assert "P(better than sb3:ppo)" in shown


def test_files(records: list[Record], tmp_path: Path) -> None:
    comparison = write_files(records, tmp_path)
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


def test_pictures(records: list[Record], tmp_path: Path) -> None:
    curves = learning_curves(records)
    [path] = draw_curves(curves, tmp_path, reference="sb3:ppo")
    assert path.name == "curves-CartPole-v1.png"
    assert matplotlib.image.imread(path).shape[0] > 600
    divided = subplots(list(curves["CartPole-v1"]), None, "sb3:ppo", ["contrib:trpo"])
    figure = curve_figure("CartPole-v1", curves["CartPole-v1"], "timesteps", divided)
    [axes] = figure.axes
    # Half of the final return at 500 steps, all of it at 1000: the mean over the finished runs.
    drawn = {line.get_label(): (*line.get_xdata(), *line.get_ydata()) for line in axes.get_lines()}
    assert drawn == {
        "sb3:ppo": (500, 1000, 19, 38),
        "sb3:a2c": (500, 1000, 50, 100),
        "contrib:trpo": (500, 1000, 1234.5 / 2, 1234.5),
    }
    styles = [(line.get_color(), line.get_linestyle()) for line in axes.get_lines()]
    assert styles == [("#000000", "-"), ("#D55E00", "-"), ("#009E73", "--")]
    assert len(axes.collections) == 2  # a band for each variant with several runs
    assert figure.get_suptitle() == "CartPole-v1: mean over runs, 95 % t band, n = 1 to 5"


def test_numbers() -> None:
    assert [number(x) for x in (1234.5, 99.94, -5.128, 0.0)] == ["1234", "99.9", "-5.13", "0.00"]
    assert [number(x) for x in (0.00012, -0.0041)] == ["0.00012", "-0.0041"]
    assert number(float(np.mean([0.1, -0.3, 0.2]))) == "0.00"  # a rounding error
    assert interval(None) == "–"


def test_imported_runs_without_curves_are_reported(tmp_path: Path) -> None:
    without = [record(name, "A-v0", seed, 1.0 * seed) for name in ("sb3:ppo", "sb3:a2c") for seed in (1, 2)]
    for one in without:
        assert one.result is not None
        one.result.curve.clear()
    assert all(file.is_file() for file in write_files(without, tmp_path).files)
