"""Torch parameters on numpy's memory: nothing that SB3 users do to a model breaks it."""

import copy
import logging

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO
from tests.algorithms.test_contract import OwnPolicy, make, parameters_of, settings_for
from tests.environments import RandomWalk
from tests.parity.test_sb3_ppo import assert_same_tensors, make_env


@pytest.fixture(params=[ClipPPO, REINFORCE, TRPO], ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


def bound_addresses(model) -> bool:
    network = model._closed_form
    return network is not None and network.is_bound_to(model.policy)


def test_training_is_on_shared_memory(algorithm) -> None:
    model = make(algorithm).learn(64)
    assert model.active_backend == "closed_form"
    assert bound_addresses(model)
    model._closed_form.bound.flat[:] = 0.25
    assert all((parameter == 0.25).all() for parameter in model.policy.parameters())


@pytest.mark.parametrize(
    "disturb",
    [
        lambda model: model.set_parameters(copy.deepcopy(model.get_parameters())),
        lambda model: model.policy.load_state_dict(copy.deepcopy(model.policy.state_dict())),
        lambda model: model.policy.optimizer.load_state_dict(copy.deepcopy(model.policy.optimizer.state_dict())),
        lambda model: model.policy.double().float(),
        lambda model: model.policy.load_from_vector(model.policy.parameters_to_vector()),
        lambda model: model.policy.share_memory(),
        lambda model: model.policy.to("cpu"),
        lambda model: model.policy.set_training_mode(True),
    ],
)
def test_moving_the_memory_between_updates_changes_nothing(algorithm, disturb) -> None:
    undisturbed = make(algorithm).learn(192)
    model = make(algorithm).learn(64)
    disturb(model)
    model.learn(64, reset_num_timesteps=False)
    disturb(model)
    model.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(model), parameters_of(undisturbed))
    assert_same_tensors(model.get_parameters(), undisturbed.get_parameters(), "parameters")


def test_save_load_continue_is_bit_exact_with_sb3s_own_randomness(algorithm, tmp_path) -> None:
    model = make(algorithm).learn(64)
    model.save(tmp_path / "model")
    first = algorithm.load(tmp_path / "model", env=make_env()).learn(64)
    second = algorithm.load(tmp_path / "model", env=make_env()).learn(64)
    np.testing.assert_array_equal(parameters_of(first), parameters_of(second))
    assert not np.array_equal(parameters_of(first), parameters_of(model))


def test_a_saved_model_is_not_larger_than_sb3s(tmp_path) -> None:
    for name, model in (("ours", make(ClipPPO)), ("sb3", PPO("MlpPolicy", make_env(), **settings_for(ClipPPO)))):
        model.learn(64)
        model.save(tmp_path / name)
    ours, theirs = ((tmp_path / f"{name}.zip").stat().st_size for name in ("ours", "sb3"))
    assert ours < 1.1 * theirs


def test_switching_the_backend_in_mid_training_agrees_with_either(algorithm) -> None:
    results = []
    for backends in (("autograd",) * 4, ("closed_form",) * 4, ("closed_form", "autograd", "auto", "autograd")):
        model = make(algorithm, update_backend=backends[0])
        for backend in backends:
            model.update_backend = backend
            model.learn(64, reset_num_timesteps=False)
        results.append(parameters_of(model))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-4, atol=1e-4)


def test_a_deep_copy_trains_by_itself(algorithm) -> None:
    model = make(algorithm).learn(64)
    kept = parameters_of(model)
    twin = copy.deepcopy(model)
    twin.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(model), kept)
    assert not np.array_equal(parameters_of(twin), kept)
    assert bound_addresses(twin)
    assert bound_addresses(model)


class EditWeights(BaseCallback):
    """Sets the policy's output layer in the middle of a rollout, in place or by a new tensor."""

    def __init__(self, in_place: bool):
        super().__init__()
        self.in_place = in_place

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        weight = self.model.policy.action_net.weight
        if self.in_place:
            with th.no_grad():
                weight.zero_()
        else:
            weight.data = th.zeros_like(weight)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_callback_that_edits_weights_is_obeyed(in_place: bool) -> None:
    models = [
        make(ClipPPO, learning_rate=1e-3, update_backend=backend).learn(128, EditWeights(in_place))
        for backend in ("closed_form", "autograd")
    ]
    np.testing.assert_allclose(parameters_of(models[0]), parameters_of(models[1]), atol=1e-5)
    assert np.abs(models[0].policy.action_net.weight.detach().numpy()).max() < 0.02


def test_parameters_stay_contiguous_and_vectorise(algorithm) -> None:
    model = make(algorithm).learn(64)
    assert all(parameter.is_contiguous() for parameter in model.policy.parameters())
    assert model.policy.parameters_to_vector().shape == (sum(p.numel() for p in model.policy.parameters()),)


class Hooked(th.nn.Tanh):
    """An activation of somebody else's."""


def freeze(model) -> None:
    model.policy.action_net.bias.requires_grad_(False)


def hook(model) -> None:
    model.policy.action_net.register_forward_hook(lambda *args: None)


INELIGIBLE = {
    "a policy of one's own": ({}, {"policy": OwnPolicy}, None, "the policy is a OwnPolicy"),
    "Dict": ({"observations": "dict"}, {"policy": "MultiInputPolicy"}, None, "the policy is a MultiInput"),
    "CNN": ({"observations": "image"}, {"policy": "CnnPolicy"}, None, "the policy is a ActorCriticCnnPolicy"),
    "gSDE": ({}, {"use_sde": True}, None, "the action distribution is a StateDependentNoise"),
    "activation": ({}, {"policy_kwargs": {"activation_fn": Hooked}}, None, "the activation is Hooked"),
    "optimizer": (
        {},
        {"policy_kwargs": {"optimizer_class": th.optim.AdamW}},
        None,
        "the optimizer is a AdamW, not Adam",
    ),
    "amsgrad": ({}, {"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, None, "Adam has amsgrad=True"),
    "buffer": ({}, {"rollout_buffer_class": type("Mine", (RolloutBuffer,), {})}, None, "the rollout buffer is a Mine"),
    "frozen": ({}, {}, freeze, "the parameter action_net.bias is frozen"),
    "hooks": ({}, {}, hook, "a Linear has hooks"),
}


@pytest.mark.parametrize("case", INELIGIBLE)
def test_what_it_does_not_cover_falls_back_with_one_logged_reason(case: str, caplog) -> None:
    env, settings, disturb, reason = INELIGIBLE[case]
    settings = {"policy": "MlpPolicy"} | settings
    model = make(ClipPPO, env=env, **settings)
    if disturb:
        disturb(model)
    with caplog.at_level(logging.INFO, logger="sb3_ppo_variants"):
        model.learn(192)
    assert model.active_backend == "autograd"
    assert [record.getMessage() for record in caplog.records if reason in record.getMessage()] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(caplog.records) == 1
    assert np.isfinite(parameters_of(model)).all()
    if disturb is None:
        with pytest.raises(ValueError, match=f"update_backend='closed_form' cannot run: {reason}"):
            make(ClipPPO, env=env, update_backend="closed_form", **settings)
    else:
        model.update_backend = "closed_form"
        with pytest.raises(ValueError, match=reason):
            model.learn(64)


def test_dead_relus_do_not_slow_down_or_break(recwarn) -> None:
    model = make(ClipPPO, policy_kwargs={"activation_fn": th.nn.ReLU})
    with th.no_grad():
        model.policy.mlp_extractor.policy_net[0].bias.fill_(-100.0)
    model.learn(128)
    assert np.isfinite(parameters_of(model)).all()


def test_random_walk_is_deterministic_given_a_seed() -> None:
    """The agreement tests compare whole trainings; their environment has to repeat itself."""
    rewards = []
    for _ in range(2):
        env = RandomWalk()
        env.reset(seed=4)
        rewards.append([env.step(np.zeros(2))[1] for _ in range(10)])
    assert rewards[0] == rewards[1]
