import sys
from pathlib import Path

import pytest
import stable_baselines3
from stable_baselines3 import A2C, PPO

import sb3_ppo_variants
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.registry import DEFAULT_ALGORITHMS, KNOWN, algorithm_class, algorithm_name
from tests.experiments.mine import MyPPO


def test_names_lead_to_classes() -> None:
    assert algorithm_class("clip_ppo") is sb3_ppo_variants.ClipPPO
    assert algorithm_class("paper_trpo") is sb3_ppo_variants.TRPO
    assert algorithm_class("sb3:ppo") is PPO
    assert algorithm_class("stable_baselines3:SAC") is stable_baselines3.SAC
    assert algorithm_class("tests.experiments.mine:MyPPO") is MyPPO
    assert set(DEFAULT_ALGORITHMS) <= set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_name_is_importable(name: str) -> None:
    assert algorithm_name(algorithm_class(name)) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip_pp", "Unknown algorithm 'clip_pp': known are clip_ppo, .*Did you mean 'clip_ppo'"),
        ("sb3:ppoo", "Did you mean 'sb3:ppo'"),
        ("", "Unknown algorithm"),
        ("ClipPPO", "Did you mean 'clip_ppo'"),
        ("KLPenaltyPPO", "Did you mean 'kl_penalty_ppo'"),
        ("sb3_ppo_variants.ClipPPO", "Did you mean 'clip_ppo'"),
        ("ppo-clip", "Did you mean 'clip_ppo'"),
        ("trpo", r"'paper_trpo' is ours, 'contrib:trpo' is sb3-contrib's \(rl_zoo3's 'trpo'\)"),
        ("TRPO", "'paper_trpo' is ours, 'contrib:trpo' is sb3-contrib's"),
        ("PPO", "'clip_ppo' is ours, 'sb3:ppo' is SB3's"),
        ("a2c", "Did you mean 'sb3:a2c'"),
        ("sac", "Did you mean 'stable_baselines3:SAC'"),
        ("ppo_lstm", "'clip_ppo' is ours, 'contrib:recurrent_ppo' is sb3-contrib's"),
        ("RecurrentPPO", "Did you mean 'contrib:recurrent_ppo'"),
        ("MaskablePPO", "Did you mean 'contrib:maskable_ppo'"),
        ("no_such_module:Class", "Cannot find the algorithm 'no_such_module:Class'.*No module named"),
        ("stable_baselines3:NoSuch", "Cannot find the algorithm"),
        ("collections:OrderedDict", "not a subclass of stable_baselines3's BaseAlgorithm"),
    ],
)
def test_wrong_names_are_rejected(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        algorithm_class(name)


def test_classes_get_names_that_lead_back() -> None:
    assert algorithm_name(A2C) == "sb3:a2c"
    assert algorithm_name(MyPPO) == "tests.experiments.mine:MyPPO"


def test_classes_that_workers_cannot_import_are_rejected() -> None:
    class Local(PPO):
        pass

    with pytest.raises(ValueError, match="top level of a module"):
        algorithm_name(Local)
    with pytest.raises(TypeError, match="subclass of BaseAlgorithm, got 3"):
        algorithm_name(3)  # type: ignore[arg-type]


def test_modules_in_the_current_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a script, whose own folder is in the path instead of the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "my_algorithms_here.py").write_text("from stable_baselines3 import PPO\n\nclass Mine(PPO):\n    pass\n")
    assert algorithm_class("my_algorithms_here:Mine").__mro__[1] is PPO
    text = "from gymnasium.envs.classic_control import CartPoleEnv\nimport gymnasium\n"
    text += "gymnasium.register('Here-v0', CartPoleEnv)\n\nclass Mine(CartPoleEnv):\n    pass\n"
    (tmp_path / "my_envs_here.py").write_text(text)
    check_environment("my_envs_here:Mine")
    check_environment("my_envs_here:Here-v0")
