"""Torch parameters on numpy's memory: nothing that SB3 users do to a model breaks it."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO
from tests.algorithms.models import make, parameters_of, settings_for
from tests.environments import RandomWalk
from tests.parity.comparing import assert_same_tensors, make_env


@pytest.fixture(params=[ClipPPO, REINFORCE, TRPO], ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


def bound_addresses(model) -> bool:
    network = model._backend.network
    return network is not None and network.is_bound_to(model.policy)


def test_training_is_on_shared_memory(algorithm) -> None:
    model = make(algorithm).learn(64)
    assert model.active_backend == "closed_form"
    assert bound_addresses(model)
    model._backend.network.bound.flat[:] = 0.25
    assert all((parameter == 0.25).all() for parameter in model.policy.parameters())


@pytest.mark.parametrize(
    "disturb",
    [
        lambda model: model.set_parameters(copy.deepcopy(model.get_parameters())),
        lambda model: model.policy.load_state_dict(copy.deepcopy(model.policy.state_dict())),
        lambda model: model.policy.optimizer.load_state_dict(copy.deepcopy(model.policy.optimizer.state_dict())),
        lambda model: model.policy.double().float(),
        lambda model: model.policy.load_from_vector(model.policy.parameters_to_vector()),
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
    copied = copy.deepcopy(model)
    copied.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(model), kept)
    assert not np.array_equal(parameters_of(copied), kept)
    assert bound_addresses(copied)
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


def learn_with(backend: str, callback=None, algorithm=ClipPPO, steps: int = 192, prepare=None, **settings):
    model = make(algorithm, update_backend=backend, **settings)
    if prepare is not None:
        model.learn(64)
        prepare(model)
    return model.learn(steps, callback)


def assert_backends_agree(**how) -> None:
    closed, autograd = (learn_with(backend, **how) for backend in ("closed_form", "autograd"))
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=1e-4, atol=1e-5)


def narrow(model) -> None:
    model.policy.log_std = th.nn.Parameter(th.full((2,), -5.0))
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=3e-4, eps=1e-5)


def test_a_replaced_parameter_is_the_one_that_acts_and_learns() -> None:
    assert_backends_agree(prepare=narrow)
    model = learn_with("closed_form", prepare=narrow)
    assert model.rollout_buffer.actions.std() < 0.2
    assert model.policy.log_std.max() < -4


def test_unequal_adam_steps_of_actor_and_critic_are_kept_apart(tmp_path) -> None:
    teacher = make(TRPO).learn(64)
    teacher.save(tmp_path / "trpo")
    models = [ClipPPO.load(tmp_path / "trpo", env=make_env(), update_backend=b) for b in ("closed_form", "autograd")]
    results = []
    for backend in ("closed_form", "autograd"):
        model = ClipPPO.load(tmp_path / "trpo", env=make_env(), update_backend=backend)
        results.append(parameters_of(model.learn(64)))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)
    assert models[0].active_backend == "closed_form"


class MoveWeights(BaseCallback):
    """Replaces the weights in the middle of a rollout by SB3's public method, which moves their memory."""

    def __init__(self, when: str):
        super().__init__()
        self.when = when

    def _replace(self) -> None:
        vector = self.model.policy.parameters_to_vector()
        self.model.policy.load_from_vector(0.5 * vector)

    def _on_rollout_start(self) -> None:
        if self.when == "start":
            self._replace()

    def _on_step(self) -> bool:
        if self.when == "step" and self.n_calls == 20:
            self._replace()
        return True


@pytest.mark.parametrize("when", ["start", "step"])
def test_weights_moved_by_a_callback_during_a_rollout_act_at_once(when: str) -> None:
    closed, autograd = (learn_with(b, callback=MoveWeights(when)) for b in ("closed_form", "autograd"))
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=1e-4, atol=1e-5)


class EditsWeights(VecEnvWrapper):
    """A user's wrapper that halves the weights in the middle of a rollout, in place or in new memory."""

    in_place = True
    policy = None
    n_steps = 0

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        self.n_steps += 1
        if self.policy is not None and self.n_steps == 20:
            weight = self.policy.action_net.weight
            if self.in_place:
                weight.data.mul_(0.5)
            else:
                weight.data = 0.5 * weight.data
        return self.venv.step_wait()


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("outside", [False, True])
def test_weights_edited_by_a_wrapper_act_at_once(in_place: bool, outside: bool) -> None:
    results = []
    for backend in ("closed_form", "autograd"):
        wrapper = EditsWeights(make_env())
        wrapper.in_place = in_place
        env = VecNormalize(wrapper) if outside else wrapper
        model = ClipPPO("MlpPolicy", env, n_steps=64, seed=3, update_backend=backend)
        wrapper.policy = model.policy
        model.learn(64)
        results.append(model)
    ours, theirs = results
    np.testing.assert_allclose(parameters_of(ours), parameters_of(theirs), rtol=1e-4, atol=1e-5)
    for name in ("values", "log_probs"):
        mine, expected = (getattr(model.rollout_buffer, name) for model in results)
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


def test_a_method_put_on_sb3s_callback_is_shown_values() -> None:
    seen = []
    callback = StopTrainingOnMaxEpisodes(1000)
    callback._on_step = lambda: seen.append(callback.locals["values"]) or True
    learn_with("closed_form", callback=callback, steps=64)
    assert len(seen) == 64
    assert all(value is not None for value in seen)


def test_normalised_integers_are_valued_before_the_buffer_rounds_them() -> None:
    def make_integers() -> gym.Env:
        whole = spaces.Box(-100, 100, (3,), np.int64)
        return gym.wrappers.TransformObservation(RandomWalk(), lambda x: (100 * x[:3]).astype(np.int64), whole)

    found = []
    for callback in (None, Looks()):
        env = VecNormalize(DummyVecEnv([make_integers]))
        model = ClipPPO("MlpPolicy", env, n_steps=64, seed=3, device="cpu").learn(64, callback)
        assert model.active_backend == "closed_form"
        found.append((model.rollout_buffer.values, model.rollout_buffer.log_probs))
    for ours, at_once in zip(*found, strict=True):
        np.testing.assert_allclose(ours, at_once, rtol=1e-5, atol=1e-6)


class Looks(BaseCallback):
    """A user's callback that does nothing; values are computed at every step for it."""

    def _on_step(self) -> bool:
        assert self.locals["values"] is not None
        return True


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
def test_looking_at_values_changes_nothing(dtype) -> None:
    def env():
        wrapped = RandomWalk()
        wrapped.action_space = gym.spaces.Box(-3, 3, (2,), dtype)
        return wrapped

    models = [ClipPPO("MlpPolicy", env(), n_steps=64, seed=3).learn(128, callback) for callback in (None, Looks())]
    np.testing.assert_allclose(parameters_of(models[0]), parameters_of(models[1]), rtol=1e-4, atol=1e-5)


def test_values_are_filled_in_when_a_callback_stops_in_mid_rollout() -> None:
    models = [learn_with(b, callback=StopTrainingOnMaxEpisodes(2), steps=10_000) for b in ("closed_form", "autograd")]
    for name in ("values", "log_probs"):
        ours, theirs = (getattr(model.rollout_buffer, name) for model in models)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        assert np.abs(theirs).sum() > 0


def test_an_observation_that_is_not_finite_is_refused_like_in_torch() -> None:
    class Broken(RandomWalk):
        def step(self, action):
            observation, *rest = super().step(action)
            return (observation * np.nan if self._steps == 3 else observation), *rest

    for backend in ("closed_form", "autograd"):
        model = ClipPPO("MlpPolicy", Broken(), n_steps=64, update_backend=backend)
        with pytest.raises(ValueError, match="nan"):
            model.learn(64)


def test_row_counts_that_change_do_not_pile_up() -> None:
    model = make(REINFORCE, baseline=False, env={"n_envs": 2}).learn(30 * 128)
    assert len(model._backend.network.pi._buffers) <= 8


def test_the_gradient_shows_in_grad() -> None:
    model = make(ClipPPO).learn(64)
    norm = th.sqrt(sum((parameter.grad**2).sum() for parameter in model.policy.parameters()))
    assert 0 < norm <= 0.5 + 1e-5  # clipped to max_grad_norm


def test_a_buffer_passed_to_collect_rollouts_is_asked_itself() -> None:
    calls = []

    class Counting(RolloutBuffer):
        def add(self, *args):
            calls.append(1)
            super().add(*args)

    model = make(ClipPPO)
    _, callback = model._setup_learn(64)
    own = Counting(64, model.observation_space, model.action_space, "cpu")
    model.collect_rollouts(model.get_env(), callback, own, 64)
    assert len(calls) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: setattr(policy, "action_net", th.nn.Linear(64, 2)),
        lambda policy: setattr(policy, "log_std", th.nn.Parameter(policy.log_std.clone())),
        lambda policy: setattr(policy.value_net, "bias", th.nn.Parameter(policy.value_net.bias.clone())),
        lambda policy: policy.mlp_extractor.policy_net.append(th.nn.Tanh()),
        lambda policy: policy.mlp_extractor.policy_net.__delitem__(3),
        lambda policy: setattr(policy.action_net.weight, "data", policy.action_net.weight.data.clone()),
        lambda policy: policy.register_parameter("another", th.nn.Parameter(th.zeros(1))),
    ],
)
def test_every_replaced_part_is_seen(change) -> None:
    model = make(ClipPPO).learn(64)
    assert bound_addresses(model)
    with th.no_grad():
        model.policy.action_net.weight.mul_(0.5)  # in place: the memory is the same
    assert bound_addresses(model)
    change(model.policy)
    assert not bound_addresses(model)
