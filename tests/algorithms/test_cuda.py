"""What has to hold on a GPU too: equal to the CPU's update, to SB3 and contrib; files, resumes, references, workers."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, WorkerVecEnv
from tests.algorithms.models import FAMILY, make, parameters_of
from tests.algorithms.test_memory import MASKED, SMALL, with_memory
from tests.environments import RandomWalk
from tests.parity.comparing import assert_same_log, assert_same_tensors, make_env
from tests.resume.runs import assert_resumes_exactly

DEVICE = "cuda"
pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def _exact_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As exact as the CPU's, and the same at each call."""
    monkeypatch.setattr(th.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(th.backends.cudnn, "deterministic", True)


# ---- The CPU's update ----

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "box": (make, {"update_backend": "autograd"}),
    "beta": (make, {"policy": "BetaMlpPolicy", "update_backend": "autograd"}),
    "image": (make, {"policy": "CnnPolicy", "env": {"observations": "image", "actions": "discrete"}, "n_steps": 32}),
    "masks": (make, {"env": {"actions": "multi_discrete", "allowed": 0.5}, "use_masking": True}),
    "memory": (with_memory, {"sequence_length": 8}),
    "reference": (make, {"reference_kl_coef": 1.0, "update_backend": "autograd"}),
    "no closed entropy": (make, {"use_sde": True, "policy_kwargs": {"squash_output": True}, "ent_coef": 0.01}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda algorithm: algorithm.__name__)
def test_a_rollout_gives_the_cpus_update(algorithm: type, kind: str) -> None:
    build, settings = KINDS[kind]
    if "reference_kl_coef" in settings:
        settings = settings | {"reference_policy": make(ClipPPO, seed=9)}
    here, there = (build(algorithm, device=device, **copy.copy(settings)) for device in ("cpu", DEVICE))
    assert_same_tensors({k: v.cpu() for k, v in there.policy.state_dict().items()}, here.policy.state_dict(), "start")
    n_rows = here.n_steps * here.n_envs
    _, callback = here._setup_learn(n_rows)
    _, _ = there._setup_learn(n_rows)
    here.collect_rollouts(here.env, callback, here.rollout_buffer, here.n_steps)
    buffer = copy.deepcopy(here.rollout_buffer)
    buffer.device = there.device
    there.rollout_buffer = buffer
    before = parameters_of(here)
    for model in (here, there):
        np.random.seed(0)
        model.train()
    after = parameters_of(here)
    # Relative to the whole step: Adam moves a parameter whose gradient is nearly 0 by rounding alone.
    assert np.linalg.norm(parameters_of(there) - after) < 0.02 * np.linalg.norm(after - before)


# ---- Others' algorithms ----

PEERS: dict[str, tuple[type, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "PPO": (PPO, "MlpPolicy", {"n_envs": 2}, {}, {}),
    "PPO, images": (PPO, "CnnPolicy", {"observations": "image", "actions": "discrete"}, {}, {}),
    "PPO, gSDE": (PPO, "MlpPolicy", {"n_envs": 2}, {}, {"use_sde": True}),
    "MaskablePPO": (MaskablePPO, "MlpPolicy", {"actions": "discrete", "allowed": 0.5}, {"use_masking": True}, {}),
    "RecurrentPPO": (RecurrentPPO, "MlpLstmPolicy", {"n_envs": 2}, {}, {"policy_kwargs": SMALL}),
}


@pytest.mark.parametrize("peer", PEERS)
def test_it_is_the_peer_bit_for_bit(peer: str) -> None:
    theirs, policy, env, ours, both = PEERS[peer]
    settings = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "seed": 3, "device": DEVICE, "ent_coef": 0.0} | both
    models = []
    for algorithm, own in ((ClipPPO, {"update_backend": "autograd", **ours}), (theirs, {})):
        models.append(algorithm(policy, make_env(**env), **settings, **own).learn(256))
    assert_same_tensors(models[0].get_parameters(), models[1].get_parameters(), "parameters")
    assert_same_log(models[0].logger.name_to_value, models[1].logger.name_to_value)


# ---- Files and resumes ----


def small(algorithm: type, policy: str = "MlpPolicy", **settings: Any) -> Callable[..., Any]:
    if algorithm is not TRPO:
        settings = {"n_epochs": 2} | settings
    sizes = SMALL if "Lstm" in policy else {"net_arch": [8]}
    return partial(algorithm, policy, n_steps=16, batch_size=16, policy_kwargs=sizes, **settings)


WITH_STATE: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "plain": (small(ClipPPO), {"n_envs": 2}),
    "adaptive penalty": (small(KLPenaltyPPO, adaptive_kl_target=1e-3), {"n_envs": 2}),
    "trpo": (small(TRPO), {}),
    "gsde": (small(ClipPPO, use_sde=True), {}),
    "memory, warm-up": (small(ClipPPO, "MlpLstmPolicy", sequence_length=8, critic_warmup=2), {}),
    "memory and masks": (small(ClipPPO, "MlpLstmPolicy", use_masking=True), MASKED),
}


def with_reference(build: Callable[..., Any], env: VecEnv, device: str = DEVICE) -> Any:
    reference = build(env=env, seed=9, device=device)
    return build(env=env, seed=3, device=device, reference_policy=reference, reference_kl_coef=0.3)


@pytest.mark.parametrize("kind", WITH_STATE)
def test_a_resumed_training_is_the_undisturbed_one(kind: str, tmp_path) -> None:
    build, env = WITH_STATE[kind]

    def model(venv: VecEnv) -> Any:
        return with_reference(build, venv)

    assert_resumes_exactly(model, partial(make_env, **env), tmp_path)


@pytest.mark.parametrize("kind", WITH_STATE)
def test_files_go_between_devices(kind: str, tmp_path) -> None:
    for of, onto in ((DEVICE, "cpu"), ("cpu", DEVICE)):
        build, env = WITH_STATE[kind]
        model = with_reference(build, make_env(**env), of)
        model.learn(model.n_steps)
        model.save(tmp_path / "zip")
        safe = model.save_safe(tmp_path / f"safe_{of}")
        for load, file in ((type(model).load, tmp_path / "zip"), (type(model).load_safe, safe)):
            loaded = load(file, env=model.get_env(), device=onto)
            assert {parameter.device.type for parameter in loaded.policy.parameters()} == {onto}
            assert loaded.reference_policy.digest == model.reference_policy.digest
            np.testing.assert_array_equal(parameters_of(loaded), parameters_of(model))
            loaded.learn(model.n_steps, reset_num_timesteps=False)
            assert np.isfinite(parameters_of(loaded)).all()


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        *(
            (algorithm, settings)
            for algorithm in (ClipPPO, REINFORCE, TRPO)
            for settings in ({}, {"reference_kl_coef": 0.3})
        ),
        (ClipPPO, {"learning_rate_vf": 1e-3}),
    ],
)
def test_a_model_that_chose_the_cpu_goes_on_there_after_a_load(
    algorithm: type, settings: dict[str, Any], tmp_path
) -> None:
    if "reference_kl_coef" in settings:
        settings = settings | {"reference_policy": make(ClipPPO, seed=9)}
    model = make(algorithm, **settings).learn(64)
    assert (model.device.type, model.active_backend) == ("cpu", "closed_form")
    model.save(tmp_path / "zip")
    safe = model.save_safe(tmp_path / "safe")
    other = make(algorithm, **settings)
    other.set_parameters(str(tmp_path / "zip"))
    after = []
    for loaded in (
        algorithm.load(tmp_path / "zip", make_env()),  # type: ignore[attr-defined]
        algorithm.load_safe(safe, make_env()),  # type: ignore[attr-defined]
        algorithm.load(tmp_path / "zip", make_env(), device="cpu"),  # type: ignore[attr-defined]
        other,
    ):
        loaded.set_random_seed(0)
        loaded.learn(64)
        assert (loaded.device.type, loaded.active_backend) == ("cpu", "closed_form")
        after.append(parameters_of(loaded))
    for one in after[1:]:
        np.testing.assert_array_equal(one, after[0])


# ---- The critic's warm-up ----


@pytest.mark.parametrize("build", [make, with_memory])
@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO], ids=lambda algorithm: algorithm.__name__)
def test_in_the_warm_up_only_the_critic_learns(algorithm: type, build: Any) -> None:
    model = build(algorithm, device=DEVICE, critic_warmup=1, env=MASKED)
    before = {name: parameter.clone() for name, parameter in model.policy.named_parameters()}
    model.learn(model.n_steps)
    moved = {name for name, value in model.policy.named_parameters() if not th.equal(value, before[name])}
    assert moved
    assert all("value" in name or "critic" in name for name in moved)


# ---- Where the CPU is needed ----


def test_closed_form_is_for_the_cpu() -> None:
    assert make(ClipPPO, device=DEVICE).learn(64).active_backend == "autograd"
    with pytest.raises(ValueError, match="the policy is on cuda"):
        make(ClipPPO, device=DEVICE, update_backend="closed_form").learn(64)


@pytest.mark.parametrize("update_backend", ["closed_form", "compiled", "autograd"])
@pytest.mark.parametrize("algorithm", [ClipPPO, KLPenaltyPPO, REINFORCE, TRPO])
def test_torchs_default_device_changes_nothing(algorithm: type, update_backend: str) -> None:
    if algorithm is TRPO and update_backend == "compiled":
        pytest.skip("TRPO has no compiled kernels")
    after = []
    for device in (None, DEVICE):
        model = make(algorithm, device="cpu", update_backend=update_backend)  # first: each device draws other weights
        th.set_default_device(device)
        try:
            model.learn(128)
        finally:
            th.set_default_device(None)
        after.append(parameters_of(model))
    np.testing.assert_array_equal(*after)


def test_a_model_built_under_a_default_device_of_the_gpu_trains_there() -> None:
    th.set_default_device(DEVICE)
    try:
        model = make(ClipPPO, device=DEVICE, measure_kl=True).learn(128)
    finally:
        th.set_default_device(None)
    assert all(parameter.is_cuda for parameter in model.policy.parameters())


def test_workers_step_for_a_policy_on_the_gpu() -> None:
    after = []
    for kind in (None, WorkerVecEnv):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            env = make_vec_env(partial(RandomWalk, "vector", "box"), n_envs=4, seed=0, vec_env_cls=kind)
            model = ClipPPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=2, seed=3, device=DEVICE).learn(256)
            env.close()
        assert any("the policy is on cuda" in str(warning.message) for warning in said) is (kind is not None)
        after.append(parameters_of(model))
    np.testing.assert_array_equal(*after)
