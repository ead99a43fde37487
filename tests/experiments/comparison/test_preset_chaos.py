"""A part of table1 whose workers are killed -9: the same table, to the bit, as without."""

import random
from pathlib import Path
from typing import Any

import pytest

from sb3_ppo_variants.experiments import compare
from sb3_ppo_variants.experiments.comparison.comparison import Comparison
from sb3_ppo_variants.experiments.engine.ledger import Ledger, open_ledger
from sb3_ppo_variants.experiments.engine.storage import storage_url, study_name
from tests.experiments.engine.chaos import Killer

VARIANTS = ["no_clipping", "clip_0.2", "adaptive_kl_0.01"]
ENVIRONMENTS = ["InvertedPendulum-v5", "Reacher-v5"]


def table(out: Path, seeds: int) -> Comparison:
    settings = {variant: {"n_steps": 512} for variant in VARIANTS}
    return compare(
        ENVIRONMENTS, VARIANTS, preset="table1", timesteps=2048, seeds=seeds, settings=settings, jobs=2, out=out
    )


def found(comparison: Comparison) -> list[Any]:
    """All but the clocks."""
    return [
        (r.run, r.state, r.result and (r.result.final_return, r.result.episodes, r.result.steps),
         r.result and [(p.timesteps, p.mean_return, p.mean_length) for p in r.result.curve])
        for r in comparison.rows
    ]  # fmt: skip


def ledger_of(out: Path, create: bool = False) -> Ledger:
    return open_ledger(storage_url(None, out), study_name(out), create=create)


@pytest.mark.parametrize(("kills", "seeds"), [(2, 1), pytest.param(10, 3, marks=pytest.mark.long)])
def test_killed_workers_change_nothing(kills: int, seeds: int, tmp_path: Path, pids: list[int]) -> None:
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    random.seed(3)
    undisturbed = table(tmp_path / "undisturbed", seeds)
    pids.clear()
    out = tmp_path / "killed"
    ledger_of(out, create=True).__exit__()
    with Killer(lambda: ledger_of(out), kills, len(undisturbed.rows), lambda: pids) as killer:
        killed = table(out, seeds)
    assert len(killer.killed) == kills
    assert found(killed) == found(undisturbed)
    assert killed.report.overall == undisturbed.report.overall
