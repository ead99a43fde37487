"""What the closed form does not cover: it falls back, says why once, and refuses where it was asked for."""

import subprocess
import sys

import numpy as np
import pytest
import torch as th
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from sb3_contrib.common.maskable.distributions import MaskableCategorical, MaskableCategoricalDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch.nn.modules import module
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from sb3_ppo_variants import ClipPPO
from tests.algorithms.models import ALGORITHMS, OwnPolicy, make, parameters_of


class Hooked(th.nn.Tanh):
    """An activation of somebody else's."""


def freeze(model) -> None:
    model.policy.action_net.bias.requires_grad_(False)


def hook(model) -> None:
    model.policy.action_net.register_forward_hook(lambda *args: None)


def sample_otherwise(model) -> None:
    distribution = model.policy.action_dist
    distribution.sample = lambda: 0.5 * type(distribution).sample(distribution)


def mask_otherwise(model) -> None:
    distribution = model.policy.action_dist
    distribution.apply_masking = lambda masks: type(distribution).apply_masking(distribution, masks)


def share(model) -> None:
    model.policy.share_memory()


def own_groups(model) -> None:
    weights = [p for p in model.policy.parameters() if p.ndim > 1]
    others = [p for p in model.policy.parameters() if p.ndim <= 1]
    model.policy.optimizer = th.optim.Adam([{"params": weights, "weight_decay": 0.1}, {"params": others}], lr=1e-3)


def forget_log_std(model) -> None:
    parameters = [p for p in model.policy.parameters() if p is not model.policy.log_std]
    model.policy.optimizer = th.optim.Adam(parameters, lr=1e-3)


def tie(model) -> None:
    model.policy.mlp_extractor.value_net = model.policy.mlp_extractor.policy_net
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)


def end_with_linear(model) -> None:
    model.policy.mlp_extractor.policy_net.append(th.nn.Linear(64, 64))
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)


def no_bias(model) -> None:
    model.policy.value_net = th.nn.Linear(64, 1, bias=False)
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)


class Residual(th.nn.Module):
    """A hidden layer of somebody else's."""

    def __init__(self):
        super().__init__()
        self.layer = th.nn.Linear(4, 64)

    def forward(self, x):
        return th.tanh(self.layer(x))


def residual(model) -> None:
    model.policy.mlp_extractor.policy_net = Residual()
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)


def own_forward(model) -> None:
    forward = model.policy.forward
    model.policy.forward = lambda *args, **kwargs: forward(*args, **kwargs)


def gradient_hook(model) -> None:
    model.policy.log_std.register_post_accumulate_grad_hook(lambda parameter: None)


def own_add(model) -> None:
    add = model.rollout_buffer.add
    model.rollout_buffer.add = lambda *args: add(*args)


class OwnMaskable(MaskableActorCriticPolicy):
    """A maskable policy of somebody else's."""


MASKED = {"actions": "discrete", "allowed": 0.5}
INELIGIBLE = {
    "shared memory": ({}, {}, share, "is in memory shared with other processes"),
    "own parameter groups": ({}, {}, own_groups, "the optimizer's groups are neither"),
    "a parameter nobody optimises": ({}, {}, forget_log_std, "the optimizer's groups are neither"),
    "tied networks": ({}, {}, tie, "two layers share a parameter"),
    "a Linear at the end": ({}, {}, end_with_linear, "the last hidden layer has no activation"),
    "no bias": ({}, {}, no_bias, "a layer has no bias"),
    "a module for a network": ({}, {}, residual, "the hidden layers are not Linear and activation in turn"),
    "a wrapped forward": ({}, {}, own_forward, "a ActorCriticPolicy has a forward of its own"),
    "a gradient hook": ({}, {}, gradient_hook, "the parameter log_std has hooks"),
    "a wrapped buffer": ({}, {}, own_add, "a RolloutBuffer has a add of its own"),
    "a policy of one's own": ({}, {"policy": OwnPolicy}, None, "the policy is an OwnPolicy"),
    "Dict": ({"observations": "dict"}, {"policy": "MultiInputPolicy"}, None, "the policy is a MultiInput"),
    "CNN": ({"observations": "image"}, {"policy": "CnnPolicy"}, None, "the policy is an ActorCriticCnnPolicy"),
    "gSDE": ({}, {"use_sde": True}, None, "the action distribution is a StateDependentNoise"),
    "activation": ({}, {"policy_kwargs": {"activation_fn": Hooked}}, None, "the activation is Hooked"),
    "optimizer": (
        {},
        {"policy_kwargs": {"optimizer_class": th.optim.AdamW}},
        None,
        "the optimizer is an AdamW, not Adam",
    ),
    "amsgrad": ({}, {"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, None, "Adam has amsgrad=True"),
    "buffer": ({}, {"rollout_buffer_class": type("Mine", (RolloutBuffer,), {})}, None, "the rollout buffer is a Mine"),
    "frozen": ({}, {}, freeze, "the parameter action_net.bias is frozen"),
    "hooks": ({}, {}, hook, "a Linear has hooks"),
    "a maskable policy of one's own": (MASKED, {"policy": OwnMaskable}, None, "the policy is an OwnMaskable"),
    "masks and a CNN": (
        MASKED | {"observations": "image"},
        {"policy": "CnnPolicy", "use_masking": True},
        None,
        "the policy is a MaskableActorCriticCnnPolicy",
    ),
    "a maskable buffer of one's own": (
        MASKED,
        {"use_masking": True, "rollout_buffer_class": type("Mine", (MaskableRolloutBuffer,), {})},
        None,
        "the rollout buffer is a Mine, not a plain MaskableRolloutBuffer",
    ),
    "own masking": (
        MASKED,
        {"use_masking": True},
        mask_otherwise,
        "a MaskableCategoricalDistribution has a apply_mask",
    ),
    "own sampling": ({}, {}, sample_otherwise, "a DiagGaussianDistribution has a sample of its own"),
}


@pytest.mark.parametrize("case", INELIGIBLE)
def test_what_it_does_not_cover_falls_back_and_says_why_once(case: str, capsys) -> None:
    env, settings, disturb, reason = INELIGIBLE[case]
    settings = {"policy": "MlpPolicy"} | settings
    model = make(ClipPPO, env=env, verbose=1, **settings)
    if disturb:
        disturb(model)
    model.learn(128)
    assert model.active_backend == "autograd"
    said = [line for line in capsys.readouterr().out.splitlines() if "by autograd, not in closed form" in line]
    assert len(said) == 1
    assert reason in said[0]
    assert np.isfinite(parameters_of(model)).all()
    if disturb is None:
        with pytest.raises(ValueError, match=f"update_backend='closed_form' cannot run: {reason}"):
            make(ClipPPO, env=env, update_backend="closed_form", **settings)
    else:
        model.update_backend = "closed_form"
        with pytest.raises(ValueError, match=reason):
            model.learn(64)


@pytest.mark.parametrize(
    ("register", "reason"),
    [
        (module.register_module_forward_hook, "torch has hooks on all modules"),
        (module.register_module_forward_pre_hook, "torch has hooks on all modules"),
        (module.register_module_full_backward_hook, "torch has hooks on all modules"),
        (register_optimizer_step_post_hook, "torch has hooks on all optimizers"),
        (register_optimizer_step_pre_hook, "torch has hooks on all optimizers"),
    ],
)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_hooks_on_everything_are_called(register, reason: str) -> None:
    calls = []
    model = make(ClipPPO)
    handle = register(lambda *args: calls.append(1))
    try:
        assert model.active_backend == "autograd"
        model.learn(64)
        assert calls
        model.update_backend = "closed_form"
        with pytest.raises(ValueError, match=reason):
            model.learn(64)
    finally:
        handle.remove()
    assert model.active_backend == "closed_form"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MaskableActorCriticPolicy, "evaluate_actions"),
        (MaskableRolloutBuffer, "add"),
        (MaskableCategoricalDistribution, "apply_masking"),
        (MaskableCategorical, "apply_masking"),
        (MaskableCategorical, "entropy"),
        (ActorCriticPolicy, "evaluate_actions"),
        (BasePolicy, "extract_features"),
        (RolloutBuffer, "compute_returns_and_advantage"),
        (DiagGaussianDistribution, "log_prob"),
        (th.optim.Adam, "step"),
        (th.nn.Linear, "forward"),
    ],
)
def test_what_is_replaced_on_a_class_is_called(kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = {"env": MASKED, "use_masking": True} if kind.__name__.startswith("Maskable") else {}
    model, calls, original = make(ClipPPO, **masks), [], getattr(kind, name)
    assert model.active_backend == "closed_form"

    def counting(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(kind, name, counting)
    model.learn(64)
    assert calls
    assert model.active_backend == "autograd"
    monkeypatch.undo()
    assert model.active_backend == "closed_form"


@pytest.mark.long
def test_what_was_replaced_before_the_import_is_called() -> None:
    code = """
from stable_baselines3.common.buffers import RolloutBuffer
original = RolloutBuffer.add
RolloutBuffer.add = lambda *arguments: original(*arguments)
from sb3_ppo_variants import ClipPPO
print(ClipPPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64).active_backend)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["autograd"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_fewer_steps_than_the_buffer_holds_are_refused(algorithm: type, update_backend: str) -> None:
    """As in SB3, whose buffer asserts that it is full; zeros are never learnt from."""
    model = make(algorithm, update_backend=update_backend)
    model.n_steps = 16
    with pytest.raises((ValueError, AssertionError)):
        model.learn(64)
