"""The tables and notes of a comparison."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from sb3_ppo_variants.experiments.compare.aggregate_tables import published_tables, runs, score_table
from sb3_ppo_variants.experiments.engine.records import Record, complete_environments, scores, select, version_note
from sb3_ppo_variants.experiments.reporting.tables import NONE, Table, improvement_cells, interval, number
from sb3_ppo_variants.experiments.runs.run import SCORE_EPISODES
from sb3_ppo_variants.experiments.runs.settings import ABSENT, differing_settings, full_settings
from sb3_ppo_variants.experiments.stats import estimators as statistics
from sb3_ppo_variants.experiments.stats.scales import shipped_scale

MANY_ROWS = 6


@dataclasses.dataclass(frozen=True)
class Report:
    """All that a comparison says.

    :param overall: Tables over all environments
    :param single: One table an environment
    :param settings: The settings in which rows differ
    :param notes: Sentences below them
    """

    overall: list[Table]
    single: list[Table]
    settings: list[Table]
    notes: list[str]

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return [*self.single, *self.overall, *self.settings]

    def markdown(self) -> str:
        """The report as Markdown."""
        return "\n\n".join([*(t.markdown() for t in self.tables), *(f"- {note}" for note in self.notes)]) + "\n"

    def show(self, console: Console) -> None:
        """Print the report."""
        for table in self.tables:
            table.show(console)
        for note in self.notes:
            console.print(f"• {note}", markup=False, highlight=False)


def make_report(
    rows: Sequence[Record], reference: str, published: Mapping[str, float] | None = None, notes: Sequence[str] = ()
) -> Report:
    """The report of a comparison.

    :param rows: The comparison
    :param reference: The row that the others are compared with
    :param published: Row → score that was published for it
    :param notes: What else is to be said
    """
    environments = list(dict.fromkeys(r.run.environment for r in rows))
    names = list(dict.fromkeys(r.run.variant for r in rows))
    overall, said = overall_tables(rows, names, environments, reference, published or {})
    settings, alone = _settings_table(rows, names)
    return Report(
        overall,
        [_environment_table(rows, names, environment, reference) for environment in environments],
        [settings] if settings else [],
        [
            "Final return: mean of the last 100 training episodes. Intervals: 95 % percentile bootstrap over runs, "
            "stratified by environment; – where there are fewer than 2 runs.",
            *said,
            *notes,
            *alone,
            *_shortcomings(rows),
        ],
    )


def overall_tables(
    rows: Sequence[Record], names: list[str], environments: list[str], reference: str, published: Mapping[str, float]
) -> tuple[list[Table], list[str]]:
    """What is said over all environments together, and the sentences that go with it.

    :param rows: The comparison
    :param names: Its rows
    :param environments: Its environments
    :param reference: The row that the others are compared with
    :param published: Row → score that was published for it
    """
    complete = complete_environments(rows, names)
    left_out = [environment for environment in environments if environment not in complete]
    tables = published_tables(rows, published, reference)
    if not published and len(complete) > 1:
        scale = shipped_scale(complete)
        if scale is not None:
            tables = [score_table(rows, names, scale, reference)]
        else:
            tables = [_rank_table(rows, names, complete, reference)]
    note = f"Left out of the aggregate, because a row has no finished run there: {', '.join(left_out)}"
    return [*tables, *_coverage(rows, names, environments)], [note] if left_out and len(environments) > 1 else []


def _coverage(rows: Sequence[Record], names: list[str], environments: list[str]) -> list[Table]:
    """Which runs are still missing, if any are."""
    if all(r.state in ("done", "failed") for r in rows):
        return []
    body = []
    for name in names:
        cells = [[r.state == "done" for r in select(rows, name, environment)] for environment in environments]
        body.append([name, *(f"{sum(done)} of {len(done)}" for done in cells)])
    done = sum(r.state == "done" for r in rows)
    return [Table(f"Unfinished: {done} of {len(rows)} runs are done", ["row", *environments], body)]


def _shortcomings(rows: Sequence[Record]) -> list[str]:
    few = sum(r.result is not None and r.result.episodes < SCORE_EPISODES for r in rows)
    notes = [f"Runs that finished fewer than {SCORE_EPISODES} episodes, so that all count: {few}"] if few else []
    notes += [f"FAILED {r.run.label()}: {r.reason}" for r in rows if r.state == "failed"]
    versions = version_note(rows)
    return [*notes, versions] if versions is not None else notes


def _environment_table(rows: Sequence[Record], algorithms: list[str], environment: str, reference: str) -> Table:
    reference_scores = scores(rows, reference, environment)
    body = []
    for algorithm in algorithms:
        mine, asked = scores(rows, algorithm, environment), len(select(rows, algorithm, environment))
        pairs = [(mine, reference_scores)] if mine and reference_scores and algorithm != reference else []
        speeds = [r.result.steps_per_second for r in select(rows, algorithm, environment) if r.result is not None]
        body.append(
            [
                algorithm,
                f"{number(float(statistics.center(mine)))} ({statistics.center_name(len(mine))})" if mine else NONE,
                interval(statistics.center_interval(mine)) if mine else NONE,
                *improvement_cells(pairs),
                f"{np.median(speeds):.0f}" if speeds else NONE,
                str(len(mine)) if len(mine) == asked else f"{len(mine)} of {asked}",
            ]
        )
    header = ["row", "final return", "95 %", f"P(better than {reference})", "95 %", "steps/s", "n"]
    first = next(r.run for r in rows if r.run.environment == environment)
    budget = f"{first.timesteps:,} timesteps" if first.wall_time is None else f"{first.wall_time:g} seconds of training"
    return Table(f"{environment}, {budget}, n_envs {first.n_envs}", header, body)


def _rank_table(rows: Sequence[Record], names: list[str], environments: list[str], reference: str) -> Table:
    """Ranks and probabilities only: raw returns of different environments have no common scale."""
    centers = [[float(statistics.center(scores(rows, name, e))) for name in names] for e in environments]
    ranks = statistics.mean_ranks(centers)
    body = []
    for i, name in enumerate(names):
        pairs = [(scores(rows, name, e), scores(rows, reference, e)) for e in environments]
        improvement = improvement_cells(pairs if name != reference else [])
        body.append([name, f"{ranks[i]:.2f}", *improvement, runs([mine for mine, _ in pairs])])
    header = ["row", "mean rank", f"mean P(better than {reference})", "95 %", "runs"]
    return Table(f"All {len(environments)} environments", header, body)


def _settings_table(rows: Sequence[Record], algorithms: list[str]) -> tuple[Table | None, list[str]]:
    run_of = {r.run.variant: r.run for r in rows}
    full: dict[str, Mapping[str, Any]] = {}
    for name in algorithms:
        run = run_of[name]
        around = {"algorithm": run.algorithm, "VecNormalize": run.normalize and dict(run.normalize)}
        full[name] = (around if run.name or run.normalize else {}) | full_settings(run.algorithm, run.settings)
    shared, alone = differing_settings(full)
    notes = [
        f"Settings that only {algorithm} has: {', '.join(f'{k}={v}' for k, v in own.items())}"
        for algorithm, own in alone.items()
    ]
    if not shared:
        return None, notes or ["All rows have the same settings."]
    title = "Settings that differ between rows"
    if len(algorithms) > MANY_ROWS:
        return Table(title, ["row", "settings"], _by_row(algorithms, shared)), notes
    body = [[setting, *map(str, values)] for setting, values in shared.items()]
    return Table(title, ["setting", *algorithms], body), notes


def _by_row(names: list[str], shared: Mapping[str, list[Any]]) -> list[list[str]]:
    """What most rows have, once, then where each row differs from that."""
    usual = {}
    for setting, values in shared.items():
        texts = [repr(value) for value in values]
        usual[setting] = values[texts.index(max(texts, key=texts.count))]
    lines = [["most rows", _listed(usual)]]
    for i, name in enumerate(names):
        own = {setting: values[i] for setting, values in shared.items() if repr(values[i]) != repr(usual[setting])}
        lines.append([name, _listed(own) or NONE])
    return lines


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items() if value is not ABSENT)
