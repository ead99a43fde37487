"""Classes in settings by name."""

from typing import Any

import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from sb3_ppo_variants.experiments.runs.classes import class_name, in_rl_zoo3, with_classes
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.run import Run, build
from sb3_ppo_variants.experiments.runs.settings import check_settings, parse_value
from tests.experiments.mine import MyPPO


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("activation_fn", "ReLU", th.nn.ReLU),
        ("activation_fn", "relu", th.nn.ReLU),
        ("activation_fn", "nn.ELU", th.nn.ELU),
        ("activation_fn", "th.nn.Tanh", th.nn.Tanh),
        ("activation_fn", "torch.nn.SiLU", th.nn.SiLU),
        ("optimizer_class", "AdamW", th.optim.AdamW),
        ("optimizer_class", "th.optim.RMSprop", th.optim.RMSprop),
        ("features_extractor_class", "NatureCNN", NatureCNN),
        ("rollout_buffer_class", "RolloutBuffer", RolloutBuffer),
        ("policy", "ActorCriticPolicy", ActorCriticPolicy),
        ("policy", "MlpPolicy", "MlpPolicy"),
        ("activation_fn", "tests.experiments.mine:MyPPO", MyPPO),
        ("activation_fn", "tests.experiments.mine.MyPPO", MyPPO),
        ("learning_rate", "lin_0.01", "lin_0.01"),
    ],
)
def test_names(key: str, name: str, expected: Any) -> None:
    assert with_classes({"policy_kwargs": {key: name}}) == {"policy_kwargs": {key: expected}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ReLUu", r"activation_fn='ReLUu' is not a class of torch.nn. Did you mean 'ReLU'\?"),
        ("nn.ReLUu", "is not a class of torch.nn"),
        ("no.such.module.Class", r"cannot be found \(ModuleNotFoundError"),
        ("tests.experiments.mine:Absent", r"cannot be found \(AttributeError"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_settings("clip_ppo", {"policy_kwargs": {"activation_fn": name}})


def test_classes_are_kept_by_name() -> None:
    given = {
        "policy": ActorCriticPolicy,
        "policy_kwargs": {"activation_fn": th.nn.ReLU, "optimizer_class": th.optim.SGD},
    }
    kept = check_settings("sb3:ppo", given)
    assert kept == {"policy": "ActorCriticPolicy", "policy_kwargs": {"activation_fn": "ReLU", "optimizer_class": "SGD"}}
    assert with_classes(kept) == given
    assert class_name(MyPPO) == "tests.experiments.mine:MyPPO"

    class Local(th.nn.ReLU):
        pass

    with pytest.raises(TypeError, match="the ledger keeps them as JSON"):
        check_settings("sb3:ppo", {"policy_kwargs": {"activation_fn": Local}})


def test_a_configuration_of_rl_zoo3_has_code() -> None:
    kept = {"activation_fn": "ReLU", "net_arch": {"pi": [8], "vf": [8]}, "optimizer_class": "SGD", "ortho_init": False}
    code = in_rl_zoo3(kept)
    assert code.startswith("dict(activation_fn=nn.ReLU, ")
    assert eval(code, {"nn": th.nn, "th": th}) == with_classes(kept)  # as rl_zoo3 does it
    assert parse_value(code) == {**kept, "activation_fn": "nn.ReLU", "optimizer_class": "th.optim.SGD"}
    assert in_rl_zoo3({"net_arch": [8]}) == {"net_arch": [8]}
    assert in_rl_zoo3(0.1) == 0.1
    with pytest.raises(ValueError, match="has no name in the configurations of rl_zoo3"):
        in_rl_zoo3({"features_extractor_class": "NatureCNN"})


@pytest.mark.parametrize("algorithm", ["sb3:ppo", "clip_ppo"])
def test_a_model_is_what_sb3_makes_of_the_classes(algorithm: str) -> None:
    settings = {"policy_kwargs": {"activation_fn": "ReLU", "optimizer_class": "AdamW", "net_arch": [8]}}
    env = make_environment("CartPole-v1", 1, 3)
    model = build(Run(algorithm, "CartPole-v1", 3, 64, settings=settings), env)
    classes = {"activation_fn": th.nn.ReLU, "optimizer_class": th.optim.AdamW, "net_arch": [8]}
    oracle = PPO("MlpPolicy", env, seed=3, policy_kwargs=classes, device="cpu")
    assert str(model.policy.mlp_extractor) == str(oracle.policy.mlp_extractor)
    assert type(model.policy.optimizer) is th.optim.AdamW
    for parameter, expected in zip(model.policy.parameters(), oracle.policy.parameters(), strict=True):
        assert th.equal(parameter, expected)
