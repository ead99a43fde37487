"""ClipPPO's own settings, and those that the whole family shares, against what they should do."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_ppo_variants import TRPO, ClipPPO, UnclippedPPO, backends
from tests.algorithms.models import ForeignPolicy, OwnBuffer, make, parameters_of
from tests.parity.comparing import make_env
from tests.parity.contrib import LearnedFeatures


def learned(**settings) -> np.ndarray:
    return parameters_of(make(ClipPPO, learning_rate=3e-3, n_epochs=5, **settings).learn(128))


def test_a_huge_band_is_no_clipping() -> None:
    wide = make(ClipPPO, clip_range=1e6).learn(128)
    np.testing.assert_array_equal(parameters_of(wide), parameters_of(make(UnclippedPPO).learn(128)))


def test_equal_high_range_is_the_symmetric_band_and_another_is_not() -> None:
    np.testing.assert_array_equal(learned(clip_range=0.1, clip_range_high=0.1), learned(clip_range=0.1))
    assert not np.array_equal(learned(clip_range=0.1, clip_range_high=0.3), learned(clip_range=0.1))


def test_dual_clip_only_matters_once_a_ratio_exceeds_it() -> None:
    np.testing.assert_array_equal(learned(dual_clip=1e6), learned())
    assert not np.array_equal(learned(dual_clip=1.0001), learned())


def test_max_value_clipping_differs_from_sb3s_and_agrees_without_effect() -> None:
    assert not np.array_equal(learned(clip_range_vf=0.01, clip_range_vf_mode="max"), learned(clip_range_vf=0.01))
    wide = learned(clip_range_vf=1e6, clip_range_vf_mode="max")
    np.testing.assert_allclose(wide, learned(), rtol=1e-4, atol=1e-5)


def test_clip_fractions_add_up_and_follow_their_side() -> None:
    log = (
        make(ClipPPO, learning_rate=1e-2, n_epochs=5, clip_range=0.1, clip_range_high=0.2)
        .learn(64)
        .logger.name_to_value
    )
    low, high = log["train/clip_fraction_low"], log["train/clip_fraction_high"]
    assert low > 0
    assert high > 0
    assert log["train/clip_fraction"] == pytest.approx(low + high)
    assert log["train/ratio_max"] > 1.2
    assert log["train/ess"] < 1


def test_coefficients_may_be_assigned_between_updates_as_number_schedule_or_string() -> None:
    model = make(ClipPPO).learn(64)
    for name in ("clip_range", "ent_coef", "vf_coef", "kl_coef", "learning_rate"):
        for value in (0.05, lambda progress: 0.05, "lin_0.05"):
            setattr(model, name, value)
            model.learn(64, reset_num_timesteps=True)
            assert np.isfinite(parameters_of(model)).all()
    assert model.logger.name_to_value["train/learning_rate"] == pytest.approx(0.0)


def test_batch_size_none_is_the_pseudo_code_k_full_batch_steps() -> None:
    """K gradient steps on the whole rollout, done here by hand with torch.optim.Adam."""
    settings = {"batch_size": None, "n_epochs": 3, "normalize_advantage": "rollout", "max_grad_norm": None}
    model = make(ClipPPO, **settings, ent_coef=0.02, vf_coef=0.7, clip_range=0.1, learning_rate=1e-2)
    by_hand = make(ClipPPO, **settings, learning_rate=1e-2)
    _, callback = model._setup_learn(64)
    model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, model.n_steps)
    buffer = model.rollout_buffer
    observations = th.as_tensor(buffer.observations).flatten(0, 1)
    actions, returns = th.as_tensor(buffer.actions).flatten(0, 1), th.as_tensor(buffer.returns).flatten()
    advantages, old_log_prob = th.as_tensor(buffer.advantages).flatten(), th.as_tensor(buffer.log_probs).flatten()
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    policy = by_hand.policy
    policy.load_state_dict(model.policy.state_dict())
    for _ in range(3):
        values, log_prob, entropy = policy.evaluate_actions(observations, actions)
        ratio = th.exp(log_prob - old_log_prob)
        surrogate = th.minimum(ratio * advantages, ratio.clamp(0.9, 1.1) * advantages).mean()
        loss = -surrogate - 0.02 * entropy.mean() + 0.7 * ((values.flatten() - returns) ** 2).mean()
        policy.optimizer.zero_grad()
        loss.backward()
        policy.optimizer.step()
    model.train()
    # Row order differs (SB3 permutes even a whole batch), so sums round otherwise; Adam's first steps are signs.
    np.testing.assert_allclose(parameters_of(model), parameters_of(by_hand), rtol=1e-3, atol=2e-4)


def test_rollout_normalisation_uses_the_rollouts_statistics() -> None:
    assert not np.array_equal(learned(normalize_advantage="rollout"), learned(normalize_advantage=True))
    # With one minibatch the two are the same but for rounding.
    both = [learned(normalize_advantage=mode, batch_size=None) for mode in ("rollout", True)]
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-4)


def test_bootstrap_truncated_changes_only_time_limits() -> None:
    models = []
    for flag in (True, False):
        model = make(ClipPPO, bootstrap_truncated=flag)
        _, callback = model._setup_learn(64)
        model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, model.n_steps)
        models.append(model)
    with_value, without = models
    difference = with_value.rollout_buffer.rewards - without.rollout_buffer.rewards
    changed = np.flatnonzero(difference)
    assert 0 < len(changed) < 64
    ends = np.flatnonzero(with_value.rollout_buffer.episode_starts) - 1
    assert set(changed) <= set(ends)


@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO])
@pytest.mark.parametrize("shared", [False, True])
def test_learning_rate_vf_moves_only_the_critics_own_parameters(algorithm, shared, tmp_path) -> None:
    policy_kwargs = {"features_extractor_class": LearnedFeatures} if shared else {}
    model = make(algorithm, learning_rate_vf=1e-2, policy_kwargs=policy_kwargs)
    actor, critic = model.policy.optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    assert all("value" in names[id(parameter)] for parameter in critic["params"])
    assert not any("value" in names[id(parameter)] for parameter in actor["params"])
    assert len(actor["params"]) + len(critic["params"]) == len(names)
    model.learn(128)
    assert critic["lr"] == 1e-2
    assert model.logger.name_to_value["train/learning_rate_vf"] == 1e-2
    model.save(tmp_path / "model")
    assert len(algorithm.load(tmp_path / "model").policy.optimizer.param_groups) == 2


class OnTheSphere(FlattenExtractor):
    """Not defined at zero."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features = super().forward(observations)
        return features / features.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("settings", [{"learning_rate_vf": 1e-2}, {"critic_warmup": 1}])
def test_a_policy_need_not_be_defined_at_zero(settings) -> None:
    model = make(ClipPPO, policy_kwargs={"features_extractor_class": OnTheSphere}, **settings).learn(128)
    assert np.isfinite(parameters_of(model)).all()
    plain = make(ClipPPO, **settings)
    by_zeros, on_sphere = (len(backends.critic_only_parameters(m.policy)) for m in (plain, model))
    assert by_zeros == on_sphere > 0


def test_equal_rates_in_two_groups_are_one_group() -> None:
    one, two = learned(), learned(learning_rate_vf=3e-3)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_measuring_the_kl_changes_nothing_else() -> None:
    np.testing.assert_array_equal(learned(measure_kl=True), learned())


@pytest.mark.parametrize("settings", [{"policy": ForeignPolicy}, {"rollout_buffer_class": OwnBuffer}])
def test_nor_where_it_is_estimated(settings: dict[str, Any]) -> None:
    one, other = (make(ClipPPO, seed=3, measure_kl=measured, **settings).learn(192) for measured in (True, None))
    np.testing.assert_array_equal(parameters_of(one), parameters_of(other))


def test_early_stop_says_so_through_the_logger(capsys) -> None:
    model = ClipPPO(
        "MlpPolicy", make_env(), n_steps=64, n_epochs=5, target_kl=1e-5, learning_rate=1e-2, verbose=1, seed=0
    )
    model.learn(64)
    assert "Update stopped early" in capsys.readouterr().out
    assert model.logger.name_to_value["train/epochs"] < 5
