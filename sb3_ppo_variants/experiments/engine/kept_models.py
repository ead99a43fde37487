"""The models that a command keeps: one run folder each, in the folder ``models`` of the command's own."""

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.runs.folders import MODEL, RUN, choose_folder, read_run
from sb3_ppo_variants.experiments.runs.run import Run
from sb3_ppo_variants.files import safe_name

MODELS = "models"
BEST, ALL = "best", "all"
OF_ALL = ".models_of_all"  # a file beside the models, if those of all runs have been kept
NAMED = 5  # runs that a note names


class KeptModels:
    """Which models of a set of runs are kept, and where.

    A run is in the ledger only after its model has been saved, and a model is removed only after a better run is in the
    ledger. After a kill, the next command therefore finds the right models, or makes them.

    :param folder: The command's folder
    :param keep: ``"best"``: the run with the highest score of each variant in each environment, among equals the one
        with the lowest seed; ``"all"``: every run
    :raises ValueError: for any other ``keep``
    """

    def __init__(self, folder: Path, keep: str):
        if keep not in (BEST, ALL):
            raise ValueError(f"keep_models is {BEST!r} or {ALL!r}, got {keep!r}; leave it out to keep no models")
        self.folder, self.keep = folder / MODELS, keep
        self._folders: dict[str, Path] = {}

    def check(self, records: Sequence[Record]) -> None:
        """
        :param records: The records of all runs, before any is done
        :raises ValueError: if ``"best"`` would remove models that ``"all"`` has kept
        """
        mark = self.folder.with_name(OF_ALL)
        if self.keep == ALL or not mark.exists():
            return
        wanted = {record.run.key() for record in self._wanted(records)}
        lost = [r for r in records if r.state == "done" and r.run.key() not in wanted and self._has_model(r.run)]
        if lost:
            raise ValueError(
                f"{self.folder} has models of all runs. keep_models={BEST!r} would remove {len(lost)} of them, that of "
                f"{lost[0].run.label()} for one, and finished runs are not trained again: give {ALL!r}, or another "
                "folder (--out)"
            )
        mark.unlink()

    def folder_of(self, run: Run) -> Path:
        """The run folder of a run, numbered if another run has its name.

        :param run: The run
        """
        key = run.key()
        if key not in self._folders:
            default = self.folder / safe_name(run.label().replace(" seed ", " seed"))
            taken = set(self._folders.values())
            self._folders[key] = choose_folder(
                None, default, lambda folder: "another run" if folder in taken or _holds_another(folder, run) else None
            )
        return self._folders[key]

    def prune(self, records: Iterable[Record]) -> None:
        """Remove what is not to be kept of runs that no process is doing.

        :param records: The records of these runs and of all others that are done
        """
        found = list(records)
        wanted = {self.folder_of(record.run) for record in self._wanted(found)}
        if wanted and self.keep == ALL:
            self.folder.with_name(OF_ALL).touch()
        for folder in {self.folder_of(record.run) for record in found} - wanted:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, records: Iterable[Record]) -> None:
        """Remove what is not to be kept when no run is under way any more, and an empty ``models``.

        :param records: The records of all runs
        """
        self.prune(records)
        with suppress(OSError):
            self.folder.rmdir()

    def kept(self, records: Sequence[Record]) -> list[Path]:
        """The run folders of the models that are kept.

        :param records: The records of all runs
        """
        return [self.folder_of(record.run) for record in self._wanted(records)]

    def notes(self, records: Sequence[Record]) -> list[str]:
        """A note on runs whose model should be kept and does not exist; empty if there are none.

        :param records: The records of all runs
        """
        wanted = records if self.keep == ALL else [max(group, key=_score) for group in _groups(records).values()]
        labels = [r.run.label() for r in wanted if r.state == "done" and not self._has_model(r.run)]
        if not labels:
            return []
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        what = "These runs have no model"
        if self.keep == BEST:
            what = "These best runs have no model, and the best run that has one is kept instead"
        return [
            f"{what}: {', '.join(labels[:NAMED])}{more}. They were done elsewhere or without --keep-models, or their "
            f"worker could not write to {self.folder}. Finished runs are not trained again, even with --overwrite: "
            "for their models, compare in a new folder (--out)"
        ]

    def _wanted(self, records: Iterable[Record]) -> list[Record]:
        with_model = [r for r in records if r.state == "done" and self._has_model(r.run)]
        return with_model if self.keep == ALL else [max(group, key=_score) for group in _groups(with_model).values()]

    def _has_model(self, run: Run) -> bool:
        folder = self.folder_of(run)
        return (folder / MODEL).is_file() and (folder / RUN).is_file()


def _holds_another(folder: Path, run: Run) -> bool:
    return (folder / RUN).is_file() and read_run(folder / RUN)["run"] != json.loads(run.key())


def _groups(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """(Variant, environment) → its finished runs."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.state == "done":
            groups.setdefault((record.run.variant, record.run.environment), []).append(record)
    return groups


def _score(record: Record) -> tuple[float, int]:
    assert record.result is not None
    assert record.result.final_return is not None
    return record.result.final_return, -record.run.seed
