"""KLPenaltyPPO: the exact KL, the coefficient's bookkeeping, and that the penalty does restrain."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import kl_divergence

from sb3_ppo_variants import ClipPPO, KLPenaltyPPO, UnclippedPPO
from tests.algorithms.models import ForeignPolicy, make, parameters_of
from tests.parity.comparing import make_env
from tests.parity.contrib import ConstraintCallback


class CoefficientWatch(ConstraintCallback):
    """Adds the coefficients: the one logged as used, and the model's next one."""

    def __init__(self):
        super().__init__()
        self.used: list[float] = []
        self.next: list[float] = []
        self.started_with: float | None = None

    def _on_rollout_start(self) -> None:
        if self._before is None:
            self.started_with = self.model.kl_coef
            return
        self.logger.name_to_value["train/is_line_search_success"] = 1.0
        super()._on_rollout_start()
        self.used.append(self.logger.name_to_value["train/kl_coef"])
        self.next.append(self.model.kl_coef)


@pytest.mark.parametrize(
    ("env", "extra"),
    [
        ({"actions": "box"}, {}),
        ({"actions": "discrete"}, {}),
        ({"actions": "multi_discrete"}, {}),
        ({"actions": "multi_binary"}, {}),
        ({"actions": "box"}, {"use_sde": True}),
        ({"actions": "box", "n_envs": 2}, {"batch_size": 48}),
    ],
)
@pytest.mark.filterwarnings("ignore:batch_size")
def test_logged_kl_is_torch_distributions_kl_and_drives_the_coefficient(env, extra) -> None:
    watch = CoefficientWatch()
    model = make(KLPenaltyPPO, env=env, learning_rate=3e-3, adaptive_kl_target=0.01, **extra)
    model.learn(6 * 64 * model.n_envs, watch, log_interval=100)
    assert len(watch.measured) == 5
    np.testing.assert_allclose(watch.logged, watch.measured, rtol=1e-3, atol=1e-7)
    # The coefficient logged is the one that was in force during the update, the rule moves the next.
    assert watch.started_with == watch.used[0] == 1.0
    assert watch.used[1:] == watch.next[:-1]
    for kl, used, following in zip(watch.measured, watch.used, watch.next, strict=True):
        assert following == used * (0.5 if kl < 0.01 / 1.5 else 2.0 if kl > 0.015 else 1.0)


def test_tolerance_and_factor_are_used() -> None:
    model = make(KLPenaltyPPO, kl_tolerance=1000.0)
    model.learn(128)
    assert model.kl_coef == 1.0
    model = make(KLPenaltyPPO, kl_coef_factor=3.0, adaptive_kl_target=1e-9)
    model.learn(128)
    assert model.kl_coef == 9.0


def test_coefficient_survives_save_and_load(tmp_path) -> None:
    model = make(KLPenaltyPPO, adaptive_kl_target=1e-9).learn(192)
    assert model.kl_coef == 8.0
    model.save(tmp_path / "model")
    assert KLPenaltyPPO.load(tmp_path / "model").kl_coef == 8.0


def test_fixed_coefficient_stays_and_a_schedule_is_followed() -> None:
    fixed = make(KLPenaltyPPO, kl_coef=0.3, adaptive_kl_target=None).learn(128)
    assert (fixed.kl_coef, fixed.logger.name_to_value["train/kl_coef"]) == (0.3, 0.3)
    scheduled = make(KLPenaltyPPO, kl_coef="lin_4.0", adaptive_kl_target=None)
    scheduled.learn(256, log_interval=100)
    # The last update runs at remaining progress 0; the one before at 64/256.
    assert scheduled.logger.name_to_value["train/kl"] > 0
    assert scheduled.current("kl_coef") == 0.0


def test_a_schedule_cannot_be_adapted_later_either(tmp_path) -> None:
    model = make(KLPenaltyPPO)
    model.kl_coef = "lin_4.0"
    with pytest.raises(ValueError, match="is a schedule while adaptive_kl_target"):
        model.learn(64)
    make(KLPenaltyPPO, kl_coef="lin_4.0", adaptive_kl_target=None).save(tmp_path / "scheduled")
    with pytest.raises(ValueError, match="is a schedule while adaptive_kl_target"):
        KLPenaltyPPO.load(tmp_path / "scheduled", env=make_env(), adaptive_kl_target=0.01).learn(64)


def test_a_larger_coefficient_keeps_the_policy_nearer() -> None:
    kls = []
    for kl_coef in (0.01, 1.0, 100.0):
        model = make(KLPenaltyPPO, kl_coef=kl_coef, adaptive_kl_target=None, learning_rate=3e-3, n_epochs=10).learn(64)
        kls.append(model.logger.name_to_value["train/kl"])
    assert kls[0] > 1.5 * kls[1] > 1.5 * kls[2]


def test_a_penalty_of_zero_is_the_unclipped_surrogate() -> None:
    penalty = make(KLPenaltyPPO, kl_coef=0.0, adaptive_kl_target=None).learn(128)
    np.testing.assert_array_equal(parameters_of(penalty), parameters_of(make(UnclippedPPO).learn(128)))


def test_clip_ppo_takes_a_penalty_beside_the_clip() -> None:
    plain, penalised = (
        make(ClipPPO, kl_coef=kl_coef, measure_kl=True, learning_rate=3e-3, n_epochs=10).learn(64)
        for kl_coef in (0.0, 30.0)
    )
    assert penalised.logger.name_to_value["train/kl"] < plain.logger.name_to_value["train/kl"]
    assert penalised.logger.name_to_value["train/kl_coef"] == 30.0
    assert "train/kl_coef" not in plain.logger.name_to_value


def test_the_penalty_in_the_loss_is_the_kl_of_the_drawn_rows(monkeypatch) -> None:
    """The minibatch's loss, recomputed from torch.distributions and the policy as it was."""
    seen: list[tuple[float, float]] = []
    weights = {"kl_coef": 2.0, "adaptive_kl_target": None, "ent_coef": 0.0, "vf_coef": 0.0}
    model = make(KLPenaltyPPO, **weights, n_epochs=2, update_backend="autograd")
    model.learn(64)  # so that the policy is not its own initialisation
    from sb3_ppo_variants.backends.autograd.update import AutogradUpdate

    evaluate = AutogradUpdate.evaluate
    old: dict[str, Any] = {}

    def checked(self, minibatch):
        observations = minibatch.observations
        if "policy" not in old:
            with th.no_grad():
                self.policy.get_distribution(observations)  # leaves no graph behind, so that it can be copied
            old["policy"] = copy.deepcopy(self.policy)
        evaluation = evaluate(self, minibatch)
        with th.no_grad():
            new = self.policy.get_distribution(observations)
            kl = kl_divergence(old["policy"].get_distribution(observations), new).sum(1).mean()
            ratio = th.exp(new.log_prob(minibatch.actions) - minibatch.old_log_prob)
            surrogate = (ratio * self.normalizer(minibatch.advantages)).mean()
        seen.append((float(evaluation.loss.detach()), float(-surrogate + 2.0 * kl)))
        return evaluation

    monkeypatch.setattr(AutogradUpdate, "evaluate", checked)
    model.learn(64, reset_num_timesteps=False)
    assert len(seen) == 4
    np.testing.assert_allclose(*zip(*seen, strict=True), rtol=1e-4, atol=1e-6)


def test_a_foreign_distribution_uses_the_sample_estimate() -> None:
    settings = {"n_steps": 512, "n_epochs": 3, "seed": 1, "adaptive_kl_target": None, "learning_rate": 1e-3}
    model = KLPenaltyPPO(ForeignPolicy, make_env(), **settings)
    estimates: list[tuple[float, float]] = []

    class Estimate(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer
            observations = th.as_tensor(buffer.observations).reshape(-1, *buffer.obs_shape).clone()
            with th.no_grad():
                old = self.model.policy.get_distribution(observations).distribution.mean
            self.before = observations, old

        def _on_rollout_start(self) -> None:
            if hasattr(self, "before"):
                with th.no_grad():
                    new = self.model.policy.get_distribution(self.before[0]).distribution.mean
                # KL between unit-scale Laplace distributions d apart: d + exp(−d) − 1.
                distance = (new - self.before[1]).abs()
                exact = float((distance + th.exp(-distance) - 1).sum(1).mean())
                estimates.append((self.logger.name_to_value["train/kl"], exact))

    model.learn(3 * 512, Estimate(), log_interval=100)
    assert len(estimates) == 2
    for estimate, exact in estimates:
        assert estimate == pytest.approx(exact, rel=0.5)
