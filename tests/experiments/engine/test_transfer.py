"""Runs carried from store to store: by CSV files, packed or not, and by ledgers of this and the earlier kind."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from sb3_ppo_variants.experiments.engine.records import Record, import_note, version_note, write_curves, write_runs
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import Store, open_store
from sb3_ppo_variants.experiments.engine.transfer import export_runs, import_runs, read_runs
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Run
from tests.experiments.fakes import make_result
from tests.forms import long

EDGES = ((0, 1024), (1024, 9216))
STORED = Path(__file__).parents[2] / "stored"
RESULTS = Path(__file__).parents[3] / "zoo_configs/results"


@pytest.fixture
def records() -> list[Record]:
    """Of several variants, budgets and seeds; the third differs from the first in its budget alone."""
    runs = [
        Run("sb3:ppo", "CartPole-v1", 0, 128, settings={"n_steps": 64}, name="narrow"),
        Run("clip_ppo", "A-v1", 7, 128, 3, normalize={"norm_obs": True}),
        Run("sb3:ppo", "CartPole-v1", 0, 256, settings={"n_steps": 64}, name="narrow"),
        Run("reinforce", "B-v1", 1, 10**9, wall_time=2.5),
    ]
    returns = (0.1 + 0.2, -1e-17, 3.0, 1e300)
    versions = {"torch": "1"}
    return [Record(r, "done", make_result(x, versions=versions)) for r, x in zip(runs, returns, strict=True)]


def filled(folder: Path, records: list[Record]) -> Path:
    """A ledger with runs."""
    with open_store(storage_url(None, folder), "study") as store:
        for record in records:
            store.add(record)
    return folder / "ledger.db"


def results(store: Store) -> dict[str, object]:
    return {r.run.key(): r.result for r in store.all_records()}


@pytest.mark.parametrize(
    "form", ["packed folder", "plain file", "at home", *map(long, ("plain folder", "packed file", "ledger", "url"))]
)
def test_what_is_exported_comes_back_to_the_bit(
    form: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ledger = filled(tmp_path / "a", [*records, Record(Run("clip_ppo", "C-v1", 0, 1), "failed", reason="env: x")])
    with open_store(storage_url(str(ledger), Path()), "study", write=False) as store:
        files = export_runs([store], tmp_path / "out")
    assert [f.name for f in files] == ["runs.csv.gz", "curves.csv.gz"]
    if form.startswith("plain"):
        for path in files:
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    source = {
        "packed folder": tmp_path / "out", "plain folder": tmp_path / "out", "packed file": files[0],
        "plain file": files[0].with_suffix(""), "ledger": ledger, "url": f"sqlite:///{ledger}",
        "at home": f"~/{ledger.relative_to(tmp_path)}",
    }[form]  # fmt: skip
    with open_store(storage_url(None, tmp_path / "b"), "other") as store:
        (note,) = import_runs(store, [str(source)])
        assert "4 finished runs, 4 of them new" in note
        assert results(store) == {r.run.key(): r.result for r in records}
        assert all(r.imported_from for r in store.all_records())
        assert import_note(store.all_records()) == f"Imported: 4 runs from {store.all_records()[0].imported_from}"
        assert "4 finished runs, 0 of them new" in import_runs(store, [str(source)])[0]


def test_an_export_replaces_an_earlier_one_and_nothing_else(records: list[Record], tmp_path: Path) -> None:
    with open_store(storage_url(None, tmp_path / "a"), "study") as store:
        store.add(records[0])
        export_runs([store], tmp_path / "out")
        store.add(records[1])
        export_runs([store], tmp_path / "out")
        before = (tmp_path / "out/runs.csv.gz").read_bytes()
    assert len(read_runs(str(tmp_path / "out"))) == 2
    write_runs(tmp_path / "plain/runs.csv", records)
    with open_store(storage_url(None, tmp_path / "b"), "study") as store:
        store.add(records[2])
        for other in ("out", "plain"):
            with pytest.raises(ValueError, match=f"{other} holds other runs, .* export to another folder"):
                export_runs([store], tmp_path / other)
    assert (tmp_path / "out/runs.csv.gz").read_bytes() == before
    assert len(read_runs(str(tmp_path / "plain"))) == len(records)


def test_of_equal_keys_the_first_is_kept_and_another_result_is_reported(records: list[Record], tmp_path: Path) -> None:
    other = [Record(records[0].run, "done", make_result(99.0)), Record(records[1].run, "done", records[1].result)]
    write_runs(tmp_path / "runs.csv", other)
    write_curves(tmp_path / "curves.csv", other)
    with open_store(storage_url(None, tmp_path), "study") as store:
        store.add(records[0])
        (note,) = import_runs(store, [str(tmp_path)])
        assert "2 finished runs, 1 of them new; other returns than those in the store" in note
        assert "narrow CartPole-v1 seed 0" in note
        assert results(store)[records[0].run.key()] == records[0].result


def test_a_run_that_has_failed_here_is_taken_over(records: list[Record], tmp_path: Path) -> None:
    filled(tmp_path / "there", records[:1])
    with open_store(storage_url(None, tmp_path / "here"), "study") as store:
        store.add(Record(records[0].run, "failed", reason="timeout: too long"))
        (note,) = import_runs(store, [str(tmp_path / "there/ledger.db")])
        assert "1 finished runs, 1 of them new" in note
        assert results(store) == {records[0].run.key(): records[0].result}


def test_runs_alike_but_for_their_budget_keep_their_curves(tmp_path: Path) -> None:
    """Beyond one another, too: the second begins where the first has ended."""
    runs = [Run("clip_ppo", "A-v1", 0, steps) for steps in (1000, 9000)]
    curves = [[CurvePoint(s, 0.001 * (s - first), 1.0, 5.0) for s in (first + 1, last)] for first, last in EDGES]
    made = [
        Record(run, "done", make_result(1.0, curve=curve, steps=curve[-1].timesteps))
        for run, curve in zip(runs, curves, strict=True)
    ]
    write_runs(tmp_path / "runs.csv", made)
    write_curves(tmp_path / "curves.csv", made)
    assert [r.result and r.result.curve for r in read_runs(str(tmp_path))] == curves


def test_runs_alike_but_for_a_setting_keep_their_curves(tmp_path: Path) -> None:
    """Nothing in the points says where one curve ends."""
    curves = [[CurvePoint(n_steps, n_steps / 1000, 1.0, 5.0)] for n_steps in (2048, 4096)]
    made = [
        Record(
            Run("clip_ppo", "A-v1", 0, 4096, settings={"n_steps": curve[0].timesteps}),
            "done",
            make_result(1.0, curve=curve, steps=4096),
        )
        for curve in curves
    ]
    for name, write in (("runs.csv", write_runs), ("curves.csv", write_curves)):
        write(tmp_path / name, [Record(Run("clip_ppo", "A-v1", 0, 1), "failed", reason="timeout"), *made])
    assert [r.result and r.result.curve for r in read_runs(str(tmp_path))] == [None, *curves]
    header, _, *lines = (tmp_path / "runs.csv").read_text().splitlines(keepends=True)
    (tmp_path / "runs.csv").write_text("".join([header, *reversed(lines)]))  # as a spreadsheet sorts and filters them
    assert [r.result and r.result.curve for r in read_runs(str(tmp_path))] == curves[::-1]


def test_a_budget_of_seconds_is_the_same_run_again(tmp_path: Path) -> None:
    made = [
        Record(Run("clip_ppo", "A-v1", 0, 1, wall_time=seconds), "done", make_result(1.0)) for seconds in (60, 60.0)
    ]
    write_runs(tmp_path / "runs.csv", made)
    assert [r.run.key() for r in read_runs(str(tmp_path))] == [r.run.key() for r in made]


def test_other_versions_are_named(records: list[Record], tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a", records)
    with open_store(storage_url(None, tmp_path / "b"), "study") as store:
        (note,) = import_runs(store, [str(ledger)])
    assert "made with torch 1, here 2" in note


def test_what_was_noted_by_hand_beside_the_files_is_read(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "masks", tmp_path / "masks")
    recorded = read_runs(str(tmp_path / "masks"))
    (tmp_path / "masks/made_with.json").write_text(json.dumps({"mujoco": "4.0.0", "processor": "another", "x": 1}))
    noted = read_runs(str(tmp_path / "masks"))
    for before, after in zip(recorded, noted, strict=True):
        assert before.result is not None
        assert after.result is not None
        assert "mujoco" not in before.result.versions
        # What the runs have recorded themselves counts.
        assert after.result.versions == {"mujoco": "4.0.0", **before.result.versions}
    assert version_note(noted) == version_note(recorded)


def test_ledgers_and_tables_of_earlier_versions_are_read(tmp_path: Path) -> None:
    shutil.copytree(STORED / "compare", tmp_path / "compare")
    from_ledger = [r for r in read_runs(str(tmp_path / "compare/ledger.db")) if r.state == "done"]
    from_tables = [r for r in read_runs(str(tmp_path / "compare")) if r.state == "done"]
    assert len(from_ledger) > 2
    assert {r.run.key(): r.result and (r.result.final_return, r.result.curve) for r in from_ledger} == {
        r.run.key(): r.result and (r.result.final_return, r.result.curve) for r in from_tables
    }
    first = read_runs(str(RESULTS / "cartpole"))  # from before variants had names
    assert {r.run.variant for r in first} >= {"clip_ppo", "sb3:ppo"}
    assert all(r.result is not None and r.result.curve for r in first)


def test_damaged_files_are_named(tmp_path: Path, records: list[Record]) -> None:
    write_runs(tmp_path / "runs.csv", records)
    write_curves(tmp_path / "curves.csv", records)
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    (tmp_path / "curves.csv").write_text("\n".join([*lines[:-1], lines[-1][:-20]]))
    with pytest.raises(ValueError, match=r"curves\.csv has a line that is not a point of a curve: "):
        read_runs(str(tmp_path))
    packed = bytearray(gzip.compress((tmp_path / "runs.csv").read_bytes(), mtime=0))
    packed[10] ^= 0xFF  # the first byte after the header: no kind of block that there is
    (tmp_path / "runs.csv.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"runs\.csv\.gz is not readable as a CSV file"):
        read_runs(str(tmp_path / "runs.csv.gz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as a CSV file"),
        ("a,b\n1,2\n", "has no columns algorithm, environment"),
        (None, "There is nothing to import at"),
        ("HEADER\nclip_ppo,clip_ppo,A,0,1,1,{},,,,nan,1,1,1,1,done,,{}\n", r"line 2, is not a run: .* return is nan"),
        ("HEADER\nclip_ppo,clip_ppo,A,x,1,1,{},,,1,1,1,1,1,done,,{}\n", r"runs\.csv, line 2, is not a run: .*'x'"),
    ],
)
def test_what_is_not_readable_is_named(text: str | None, message: str, tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "runs.csv"
    if text is not None:
        write_runs(path, records)
        header = path.read_text().splitlines()[0]
        path.write_text(text.replace("HEADER", header))
    with pytest.raises(ValueError, match=message), open_store(storage_url(None, tmp_path), "study") as store:
        import_runs(store, [str(path)])
