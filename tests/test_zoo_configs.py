"""``zoo_configs/*.yml``: what they hold, and that each entry trains."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_ppo_variants.experiments.runs.registry import OURS
from sb3_ppo_variants.experiments.runs.settings import constructor_parameters
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from sb3_ppo_variants.experiments.tuning.verdict import judge
from sb3_ppo_variants.experiments.tuning.zoo_entry import write_entry
from tests.forked import ROOT, python
from tests.zoo_process import needs_rl_zoo3

FOLDER = ROOT / "zoo_configs"
CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
BOX2D = ["LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3"]
PAPER = ["HalfCheetah", "Hopper", "InvertedDoublePendulum", "InvertedPendulum", "Reacher", "Swimmer", "Walker2d"]
MUJOCO = [f"{name}-v5" for name in (*PAPER, "Ant", "Humanoid")]
MEMORY = ["sb3_ppo_variants/CartPoleNoVel-v1", "sb3_ppo_variants/PendulumNoVel-v1"]
MASKED = ["sb3_ppo_variants/Maze-v0", "sb3_ppo_variants/Packing-v0"]
# What rl_zoo3 reads itself, beside the constructor's arguments.
OF_THE_ZOO = {"n_timesteps", "policy", "n_envs", "normalize", "env_wrapper", "frame_stack"}
BUDGETS_AND_POLICY = {"n_timesteps", "policy"}

#: The newer trust regions have the same entries but for the algorithm; these stand for all.
NEWER = ("spo", "rollback_ppo", "discovered_ppo", "scopic_ppo")
STANDING_FOR_ALL = ("default", "HalfCheetah-v5", MASKED[0], MEMORY[0], "atari")

#: Name of the policy and whether there are masks → its class.
POLICIES = {
    ("MlpPolicy", False): "ActorCriticPolicy",
    ("CnnPolicy", False): "ActorCriticCnnPolicy",
    ("MlpPolicy", True): "MaskableActorCriticPolicy",
    ("MlpLstmPolicy", False): "RecurrentActorCriticPolicy",
}

every_algorithm = pytest.mark.parametrize("algorithm", OURS)


def text(algorithm: str, folder: Path = FOLDER) -> str:
    return (folder / f"{algorithm}.yml").read_text(encoding="utf-8")


def entries(algorithm: str) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in yaml.safe_load(text(algorithm)).items() if not key.startswith("_")}


def test_there_is_one_file_per_algorithm() -> None:
    assert {path.stem for path in FOLDER.glob("*.yml")} == set(OURS)


@needs_rl_zoo3
def test_the_files_are_found(tmp_path: Path) -> None:
    code = "import sys; from sb3_ppo_variants.zoo import config_file; print(*map(config_file, sys.argv[1:]), sep='\\n')"
    found = python(tmp_path, "-c", code, *OURS).stdout.split()
    assert [Path(path).resolve() for path in found] == [FOLDER / f"{algorithm}.yml" for algorithm in OURS]


@every_algorithm
def test_every_environment_has_one_entry(algorithm: str) -> None:
    assert list(entries(algorithm)) == ["default", *CLASSIC, *BOX2D, *MUJOCO, *MASKED, *MEMORY, "atari"]
    keys = re.findall(r"^(\S+):", text(algorithm), re.MULTILINE)
    assert len(keys) == len(set(keys))  # YAML takes the last of two and says nothing


@every_algorithm
def test_entries_say_only_what_rl_zoo3_or_the_constructor_takes(algorithm: str) -> None:
    takes = set(constructor_parameters(algorithm)) | OF_THE_ZOO
    for entry, settings in entries(algorithm).items():
        assert set(settings) <= takes, entry
        assert isinstance(settings["n_timesteps"], int), entry
        for name, value in settings.items():  # YAML 1.1 takes 3e-4 for text
            assert not isinstance(value, str) or name == "policy" or value.startswith("lin_"), (entry, name, value)


def origin(algorithm: str, entry: str, folder: Path = FOLDER) -> str:
    """The comment above an entry."""
    lines = text(algorithm, folder).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"{entry}:"))
    first = at
    while lines[first - 1].startswith("#"):
        first -= 1
    return " ".join(line.lstrip("# ") for line in lines[first:at])


@every_algorithm
def test_every_entry_says_where_it_is_from(algorithm: str) -> None:
    for entry, settings in entries(algorithm).items():
        said = origin(algorithm, entry)
        # One origin, and the first word says which: "Documented" above "tuned" would be both.
        assert re.match(r"Documented defaults|Paper|tuned: ", said), f"{algorithm} {entry}: {said!r}"
        assert len(re.findall(r"Documented defaults|Paper[:']|tuned: ", said)) == 1, f"{algorithm} {entry}: {said!r}"
        if said == "Documented defaults.":
            assert set(settings) == BUDGETS_AND_POLICY, entry


def test_the_papers_settings() -> None:
    """arXiv:1707.06347, Tables 3 and 1 (MuJoCo), and 5 (Atari)."""
    table_3 = {"n_steps": 2048, "learning_rate": 3e-4, "n_epochs": 10, "batch_size": 64, "gamma": 0.99}
    table_3 |= {"gae_lambda": 0.95, "ent_coef": 0.0, "n_timesteps": 1_000_000}
    of_one = {
        "clip_ppo": {"clip_range": 0.2},
        "kl_penalty_ppo": {"kl_coef": 1.0, "adaptive_kl_target": 0.01},
        "unclipped_ppo": {},
        "spo": {"clip_range": 0.2},
        "rollback_ppo": {"clip_range": 0.2, "rollback": 0.3},
        "discovered_ppo": {"drift_alpha": 2.0, "drift_beta": 0.6},
        "scopic_ppo": {"temperature": 4.0, "kl_coef": 0.1},
    }
    for algorithm, own in of_one.items():
        papers = [f"{name}-v5" for name in PAPER if origin(algorithm, f"{name}-v5").startswith("Paper")]
        assert len(papers) > 3  # a tuned entry takes the place of the paper's
        for entry in papers:
            found = entries(algorithm)[entry]
            normalize = found.pop("normalize")
            assert found == table_3 | own | {"policy": "MlpPolicy"}
            assert normalize == {"norm_obs": True, "norm_reward": False, "clip_obs": 5.0}
    atari = entries("clip_ppo")["atari"]
    table_5 = {"n_steps": 128, "learning_rate": "lin_2.5e-4", "n_epochs": 3, "batch_size": 32 * 8, "gamma": 0.99}
    table_5 |= {"gae_lambda": 0.95, "n_envs": 8, "clip_range": "lin_0.1", "vf_coef": 1.0, "ent_coef": 0.01}
    assert table_5.items() <= atari.items()


@every_algorithm
def test_a_tuned_entry_takes_the_place_of_an_entry_and_leaves_the_rest(algorithm: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / f"{algorithm}.yml", tmp_path)
    before = entries(algorithm)
    for environment in ("CartPole-v1", "HalfCheetah-v5", "Humanoid-v5"):
        write_entry(algorithm, environment, {"gamma": 0.98}, 5000, 2, "MlpPolicy", "Tuned by a test.", tmp_path)
        before[environment] = {"n_envs": 2, "n_timesteps": 5000, "policy": "MlpPolicy", "gamma": 0.98}
        assert origin(algorithm, environment, tmp_path) == "tuned: Tuned by a test."
    after = yaml.safe_load((tmp_path / f"{algorithm}.yml").read_text())
    assert {key: value for key, value in after.items() if not key.startswith("_")} == before
    for entry in set(before) - {"CartPole-v1", "HalfCheetah-v5", "Humanoid-v5"}:
        assert origin(algorithm, entry, tmp_path) == origin(algorithm, entry)


@pytest.fixture(scope="module", params=["clip_ppo", pytest.param(None, marks=pytest.mark.long)], ids=["some", "all"])
def trained(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[tuple[str, str], dict[str, Any]]:
    """Entries trained in one process: of one file, or of each, all; of the others those that stand for all."""
    folder = tmp_path_factory.mktemp("entries")
    few = NEWER if request.param is None else set(OURS) - {request.param}
    wanted = [f"{name}:{','.join(STANDING_FOR_ALL)}" if name in few else name for name in OURS]
    done = python(folder, str(ROOT / "tests/train_zoo_entries.py"), *wanted)
    assert done.returncode == 0, done.stderr
    return {(line["algorithm"], line["entry"]): line for line in map(json.loads, done.stdout.splitlines())}


@needs_rl_zoo3
@every_algorithm
def test_every_entry_trains(algorithm: str, trained: dict[tuple[str, str], dict[str, Any]]) -> None:
    missing = {}
    for entry, settings in entries(algorithm).items():
        if (algorithm, entry) not in trained:
            assert entry not in STANDING_FOR_ALL
            continue
        line = trained[algorithm, entry]
        if "skipped" in line:
            assert entry not in ("default", *CLASSIC)
            missing[entry] = line["skipped"]
            continue
        assert line["timesteps"] == 16
        assert line["normalized"] == ("normalize" in settings)
        assert line["policy"] == POLICIES[settings["policy"], settings.get("use_masking", False)]
        for name, value in line["settings"].items():
            written = settings[name]
            if name == "kl_coef":  # it has adapted once
                assert value in (written / 2, written, written * 2)
                continue
            assert value == (float(written[4:]) if isinstance(written, str) else written), (entry, name)
        assert entry != "atari" or line["observations"] == [4, 84, 84]
    if missing:
        pytest.skip(f"trained all but {', '.join(missing)}: {', '.join(set(missing.values()))}")


@pytest.mark.parametrize("algorithm", NEWER)
def test_some_entries_stand_for_all(algorithm: str) -> None:
    found = {entry: {**settings, "n_timesteps": None} for entry, settings in entries(algorithm).items()}
    trained = [found[entry] for entry in STANDING_FOR_ALL]
    assert all(settings in trained for settings in found.values())


#: The studies compare with the documented defaults, and say nothing about the paper's settings: zoo_configs/README.md.
PAPERS_STAY = {"InvertedPendulum-v5"}


@pytest.mark.parametrize("study", sorted(path.parent.name for path in FOLDER.glob("results/tuning/*-tpe/study.json")))
def test_confirmed_settings_are_entries_where_they_are_better(study: str) -> None:
    kept = json.loads((FOLDER / f"results/tuning/{study}/study.json").read_text(encoding="utf-8"))
    plan = StudyPlan.from_json(kept["plan"])
    candidates = [Candidate(**candidate) for candidate in kept["candidates"]]
    found = judge(plan, candidates)
    settings = next(c.settings for c in candidates if c.name == found.winner)
    better = {line.environment for line in found.winner_lines if line.better}
    assert better >= PAPERS_STAY
    written = entries(plan.algorithm)
    for environment in plan.environments:
        tuned = origin(plan.algorithm, environment).startswith(f"tuned: {found.winner} of the study {study}")
        assert tuned == (environment in better - PAPERS_STAY)
        assert not tuned or settings.items() <= written[environment].items()
