"""TRPO's own settings: natural gradient, subsampling, entropy, and steps that must not be taken."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch as th

from sb3_ppo_variants import TRPO
from sb3_ppo_variants.algorithms import trpo
from sb3_ppo_variants.backends import natural_step
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from tests.algorithms.models import ForeignPolicy, make, parameters_of
from tests.parity.comparing import make_env


def actor_parameters(model: TRPO) -> np.ndarray:
    named = model.policy.named_parameters()
    return np.concatenate([p.detach().numpy().ravel() for name, p in named if "value" not in name]).copy()


def test_natural_gradient_takes_the_whole_step() -> None:
    model = make(TRPO, line_search=False, target_kl=0.001).learn(64)
    log = model.logger.name_to_value
    assert log["train/line_search_tries"] == 1
    # To second order the KL of the whole step is δ (damping makes it a little less).
    assert 0.3 * 0.001 < log["train/kl"] < 1.3 * 0.001


@pytest.mark.parametrize("env", [{}, {"observations": "dict"}, {"actions": "multi_discrete"}])
def test_subsampling_thins_only_the_fisher_product(env, monkeypatch) -> None:
    policy = "MultiInputPolicy" if env.get("observations") == "dict" else "MlpPolicy"
    seen = []
    original = trpo.natural_gradient_step

    def spy(update, *args):
        step = original(update, *args)
        seen.append((update.gradient.clone(), step))
        return step

    monkeypatch.setattr(trpo, "natural_gradient_step", spy)
    for factor in (1, 5):
        make(TRPO, policy, env, sub_sampling_factor=factor).learn(64)
    (gradient, step), (thin_gradient, thin_step) = seen
    np.testing.assert_array_equal(gradient, thin_gradient)
    assert not np.array_equal(step, thin_step)
    # Yet it is an estimate of the same direction.
    assert th.nn.functional.cosine_similarity(step, thin_step, dim=0) > 0.5


@pytest.mark.parametrize("backend", ["closed_form", "autograd"])
@pytest.mark.parametrize(("gap", "cg_damping"), [(40.0, 0.0), (48.0, 0.1), (60.0, 0.1), (120.0, 0.0)])
def test_a_policy_that_is_all_but_certain_stays_as_it_is(gap: float, cg_damping: float, backend: str) -> None:
    """Its gradient is finite, though its square may underflow, and no step improves the objective: that is no error."""
    model = make(TRPO, env={"actions": "discrete"}, update_backend=backend, cg_damping=cg_damping)
    with th.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.copy_(th.tensor([gap, 0.0, 0.0])[: len(model.policy.action_net.bias)])
    before = actor_parameters(model)
    model.learn(128)
    assert model.logger.name_to_value["train/nonfinite_step"] == 0
    assert model.logger.name_to_value["train/is_line_search_success"] == 0
    np.testing.assert_array_equal(actor_parameters(model), before)


def test_a_saturated_multi_binary_policy_is_trained_by_autograd() -> None:
    model = make(TRPO, env={"actions": "multi_binary"}, update_backend="autograd")
    with th.no_grad():
        model.policy.action_net.bias[0] = 95.0  # e^95 overflows in float32
    model.learn(128)
    assert model.logger.name_to_value["train/nonfinite_step"] == 0


def test_entropy_bonus_enters_the_objective() -> None:
    entropies = []
    for ent_coef in (0.0, 10.0):
        model = make(TRPO, ent_coef=ent_coef).learn(3 * 64)
        entropies.append(model.logger.name_to_value["train/std"])
    assert entropies[1] > entropies[0]


@pytest.mark.parametrize("line_search", [True, False])
@pytest.mark.parametrize("poison", ["advantages", "log_probs"])
def test_no_step_on_numbers_that_are_not_finite(line_search, poison, capsys) -> None:
    model = make(TRPO, line_search=line_search, n_critic_updates=0, verbose=1, nonfinite_update="skip")
    _, callback = model._setup_learn(64)
    model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, model.n_steps)
    getattr(model.rollout_buffer, poison)[7] = np.nan
    before = parameters_of(model)
    model.train()
    np.testing.assert_array_equal(parameters_of(model), before)
    assert model.logger.name_to_value["train/nonfinite_step"] == 1.0
    assert model.logger.name_to_value["train/is_line_search_success"] == 0.0
    assert model._n_nonfinite_updates == 1
    assert "not finite" in capsys.readouterr().out


@pytest.mark.parametrize("nonfinite_update", ["raise", "skip"])
def test_a_step_that_is_not_finite_is_refused(nonfinite_update, monkeypatch) -> None:
    # Its gradient is finite; the products with the Fisher matrix are not.
    monkeypatch.setattr(natural_step, "conjugate_gradient", lambda product, b, *_: b * np.nan)
    model = make(TRPO, nonfinite_update=nonfinite_update, n_critic_updates=0)
    before = parameters_of(model)
    with pytest.raises(NonFiniteError) if nonfinite_update == "raise" else nullcontext():
        model.learn(64)
    np.testing.assert_array_equal(parameters_of(model), before)
    assert model._n_nonfinite_updates == (nonfinite_update == "skip")


def test_equal_advantages_give_no_direction_and_no_step() -> None:
    model = make(TRPO, n_critic_updates=0)
    _, callback = model._setup_learn(64)
    model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, model.n_steps)
    model.rollout_buffer.advantages[:] = 1.5
    before = parameters_of(model)
    model.train()
    np.testing.assert_array_equal(parameters_of(model), before)
    assert model.logger.name_to_value["train/nonfinite_step"] == 0.0


def test_rejected_search_leaves_the_policy_bit_for_bit(monkeypatch) -> None:
    model = make(TRPO, line_search_max_iter=2)
    before = actor_parameters(model)
    search = trpo.search_step

    def unsatisfiable(update, step, delta, *settings):
        return search(update, step, -1.0, *settings)

    monkeypatch.setattr(trpo, "search_step", unsatisfiable)
    model.learn(64)
    np.testing.assert_array_equal(actor_parameters(model), before)
    assert model.logger.name_to_value["train/line_search_tries"] == 2


def test_a_foreign_distribution_is_constrained_by_the_sample_estimate() -> None:
    with pytest.warns(UserWarning, match="the KL itself may exceed target_kl"):
        model = TRPO(ForeignPolicy, make_env(), n_steps=256, seed=0).learn(512)
    assert 0 < model.logger.name_to_value["train/kl"] <= 0.01
    for setting in ({"kl_direction": "new_old"}, {"kl_reduction": "mean"}):
        ((name, value),) = setting.items()
        with pytest.raises(ValueError, match=f"{name}={value!r} needs a KL in closed form"):
            TRPO(ForeignPolicy, make_env(), n_steps=256, **setting).learn(256)
