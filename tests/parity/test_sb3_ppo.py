"""ClipPPO with ``ent_coef=0.0`` is SB3's PPO, bit for bit: parameters, optimiser state, logged values."""

import warnings
from typing import Any

import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.utils import LinearSchedule

from sb3_ppo_variants import ClipPPO
from tests.parity.comparing import assert_same_log, assert_same_tensors, make_env

SETTINGS: dict[str, Any] = {"n_steps": 64, "batch_size": 32, "n_epochs": 3, "seed": 5, "ent_coef": 0.0}
N_UPDATES = 2


def assert_same(ours: ClipPPO, theirs: PPO) -> None:
    assert_same_tensors(ours.get_parameters(), theirs.get_parameters(), "parameters")
    assert_same_log(ours.logger.name_to_value, theirs.logger.name_to_value)
    assert ours.num_timesteps == theirs.num_timesteps
    assert ours._n_updates == theirs._n_updates


def train_both(policy: str, env: dict[str, Any], **settings: Any) -> tuple[ClipPPO, PPO]:
    settings = SETTINGS | settings
    models = []
    for algorithm, extra in ((ClipPPO, {"update_backend": "autograd"}), (PPO, {})):
        with warnings.catch_warnings():
            # Both say that the last minibatch is short, each in its own words.
            warnings.filterwarnings("ignore", message=".*mini-?batch.*")
            model = algorithm(policy, make_env(**env), **settings, **extra)
        models.append(model.learn(N_UPDATES * settings["n_steps"] * model.n_envs))
    return models[0], models[1]


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "box": ("MlpPolicy", {"actions": "box"}, {}),
    "discrete": ("MlpPolicy", {"actions": "discrete"}, {}),
    "multi_discrete": ("MlpPolicy", {"actions": "multi_discrete"}, {}),
    "multi_binary": ("MlpPolicy", {"actions": "multi_binary"}, {}),
    "discrete observations": ("MlpPolicy", {"observations": "discrete"}, {}),
    "dict": ("MultiInputPolicy", {"observations": "dict"}, {}),
    "image": ("CnnPolicy", {"observations": "image", "actions": "discrete"}, {}),
    "gsde": ("MlpPolicy", {}, {"use_sde": True, "sde_sample_freq": 4}),
    "squashed gsde": ("MlpPolicy", {}, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "vec normalize": ("MlpPolicy", {"normalize": True}, {}),
    "several envs": ("MlpPolicy", {"n_envs": 3}, {}),
    "several discrete observations": ("MlpPolicy", {"n_envs": 2, "observations": "discrete"}, {}),
    "value clipping": ("MlpPolicy", {}, {"clip_range_vf": 0.05}),
    "target_kl": ("MlpPolicy", {}, {"target_kl": 1e-4, "learning_rate": 1e-2}),
    "schedules": (
        "MlpPolicy",
        {},
        {
            "learning_rate": LinearSchedule(1e-3, 1e-5, 1.0),
            "clip_range": lambda progress: 0.1 + 0.2 * progress,
            "clip_range_vf": lambda progress: 0.1 * progress + 0.01,
        },
    ),
    "entropy bonus on both": ("MlpPolicy", {"actions": "discrete"}, {"ent_coef": 0.01}),
    "short last minibatch": ("MlpPolicy", {}, {"batch_size": 24, "vf_coef": 0.3}),
    "last minibatch of one row": ("MlpPolicy", {}, {"batch_size": 21}),
    "advantages as they are": ("MlpPolicy", {}, {"normalize_advantage": False}),
    "separate extractors": ("MlpPolicy", {}, {"policy_kwargs": {"share_features_extractor": False}}),
    "other networks": ("MlpPolicy", {}, {"policy_kwargs": {"net_arch": [16], "activation_fn": th.nn.ReLU}}),
}


@pytest.mark.parametrize("case", CASES)
def test_bit_for_bit(case: str) -> None:
    policy, env, settings = CASES[case]
    ours, theirs = train_both(policy, env, **settings)
    assert_same(ours, theirs)


def test_target_kl_case_does_stop_early() -> None:
    policy, env, settings = CASES["target_kl"]
    ours, _ = train_both(policy, env, **settings)
    assert ours._n_updates < N_UPDATES * SETTINGS["n_epochs"]


def test_string_schedule_is_the_linear_schedule() -> None:
    settings = SETTINGS | {"learning_rate": "lin_0.002", "update_backend": "autograd"}
    ours = ClipPPO("MlpPolicy", make_env(), **settings).learn(256)
    theirs = PPO("MlpPolicy", make_env(), **SETTINGS | {"learning_rate": LinearSchedule(0.002, 0.0, 1.0)}).learn(256)
    assert_same(ours, theirs)


@pytest.fixture(scope="module")
def trained() -> tuple[ClipPPO, PPO]:
    return train_both("MlpPolicy", {})


def test_save_load_continue(trained, tmp_path) -> None:
    continued = []
    for model, algorithm in zip(trained, (ClipPPO, PPO), strict=True):
        model.save(tmp_path / algorithm.__name__)
        loaded = algorithm.load(tmp_path / algorithm.__name__, env=make_env())
        continued.append(loaded.learn(128, reset_num_timesteps=False))
    assert_same(*continued)


def test_a_ppo_zip_loads_and_goes_on_alike(trained, tmp_path) -> None:
    _, theirs = trained
    theirs.save(tmp_path / "ppo")
    ours = ClipPPO.load(tmp_path / "ppo", env=make_env(), update_backend="autograd")
    assert ours.ent_coef == 0.0
    assert_same(ours.learn(192), PPO.load(tmp_path / "ppo", env=make_env()).learn(192))


def test_ppo_loads_our_zip_and_goes_on_alike(trained, tmp_path) -> None:
    ours, _ = trained
    ours.save(tmp_path / "ours")
    theirs = PPO.load(tmp_path / "ours", env=make_env()).learn(192)
    assert_same(ClipPPO.load(tmp_path / "ours", env=make_env()).learn(192), theirs)


def test_the_only_differing_default_is_ent_coef() -> None:
    ours, theirs = ClipPPO("MlpPolicy", make_env()), PPO("MlpPolicy", make_env())
    names = ["learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range_vf", "vf_coef"]
    names += ["normalize_advantage", "max_grad_norm", "use_sde", "sde_sample_freq", "target_kl"]
    assert all(getattr(ours, name) == getattr(theirs, name) for name in names)
    assert ours.clip_range(1.0) == theirs.clip_range(1.0)
    assert (ours.ent_coef, theirs.ent_coef) == (0.01, 0.0)
