"""Files across classes: what is taken over, and what each class decides for itself."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import TRPO as ContribTRPO  # noqa: N811
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.policies import BetaActorCriticPolicy
from tests.algorithms.models import ALGORITHMS, make, parameters_of
from tests.parity.comparing import make_env


@pytest.mark.parametrize("loader", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("saver", [*ALGORITHMS, PPO], ids=lambda algorithm: algorithm.__name__)
def test_every_class_loads_every_file_and_goes_on(loader, saver, tmp_path) -> None:
    settings = {"n_steps": 64, "batch_size": 32} if saver is not REINFORCE else {"n_steps": 64}
    saved = saver("MlpPolicy", make_env(), seed=1, gamma=0.9, **settings).learn(128)
    saved.save(tmp_path / "model")
    loaded = loader.load(tmp_path / "model", env=make_env())
    np.testing.assert_array_equal(parameters_of(loaded), parameters_of(saved))
    assert (loaded.gamma, loaded.n_steps, loaded.num_timesteps) == (0.9, 64, 128)
    loaded.learn(64)
    assert np.isfinite(parameters_of(loaded)).all()


def load_other(saved, loader, tmp_path, **overrides):
    saved.learn(64)
    saved.save(tmp_path / "model")
    return loader.load(tmp_path / "model", env=make_env(), **overrides)


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "batch_size=1 leaves no advantages to normalise with"),
        ({"batch_size": 60}, "batch_size=60 is not a multiple of sequence_length=16"),
        ({"sequence_length": 24}, "batch_size=32 is not a multiple of sequence_length=24"),
    ],
)
def test_settings_that_contradict_those_of_the_file_are_refused(changes, message, safe, tmp_path) -> None:
    model = make(ClipPPO, "MlpLstmPolicy", sequence_length=16)
    path = model.save_safe(tmp_path / "model") if safe else tmp_path / "model.zip"
    model.save(tmp_path / "model")
    load = ClipPPO.load_safe if safe else ClipPPO.load
    with pytest.raises(ValueError, match=message):
        load(path, env=make_env(), **changes)
    assert load(path, env=make_env(), batch_size=16).batch_size == 16


def test_an_adapted_kl_coefficient_does_not_reach_another_algorithm(tmp_path) -> None:
    adapted = make(KLPenaltyPPO, adaptive_kl_target=1e-9)
    assert load_other(adapted, UnclippedPPO, tmp_path)._objective().kl_coef == 0.0
    assert load_other(make(ClipPPO), KLPenaltyPPO, tmp_path).kl_coef == 1.0
    assert load_other(make(KLPenaltyPPO, adaptive_kl_target=1e-9), KLPenaltyPPO, tmp_path).kl_coef == 2.0


def test_trpos_settings_stay_trpos(tmp_path) -> None:
    clip = load_other(make(TRPO), ClipPPO, tmp_path)
    defaults = ClipPPO("MlpPolicy", make_env())
    for name in ("vf_coef", "target_kl", "max_grad_norm", "learning_rate", "batch_size"):
        assert getattr(clip, name) == getattr(defaults, name), name
    assert load_other(make(ClipPPO, target_kl=0.5), TRPO, tmp_path).target_kl == 0.01


@pytest.mark.parametrize("loader", [ClipPPO, KLPenaltyPPO, REINFORCE])
def test_sb3_contribs_trpos_settings_stay_trpos(loader, tmp_path) -> None:
    theirs = ContribTRPO("MlpPolicy", make_env(), n_steps=64, batch_size=32, learning_rate=0.5, device="cpu", gamma=0.9)
    loaded = load_other(theirs, loader, tmp_path)
    defaults = loader("MlpPolicy", make_env())
    for name in ("vf_coef", "target_kl", "max_grad_norm", "learning_rate", "batch_size"):
        assert getattr(loaded, name, None) == getattr(defaults, name, None), name
    assert (loaded.gamma, loaded.n_steps) == (0.9, 64)


def test_a_ppo_whose_clip_range_was_lost_is_still_a_ppo(tmp_path) -> None:
    """An older SB3's function, which this Python cannot read: SB3 warns and goes on without it."""
    theirs = PPO("MlpPolicy", make_env(), n_steps=64, n_epochs=4, seed=1, device="cpu")
    del theirs.clip_range
    theirs.save(tmp_path / "model")
    reinforce, trpo = (kind.load(tmp_path / "model", make_env()) for kind in (REINFORCE, TRPO))
    assert (reinforce.gae_lambda, reinforce.n_epochs, reinforce.batch_size) == (1.0, 1, None)
    assert trpo.target_kl == 0.01
    assert ClipPPO.load(tmp_path / "model", make_env(), clip_range=0.1).n_epochs == 4


def test_reinforces_lambda_stays_reinforces(tmp_path) -> None:
    assert load_other(make(REINFORCE), ClipPPO, tmp_path).gae_lambda == 0.95
    reinforce = load_other(make(ClipPPO), REINFORCE, tmp_path)
    assert (reinforce.gae_lambda, reinforce.n_epochs, reinforce.batch_size) == (1.0, 1, None)
    assert reinforce.rollout_buffer.gae_lambda == 1.0


def test_what_is_shared_comes_along_and_overrides_win(tmp_path) -> None:
    saved = make(ClipPPO, ent_coef=0.2, vf_coef=0.7, n_epochs=3, max_grad_norm=2.0)
    loaded = load_other(saved, UnclippedPPO, tmp_path)
    assert (loaded.ent_coef, loaded.vf_coef, loaded.n_epochs, loaded.max_grad_norm) == (0.2, 0.7, 3, 2.0)
    assert load_other(make(ClipPPO), KLPenaltyPPO, tmp_path, kl_coef=5.0).kl_coef == 5.0


def test_arguments_of_other_classes_are_refused(tmp_path) -> None:
    for loader, name, value in ((REINFORCE, "n_epochs", 10), (REINFORCE, "gae_lambda", 0.9), (TRPO, "clip_range", 0.2)):
        with pytest.raises(TypeError, match=f"{name}"):
            load_other(make(loader), loader, tmp_path, **{name: value})


@pytest.mark.parametrize("safe", [False, True])
def test_a_policy_that_is_not_the_files_is_refused(safe, tmp_path) -> None:
    model = make(ClipPPO, "BetaMlpPolicy")
    model.save_safe(tmp_path / "model") if safe else model.save(tmp_path / "model")
    load = ClipPPO.load_safe if safe else ClipPPO.load
    for policy in ("MlpPolicy", ActorCriticPolicy):
        with pytest.raises(ValueError, match=r"class BetaActorCriticPolicy.*Leave policy out"):
            load(tmp_path / "model", policy=policy)
    for policy in ("BetaMlpPolicy", BetaActorCriticPolicy):
        assert isinstance(load(tmp_path / "model", policy=policy).policy, BetaActorCriticPolicy)


def test_an_argument_that_sb3_keeps_under_another_name(tmp_path) -> None:
    assert load_other(make(ClipPPO), ClipPPO, tmp_path, stats_window_size=7)._stats_window_size == 7


def test_assigned_strings_survive_a_file(tmp_path) -> None:
    model = make(ClipPPO)
    model.clip_range, model.learning_rate, model.vf_coef = "lin_0.1", "lin_0.001", "lin_0.5"
    loaded = load_other(model, ClipPPO, tmp_path)
    assert loaded.clip_range(0.5) == pytest.approx(0.05)
    assert loaded.lr_schedule(0.5) == pytest.approx(0.0005)
    loaded.learn(64)


def test_a_critic_rate_cannot_be_added_later(tmp_path) -> None:
    model = make(ClipPPO)
    with pytest.raises(ValueError, match="learning_rate_vf cannot be changed by load"):
        load_other(model, ClipPPO, tmp_path, learning_rate_vf=1e-3)
    model.save(tmp_path / "model")
    for parameters in (model.get_parameters(), str(tmp_path / "model")):
        with pytest.raises(ValueError, match="has 1 parameter groups and this model's optimiser has 2"):
            make(ClipPPO, learning_rate_vf=1e-3).set_parameters(parameters)
        make(ClipPPO, seed=4).set_parameters(parameters)
    model.learning_rate_vf = 1e-3
    with pytest.raises(ValueError, match=r"learning_rate_vf=0\.001 was assigned to a model made without one"):
        model.learn(64)


def test_a_misspelt_backend_is_refused() -> None:
    model = make(ClipPPO)
    model.update_backend = "closed-form"
    with pytest.raises(ValueError, match="update_backend='closed-form' is unknown"):
        model.learn(64)


def test_a_file_of_sb3_contribs_trpo_leaves_the_critic_able_to_learn(tmp_path) -> None:
    ContribTRPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, seed=0, device="cpu").save(tmp_path / "theirs")
    model = TRPO.load(tmp_path / "theirs", env=gym.make("CartPole-v1"))
    assert model.max_grad_norm == TRPO("MlpPolicy", "CartPole-v1").max_grad_norm
    before = [p.clone() for p in model.policy.mlp_extractor.value_net.parameters()]
    model.learn(64)
    after = list(model.policy.mlp_extractor.value_net.parameters())
    assert not any(th.equal(a, b) for a, b in zip(before, after, strict=True))
