"""A comparison from end to end, tiny."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sb3_ppo_variants.experiments import Comparison, compare
from sb3_ppo_variants.experiments.comparison import plan, study_name
from sb3_ppo_variants.experiments.ledger import open_ledger
from sb3_ppo_variants.experiments.storage import storage_url
from tests.experiments.fakes import coordinate_here
from tests.experiments.mine import MyPPO

SETTINGS = {"clip_ppo": {"n_steps": 128, "n_epochs": 2}, "sb3:ppo": {"n_steps": 128, "n_epochs": 2}}


def test_compare_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.comparison.coordinate", coordinate_here)

    def call(seeds: int = 2) -> tuple[Comparison, str]:
        console = Console(file=StringIO(), width=200)
        comparison = compare(
            "CartPole-v1", ["clip_ppo", "sb3:ppo"], timesteps=512, seeds=seeds, settings=SETTINGS,
            jobs=2, out=tmp_path, console=console,
        )  # fmt: skip
        return comparison, console.file.getvalue()  # type: ignore[attr-defined]

    first, shown = call()
    assert [(r.run.algorithm, r.run.seed, r.state) for r in first.rows] == [
        ("clip_ppo", 0, "done"),
        ("sb3:ppo", 0, "done"),
        ("clip_ppo", 1, "done"),
        ("sb3:ppo", 1, "done"),
    ]
    assert "[4/4]" in shown
    names = {"ledger.db", "runs.csv", "curves.csv", "table.md", "curves-CartPole-v1.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    second, shown = call()
    assert second.rows == first.rows
    assert "4 of 4 runs were done before" in shown
    third, shown = call(seeds=1)
    assert third.rows == first.rows[:2]
    with open_ledger(storage_url(None, tmp_path), study_name(tmp_path), create=False) as ledger:
        assert [t.state.name for t in ledger.trials()] == ["COMPLETE"] * 4


def test_postgresql(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.comparison.coordinate", coordinate_here)
    comparison = compare(
        algorithms=["sb3:ppo"], timesteps=128, seeds=2, settings={"sb3:ppo": {"n_steps": 128, "n_epochs": 1}},
        storage=postgresql, out=tmp_path / "elsewhere",
    )  # fmt: skip
    assert [r.state for r in comparison.rows] == ["done", "done"]
    assert not (tmp_path / "elsewhere" / "ledger.db").exists()


def test_plan() -> None:
    settings = {"sb3:ppo": {"n_steps": 64}}
    runs = list(plan(["CartPole-v1", "Acrobot-v1"], ["sb3:ppo", MyPPO], 100, 2, 3, settings, True).values())
    assert len(runs) == 2 * 2 * 2
    assert runs[0].settings == {"n_steps": 64}
    assert {(r.timesteps, r.n_envs) for r in runs} == {(100, 3)}
    assert {r.algorithm for r in runs} == {"sb3:ppo", "tests.experiments.mine:MyPPO"}
    fair = list(plan("CartPole-v1", "sb3:ppo", 100, [7, 9], 1, {}, False).values())  # type: ignore[arg-type]
    assert [r.seed for r in fair] == [7, 9]
    assert fair[0].settings["ent_coef"] == 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environments": "CartPol-v1"}, "Cannot make the environment 'CartPol-v1'.*Did you mean"),
        ({"environments": []}, "needs an environment and an algorithm"),
        ({"algorithms": []}, "needs an environment and an algorithm"),
        ({"algorithms": ["sb3:pp"]}, "Unknown algorithm 'sb3:pp'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed must be at least 0, got -1"),
        ({"timesteps": 0}, "timesteps must be at least 1, got 0"),
        ({"settings": {"sb3:a2c": {}}}, "given for 'sb3:a2c', which is not in the comparison"),
        ({"settings": {"sb3:ppo": {"n_step": 1}}}, "takes no argument 'n_step'.*Did you mean 'n_steps'"),
        ({"settings": {"sb3:ppo": {"n_steps": "x"}}}, "sb3:ppo does not take the settings"),
    ],
)
def test_wrong_input(change: dict[str, object], message: str) -> None:
    right = {"environments": "CartPole-v1", "algorithms": ["sb3:ppo"], "timesteps": 10, "seeds": 1, "n_envs": 1}
    with pytest.raises(ValueError, match=message):
        plan(**{**right, "settings": {}, "peer_defaults": False, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_wrong_jobs(jobs: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be a positive integer"):
        compare(algorithms=["sb3:ppo"], jobs=jobs, out=tmp_path)  # type: ignore[arg-type]


def test_study_is_named_after_the_folder() -> None:
    assert study_name(Path("runs/tuesday")) == "tuesday"
    assert study_name(Path("/")) == "compare"
