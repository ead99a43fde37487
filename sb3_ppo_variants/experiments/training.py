"""Train one model and keep it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.comparison import check_environment
from sb3_ppo_variants.experiments.files import atomic, safe_name, write_csv, write_text
from sb3_ppo_variants.experiments.registry import algorithm_name
from sb3_ppo_variants.experiments.run import CurvePoint, Report, Result, Run, fit
from sb3_ppo_variants.experiments.settings import check_settings

MODEL, RUN, CURVE = "model.zip", "run.json", "curve.csv"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model.

    :param model: The model
    :param result: What the training gave
    :param out: The run folder
    """

    model: BaseAlgorithm
    result: Result
    out: Path


def train(
    algorithm: str | type[BaseAlgorithm],
    environment: str = "CartPole-v1",
    *,
    timesteps: int = 50_000,
    seed: int = 0,
    n_envs: int = 1,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    report: Report | None = None,
) -> Trained:
    """Train one model with its own defaults and save it as ``model.zip``, beside ``run.json`` and ``curve.csv``.

    :param algorithm: A name (see :mod:`.registry`) or a class
    :param environment: Gymnasium id
    :param timesteps: Training steps
    :param seed: Seed of the algorithm and its environments
    :param n_envs: Environments stepped together
    :param settings: Constructor argument → value
    :param out: The run folder, by default ``runs/<algorithm>-<environment>-seed<seed>``
    :param report: Called a few times a second with the steps so far and the mean return so far
    :return: The model and what the training gave
    """
    name = algorithm_name(algorithm)
    run = Run(name, environment, seed, timesteps, n_envs, check_settings(name, settings or {}))
    folder = Path(out) if out is not None else Path("runs") / safe_name(f"{name}-{environment}-seed{seed}")
    check_environment(environment)
    folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made should not cost a training first
    model, result = fit(run, report)
    with atomic(folder / MODEL) as temporary:
        model.save(temporary)
    write_csv(folder / CURVE, CurvePoint._fields, result.curve)
    kept = {key: value for key, value in dataclasses.asdict(result).items() if key != "curve"}
    write_text(
        folder / RUN, json.dumps({"run": run.description(), "result": kept}, indent=2, ensure_ascii=False) + "\n"
    )
    return Trained(model, result, folder)
