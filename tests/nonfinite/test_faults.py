"""Numbers that are not finite: named in the rollout in which they come up, and never learnt from."""

import copy
import itertools
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.backends import UpdateSettings
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from tests.algorithms.models import ALGORITHMS, OwnPolicy, make, parameters_of, settings_for
from tests.environments import RandomWalk
from tests.nonfinite.faulty import BACKENDS, BAD_STEP, EVERY_BACKEND, Remember, faulty_env
from tests.parity.comparing import assert_same_tensors, make_env


def stops(model: Any, steps: int = 64 * 2 * 4) -> NonFiniteError:
    """The error that ends the training; nothing has been learnt since the last rollout began."""
    remember = Remember()
    with pytest.raises(NonFiniteError) as caught:
        model.learn(steps, remember)
    assert_same_tensors(model.get_parameters(), remember.kept, "untouched")
    return caught.value


def model_on(env, algorithm=ClipPPO, policy="MlpPolicy", **extra):
    return algorithm(policy, env, **settings_for(algorithm, **extra))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["observation", "reward"])
def test_named_with_environment_and_step(what, value, algorithm, backend) -> None:
    model = model_on(faulty_env(what, value), algorithm, update_backend=backend)
    fault = stops(model)
    # The observation is acted on at the step after the one that returned it.
    step = BAD_STEP - 65 + (what == "observation")
    steps_taken = 2 * BAD_STEP
    assert (fault.what, fault.env_index, fault.rollout_step, fault.num_timesteps) == (what, 1, step, steps_taken)
    assert f"The {what} of environment 1 is not finite: {value}" in str(fault)
    assert f"num_timesteps={steps_taken}, step {step} of the rollout" in str(fault)
    assert "Check what the environment computes" in str(fault)
    assert model.num_timesteps <= 2 * 128


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_last_observation_of_a_rollout(value, backend) -> None:
    fault = stops(model_on(faulty_env("observation", value, at=64), update_backend=backend))
    assert (fault.what, fault.env_index, fault.num_timesteps) == ("observation", 1, 128)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_terminal_observation_that_would_be_valued(value, backend) -> None:
    env = faulty_env("terminal", value)
    model = model_on(env, update_backend=backend)
    fault = stops(model)
    assert (fault.what, fault.env_index, fault.rollout_step) == ("terminal observation", 1, BAD_STEP - 65)


def test_terminal_observation_that_nobody_values_is_no_fault() -> None:
    model = model_on(faulty_env("terminal", np.nan), bootstrap_truncated=False).learn(256)
    assert np.isfinite(parameters_of(model)).all()


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_behind_normalisation_the_environment_itself_is_named(what, value) -> None:
    fault = stops(model_on(faulty_env(what, value, normalize=True)))
    assert (fault.what, fault.env_index) == (what, 1)
    assert "environment 1 is" in str(fault)
    assert "VecNormalize's running statistics are spoilt" in str(fault)


def test_dict_observations_name_the_key() -> None:
    fault = stops(model_on(faulty_env("observation", np.nan, "dict"), policy="MultiInputPolicy"))
    assert "environment 1 is not finite: nan at index (1,) of 'position'" in str(fault)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_first_observation(value) -> None:
    class Bad(RandomWalk):
        def reset(self, **kwargs):
            observation, info = super().reset(**kwargs)
            observation[:] = value
            return observation, info

    fault = stops(model_on(DummyVecEnv([Bad])))
    assert (fault.what, fault.env_index, fault.num_timesteps, fault.rollout_step) == ("observation", 0, 0, 0)


# ---- The policy's own numbers ----


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize(("name", "value"), [("log_std", np.nan), ("log_std", 200.0), ("action_net.weight", np.inf)])
def test_actions_that_are_not_finite_do_not_reach_the_environment(name, value, backend) -> None:
    class Guarded(RandomWalk):
        def step(self, action):
            assert np.isfinite(action).all()
            return super().step(action)

    model = model_on(make_vec_env(Guarded, n_envs=2), update_backend=backend)
    with th.no_grad():
        dict(model.policy.named_parameters())[name].fill_(value)
    with pytest.raises(NonFiniteError) as caught:
        model.learn(128)
    assert caught.value.what == ("parameters" if not np.isfinite(value) else "output")
    assert name in str(caught.value)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_that_overflow_are_named(backend) -> None:
    model = model_on(make_env(n_envs=2), policy="BetaMlpPolicy", update_backend=backend)
    with th.no_grad():
        model.policy.mlp_extractor.policy_net[-2].bias.fill_(10.0)  # tanh is 1
        model.policy.action_net.weight.fill_(3e38)
    with pytest.raises(NonFiniteError, match="from finite observations and parameters") as caught:
        model.learn(128)
    assert caught.value.what == "output"


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_critic_that_is_not_finite(backend) -> None:
    model = model_on(make_env(n_envs=2), update_backend=backend)
    with th.no_grad():
        model.policy.value_net.bias[0] = np.nan
    with pytest.raises(NonFiniteError, match=r"The policy's parameter value_net\.bias is not finite") as caught:
        model.learn(128)
    assert caught.value.what == "parameters"


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_rewards_whose_squares_overflow(algorithm, backend) -> None:
    fault = stops(model_on(faulty_env("reward", 1e30), algorithm, update_backend=backend))
    assert (fault.what, fault.env_index, fault.rollout_step) == ("loss", 1, BAD_STEP - 65)
    assert "The returns reach 1e+30" in str(fault)
    assert "scale the rewards" in str(fault)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_large_rewards_that_do_not_overflow_are_no_fault(backend) -> None:
    model = model_on(faulty_env("reward", 1e12), update_backend=backend).learn(256)
    assert np.isfinite(parameters_of(model)).all()


# ---- The update ----


class Poison(BaseCallback):
    """Spoils some rows of the rollout once it is complete, as if a number had gone wrong in the update."""

    def __init__(self, field: str, value: float, rows: slice = slice(40, 41), rollouts: int = 10**9):
        super().__init__()
        self.field, self.value, self.rows, self.left = field, value, rows, rollouts

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.left > 0:
            getattr(self.model.rollout_buffer, self.field)[self.rows, 0] = self.value
        self.left -= 1


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("field", ["advantages", "log_probs"])
def test_a_bad_gradient_is_not_followed(field, algorithm, backend) -> None:
    model = make(algorithm, batch_size=64, update_backend=backend) if algorithm is not REINFORCE else make(algorithm)
    if algorithm is REINFORCE and field == "log_probs":
        pytest.skip("REINFORCE does not look at the old policy")
    before = copy.deepcopy(model.get_parameters())
    with pytest.raises(NonFiniteError) as caught:
        model.learn(64, Poison(field, np.nan))
    # The whole rollout is one minibatch: no step was right.
    assert_same_tensors(model.get_parameters()["policy"], before["policy"], "policy")
    for entry in model.policy.optimizer.state.values():
        assert not entry["exp_avg"].any()
        assert float(entry["step"]) == 0
    assert caught.value.what in ("loss", "gradient")
    assert caught.value.env_index == 0
    assert "of the update at num_timesteps=64" in str(caught.value)
    assert "step 40 of the rollout" in str(caught.value)
    assert "This step was not taken" in str(caught.value)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("value", [1e30, np.inf])
def test_a_gradient_that_overflows_names_the_largest_return(value, backend) -> None:
    model = make(ClipPPO, batch_size=64, update_backend=backend)
    with pytest.raises(NonFiniteError) as caught:
        model.learn(64, Poison("returns", value))
    assert caught.value.env_index == 0
    expected = "return at step 40 of the rollout (from 0) is not finite" if value == np.inf else "largest return, 1e+30"
    assert expected in str(caught.value)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_ratios_that_overflow_without_clipping(backend) -> None:
    model = make(UnclippedPPO, batch_size=64, update_backend=backend)
    with pytest.raises(NonFiniteError, match=r"minibatch 0 of epoch 0.*ratios that overflow"):
        model.learn(64, Poison("log_probs", -200.0))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_trpos_critic(backend) -> None:
    model = make(TRPO, update_backend=backend)
    with pytest.raises(NonFiniteError, match="a minibatch of the critic"):
        model.learn(64, Poison("returns", np.inf))


# ---- Skipping ----


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_a_bad_rollout_is_skipped_and_counted(algorithm, backend, tmp_path) -> None:
    settings = {"update_backend": backend, "nonfinite_update": "skip"}
    model = model_on(faulty_env("reward", np.nan), algorithm, **settings)
    kept = []

    class Watch(Remember):
        def _on_rollout_start(self) -> None:
            super()._on_rollout_start()
            kept.append(self.kept)

    model.learn(128 * 3, Watch())
    # Rollouts 0, 1 (bad), 2: what was learnt is there at the start of the next.
    assert_same_tensors(kept[2], kept[1], "the bad rollout is not learnt from")
    assert not th.equal(kept[1]["policy"]["log_std"], kept[0]["policy"]["log_std"]) or algorithm is TRPO
    after = parameters_of(model)
    assert np.isfinite(after).all()
    assert model.logger.name_to_value["train/nonfinite_updates"] == 1
    model.save(tmp_path / "model")
    assert type(model).load(tmp_path / "model")._n_nonfinite_updates == 1
    assert type(model).load_safe(model.save_safe(tmp_path / "model"))._n_nonfinite_updates == 1


@pytest.mark.parametrize("norm_reward", [True, False])
def test_statistics_that_are_spoilt_for_good_are_not_skipped(norm_reward) -> None:
    env = VecNormalize(faulty_env("reward", np.nan), norm_reward=norm_reward)
    model = model_on(env, ClipPPO, nonfinite_update="skip")
    if norm_reward:
        with pytest.raises(NonFiniteError, match="VecNormalize's running statistics are spoilt"):
            model.learn(128 * 3)
    else:
        model.learn(128 * 3)
        assert model.logger.name_to_value["train/nonfinite_updates"] == 1


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_bad_minibatch_is_skipped_as_if_it_had_not_been_drawn(backend) -> None:
    """With the oracle: an epoch of the other minibatch alone, taken by hand."""
    settings = {"n_epochs": 1, "batch_size": 32, "update_backend": backend, "nonfinite_update": "skip"}
    model, other = make(ClipPPO, **settings), make(ClipPPO, **settings)
    for one in (model, other):
        _, callback = one._setup_learn(64)
        th.manual_seed(5)
        one.env.seed(5)
        one._last_obs = one.env.reset()
        one.collect_rollouts(one.env, callback, one.rollout_buffer, 64)
    model.rollout_buffer.advantages[40] = np.nan
    np.random.seed(9)
    model.train()
    settings = UpdateSettings(other._objective(), True, 0.5, keep_old_policy=True)
    update = other._current_backend().update(other.rollout_buffer, settings)
    np.random.seed(9)
    order = np.random.permutation(64)
    np.random.seed(9)
    for number, minibatch in enumerate(update.epoch(32)):
        if 40 not in order[32 * number : 32 * number + 32]:
            update.step(update.evaluate(minibatch))
    assert_same_tensors(model.get_parameters(), other.get_parameters(), "parameters")
    log, expected = model.logger.name_to_value, update.statistics().summary()
    assert log["train/nonfinite_updates"] == 1
    for key in ("policy_gradient_loss", "value_loss", "loss", "grad_norm", "approx_kl", "ess"):
        assert log[f"train/{key}"] == expected[key], key


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_when_every_minibatch_is_skipped(backend) -> None:
    model = make(ClipPPO, update_backend=backend, nonfinite_update="skip", normalize_advantage="rollout")
    before = parameters_of(model)
    model.learn(64, Poison("advantages", np.nan))
    np.testing.assert_array_equal(parameters_of(model), before)
    assert model.logger.name_to_value["train/nonfinite_updates"] == 4  # 2 epochs of 2 minibatches


class SpoilOutputs(BaseCallback):
    """Makes the policy's outputs NaN once the rollout is complete."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        with th.no_grad():
            self.model.policy.action_net.bias.fill_(np.nan)


@pytest.mark.parametrize(("policy", "backend"), [*itertools.product(["MlpPolicy", "BetaMlpPolicy"], BACKENDS)])
def test_outputs_that_are_not_finite_in_an_update(policy, backend) -> None:
    with pytest.raises(NonFiniteError, match="This step was not taken"):
        make(ClipPPO, policy, update_backend=backend).learn(64, SpoilOutputs())
    model = make(ClipPPO, policy, update_backend=backend, nonfinite_update="skip").learn(64, SpoilOutputs())
    assert model.logger.name_to_value["train/nonfinite_updates"] == 4  # 2 epochs of 2 minibatches
    assert th.distributions.Distribution._validate_args  # torch's checks are only off in the update


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_penalty_is_not_lowered_by_an_update_without_steps(backend) -> None:
    settings = {"update_backend": backend, "nonfinite_update": "skip", "normalize_advantage": "rollout"}
    model = make(KLPenaltyPPO, **settings).learn(64, Poison("advantages", np.nan))
    assert model.logger.name_to_value["train/kl"] == 0
    assert model.kl_coef == 1


@pytest.mark.parametrize("algorithm", [ClipPPO, REINFORCE])
def test_the_fault_of_a_rollout_that_was_not_finished_ends_with_it(algorithm) -> None:
    model = model_on(faulty_env("reward", np.nan), algorithm, nonfinite_update="skip")
    model.learn(512, lambda state, _: state["self"].num_timesteps <= 2 * BAD_STEP)
    assert 128 < model.num_timesteps < 256
    before = parameters_of(model)
    model.learn(128)
    assert model._n_nonfinite_updates == 0
    assert not np.array_equal(parameters_of(model), before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_cannot_be_acted_on_stops_even_so(value) -> None:
    model = model_on(faulty_env("observation", value), nonfinite_update="skip")
    if np.isnan(value):
        with pytest.raises(NonFiniteError, match="observation of environment 1"):
            model.learn(512)
    else:
        # A tanh makes a number of it: the policy acts, and the rollout is left out.
        model.learn(512)
        assert model._n_nonfinite_updates == 1


def test_skipping_changes_nothing_where_all_is_finite() -> None:
    ours = make(ClipPPO, nonfinite_update="skip").learn(192)
    np.testing.assert_array_equal(parameters_of(ours), parameters_of(make(ClipPPO).learn(192)))


# ---- What is no fault ----


class IgnoresMissing(BaseFeaturesExtractor):
    """Reads a NaN as a missing value."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 4)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.nan_to_num(observations)


def test_an_extractor_that_knows_what_to_do_with_nan_keeps_working() -> None:
    kwargs = {"features_extractor_class": IgnoresMissing}
    model = model_on(faulty_env("observation", np.nan), policy_kwargs=kwargs).learn(256)
    assert np.isfinite(parameters_of(model)).all()


def test_a_callback_may_mend_a_reward() -> None:
    class Mend(BaseCallback):
        def _on_step(self) -> bool:
            np.nan_to_num(self.locals["rewards"], copy=False)
            return True

    model = model_on(faulty_env("reward", np.nan)).learn(256, Mend())
    assert np.isfinite(parameters_of(model)).all()


def test_other_errors_stay_what_they_are() -> None:
    class Raising(OwnPolicy):
        def forward(self, *args, **kwargs):
            raise ValueError("the policy's own reason")

    with pytest.raises(ValueError, match="the policy's own reason") as caught:
        model_on(make_env(), policy=Raising).learn(64)
    assert not isinstance(caught.value, NonFiniteError)


def test_the_error_survives_another_process() -> None:
    fault = pickle.loads(pickle.dumps(NonFiniteError("m", "reward", 1, 2, 3)))
    assert (str(fault), fault.what, fault.env_index, fault.num_timesteps, fault.rollout_step) == (
        "m",
        "reward",
        1,
        2,
        3,
    )


def test_a_file_of_sb3s_gets_the_default(tmp_path) -> None:
    PPO("MlpPolicy", gym.make("Pendulum-v1"), n_steps=64).save(tmp_path / "model")
    assert ClipPPO.load(tmp_path / "model").nonfinite_update == "raise"
