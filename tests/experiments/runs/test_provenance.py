"""What a run records of the software and the machine that made it."""

from importlib.metadata import version

import numpy as np

from sb3_ppo_variants.experiments.runs.provenance import processor, versions


def test_software_processor_and_blas_are_recorded() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["stable-baselines3"] == version("stable-baselines3")
    assert found["processor"] == processor() != ""
    kind = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert "openblas" not in kind or found["BLAS"].startswith("openblas ")
    assert all(isinstance(text, str) and text for text in found.values())
