"""A confirmed winner becomes an entry, where it may; where it does not, a line says why."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from sb3_ppo_variants.experiments.tuning.confirmation import verdict
from sb3_ppo_variants.experiments.tuning.files import write_winner
from sb3_ppo_variants.experiments.tuning.trials import Candidate, StudyPlan

LOW = [float(i) for i in range(10)]
HIGH = [i + 100.0 for i in LOW]
OWN = "tests.experiments.mine:Line"
REFERENCE = (0.0, 100.0)


def written(
    folder: Path, better: Mapping[str, Sequence[float]], settings: Mapping[str, object] | None = None
) -> tuple[list[Path], list[str]]:
    plan = StudyPlan(
        algorithm="clip_ppo",
        environments=tuple(better),
        timesteps=1000,
        n_envs=2,
        seeds=3,
        space={},
        fixed={},
        sampler="random",
        sampler_seed=0,
        aggregation="normalised",
        pruning=False,
        references=dict.fromkeys(better, REFERENCE),
    )
    winner = Candidate("trial 7", settings or {"clip_range": 0.1}, {}, better, {})
    defaults = Candidate("defaults", {}, {}, dict.fromkeys(better, LOW), {})
    found = verdict(plan, [winner, defaults])
    assert found.winner == "trial 7"
    return write_winner(plan, winner, found.winner_lines, "mine", folder)


def test_an_environment_by_import_path_has_its_entry(tmp_path: Path) -> None:
    (file,), without = written(tmp_path, {OWN: HIGH})
    entry = yaml.safe_load(file.read_text())[OWN]
    assert entry == {"n_envs": 2, "n_timesteps": 1000, "policy": "MlpPolicy", "clip_range": 0.1}
    assert without == []


def test_only_where_it_is_better_by_itself(tmp_path: Path) -> None:
    (file,), without = written(tmp_path, {"CartPole-v1": HIGH, "Acrobot-v1": LOW})
    assert list(yaml.safe_load(file.read_text())) == ["CartPole-v1"]
    assert without == ["No entry for Acrobot-v1: trial 7 is not shown to be better there by itself"]


def test_the_papers_settings_stay(tmp_path: Path) -> None:
    file = tmp_path / "clip_ppo.yml"
    before = "# Paper: table 3\nCartPole-v1:\n  n_timesteps: 1\n# tuned: once\nAcrobot-v1:\n  n_timesteps: 1\n"
    file.write_text(before)
    _, without = written(tmp_path, {"CartPole-v1": HIGH, "Acrobot-v1": HIGH})
    assert without == [f"No entry for CartPole-v1: the paper's settings stand in {tmp_path}"]
    found = yaml.safe_load(file.read_text())
    assert found["CartPole-v1"] == {"n_timesteps": 1}
    assert found["Acrobot-v1"]["clip_range"] == 0.1


def test_a_file_that_cannot_take_it_is_named_and_left(tmp_path: Path) -> None:
    file = tmp_path / "clip_ppo.yml"
    file.write_text("- a list\n")
    files, (why,) = written(tmp_path, {"CartPole-v1": HIGH})
    assert files == []
    assert why.startswith(f"No entry for CartPole-v1: {file} holds list")
    assert file.read_text() == "- a list\n"
