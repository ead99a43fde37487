"""Train one model and save it."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure

from sb3_ppo_variants.experiments.models.zoo_run import VEC_NORMALIZE
from sb3_ppo_variants.experiments.runs.environments import check_environment, normalization
from sb3_ppo_variants.experiments.runs.registry import algorithm_name
from sb3_ppo_variants.experiments.runs.run import CurvePoint, OnProgress, Result, Run, fit
from sb3_ppo_variants.experiments.runs.settings import check_settings
from sb3_ppo_variants.files import atomic, safe_name, write_csv, write_text
from sb3_ppo_variants.resume import ResumableCheckpointCallback
from sb3_ppo_variants.resume.files import newest_path, refuse_earlier_run

MODEL, RUN, CURVE = "model.zip", "run.json", "curve.csv"
INTERRUPTED = "interrupted"
CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model.

    :param model: The model
    :param result: The result of the training
    :param out: The run folder
    :param resumed_at: The step of the checkpoint from which this call resumed; ``None``: it started from scratch
    """

    model: BaseAlgorithm
    result: Result
    out: Path
    resumed_at: int | None = None


def train(
    algorithm: str | type[BaseAlgorithm],
    environment: str = "CartPole-v1",
    *,
    timesteps: int = 50_000,
    seed: int = 0,
    n_envs: int = 1,
    settings: Mapping[str, Any] | None = None,
    normalize: str | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    report: OnProgress | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
) -> Trained:
    """Train one model with its own defaults and save it as ``model.zip``, beside ``run.json``, ``curve.csv`` and
    ``progress.csv`` (SB3's log, one line per update), and with ``vecnormalize.pkl`` if it was normalised.

    :param algorithm: A name (see :mod:`.registry`) or a class
    :param environment: Gymnasium id
    :param timesteps: Training steps
    :param seed: Seed of the algorithm and its environments
    :param n_envs: Number of environments stepped together
    :param settings: Constructor argument → value
    :param normalize: ``"observations"``, ``"rewards"``, ``"both"``, or the arguments of a ``VecNormalize`` around the
        environments; reported returns are not normalised
    :param out: The run folder, by default ``runs/<algorithm>-<environment>-seed<seed>``
    :param report: Called a few times per second with the steps so far and the mean return so far
    :param checkpoint_every: Steps between checkpoints in ``<out>/checkpoints``; ``None``: no checkpoints
    :param resume: Resume from the newest checkpoint, if there is one; the run then ends as if it had never been
        interrupted (see :mod:`sb3_ppo_variants.resume`)
    :return: The model and the result of the training
    :raises ValueError: for a wrong algorithm, environment or setting
    :raises KeyboardInterrupt: on Ctrl-C; the message says what is kept
    """
    name = algorithm_name(algorithm)
    scaling = normalization(normalize)
    run = Run(name, environment, seed, timesteps, n_envs, check_settings(name, settings or {}), normalize=scaling)
    folder = Path(out) if out is not None else Path("runs") / safe_name(f"{name}-{environment}-seed{seed}")
    check_environment(environment)
    folder.mkdir(parents=True, exist_ok=True)  # if this fails, then before the training
    checkpoints = _checkpoints(folder / CHECKPOINTS, checkpoint_every, resume)
    models: list[BaseAlgorithm] = []

    def prepare(model: Any) -> None:
        if resume:
            checkpoints[0].check(model, timesteps)  # before the log is started again
        model.set_logger(configure(str(folder), ["csv"]))
        models.append(model)

    try:
        model, result = fit(run, report, prepare=prepare, callbacks=checkpoints)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_keep_what_is_left(folder, run, bool(checkpoints), models)) from None
    finally:
        for trained in models:
            trained.logger.close()
    try:
        _save(folder, run, model, result)
    except OSError as error:
        raise OSError(error.errno, _what_is_unwritten(folder, error)) from error
    return Trained(model, result, folder, checkpoints[0].resumed_at if checkpoints else None)


def _save_model(path: Path, model: BaseAlgorithm) -> None:
    # evaluate and record take statistics beside a model for its own: remove those of another training.
    statistics = path.with_name(VEC_NORMALIZE)
    normalizer = model.get_vec_normalize_env()
    with ExitStack() as both:
        # Both are written completely before either gets its name.
        model.save(both.enter_context(atomic(path)))
        if normalizer is not None:
            normalizer.save(str(both.enter_context(atomic(statistics))))
    if normalizer is None:
        statistics.unlink(missing_ok=True)


def _save(folder: Path, run: Run, model: BaseAlgorithm, result: Result) -> None:
    _save_model(folder / MODEL, model)
    shutil.rmtree(folder / INTERRUPTED, ignore_errors=True)  # of an earlier call
    write_csv(folder / CURVE, CurvePoint._fields, result.curve)
    kept = {key: value for key, value in dataclasses.asdict(result).items() if key != "curve"}
    _write_run(folder, {"run": run.description(), "result": kept})


def _write_run(folder: Path, about: Mapping[str, Any]) -> None:
    write_text(folder / RUN, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def _what_is_unwritten(folder: Path, error: OSError) -> str:
    missing = f"{error.strerror or error}: {MODEL}, {CURVE} and {RUN} of this training were not all written to {folder}"
    if newest := newest_path(folder / CHECKPOINTS):
        return f"{missing}. {newest} is kept: free some space and rerun the command with --resume to write them"
    return f"{missing}, and without --checkpoint-every nothing is kept: free some space and train again"


def _checkpoints(folder: Path, every: int | None, resume: bool) -> list[ResumableCheckpointCallback]:
    if not resume:
        refuse_earlier_run(folder)
    if every is not None:
        return [ResumableCheckpointCallback(folder, every, resume=resume)]
    if resume:
        raise ValueError(
            "resume needs checkpoint_every (--checkpoint-every N): give the same value as in the first run"
        )
    return []


def _keep_what_is_left(folder: Path, run: Run, with_checkpoints: bool, models: Sequence[BaseAlgorithm]) -> str:
    """Save the model of an interrupted training if there is no checkpoint; return a message that says what is kept."""
    if newest := newest_path(folder / CHECKPOINTS):
        return f"Interrupted. {newest} is kept: rerun the command with --resume to resume from it"
    if with_checkpoints:
        return "Interrupted before the first checkpoint: nothing is kept"
    if not models or models[0].num_timesteps == 0:
        return "Interrupted before the first step: nothing is kept"
    # In a separate folder: this one may contain a finished model with statistics of its own.
    kept = folder / INTERRUPTED
    kept.mkdir(exist_ok=True)
    _save_model(kept / MODEL, models[0])
    _write_run(kept, {"run": run.description()})
    return (
        f"Interrupted at step {models[0].num_timesteps}: the model is saved in {kept}. To be able to resume a "
        "training, give it --checkpoint-every"
    )
