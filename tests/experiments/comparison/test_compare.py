"""A comparison from end to end, tiny."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sb3_ppo_variants import experiments
from sb3_ppo_variants.experiments import Comparison, compare, tune
from sb3_ppo_variants.experiments.comparison.comparison import plan
from sb3_ppo_variants.experiments.comparison.variants import variants
from sb3_ppo_variants.experiments.engine.storage import storage_url, study_name
from sb3_ppo_variants.experiments.engine.store import open_store
from sb3_ppo_variants.experiments.engine.transfer import read_runs
from tests.experiments.in_process import without_workers
from tests.experiments.mine import MyPPO

SETTINGS = {"clip_ppo": {"n_steps": 128, "n_epochs": 2}, "sb3:ppo": {"n_steps": 128, "n_epochs": 2}}


@pytest.mark.usefixtures("blank_pictures")
def test_compare_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)

    def call(seeds: int = 2) -> tuple[Comparison, str]:
        console = Console(file=StringIO(), width=200)
        comparison = compare(
            "CartPole-v1", ["clip_ppo", "sb3:ppo"], timesteps=512, seeds=seeds, settings=SETTINGS,
            jobs=2, out=tmp_path, console=console,
        )  # fmt: skip
        return comparison, console.file.getvalue()  # type: ignore[attr-defined]

    first, shown = call()
    assert [(r.run.algorithm, r.run.seed, r.state) for r in first.records] == [
        ("clip_ppo", 0, "done"),
        ("sb3:ppo", 0, "done"),
        ("clip_ppo", 1, "done"),
        ("sb3:ppo", 1, "done"),
    ]
    assert "[4/4]" in shown
    names = {"ledger.db", "runs.csv", "curves.csv", "table.md", "curves-CartPole-v1.png", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == names
    second, shown = call()
    assert second.records == first.records
    assert "4 of 4 runs were done before" in shown
    third, shown = call(seeds=1)
    assert third.records == first.records[:2]
    said = "Not in this report: 2 other finished runs of its ledger, clip_ppo CartPole-v1 seed 1 for one"
    assert said in third.report.notes
    assert not any("Not in this report" in note for note in second.report.notes)
    with open_store(storage_url(None, tmp_path), study_name(tmp_path), write=False) as store:
        assert [t.state.name for t in store.trials()] == ["COMPLETE"] * 4


@pytest.mark.long
@pytest.mark.usefixtures("blank_pictures")
def test_results_do_not_depend_on_the_number_of_rollout_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"timesteps": 512, "seeds": 1, "n_envs": 2, "settings": SETTINGS}
    names = ["clip_ppo", "sb3:ppo"]
    two = compare("CartPole-v1", names, rollout_workers=2, out=tmp_path / "two", **options)  # in loky's processes
    without_workers(monkeypatch)
    one = compare("CartPole-v1", names, rollout_workers=1, out=tmp_path / "one", **options)
    none = compare("CartPole-v1", names, out=tmp_path / "none", **options)

    def numbers(comparison: Comparison) -> list[Any]:
        assert not comparison.failed, comparison.failed
        results = [record.result for record in comparison.records if record.result is not None]
        return [(r.final_return, r.episodes, [(p.mean_return, p.mean_length) for p in r.curve]) for r in results]

    assert numbers(one) == numbers(two)
    assert [r.run for r in one.records] == [r.run for r in two.records]
    assert numbers(one)[0] != numbers(none)[0]
    assert numbers(one)[1] == numbers(none)[1]  # SB3's loop draws the same actions
    assert {r.run.key() for r in one.records}.isdisjoint(r.run.key() for r in none.records)
    assert {r.run.key() for r in read_runs(str(tmp_path / "one"))} == {r.run.key() for r in one.records}
    assert "n_envs 2 (WorkerVecEnv)" in (tmp_path / "one" / "table.md").read_text()


@pytest.mark.usefixtures("blank_pictures")
def test_postgresql(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    comparison = compare(
        algorithms=["sb3:ppo"], timesteps=128, seeds=2, settings={"sb3:ppo": {"n_steps": 128, "n_epochs": 1}},
        storage=postgresql, out=tmp_path / "elsewhere",
    )  # fmt: skip
    assert [r.state for r in comparison.records] == ["done", "done"]
    assert not (tmp_path / "elsewhere" / "ledger.db").exists()


def test_plan() -> None:
    compared = variants(["narrow=sb3:ppo", MyPPO], {"narrow": {"n_steps": 64}}, peer_defaults=True)
    runs = plan(["CartPole-v1", "Acrobot-v1"], compared, 100, 2, 3, to_build=["narrow"])
    assert len(runs) == 2 * 2 * 2
    assert runs[0].settings == {"n_steps": 64}
    assert {(r.timesteps, r.n_envs) for r in runs} == {(100, 3)}
    assert [(r.variant, r.algorithm) for r in runs[:2]] == [
        ("narrow", "sb3:ppo"),
        ("tests.experiments.mine:MyPPO", "tests.experiments.mine:MyPPO"),
    ]
    assert [r.seed for r in runs] == [0] * 4 + [1] * 4  # every cell has one run before any has two
    fair = plan("CartPole-v1", variants(["sb3:ppo"], {}), 100, [7, 9])
    assert [r.seed for r in fair] == [7, 9]
    assert fair[0].settings["ent_coef"] == 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environments": "CartPol-v1"}, "Cannot make the environment 'CartPol-v1'.*Did you mean"),
        ({"environments": []}, "needs an environment and an algorithm"),
        ({"algorithms": []}, "needs an environment and an algorithm"),
        ({"algorithms": ["sb3:pp"]}, "Unknown algorithm 'sb3:pp'"),
        ({"seeds": 0}, "seeds=0 is out of range: it must be >= 1"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed=-1 is out of range: it must be >= 0"),
        ({"timesteps": 0}, "timesteps=0 is out of range: it must be >= 1"),
        ({"wall_time": 0.0}, "wall_time=0.0 is out of range: it must be finite and > 0"),
        ({"wall_time": float("nan")}, "wall_time=nan is out of range: it must be finite and > 0"),
        ({"normalize": "obs"}, "normalize is 'obs': choose observations"),
        ({"preset": "table2"}, "no preset 'table2'"),
        ({"reading": "sb3"}, "reading='sb3' is how a preset is read"),
        ({"preset": "table1", "algorithms": ["sb3:ppo"], "normalize": "both"}, "leave normalize and peer_defaults out"),
        ({"preset": "table1", "algorithms": ["sb3:a2c"]}, "has no variant 'sb3:a2c'"),
        ({"preset": "table1", "algorithms": [MyPPO]}, "choose among no_clipping, clip_0.1"),
        ({"settings": {"sb3:a2c": {}}}, "given for 'sb3:a2c', which is not in the comparison"),
        ({"settings": {"sb3:ppo": {"n_step": 1}}}, "takes no argument 'n_step'.*Did you mean 'n_steps'"),
        ({"settings": {"sb3:ppo": {"n_steps": "x"}}}, "sb3:ppo does not take the settings"),
        ({"report_only": True}, "There is no ledger at"),
    ],
)
def test_wrong_input(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    right = {"environments": "CartPole-v1", "algorithms": ["sb3:ppo"], "timesteps": 10, "seeds": 1, "n_envs": 1}
    with pytest.raises(ValueError, match=message):
        compare(**{**right, "settings": {}, "out": tmp_path / "out", **change})
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("blank_pictures")
def test_rows_of_one_algorithm_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    rows = ["narrow=clip_ppo", "wide=clip_ppo"]
    small = {"n_steps": 128, "n_epochs": 1}
    settings = {"narrow": {**small, "clip_range": 0.1}, "wide": {**small, "clip_range": 0.3}}
    common: dict[str, Any] = {"timesteps": 256, "settings": settings, "normalize": "observations", "out": tmp_path}
    compare(["CartPole-v1"], rows, seeds=1, **common)
    partial = compare(["CartPole-v1", "Acrobot-v1"], rows, seeds=2, report_only=True, command="a command", **common)
    assert sorted((r.run.variant, r.run.environment, r.state) for r in partial.records if r.state == "done") == [
        ("narrow", "CartPole-v1", "done"),
        ("wide", "CartPole-v1", "done"),
    ]
    missing = next(t for t in partial.report.tables if t.title.startswith("Unfinished"))
    assert missing.title == "Unfinished: 2 of 8 runs are done"
    assert missing.body == [["narrow", "1 of 2", "0 of 2"], ["wide", "1 of 2", "0 of 2"]]
    html = (tmp_path / "report.html").read_text()
    assert "a command" in html
    assert "2 of 8 runs are done" in html
    [settings_table] = partial.report.settings
    assert ["clip_range", "0.1", "0.3"] in settings_table.body
    assert not any("VecNormalize" in line[0] for line in settings_table.body)  # the same in both
    with (tmp_path / "runs.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert (kept[0]["row"], kept[0]["algorithm"], kept[0]["state"]) == ("narrow", "clip_ppo", "done")
    assert json.loads(kept[0]["normalize"]) == {"norm_obs": True, "norm_reward": False}


@pytest.mark.long
@pytest.mark.usefixtures("blank_pictures")
def test_a_part_of_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    rows = ["no_clipping", "clip_0.2", "adaptive_kl_0.01"]
    small = {"n_steps": 128, "n_epochs": 2}
    found = compare(
        ["InvertedPendulum-v5", "Reacher-v5"], rows, preset="table1", timesteps=512, seeds=2,
        settings=dict.fromkeys(rows, small), out=tmp_path,
    )  # fmt: skip
    assert {r.run.settings["max_grad_norm"] for r in found.records} == {None}
    titles = [t.title for t in found.report.overall]
    assert (
        titles[0]
        == "Published and measured, mean over 2 environments (uniform actions 0, best run 1; conditional on the scale)"
    )
    beside = found.report.overall[0]
    assert [line[:2] for line in beside.body] == [
        ["no_clipping", "-0.39"],
        ["clip_0.2", "0.82"],
        ["adaptive_kl_0.01", "0.74"],
    ]
    assert any(title.startswith("Agreement of the measured order of 3 rows") for title in titles)
    assert {"scores.png", "profiles.png", "report.html"} <= {path.name for path in found.files}


def small(out: Path | None, **changes: Any) -> Comparison:
    arguments: dict[str, Any] = {"environments": "CartPole-v1", "algorithms": ["sb3:ppo"], "timesteps": 256, "seeds": 1}
    return compare(**{**arguments, "settings": {"sb3:ppo": {"n_steps": 128, "n_epochs": 1}}, "out": out, **changes})


@pytest.mark.usefixtures("blank_pictures")
def test_another_comparison_does_not_replace_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "out")
    report = (tmp_path / "out/report.html").read_text()
    with pytest.raises(
        ValueError, match=r"out holds another comparison: give another folder \(--out\), or .*--overwrite"
    ):
        small(tmp_path / "out", timesteps=384)
    assert (tmp_path / "out/report.html").read_text() == report
    # More seeds, variants or environments, and the same again, belong to it.
    small(tmp_path / "out", seeds=[7])
    small(tmp_path / "out", environments=["CartPole-v1", "Acrobot-v1"])
    small(tmp_path / "out", timesteps=384, overwrite=True)
    assert small(tmp_path / "out", report_only=True, seeds=[0, 7]).records[1].state == "done"  # nothing is lost
    exported = small(tmp_path / "out", report_only=True, export=tmp_path / "exported").files[-2:]
    assert [path.name for path in exported] == ["runs.csv.gz", "curves.csv.gz"]
    with pytest.raises(ValueError, match="report_only runs nothing and writes no ledger: give imports without it"):
        small(tmp_path / "out", report_only=True, imports=[str(tmp_path / "exported")])
    # The default folder is numbered.
    assert small(None).files[0].parent == Path("runs/compare")
    assert small(None, timesteps=384).files[0].parent == Path("runs/compare_2")
    assert small(None, timesteps=384, seeds=2).files[0].parent == Path("runs/compare_2")
    assert small(None).files[0].parent == Path("runs/compare")
    # A report alone is written where the comparison is, too.
    again = small(None, timesteps=384, report_only=True)
    assert (again.files[0].parent, again.records[0].state) == (Path("runs/compare_2"), "done")
    with pytest.raises(ValueError, match="runs/compare holds another comparison"):
        small("runs/compare", timesteps=384, report_only=True)


@pytest.mark.usefixtures("blank_pictures")
def test_a_folder_gives_all_runs_of_its_ledger_not_only_those_of_its_last_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = without_workers(monkeypatch)
    small(tmp_path / "out", seeds=2)
    small(tmp_path / "out", seeds=[7])
    found = small(tmp_path / "other", seeds=[0, 1, 7], imports=tmp_path / "out", storage=tmp_path / "elsewhere.db")
    assert [record.state for record in found.records] == ["done"] * 3
    assert len(executor.tasks) == 3
    assert (tmp_path / "elsewhere.db").is_file()
    (tmp_path / "out/ledger.db").unlink()  # what its files have is left
    assert [record.run.seed for record in read_runs(str(tmp_path / "out"))] == [7]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db"}


@pytest.mark.usefixtures("blank_pictures")
def test_a_report_without_its_ledger_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    small("out", storage="there.db")
    before = contents(Path("out"))
    refused = pytest.raises(ValueError, match=r"out holds runs\.csv and report\.html without its ledger .* --storage")
    for other in ({}, {"storage": "other.db"}, {"timesteps": 384}):
        with refused:
            small("out", **other)
    with pytest.raises(
        ValueError, match=r"out holds runs\.csv and report\.html, but there is no study 'out' in .*: give another"
    ):
        tune("clip_ppo", "CartPole-v1", out="out", trials=1)
    assert contents(Path("out")) == before
    assert not Path("out/ledger.db").exists()
    small("out", storage="there.db", seeds=[7])
    # Nor is that of a default folder.
    small(None, storage="there.db")
    assert small(None).files[0].parent == Path("runs/compare_2")
    # What is packed, as in a repository, counts as well.
    Path("packed").mkdir()
    Path("packed/runs.csv.gz").touch()
    with pytest.raises(ValueError, match=r"packed holds runs\.csv\.gz without its ledger"):
        small("packed")


@pytest.mark.usefixtures("blank_pictures")
def test_an_export_that_will_be_refused_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    small(tmp_path / "a", export=tmp_path / "exported")
    (tmp_path / "file").touch()
    for target, message in (
        ("b", "is the folder of the report: export to another one"),
        ("a", "a holds other runs, which an export would replace"),
        ("exported", "exported holds other runs, which an export would replace"),
        ("file", "file is a file: export to a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            small(tmp_path / "b", timesteps=384, export=tmp_path / target)
    assert not (tmp_path / "b/runs.csv").exists()
    assert small(tmp_path / "b", timesteps=384, report_only=True).records[0].state == "missing"
    small(tmp_path / "a", seeds=2, export=tmp_path / "exported")  # more runs than it holds replace nothing


@pytest.mark.usefixtures("blank_pictures")
def test_an_sqlite_storage_is_made_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    for storage in (str(tmp_path / "first.db"), f"sqlite:///{tmp_path}/new/second.db"):
        assert small(tmp_path / Path(storage).stem, storage=storage).records[0].state == "done"
    assert (tmp_path / "first.db").is_file()
    assert (tmp_path / "new/second.db").is_file()


@pytest.mark.usefixtures("blank_pictures")
def test_runs_without_an_update_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    console = Console(file=StringIO(), width=200)
    found = small(tmp_path, timesteps=128, console=console)
    message = "sb3:ppo: timesteps=128 are collected before the first update (n_steps=128 × 1 environments)"
    assert message in console.file.getvalue()  # type: ignore[attr-defined]
    assert any(message in note for note in found.report.notes)
    assert not any("first update" in note for note in small(tmp_path / "more", timesteps=129).report.notes)


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_wrong_jobs(jobs: object, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=f"jobs={jobs!r} is .* >= 1"):
        compare(algorithms=["sb3:ppo"], jobs=jobs, out=tmp_path)  # type: ignore[arg-type]


def test_no_package_takes_the_place_of_the_function() -> None:
    assert experiments.compare is compare  # although submodules are imported above
