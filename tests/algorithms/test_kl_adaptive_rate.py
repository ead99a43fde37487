"""A learning rate that follows the KL: what it is in force in training, in files, and where it is refused."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLAdaptiveRate, KLPenaltyPPO, UnclippedPPO
from tests.algorithms.models import ForeignPolicy, OwnBuffer, make, parameters_of
from tests.nonfinite.faulty import BACKENDS
from tests.parity.comparing import make_env

EVERY = ("update", "minibatch")


class RateWatch(BaseCallback):
    """Of each update but the last: the rate and the KL that it logged, and the rate that it left in the optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[float] = []
        self.kls: list[float] = []
        self.left: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        values = self.logger.name_to_value
        if "train/learning_rate" in values:
            self.logged.append(values["train/learning_rate"])
            self.kls.append(values["train/kl"])
            self.left.append(self.model.policy.optimizer.param_groups[0]["lr"])


def watched(n_updates: int, **settings: Any) -> tuple[Any, RateWatch]:
    watch, model = RateWatch(), make(ClipPPO, measure_kl=True, **settings)
    return model.learn(n_updates * 64, watch, log_interval=100), watch


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_each_update_the_rate_follows_the_logged_kl(backend) -> None:
    rule = KLAdaptiveRate(0.003, tolerance=1.1, initial=2e-3)
    model, watch = watched(5, learning_rate=rule, update_backend=backend)
    for logged, kl, left in zip(watch.logged, watch.kls, watch.left, strict=True):
        assert logged == left == rule()
        rule = rule.after(kl)
    assert len(set(watch.logged)) > 2
    assert model.current("learning_rate") == rule.after(model.logger.name_to_value["train/kl"])()


def test_the_kl_is_measured_even_if_it_is_not_asked_for() -> None:
    model = make(ClipPPO, learning_rate="kl_0.01", measure_kl=False, update_backend="autograd").learn(64)
    assert model.logger.name_to_value["train/kl"] > 0
    assert model.learning_rate.rate is not None


@pytest.mark.parametrize(
    ("every", "settings"),
    [
        ("update", {"env": {"actions": "box"}}),
        ("minibatch", {"env": {"actions": "box"}}),
        ("minibatch", {"env": {"actions": "multi_discrete"}, "kl_coef": 0.5, "learning_rate_vf": 2e-3}),
    ],
    ids=["update", "minibatch", "penalty"],
)
def test_both_backends_have_the_same_rates(every, settings) -> None:
    rule = KLAdaptiveRate(0.01, every=every)
    (closed, ours), (torchs, theirs) = (
        watched(3, learning_rate=rule, update_backend=backend, **settings) for backend in ("closed_form", "autograd")
    )
    assert ours.logged == theirs.logged
    assert ours.left == theirs.left
    assert closed.learning_rate == torchs.learning_rate
    assert closed.learning_rate.rate != rule()
    np.testing.assert_allclose(parameters_of(closed), parameters_of(torchs), rtol=1e-3, atol=1e-4)
    if "learning_rate_vf" in settings:
        assert closed.policy.optimizer.param_groups[1]["lr"] == 2e-3


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize(("target", "limit"), [(1e3, 4e-4), (1e-12, 2e-4)])
def test_a_target_out_of_reach_takes_the_rate_to_its_limit(target, limit, every) -> None:
    rate = KLAdaptiveRate(target, low=2e-4, high=4e-4, every=every)
    assert make(ClipPPO, learning_rate=rate).learn(128).current("learning_rate") == limit


@pytest.mark.parametrize("backend", BACKENDS)
def test_minibatches_count_from_the_second_of_an_update(backend) -> None:
    """Before its first step the KL is zero up to rounding, which must not raise the rate: 2 epochs, 2 minibatches."""
    rate = KLAdaptiveRate(1e3, high=1.0, every="minibatch")
    model = make(ClipPPO, learning_rate=rate, update_backend=backend).learn(128)
    assert model.current("learning_rate") == pytest.approx(3e-4 * 1.5**6)


@pytest.mark.parametrize("every", EVERY)
def test_it_depends_neither_on_the_progress_nor_on_a_fixed_penalty(every) -> None:
    rate = KLAdaptiveRate(1e3, high=1.0, every=every)
    one = make(KLPenaltyPPO, adaptive_kl_target=None, learning_rate=rate).learn(128)
    two = make(KLPenaltyPPO, adaptive_kl_target=None, learning_rate=rate).learn(64)
    two.learn(64, reset_num_timesteps=False)
    assert one.learning_rate == two.learning_rate != rate


@pytest.mark.parametrize("every", EVERY)
def test_policies_and_buffers_without_exact_kl_use_the_estimate(every) -> None:
    rate = KLAdaptiveRate(1e3, every=every)
    for model in (
        ClipPPO(ForeignPolicy, make_env(), n_steps=64, n_epochs=2, learning_rate=rate),
        make(ClipPPO, rollout_buffer_class=OwnBuffer, learning_rate=rate),
    ):
        assert model.learn(64).current("learning_rate") > 3e-4


def test_another_models_schedule_may_be_passed_on() -> None:
    other = make(ClipPPO, learning_rate=KLAdaptiveRate(1e3))
    model = make(ClipPPO, learning_rate=other.lr_schedule)
    assert model.learn(128).current("learning_rate") == pytest.approx(3e-4 * 1.5**2)


def test_models_do_not_share_their_rates() -> None:
    rate = KLAdaptiveRate(1e3)
    first, second = make(ClipPPO, learning_rate=rate), make(ClipPPO, learning_rate=rate)
    first.learn(64)
    assert (second.current("learning_rate"), rate.rate) == (3e-4, None)


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("file", ["zip", "safe"])
def test_a_file_keeps_the_rate_in_force(tmp_path, file, every) -> None:
    model = make(ClipPPO, learning_rate=KLAdaptiveRate(1e3, every=every)).learn(128)
    if file == "zip":
        model.save(tmp_path / "model")
        loaded = ClipPPO.load(tmp_path / "model", env=make_env())
    else:
        loaded = ClipPPO.load_safe(model.save_safe(tmp_path / "model"), env=make_env())
    assert loaded.learning_rate == model.learning_rate
    assert loaded.learning_rate.rate > 3e-4
    for one in (model, loaded):
        one.set_env(make_env(), force_reset=True)
        one.set_random_seed(5)
        one.learn(64, reset_num_timesteps=False)
    assert loaded.learning_rate == model.learning_rate
    np.testing.assert_array_equal(parameters_of(loaded), parameters_of(model))


def test_sb3s_ppo_keeps_the_rate_of_a_file(tmp_path) -> None:
    model = make(ClipPPO, learning_rate=KLAdaptiveRate(1e3)).learn(128)
    model.save(tmp_path / "model")
    theirs = PPO.load(tmp_path / "model", env=make_env()).learn(64)
    assert theirs.policy.optimizer.param_groups[0]["lr"] == model.current("learning_rate") == pytest.approx(6.75e-4)


def test_strings_are_parsed_where_they_are_assigned_and_loaded(tmp_path) -> None:
    assert make(ClipPPO, learning_rate="kl_0.01").learning_rate == KLAdaptiveRate(0.01)
    model = make(ClipPPO)
    model.learning_rate = "kl_1e3"
    assert model.learn(64).current("learning_rate") == pytest.approx(4.5e-4)
    make(ClipPPO).save(tmp_path / "model")
    assert ClipPPO.load(tmp_path / "model", learning_rate="kl_0.02").learning_rate == KLAdaptiveRate(0.02)


@pytest.mark.parametrize("text", ["kl_", "kl_fast", "kl_-1", "kl_nan"])
def test_strings_that_are_no_target_are_refused(text) -> None:
    with pytest.raises(ValueError, match=rf'^learning_rate=\'{text}\' is not a coefficient: .* such as "kl_0.01"'):
        make(ClipPPO, learning_rate=text)


@pytest.mark.parametrize("algorithm", [TRPO, REINFORCE])
def test_algorithms_with_one_step_per_rollout_refuse_it(algorithm) -> None:
    with pytest.raises(ValueError, match=r"^learning_rate=KLAdaptiveRate\(target=0.01.*only for .* the PPOs: pass"):
        make(algorithm, learning_rate="kl_0.01")
    model = make(algorithm)
    model.learning_rate = "kl_0.01"
    with pytest.raises(ValueError, match=r"^learning_rate=KLAdaptiveRate"):
        model.learn(64)


@pytest.mark.parametrize("name", ["learning_rate_vf", "ent_coef", "clip_range"])
def test_other_coefficients_cannot_follow_the_kl(name) -> None:
    with pytest.raises(ValueError, match=rf"^{name}='kl_0.01' is not a coefficient"):
        make(ClipPPO, **{name: "kl_0.01"})
    with pytest.raises(ValueError, match=rf"^{name}=KLAdaptiveRate\(.*only for the learning_rate"):
        make(ClipPPO, **{name: KLAdaptiveRate(0.01)})


def test_rate_and_coefficient_cannot_both_follow_the_kl(tmp_path) -> None:
    message = r"^learning_rate=KLAdaptiveRate\(.* while adaptive_kl_target=0.01 .*: pass adaptive_kl_target=None"
    with pytest.raises(ValueError, match=message):
        make(KLPenaltyPPO, learning_rate="kl_0.01")
    make(ClipPPO, learning_rate="kl_0.01").save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        KLPenaltyPPO.load(tmp_path / "model", env=make_env()).learn(64)
    KLPenaltyPPO.load(tmp_path / "model", env=make_env(), adaptive_kl_target=None).learn(64)


def test_an_unclipped_ppo_is_restrained_by_it() -> None:
    free, held = (
        make(UnclippedPPO, n_epochs=10, learning_rate=rate, measure_kl=True).learn(4 * 64)
        for rate in (1e-2, KLAdaptiveRate(0.01, initial=1e-2))
    )
    assert held.logger.name_to_value["train/kl"] < free.logger.name_to_value["train/kl"] / 2
