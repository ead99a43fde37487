"""When the compiled kernels run, what runs in their place, and that nobody pays for them who does not ask."""

import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch as th

from sb3_ppo_variants import ClipPPO, backends
from sb3_ppo_variants.algorithms import backend as choosing
from sb3_ppo_variants.backends import kernel_versions
from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback
from sb3_ppo_variants.resume.identity import surroundings
from tests.algorithms.models import OwnPolicy, make, parameters_of
from tests.backends.closed_form.networks import needs_numba
from tests.forked import python

WITHOUT_KERNELS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "MultiDiscrete": ({"actions": "multi_discrete"}, {}, "no kernel is compiled for a MultiCategoricalDistribution"),
    "MultiBinary": ({"actions": "multi_binary"}, {}, "no kernel is compiled for a BernoulliDistribution"),
    "Beta": ({}, {"policy": "BetaMlpPolicy"}, "no kernel is compiled for a BetaDistribution"),
    "ELU": ({}, {"policy_kwargs": {"activation_fn": th.nn.ELU}}, "kernels are compiled for tanh and ReLU only"),
}


@needs_numba
@pytest.mark.parametrize("name", WITHOUT_KERNELS)
def test_what_has_no_kernel_runs_in_numpy_and_says_why_once(name: str, capsys) -> None:
    env, settings, reason = WITHOUT_KERNELS[name]
    model = make(ClipPPO, env=env, update_backend="compiled", verbose=1, **settings).learn(192)
    assert model.active_backend == "closed_form"
    assert capsys.readouterr().out.count(f"Updates in numpy, not compiled: {reason}") == 1
    numpys = make(ClipPPO, env=env, update_backend="closed_form", **settings).learn(192)
    assert (parameters_of(model) == parameters_of(numpys)).all()


@needs_numba
def test_float64_runs_in_numpy() -> None:
    model = make(ClipPPO, update_backend="compiled")
    assert model.active_backend == "compiled"
    model.policy.double()
    assert model.active_backend == "closed_form"
    model.learn(64)
    model.policy.float()
    assert model.active_backend == "compiled"
    assert type(model._current_backend()).__name__ == "CompiledBackend"
    # One is a subclass of the other, but neither stands in for the other.
    model.update_backend = "closed_form"
    assert type(model._current_backend()).__name__ == "ClosedFormBackend"


@needs_numba
def test_what_has_no_closed_form_is_refused() -> None:
    with pytest.raises(ValueError, match="update_backend='compiled' cannot run: the policy is an OwnPolicy"):
        make(ClipPPO, OwnPolicy, update_backend="compiled")


def test_without_numba_it_is_refused_with_the_remedy(monkeypatch, tmp_path: Path) -> None:
    make(ClipPPO).save(tmp_path / "model")
    missing = "numba is not installed (pip install 'sb3_ppo_variants[fast]')"
    monkeypatch.setattr(backends.closed_form.compiled.backend, "why_not_installed", lambda: missing)
    monkeypatch.setattr(choosing, "why_not_installed", lambda: missing)
    with pytest.raises(ValueError, match=r"cannot run: numba is not installed \(pip install"):
        make(ClipPPO, update_backend="compiled")
    assert make(ClipPPO).learn(64).active_backend == "closed_form"
    # A file can be read; training it is refused.
    loaded = ClipPPO.load(tmp_path / "model", env=make(ClipPPO).get_env(), update_backend="compiled")
    assert loaded.active_backend == "closed_form"
    with pytest.raises(ValueError, match="numba is not installed"):
        loaded.learn(64)


def test_numba_is_not_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    code = """
import sys
import sb3_ppo_variants
model = sb3_ppo_variants.ClipPPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64).learn(64)
print(model.active_backend, "numba" in sys.modules)
"""
    assert python(tmp_path, "-c", code).stdout.split() == ["closed_form", "False"]


@needs_numba
def test_compiling_is_said_once(caplog) -> None:
    import numba
    from numba.core import event

    from sb3_ppo_variants.backends.closed_form.compiled.loading import SayOnce

    with event.install_listener("numba:compile", SayOnce()), caplog.at_level(logging.WARNING, "sb3_ppo_variants"):
        assert numba.njit(lambda x: x + 1)(1) == 2
        assert numba.njit(lambda x: x + 2)(1) == 3
    assert [record.message for record in caplog.records] == [
        "Compiling the kernels of update_backend='compiled': some seconds, once; they are kept on disk."
    ]


@needs_numba
@pytest.mark.long
def test_only_the_first_process_compiles(tmp_path: Path) -> None:
    code = f"""
import os
os.environ["NUMBA_CACHE_DIR"] = {str(tmp_path)!r}
from sb3_ppo_variants import ClipPPO
ClipPPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, update_backend="compiled").learn(64)
"""
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert [text.count("Compiling the kernels") for text in said] == [1, 0]


@needs_numba
def test_a_checkpoint_resumes_only_with_its_own_kernels(tmp_path: Path) -> None:
    def train(backend: str) -> None:
        model = make(ClipPPO, update_backend=backend)
        model.learn(192, ResumableCheckpointCallback(tmp_path, every=64, resume=True))

    train("compiled")
    with pytest.raises(ValueError, match="with active_backend='compiled'; this one has 'closed_form'"):
        train("closed_form")
    train("compiled")


@needs_numba
def test_what_kernels_depend_on_is_recorded_where_they_run() -> None:
    made_by = {name: metadata.version(name) for name in ("numba", "scipy")}
    assert surroundings(make(ClipPPO, update_backend="compiled")).items() >= made_by.items()
    assert "numba" not in surroundings(make(ClipPPO))
    assert kernel_versions("compiled") == made_by
    assert kernel_versions("closed_form") == kernel_versions(None) == {}
