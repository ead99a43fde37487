"""Returns with rollout workers are of the same distribution as without, although their action noise is another.

``python -m tests.workers.test_same_distribution`` does the runs of ``zoo_configs/results/parity/workers`` and, with
``VecNormalize``, of ``parity/workers_normalized``.
"""

from typing import Any

import pytest

from tests.pages import ROOT
from tests.parity.same_returns import ENVIRONMENTS, SEEDS, committed, do_runs, table_row

PAGE = ROOT / "sb3_ppo_variants/WORKERS.md"
SHARED: dict[str, Any] = {"algorithm": "clip_ppo", "n_envs": 4, "settings": {"n_steps": 128}}
VARIANTS = {"one process": SHARED, "workers": SHARED | {"vec_env": "WorkerVecEnv"}}
FOLDERS = {
    "workers": VARIANTS,
    "workers_normalized": {
        name: own | {"normalize": {"norm_obs": True, "norm_reward": True}} for name, own in VARIANTS.items()
    },
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("environment", "digits"), list(zip(ENVIRONMENTS, (1, 1, 0), strict=True)))
def test_the_tables_are_those_of_the_committed_runs(folder: str, environment: str, digits: int) -> None:
    samples = committed(folder, environment)
    assert list(samples) == list(VARIANTS)
    assert {len(sample) for sample in samples.values()} == {len(SEEDS)}
    assert table_row(environment, samples, digits) in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, variants in FOLDERS.items():
        do_runs(name, variants)
