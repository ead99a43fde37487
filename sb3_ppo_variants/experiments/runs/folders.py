"""Folders of results: which one a command gets, and the run folder of a trained model.

A run folder is what ``train`` leaves, and ``compare`` for each model that it keeps. ``evaluate``, ``record``, ``plot``
and ``train --from`` read it.
"""

import csv
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result
from sb3_ppo_variants.files import atomic, write_csv, write_text

MODEL, RUN, CURVE = "model.zip", "run.json", "curve.csv"
#: File of the statistics of ``VecNormalize`` beside a model; rl_zoo3 has this name too.
VEC_NORMALIZE = "vecnormalize.pkl"


def choose_folder(out: Path | None, default: Path, held_by: Callable[[Path], str | None], replaced: str = "it") -> Path:
    """The given folder, or the default one, numbered as in rl_zoo3 if it holds something else.

    :param out: The given folder
    :param default: The folder if none is given
    :param held_by: What a folder holds of something else, in words; ``None`` if nothing
    :param replaced: What ``overwrite`` replaces, for the message
    :raises ValueError: if the given folder holds something else
    """
    if out is None:
        folders = itertools.chain([default], (default.with_name(f"{default.name}_{n}") for n in itertools.count(2)))
        return next(folder for folder in folders if held_by(folder) is None)
    if other := held_by(out):
        raise ValueError(
            f"{out} holds {other}: give another folder (--out), or pass overwrite=True (--overwrite) to replace "
            f"{replaced}"
        )
    return out


# ---- Write ----


def save_run(folder: Path, described: Mapping[str, Any], model: BaseAlgorithm, result: Result) -> None:
    """Save a finished run: the model, the learning curve, and ``run.json``, which is written last.

    :param folder: The run folder
    :param described: The run as ``run.json`` describes it
    :param model: The trained model
    :param result: The result of the training
    """
    save_model(folder / MODEL, model)
    write_csv(folder / CURVE, CurvePoint._fields, result.curve)
    kept = {key: value for key, value in dataclasses.asdict(result).items() if key != "curve"}
    write_run(folder, {**described, "result": kept})


def save_model(path: Path, model: BaseAlgorithm) -> None:
    """Save a model and, if its environment is normalised, the statistics beside it.

    :param path: The model's file
    :param model: The model
    """
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


def write_run(folder: Path, about: Mapping[str, Any]) -> None:
    """Write ``run.json``.

    :param folder: The run folder
    :param about: What it holds
    """
    write_text(folder / RUN, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


# ---- Read ----


def read_run(path: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    :param path: The file
    :return: The run (``"run"``, see :meth:`.Run.description`) and, if it is finished, its result
    :raises ValueError: if it cannot be read, with the file's name
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["run"], dict):
            raise TypeError(f"its run is {found['run']!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a run ({type(error).__name__}: {error})") from error
    kept: dict[str, Any] = found
    return kept


def finished_result(folder: Path) -> Result | None:
    """The result of a finished run; ``None`` if there is none.

    :param folder: Its folder
    """
    if not all((folder / name).is_file() for name in (RUN, CURVE, MODEL)):
        return None
    kept = read_run(folder / RUN).get("result")
    if kept is None:
        return None
    with (folder / CURVE).open(encoding="utf-8", newline="") as file:
        curve = [_point(line) for line in csv.DictReader(file)]
    return Result(**kept, curve=curve)


def _point(line: Mapping[str, str]) -> CurvePoint:
    mean_return, mean_length = (float(line[name]) if line[name] else None for name in ("mean_return", "mean_length"))
    return CurvePoint(int(line["timesteps"]), float(line["seconds"]), mean_return, mean_length)
