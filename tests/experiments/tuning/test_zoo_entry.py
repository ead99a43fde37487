"""Entries of rl_zoo3 files: read back as rl_zoo3 reads them, the rest of the file untouched, for confirmed winners."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch as th
import yaml
from sb3_contrib import RecurrentPPO
from stable_baselines3.common import torch_layers

from sb3_ppo_variants.experiments.tuning.differences import Difference, difference_to_defaults
from sb3_ppo_variants.experiments.tuning.metric import Metric
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from sb3_ppo_variants.experiments.tuning.verdict import judge
from sb3_ppo_variants.experiments.tuning.zoo_entry import to_copy, write_entry, write_winner

SETTINGS: dict[str, Any] = {
    "clip_range": 0.17, "learning_rate": 3e-05, "n_epochs": 7, "clip_range_high": None, "normalize_advantage": True,
    "ent_coef": 0.0, "tiny": 1e-16, "huge": 1e22, "text": "lin_0.01", "yes": "yes", "layers": [64, 3e-05],
    "policy_kwargs": {"net_arch": [64, 64], "lr": 1e-05, "note": "a: b # c"}, "quoted": 'say "no"', "number": "12",
}  # fmt: skip
HEADER = "# The zoo's own file\n# two lines of header\n"
OTHER = "Acrobot-v1:\n  n_envs: 16   # as in the zoo\n  n_timesteps: !!float 1e6\n\n  policy: 'MlpPolicy'\n"


def write(folder: Path, environment: str = "CartPole-v1", note: str = "study cartpole", **settings: Any) -> Path:
    return write_entry("clip_ppo", environment, settings, 50_000, 8, "MlpPolicy", note, folder)


def test_a_new_file_gives_the_settings_back(tmp_path: Path) -> None:
    file = write(tmp_path / "new", **SETTINGS)
    assert file == tmp_path / "new" / "clip_ppo.yml"
    found = yaml.safe_load(file.read_text())["CartPole-v1"]
    assert found == {"n_envs": 8, "n_timesteps": 50_000, "policy": "MlpPolicy"} | SETTINGS
    assert list(found)[:4] == ["n_envs", "n_timesteps", "policy", "clip_range"]
    assert type(found["learning_rate"]) is float
    assert file.read_text().startswith("# tuned: study cartpole\nCartPole-v1:\n")


def test_inserting_leaves_the_rest_to_the_byte(tmp_path: Path) -> None:
    before = (HEADER + OTHER).encode()
    (tmp_path / "clip_ppo.yml").write_bytes(before)
    after = write(tmp_path, clip_range=0.1).read_bytes()
    assert after.startswith(before)
    assert yaml.safe_load(after)["Acrobot-v1"]["n_timesteps"] == 1e6


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_replacing_leaves_the_rest_to_the_byte(tmp_path: Path, newline: str) -> None:
    old = "# tuned: an older study\nCartPole-v1:\n  n_envs: 1\n\n  policy: 'MlpPolicy'\n# inside\n  clip_range: 0.3\n"
    tail = "\n# about Pendulum\nPendulum-v1:\n  n_envs: 4\n  policy: MlpPolicy"
    before = (HEADER + OTHER + "# somebody's own comment\n" + old + tail).replace("\n", newline)
    (tmp_path / "clip_ppo.yml").write_bytes(before.encode())
    after = write(tmp_path, clip_range=0.1).read_bytes().decode()
    entry = "# tuned: study cartpole\nCartPole-v1:\n  n_envs: 8\n  n_timesteps: 50000\n"
    entry += "  policy: MlpPolicy\n  clip_range: 0.1\n"
    assert after == (HEADER + OTHER + "# somebody's own comment\n" + entry + tail).replace("\n", newline)


def test_writing_twice_is_writing_once(tmp_path: Path) -> None:
    (tmp_path / "clip_ppo.yml").write_text(OTHER)
    first = write(tmp_path, clip_range=0.1).read_bytes()
    assert write(tmp_path, clip_range=0.1).read_bytes() == first


def test_a_file_without_a_last_newline(tmp_path: Path) -> None:
    (tmp_path / "clip_ppo.yml").write_text("Acrobot-v1:\n  n_envs: 1")
    assert set(yaml.safe_load(write(tmp_path).read_text())) == {"Acrobot-v1", "CartPole-v1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- a\n- b\n", "holds list, not one entry per environment"),
        ("{CartPole-v1: {n_envs: 1}, Acrobot-v1: {n_envs: 1}}\n", "does not fit"),
        ("CartPole-v1: &shared\n  n_envs: 1\nPendulum-v1:\n  <<: *shared\n", "does not fit"),
    ],
)
def test_what_cannot_be_edited_is_left_alone(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "clip_ppo.yml").write_text(text)
    with pytest.raises(ValueError, match=message):
        write(tmp_path)
    assert (tmp_path / "clip_ppo.yml").read_text() == text


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown algorithm 'clip_pp'"):
        write_entry("clip_pp", "CartPole-v1", {}, 1, 1, "MlpPolicy", "", tmp_path)
    with pytest.raises(ValueError, match="'n_envs' is not a constructor argument"):
        write(tmp_path, n_envs=4)
    with pytest.raises(ValueError, match="does not fit"):
        write(tmp_path, clip_range=float("nan"))


# ---- A confirmed winner ----

LOW = [float(i) for i in range(10)]
HIGH = [i + 100.0 for i in LOW]
OWN = "tests.experiments.mine:Line"
REFERENCE = (0.0, 100.0)


def study(algorithm: str, environments: Iterable[str]) -> StudyPlan:
    return StudyPlan(
        algorithm=algorithm,
        environments=tuple(environments),
        timesteps=1000,
        n_envs=2,
        seeds=3,
        space={},
        fixed={},
        sampler="random",
        sampler_seed=0,
        aggregation="normalised",
        pruning=False,
        references=dict.fromkeys(environments, REFERENCE),
    )


def written(
    folder: Path, better: Mapping[str, Sequence[float]], settings: Mapping[str, object] | None = None
) -> tuple[list[Path], list[str]]:
    plan = study("clip_ppo", better)
    winner = Candidate("trial 7", settings or {"clip_range": 0.1}, {}, better, {})
    defaults = Candidate("defaults", {}, {}, dict.fromkeys(better, LOW), {})
    found = judge(plan, [winner, defaults])
    assert found.winner == "trial 7"
    return write_winner(plan, winner, found.winner_lines, "mine", folder)


def better_in(better: Sequence[str], alike: Sequence[str] = ()) -> list[Difference]:
    plan = study("clip_ppo", [*better, *alike])
    winner = Candidate("trial 7", {}, {}, dict.fromkeys(better, HIGH) | dict.fromkeys(alike, LOW), {})
    defaults = Candidate("defaults", {}, {}, dict.fromkeys(plan.environments, LOW), {})
    worst = dict.fromkeys(plan.environments, 0.0)
    found = [difference_to_defaults(winner, defaults, Metric([e], {}), worst, 0.95) for e in (*alike, *better)]
    return [difference for difference in found if difference is not None]


def test_what_is_copied_makes_the_model() -> None:
    settings = {"policy_kwargs": {"activation_fn": "ReLU", "features_extractor_class": "FlattenExtractor"}}
    alone = better_in(["CartPole-v1"])
    line, entry = to_copy(study("contrib:recurrent_ppo", ["CartPole-v1"]), settings, alone)
    names: dict[str, Any] = {"env": "CartPole-v1", "nn": th.nn, "RecurrentPPO": RecurrentPPO}
    exec(line.replace("stable_baselines3.common.torch_layers.", ""), names | vars(torch_layers), names)
    assert names["model"].policy.activation_fn is th.nn.ReLU
    assert entry == (
        "# No entry of rl_zoo3: stable_baselines3.common.torch_layers.FlattenExtractor has no name in the "
        "configurations of rl_zoo3"
    )
    del settings["policy_kwargs"]["features_extractor_class"]
    _, entry = to_copy(study("clip_ppo", ["CartPole-v1"]), settings, alone)
    assert yaml.safe_load(entry)["CartPole-v1"]["policy_kwargs"] == "dict(activation_fn=nn.ReLU)"


def test_what_is_copied_is_for_an_environment_in_which_it_is_better() -> None:
    both = study("clip_ppo", ["CartPole-v1", "Pendulum-v1"])
    _, entry = to_copy(both, {"clip_range": 0.1}, better_in(["Pendulum-v1"], ["CartPole-v1"]))
    assert list(yaml.safe_load(entry)) == ["Pendulum-v1"]
    line, entry = to_copy(both, {"clip_range": 0.1}, better_in([], ["CartPole-v1", "Pendulum-v1"]))
    assert line == "model = ClipPPO('MlpPolicy', env, clip_range=0.1)"
    assert entry == "# No entry of rl_zoo3: in no single environment is it shown to be better"


def test_an_environment_by_import_path_has_its_entry(tmp_path: Path) -> None:
    (file,), without = written(tmp_path, {OWN: HIGH})
    entry = yaml.safe_load(file.read_text())[OWN]
    assert entry == {"n_envs": 2, "n_timesteps": 1000, "policy": "MlpPolicy", "clip_range": 0.1}
    assert without == []


def test_only_where_it_is_shown_to_be_better(tmp_path: Path) -> None:
    (file,), without = written(tmp_path, {"CartPole-v1": HIGH, "Acrobot-v1": LOW})
    assert list(yaml.safe_load(file.read_text())) == ["CartPole-v1"]
    assert without == ["No entry for Acrobot-v1: trial 7 is not shown to be better there"]


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
