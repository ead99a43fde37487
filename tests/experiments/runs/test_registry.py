import pytest
import stable_baselines3
from stable_baselines3 import A2C, PPO

import sb3_ppo_variants
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
