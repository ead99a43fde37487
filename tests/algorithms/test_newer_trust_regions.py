"""SPO, RollbackPPO, DiscoveredPPO, ScopicPPO and a soft clip: the classes around the surrogates, trained a little."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from sb3_ppo_variants import REINFORCE, SPO, TRPO, ClipPPO, DiscoveredPPO, RollbackPPO, ScopicPPO, UnclippedPPO
from sb3_ppo_variants.objectives import ClippedSurrogate, DualClippedSurrogate, SoftClippedSurrogate
from tests.algorithms.models import FAMILY, NEWER, make, parameters_of
from tests.backends.closed_form.networks import needs_numba
from tests.nonfinite.faulty import BACKENDS
from tests.parity.comparing import assert_same_tensors, make_env

every_newer = pytest.mark.parametrize("algorithm", NEWER, ids=lambda algorithm: algorithm.__name__)
#: Settings with which ratios leave the band by far.
FAST = {"learning_rate": 3e-3, "n_epochs": 5}


def learned(algorithm: type, **settings: Any) -> np.ndarray:
    return parameters_of(make(algorithm, **FAST | settings).learn(128))


@every_newer
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_the_closed_form_trains_as_autograd_does(algorithm, actions) -> None:
    models = [make(algorithm, env={"actions": actions}, update_backend=backend).learn(192) for backend in BACKENDS]
    assert {model.active_backend for model in models} == {"autograd", "closed_form"}
    np.testing.assert_allclose(*map(parameters_of, models), rtol=1e-4, atol=2e-5)
    for key in ("loss", "policy_gradient_loss", "grad_norm", "ratio_max"):
        logged = [model.logger.name_to_value[f"train/{key}"] for model in models]
        np.testing.assert_allclose(*logged, rtol=1e-3, atol=1e-5, err_msg=key)


def test_they_are_no_other_algorithm() -> None:
    algorithms = (ClipPPO, UnclippedPPO, *NEWER)
    assert len({learned(algorithm).tobytes() for algorithm in algorithms}) == len(algorithms)


@every_newer
def test_learn_in_two_parts_is_learn_in_one(algorithm) -> None:
    whole = make(algorithm).learn(128)
    parts = make(algorithm).learn(64)
    parts.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(whole), parameters_of(parts))


OWN: dict[type, dict[str, Any]] = {
    SPO: {"clip_range": "lin_0.1"},
    RollbackPPO: {"clip_range": 0.1, "rollback": 0.7},
    DiscoveredPPO: {"drift_alpha": 1.0, "drift_beta": 0.3},
    ScopicPPO: {"temperature": 2.0, "kl_coef": "lin_0.5"},
}


@pytest.mark.parametrize("backend", [*BACKENDS, pytest.param("compiled", marks=needs_numba)])
@every_newer
def test_settings_may_be_numbers_of_numpy(algorithm, backend) -> None:
    own = {name: value for name, value in OWN[algorithm].items() if not isinstance(value, str)}
    plain, numpys, zero_dimensional = (
        learned(algorithm, update_backend=backend, **{name: kind(value) for name, value in own.items()})
        for kind in (float, np.float64, np.array)
    )
    np.testing.assert_allclose(numpys, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(numpys, zero_dimensional)


@every_newer
@pytest.mark.parametrize("safe", [False, True])
def test_their_files_keep_their_settings(algorithm, safe, tmp_path: Path) -> None:
    model = make(algorithm, **OWN[algorithm]).learn(64)
    if safe:
        loaded = algorithm.load_safe(model.save_safe(tmp_path / "model"), env=make_env())
    else:
        model.save(tmp_path / "model")
        loaded = algorithm.load(tmp_path / "model", env=make_env())
    assert loaded._surrogate() == model._surrogate()
    loaded._current_progress_remaining = model._current_progress_remaining = 0.5
    assert loaded._objective() == model._objective()
    assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.num_timesteps == 128


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[type, tuple[Path, np.ndarray]]:
    """A file of every class, and of SB3's ``PPO``, with the parameters in it."""
    folder, files = tmp_path_factory.mktemp("files"), {}
    for saver in (*FAMILY, PPO):
        settings = {REINFORCE: {}, TRPO: {"batch_size": 32}}.get(saver, {"batch_size": 32, "n_epochs": 2})
        model = saver("MlpPolicy", make_env(), n_steps=64, seed=1, gamma=0.9, **settings).learn(64)
        model.save(folder / saver.__name__)
        files[saver] = folder / saver.__name__, parameters_of(model)
    return files


@pytest.mark.parametrize("loader", FAMILY, ids=lambda algorithm: algorithm.__name__)
def test_every_class_loads_their_files_and_they_load_every_file(loader, saved) -> None:
    for saver, (file, parameters) in saved.items():
        if not {saver, loader} & set(NEWER):
            continue  # tests/algorithms/test_loading.py
        loaded = loader.load(file, env=make_env())
        np.testing.assert_array_equal(parameters_of(loaded), parameters)
        assert (loaded.gamma, loaded.n_steps, loaded.num_timesteps) == (0.9, 64, 64)
        loaded.learn(64)
        assert np.isfinite(parameters_of(loaded)).all()


def test_a_clip_range_comes_along_and_what_only_one_has_does_not(tmp_path: Path) -> None:
    make(RollbackPPO, clip_range=0.1, rollback=0.7).save(tmp_path / "rollback")
    make(ScopicPPO, temperature=2.0, kl_coef=0.5).save(tmp_path / "scopic")
    make(ClipPPO, clip_range=0.1, clip_softness=0.3).save(tmp_path / "clip")
    spo = SPO.load(tmp_path / "rollback")
    assert (spo.clip_range(1.0), hasattr(spo, "rollback")) == (0.1, False)
    assert ScopicPPO.load(tmp_path / "clip").kl_coef == 0.1
    assert ClipPPO.load(tmp_path / "scopic").kl_coef == 0.0
    rollback = RollbackPPO.load(tmp_path / "clip")
    assert (rollback.clip_range(1.0), rollback.rollback) == (0.1, 0.3)
    assert ClipPPO.load(tmp_path / "clip").clip_softness == 0.3


# ---- Special cases that are other algorithms ----


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_rollback_is_clip_ppo(backend) -> None:
    clip = learned(ClipPPO, update_backend=backend)
    np.testing.assert_array_equal(learned(RollbackPPO, rollback=0.0, update_backend=backend), clip)
    assert not np.array_equal(learned(RollbackPPO, update_backend=backend), clip)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_softness_is_the_clip_and_a_small_one_nearly(backend) -> None:
    clip = learned(ClipPPO, update_backend=backend)
    np.testing.assert_array_equal(learned(ClipPPO, clip_softness=0.0, update_backend=backend), clip)
    np.testing.assert_allclose(learned(ClipPPO, clip_softness=1e-8, update_backend=backend), clip, rtol=1e-3, atol=1e-4)
    assert not np.array_equal(learned(ClipPPO, clip_softness=0.2, update_backend=backend), clip)


def test_no_drift_and_no_squashing_leave_the_unclipped_surrogate() -> None:
    unclipped = learned(UnclippedPPO)
    drifting = learned(DiscoveredPPO, drift_alpha=1e6, drift_beta=1e6)
    np.testing.assert_allclose(drifting, unclipped, rtol=1e-3, atol=1e-4)
    squashed = learned(ScopicPPO, temperature=1e-3, kl_coef=0.0)
    np.testing.assert_allclose(squashed, unclipped, rtol=1e-3, atol=1e-4)


def test_the_surrogate_of_a_softness() -> None:
    assert make(ClipPPO, clip_range=0.1)._surrogate() == ClippedSurrogate(0.1)
    soft = SoftClippedSurrogate(ClippedSurrogate(0.1, 0.3), 0.2)
    settings = {"clip_range": 0.1, "clip_range_high": 0.3, "clip_softness": 0.2}
    assert make(ClipPPO, **settings)._surrogate() == soft
    assert make(ClipPPO, dual_clip=3.0, **settings)._surrogate() == DualClippedSurrogate(soft, 3.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("algorithm", [SPO, RollbackPPO])
def test_a_clip_range_may_end_at_zero(algorithm, backend) -> None:
    model = make(algorithm, clip_range="lin_0.2", update_backend=backend).learn(128)
    assert model.current("clip_range") == 0.0
    assert np.isfinite(parameters_of(model)).all()


def test_a_softness_that_is_zero_in_float32_is_the_clip() -> None:
    np.testing.assert_array_equal(learned(ClipPPO, clip_softness=1e-46), learned(ClipPPO))


def test_a_softness_may_fade_to_the_clip() -> None:
    model = make(ClipPPO, clip_softness="lin_0.2").learn(128)
    assert model.current("clip_softness") == 0.0
    assert model._surrogate() == ClippedSurrogate(0.2)


@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_the_scopic_penalty_is_logged_where_there_is_one(kl_coef) -> None:
    log = make(ScopicPPO, kl_coef=kl_coef).learn(64).logger.name_to_value
    assert log.get("train/kl_coef", 0.0) == kl_coef
    assert "train/clip_fraction" not in log


@pytest.mark.parametrize("algorithm", [SPO, RollbackPPO])
def test_the_band_is_logged(algorithm) -> None:
    log = make(algorithm, clip_range=0.01, **FAST).learn(64).logger.name_to_value
    assert log["train/clip_range"] == 0.01
    assert log["train/clip_fraction"] > 0


def test_they_hold_ratios_that_run_away_better_than_no_restraint() -> None:
    settings = {"learning_rate": 1e-2, "n_epochs": 10, "target_kl": None}
    ratio = {
        algorithm: make(algorithm, **settings).learn(64).logger.name_to_value["train/ratio_max"]
        for algorithm in (UnclippedPPO, *NEWER)
    }
    assert max(ratio[algorithm] for algorithm in NEWER) < ratio[UnclippedPPO]
