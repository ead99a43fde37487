"""Which run folder ``train`` uses: a folder that holds another run is not written to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.runs.folders import CURVE, MODEL, RUN, VEC_NORMALIZE, choose_folder, read_run
from sb3_ppo_variants.resume.files import newest_path

PROGRESS = "progress.csv"
#: Folder and file of the model with the best evaluation; SB3's EvalCallback names the file.
BEST, BEST_MODEL = "best", "best_model.zip"
INTERRUPTED = "interrupted"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
EVALUATIONS = "evaluations.npz"
#: Files of other programs' runs, of a comparison and of a study, beside which nothing is trained.
_FOREIGN = (MODEL, CURVE, PROGRESS, VEC_NORMALIZE, EVALUATIONS, "ledger.db", "runs.csv", "trials.csv")


def choose_run_folder(
    out: Path | None, default: Path, described: Mapping[str, Any], resume: bool, overwrite: bool
) -> Path:
    """The folder of a run: the given one, or the default one, numbered if it holds another run.

    :param out: The given folder
    :param default: The folder if none is given
    :param described: The run, as ``run.json`` will describe it
    :param resume: Whether a finished run that differs only in having fewer timesteps is the same run
    :param overwrite: Whether the folder may hold another run
    :raises ValueError: if the given folder holds something else
    """
    if overwrite:
        return default if out is None else out
    if out is not None and resume and newest_path(out / CHECKPOINTS):
        return out  # the checkpoint says of which run it is, in more detail
    return choose_folder(out, default, lambda folder: held_by_another(folder, described, resume))


def held_by_another(folder: Path, described: Mapping[str, Any], resume: bool) -> str | None:
    """What a folder holds of another run that this run would replace, in words; ``None`` if nothing.

    :param folder: The folder
    :param described: See :func:`choose_run_folder`
    :param resume: See :func:`choose_run_folder`
    """
    if (folder / RUN).is_file():
        difference = _difference(read_run(folder / RUN), described, resume)
        # The logs of a run that has left no model are not worth a refusal.
        valuable = (folder / MODEL).is_file() or (folder / BEST).exists() or newest_path(folder / CHECKPOINTS)
        if difference and valuable:
            return f"another run ({difference})"
    elif found := [name for name in _FOREIGN if (folder / name).exists()] + _monitors(folder):
        return f"the files of something else ({', '.join(found)})"
    left = folder / INTERRUPTED / RUN
    if left.is_file() and (difference := _difference(read_run(left), described, resume)):
        return f"the interrupted model of another run ({difference})"
    return None


def _monitors(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*monitor.csv"))[:1]


def start_of(folder: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """What the model of a run that is resumed held when the run started from it, which may be another one now.

    :param folder: The run folder
    :param described: See :func:`choose_run_folder`
    """
    kept = read_run(folder / RUN) if "from" in described and (folder / RUN).is_file() else {}
    return {"from_sha256": kept.get("from_sha256")} if kept.get("from") == described.get("from", ...) else {}


def is_same_run(kept: Mapping[str, Any], described: Mapping[str, Any]) -> bool:
    """Whether ``run.json`` describes a run.

    :param kept: What it holds
    :param described: See :func:`choose_run_folder`
    """
    return not _difference(kept, described, resume=False)


def _difference(kept: Mapping[str, Any], described: Mapping[str, Any], resume: bool) -> str:
    """The first difference between two runs, in words; empty if they are the same."""
    asked = json.loads(json.dumps(dict(described)))
    beside = ["from", "evaluation"]
    if not resume and kept.get("from_sha256"):  # older files do not have it; what is resumed has left its start behind
        beside.append("from_sha256")
    before = {**kept["run"], **{key: kept.get(key) for key in beside}}
    now = {**asked["run"], **{key: asked.get(key) for key in beside}}
    for name in dict.fromkeys([*before, *now]):
        extended = resume and name == "timesteps" and now[name] > before[name]
        if before.get(name) != now.get(name) and not extended:
            longer = ", up to which --resume extends it" if name == "timesteps" and now[name] > before[name] else ""
            return f"with {name}={before.get(name)!r}; this one has {now.get(name)!r}{longer}"
    return ""
