"""Train one model and save it."""

import csv
import dataclasses
import importlib.util
import inspect
import itertools
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat, configure
from stable_baselines3.common.utils import get_latest_run_id
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ppo_variants.algorithms.loading import refuse_another_policy
from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.models.run_folder import (
    BEST,
    CHECKPOINTS,
    EVALUATIONS,
    INTERRUPTED,
    LOCK,
    PROGRESS,
    choose_run_folder,
    is_same_run,
    start_of,
)
from sb3_ppo_variants.experiments.models.saved_models import (
    find_model,
    find_statistics,
    load_model,
    normalization_in,
    with_statistics,
)
from sb3_ppo_variants.experiments.models.training_evaluations import best_evaluation, evaluation_callbacks
from sb3_ppo_variants.experiments.models.zoo_run import zoo_run
from sb3_ppo_variants.experiments.runs.classes import with_classes
from sb3_ppo_variants.experiments.runs.environments import check_environment, normalization, vec_env_name
from sb3_ppo_variants.experiments.runs.folders import (
    CURVE,
    MODEL,
    RUN,
    VEC_NORMALIZE,
    finished_result,
    read_run,
    save_model,
    save_run,
    write_run,
)
from sb3_ppo_variants.experiments.runs.registry import algorithm_name
from sb3_ppo_variants.experiments.runs.run import (
    SCORE_EPISODES,
    OnProgress,
    Result,
    Run,
    Start,
    check_by_building,
    fit,
)
from sb3_ppo_variants.experiments.runs.settings import check_settings
from sb3_ppo_variants.files import exclusive, safe_name, with_digest
from sb3_ppo_variants.resume import ResumableCheckpointCallback
from sb3_ppo_variants.resume.files import newest_path, refuse_earlier_run


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model.

    :param model: The model
    :param result: The result of the training
    :param out: The run folder
    :param resumed_at: The step from which this call went on: that of a checkpoint, or the last of a finished run;
        ``None``: it started from scratch
    :param best: The best mean return of the evaluations during training, and the step at which it was reached;
        ``None`` without evaluations
    """

    model: BaseAlgorithm
    result: Result
    out: Path
    resumed_at: int | None = None
    best: tuple[float, int] | None = None


def train(
    algorithm: str | type[BaseAlgorithm],
    environment: str = "CartPole-v1",
    *,
    timesteps: int = 50_000,
    seed: int = 0,
    n_envs: int = 1,
    rollout_workers: int | None = None,
    settings: Mapping[str, Any] | None = None,
    normalize: str | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    report: OnProgress | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    start_from: str | Path | None = None,
    eval_every: int | None = None,
    eval_episodes: int = 10,
    tensorboard: str | Path | None = None,
) -> Trained:
    """Train one model with its own defaults and save it as ``model.zip``, beside ``run.json``, ``curve.csv`` and
    ``progress.csv`` (SB3's log, one line per update), and with ``vecnormalize.pkl`` if it was normalised.

    A finished run is not trained again.

    :param algorithm: A name (see :mod:`.registry`) or a class
    :param environment: Gymnasium id
    :param timesteps: Training steps
    :param seed: Seed of the algorithm and its environments
    :param n_envs: Number of environments stepped together
    :param rollout_workers: Processes that collect the rollouts of the run, holding its policy, at most one per
        environment (``WORKERS.md``). The results do not depend on their number, but differ from those without;
        ``None``: no workers
    :param settings: Constructor argument → value
    :param normalize: ``"observations"``, ``"rewards"``, ``"both"``, or the arguments of a ``VecNormalize`` around the
        environments; reported returns are not normalised
    :param out: The run folder, by default ``runs/<algorithm>-<environment>-seed<seed>``, numbered if that holds another
        run
    :param report: Called a few times per second with the steps so far and the mean return so far
    :param checkpoint_every: Steps between checkpoints in ``<out>/checkpoints``; ``None``: no checkpoints
    :param resume: Resume from the newest checkpoint, if there is one; the run then ends as if it had never been
        interrupted (see :mod:`sb3_ppo_variants.resume`). A finished run is extended up to ``timesteps``: with
        checkpoints as if it had been that long from the start, otherwise as SB3's ``learn`` does with
        ``reset_num_timesteps=False``
    :param overwrite: Replace another run in ``out``
    :param start_from: A trained model to start from (see :func:`.evaluation.evaluate`), with its policy, optimizer,
        settings and statistics of ``VecNormalize``; ``settings`` replace its own, and ``normalize`` may not contradict
        these statistics. A zip can run code
    :param eval_every: Steps between evaluations in an environment of their own, by SB3's ``EvalCallback``; the best
        model is kept as ``<out>/best/best_model.zip``. ``None``: no evaluations
    :param eval_episodes: Episodes of an evaluation
    :param tensorboard: Folder for a TensorBoard log of the run
    :return: The model and the result of the training
    :raises ValueError: for a wrong algorithm, environment or setting, or if ``out`` holds something else
    :raises KeyboardInterrupt: on Ctrl-C; the message says what is kept
    """
    name = algorithm_name(algorithm)
    scaling = _normalization(normalize, start_from, environment, name)
    run = Run(
        name,
        environment,
        seed,
        timesteps,
        n_envs,
        check_settings(name, settings or {}),
        normalize=scaling,
        vec_env=vec_env_name(rollout_workers),
    )
    _check_options(resume, overwrite, eval_every, eval_episodes, tensorboard)
    described = _described(run, start_from, eval_every, eval_episodes)
    default = Path("runs") / safe_name(f"{name}-{environment}-seed{seed}")
    folder = choose_run_folder(None if out is None else Path(out).expanduser(), default, described, resume, overwrite)
    described |= start_of(folder, described) if resume else {}
    earlier = None if overwrite else finished_result(folder)
    if earlier is not None and is_same_run(read_run(folder / RUN), described):
        return Trained(load_model(name, folder / MODEL), earlier, folder, earlier.steps, best_evaluation(folder))
    check_environment(environment)
    folder.mkdir(parents=True, exist_ok=True)  # if this fails, then before the training
    with exclusive(folder / LOCK, partial(_busy, folder)):
        if overwrite:
            _remove_earlier_run(folder, run, described, with_model=checkpoint_every is not None)
        resume = resume or (checkpoint_every is not None and _is_of_this_run(folder, described))
        # Without checkpoints, a finished run is extended from its model.
        extended = earlier if resume and not newest_path(folder / CHECKPOINTS) else None
        checkpoints = _checkpoints(folder / CHECKPOINTS, checkpoint_every, resume, needed=extended is None)
        start = _start(run, start_from if extended is None else folder / MODEL, extended)
        models: list[BaseAlgorithm] = []

        def prepare(model: Any) -> None:
            if checkpoints and resume:
                checkpoints[0].check(model, timesteps)  # before the log is started again
            if not (folder / MODEL).is_file():
                write_run(folder, described)  # a run that is killed leaves a folder that says whose it is
            model.set_logger(_logger(folder, tensorboard, keep_until=None if extended is None else extended.steps))
            models.append(model)

        with evaluation_callbacks(run, start, eval_every, eval_episodes, folder, earlier) as evaluations:
            try:
                model, result = fit(
                    run,
                    report,
                    prepare=prepare,
                    callbacks=[*evaluations, *checkpoints],
                    start=start,
                    rollout_workers=rollout_workers,
                )
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_keep_what_is_left(folder, described, bool(checkpoints), models)) from None
            finally:
                for trained in models:
                    trained.logger.close()
        _save(folder, described, model, result)
        resumed_at = checkpoints[0].resumed_at if checkpoints else None
        if resumed_at is None and extended is not None:
            resumed_at = extended.steps
        return Trained(model, result, folder, resumed_at, best_evaluation(folder) if evaluations else None)


# ---- What is asked for ----


def _check_options(
    resume: bool, overwrite: bool, eval_every: int | None, eval_episodes: int, tensorboard: str | Path | None
) -> None:
    if resume and overwrite:
        raise ValueError("resume goes on with a run and overwrite replaces it: give one of the two")
    if eval_every is not None:
        integer(at_least=1)("eval_every", eval_every)
        integer(at_least=1)("eval_episodes", eval_episodes)
    if tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("tensorboard is not installed: pip install 'sb3_ppo_variants[tensorboard]'")


def _normalization(
    asked: str | Mapping[str, Any] | None, start_from: str | Path | None, environment: str, algorithm: str
) -> dict[str, Any] | None:
    """How a run is normalised: as asked, or as the model that it starts from, whose statistics go on."""
    scaling = normalization(asked)
    if start_from is None:
        return scaling
    statistics = find_statistics(find_model(start_from, environment, algorithm)[0], None)[0]
    if statistics is None:
        return scaling
    kept = normalization_in(statistics)
    defaults = {name: parameter.default for name, parameter in inspect.signature(VecNormalize).parameters.items()}
    wanted = kept if scaling is None else defaults | scaling
    changed = [f"{name}={wanted[name]!r}" for name, value in kept.items() if value != wanted[name]]
    if changed:
        raise ValueError(
            f"{start_from} was trained with the statistics in {statistics}, which the training goes on with: they do "
            f"not have {', '.join(changed)}. Leave normalize (--normalize) out"
        )
    return kept


def _busy(folder: Path, holder: str) -> ValueError:
    return ValueError(f"A training is under way in {folder}: {holder}. Wait for it or stop it, or give another --out")


def _described(run: Run, start_from: str | Path | None, eval_every: int | None, eval_episodes: int) -> dict[str, Any]:
    """The run as ``run.json`` describes it."""
    described: dict[str, Any] = {"run": run.description()}
    if start_from is not None:
        path = find_model(start_from, run.environment, run.algorithm)[0]
        described["from"], _, described["from_sha256"] = with_digest(str(path)).partition("#sha256=")
    if eval_every is not None:
        described["evaluation"] = {"every": int(eval_every), "episodes": int(eval_episodes)}
    return described


def _is_of_this_run(folder: Path, described: Mapping[str, Any]) -> bool:
    return (folder / RUN).is_file() and is_same_run(read_run(folder / RUN), described)


def _refuse_start_inside(folder: Path, start: str | None) -> None:
    if start is not None and Path(start).resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{start} is in {folder}, which overwrite replaces: give another folder (--out) for the model that starts "
            "from it"
        )


def _remove_earlier_run(folder: Path, run: Run, described: Mapping[str, Any], with_model: bool) -> None:
    """Remove what another run has left; without checkpoints, its model stays until the new one is saved."""
    _refuse_start_inside(folder, described.get("from"))
    check_by_building(run)  # a setting that is refused later would have cost the earlier run
    for part in (CHECKPOINTS, BEST):
        shutil.rmtree(folder / part, ignore_errors=True)
    for name in (EVALUATIONS, *((MODEL, RUN, CURVE, VEC_NORMALIZE) if with_model else ())):
        (folder / name).unlink(missing_ok=True)


def _checkpoints(folder: Path, every: int | None, resume: bool, needed: bool) -> list[ResumableCheckpointCallback]:
    if not resume:
        refuse_earlier_run(folder)
    if every is not None:
        return [ResumableCheckpointCallback(folder, every, resume=resume, extend=True)]
    if resume and needed:
        raise ValueError(
            "resume needs checkpoint_every (--checkpoint-every N): give the same value as in the first run"
        )
    return []


def _start(run: Run, model: str | Path | None, extended: Result | None) -> Start | None:
    """The trained model that a run starts from.

    :param run: The run
    :param model: Its path; ``None``: a new model
    :param extended: The result of the run that this one extends
    """
    if model is None:
        return None
    path = find_model(model, run.environment, run.algorithm)[0]
    if ":" not in run.environment:
        _refuse_other_wrappers(path)
    statistics = find_statistics(path, None)[0]

    def wrap(env: VecEnv) -> VecEnv:
        if statistics is not None:
            return with_statistics(env, statistics, training=True)
        return env if run.normalize is None else VecNormalize(env, **run.normalize)

    def load(env: VecEnv) -> BaseAlgorithm:
        changed = {} if extended is not None else {**with_classes(run.settings), "seed": run.seed}
        policy = changed.pop("policy", None)  # SB3's load ignores it
        loaded = load_model(run.algorithm, path, env, **changed)
        refuse_another_policy(loaded, policy)
        loaded._stats_window_size = SCORE_EPISODES
        return loaded

    return Start(wrap, load, extended)


def _refuse_other_wrappers(path: Path) -> None:
    """Refuse a model of rl_zoo3 that has seen its environment otherwise than it would by its id here.

    :param path: The model
    :raises ValueError: if its configuration has wrappers or arguments of the environment
    """
    found = zoo_run(path.parent)
    if found is None:
        return
    names = ("env_wrapper", "vec_env_wrapper", "frame_stack")
    configured = {"env_kwargs": found.env_kwargs, **{name: found.config.get(name) for name in names}}
    if changed := {name: value for name, value in configured.items() if value}:
        said = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise ValueError(
            f"{path} was trained by rl_zoo3 with {said}, which train does not apply: write a function that makes the "
            "environment as that run had it, and give it as package.module:function"
        )


def _logger(folder: Path, tensorboard: str | Path | None, keep_until: int | None) -> Logger:
    """SB3's logger with ``progress.csv`` and, if it is asked for, TensorBoard.

    :param folder: The run folder
    :param tensorboard: Folder of the TensorBoard logs of all runs
    :param keep_until: Step up to which ``progress.csv`` keeps its lines; ``None``: it keeps none
    """
    lines = "" if keep_until is None else _lines_until(folder / PROGRESS, keep_until)
    logger = configure(str(folder), ["csv"])
    progress: Any = logger.output_formats[0]
    progress.file.write(lines)
    progress.keys = lines.partition("\n")[0].split(",") if lines else []
    if tensorboard is not None:
        # As SB3 numbers the runs of one name.
        top, name = Path(tensorboard).expanduser(), folder.resolve().name
        log = top / f"{name}_{get_latest_run_id(str(top), name) + 1}"
        logger.output_formats.append(TensorBoardOutputFormat(str(log)))
    return logger


def _lines_until(progress: Path, step: int) -> str:
    """The lines of a ``progress.csv`` up to a step; later ones, and one cut short, are left from a killed run."""
    text = progress.read_text(encoding="utf-8") if progress.is_file() else ""
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    header, *rows = csv.reader(lines or [""])
    if "time/total_timesteps" not in header:
        return ""
    where = header.index("time/total_timesteps")
    kept = [len(row) == len(header) and float(row[where]) <= step for row in rows]
    return "".join(itertools.compress(lines, [True, *kept]))


# ---- What is left ----


def _save(folder: Path, described: dict[str, Any], model: BaseAlgorithm, result: Result) -> None:
    try:
        save_run(folder, described, model, result)
        shutil.rmtree(folder / INTERRUPTED, ignore_errors=True)  # of an earlier call
    except OSError as error:
        raise OSError(error.errno, _what_is_unwritten(folder, error)) from error


def _what_is_unwritten(folder: Path, error: OSError) -> str:
    missing = f"{error.strerror or error}: {MODEL}, {CURVE} and {RUN} of this training were not all written to {folder}"
    if newest := newest_path(folder / CHECKPOINTS):
        return f"{missing}. {newest} is kept: free some space and rerun the command with --resume to write them"
    return f"{missing}, and without --checkpoint-every nothing is kept: free some space and train again"


def _keep_what_is_left(
    folder: Path, described: Mapping[str, Any], with_checkpoints: bool, models: Sequence[BaseAlgorithm]
) -> str:
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
    save_model(kept / MODEL, models[0])
    write_run(kept, described)
    return (
        f"Interrupted at step {models[0].num_timesteps}: the model is saved in {kept}. To be able to resume a "
        "training, give it --checkpoint-every"
    )
