"""The tables and notes of a comparison: one table per environment, those over all environments, and the settings."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console

from sb3_ppo_variants.experiments.comparison.overall_tables import overall_tables
from sb3_ppo_variants.experiments.comparison.results import Results, score_by_steps, share_scored
from sb3_ppo_variants.experiments.comparison.variants import untrained
from sb3_ppo_variants.experiments.comparison.verdict import verdict
from sb3_ppo_variants.experiments.engine.records import MIXED, Record, import_note, is_mixed, version_note
from sb3_ppo_variants.experiments.reporting.tables import (
    NONE,
    Table,
    difference_cells,
    improvement_cells,
    in_markdown,
    interval,
    number,
    percent,
)
from sb3_ppo_variants.experiments.runs.run import SCORE_EPISODES, Result
from sb3_ppo_variants.experiments.runs.settings import ABSENT, differing_settings, full_settings
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.intervals import CONFIDENCE
from sb3_ppo_variants.experiments.stats.references import reference_returns

MANY_VARIANTS = 6


@dataclasses.dataclass(frozen=True)
class ComparisonTables:
    """The tables and notes of a comparison, and its verdict.

    :param overall: Tables over all environments
    :param single: One table per environment
    :param settings: The settings in which variants differ
    :param notes: Sentences below the tables
    :param verdict: Which variants are better or worse than the reference, in one sentence
    """

    overall: list[Table]
    single: list[Table]
    settings: list[Table]
    notes: list[str]
    verdict: str

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return [*self.single, *self.overall, *self.settings]

    def markdown(self) -> str:
        """The tables, the notes and the verdict as Markdown."""
        notes = [f"- {in_markdown(note)}" for note in self.notes]
        return "\n\n".join([*(t.markdown() for t in self.tables), *notes, in_markdown(self.verdict)]) + "\n"

    def show(self, console: Console) -> None:
        """Print the tables, the notes and the verdict."""
        for table in self.tables:
            table.show(console)
        for note in self.notes:
            console.print(f"• {note}", markup=False, highlight=False)
        console.print(self.verdict, style="bold", markup=False, highlight=False)


def comparison_tables(results: Results, notes: Sequence[str] = ()) -> ComparisonTables:
    """The tables and notes of a comparison.

    :param results: The comparison
    :param notes: Further notes
    """
    settings, not_in_all = _settings_table(results)
    single = [environment_table(results, environment) for environment in results.environments]
    return ComparisonTables(
        _marked([*overall_tables(results), *_unfinished_table(results)], results),
        _marked(single, results),
        _marked(settings, results),
        [
            *_how_it_is_computed(results),
            *_left_out(results),
            *notes,
            *not_in_all,
            *_shortcomings(results),
        ],
        verdict(results),
    )


def environment_table(results: Results, environment: str) -> Table:
    """The table of one environment, with one row per variant.

    :param results: The comparison
    :param environment: Gymnasium id
    """
    reference, level = results.reference, results.level
    reference_scores = results.scores(reference, environment)
    header = ["row", "final return", "95 %", "covers", "by steps", f"difference from {reference}", percent(level)]
    header += [f"P(better than {reference})", "95 %", "p", "steps/s", "n"]
    body = []
    for variant in results.variants:
        records, scores = results.of(variant, environment), results.scores(variant, environment)
        pairs = [(scores, reference_scores)] if scores and reference_scores and variant != reference else []
        body.append(
            [
                variant,
                f"{number(float(estimators.center(scores)))} ({estimators.center_name(len(scores))})"
                if scores
                else NONE,
                interval(estimators.center_interval(scores)) if scores else NONE,
                *_of_results([r.result for r in records if r.result is not None]),
                *difference_cells(pairs, level),
                *improvement_cells(pairs),
                _speed(records),
                str(len(scores)) if len(scores) == len(records) else f"{len(scores)} of {len(records)}",
            ]
        )
    run = next(r.run for r in results.records if r.run.environment == environment)
    budget = f"{run.timesteps:,} timesteps" if run.wall_time is None else f"{run.wall_time:g} seconds of training"
    n_envs = f"n_envs {run.n_envs}" + (f" ({run.vec_env})" if run.vec_env else "")
    return Table(f"{environment}, {budget}, {n_envs}", header, body)


def _of_results(found: Sequence[Result]) -> list[str]:
    """The share of the steps that the score covers, and the score by steps with the share that it covers, as text."""
    shares = [share for result in found if (share := share_scored(result)) is not None]
    by_steps = [scored for result in found if (scored := score_by_steps(result)) is not None]
    score = number(float(estimators.center([score for score, _ in by_steps]))) if by_steps else NONE
    covered = _median_share([share for _, share in by_steps if share is not None])
    return [_median_share(shares), f"{score} ({covered})" if covered != NONE else score]


def _median_share(shares: Sequence[float]) -> str:
    if not shares:
        return NONE
    percent = 100 * np.median(shares)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"


def _speed(records: Sequence[Record]) -> str:
    speeds = [r.result.steps_per_second for r in records if r.result is not None]
    return f"{np.median(speeds):.0f}" if speeds else NONE


def _unfinished_table(results: Results) -> list[Table]:
    """How many runs are done, if some have neither finished nor failed."""
    if all(r.state in ("done", "failed") for r in results.records):
        return []
    body = []
    for variant in results.variants:
        cells = [[r.state == "done" for r in results.of(variant, e)] for e in results.environments]
        body.append([variant, *(f"{sum(done)} of {len(done)}" for done in cells)])
    done = sum(r.state == "done" for r in results.records)
    title = f"Unfinished: {done} of {len(results.records)} runs are done"
    return [Table(title, ["row", *results.environments], body)]


def _marked(tables: Sequence[Table], results: Results) -> list[Table]:
    """Tables with marks on peers that run with our documented settings and on rows with mixed versions."""
    labels = dict(results.labels)
    for variant in results.variants:
        if is_mixed(variant, results.records):
            labels[variant] += f" {MIXED}"
    return [
        dataclasses.replace(
            table,
            header=[labels.get(name, name) for name in table.header],
            body=[[labels.get(line[0], line[0]), *line[1:]] for line in table.body],
        )
        for table in tables
    ]


# ---- Notes ----


def _how_it_is_computed(results: Results) -> list[str]:
    others = max(len(results.variants) - 1, 1)
    # Ranks alone decide where returns have no common scale.
    by_ranks = not results.scales and len(results.complete) > 1
    uncorrected = "p, ranks and P(better) in a single environment" if by_ranks else "P(better), p and ranks"
    notes = [
        "Final return: mean of the last 100 training episodes. Covers: the share of a run's steps that these are "
        "(median). By steps: mean of the learning curve over the last 10 % of the steps; each of its points is the "
        "mean of the last 100 episodes until then, so it covers more: the share in parentheses.",
        f"Intervals: Student's and Welch's t for means (below {estimators.IQM_LEAST} runs, and over environments); for "
        "the IQM the percentile bootstrap, widened for few runs; – where there are fewer than 2 runs, and for "
        "differences of a few that are all equal.",
        f"Differences: level 1 − 0.05/{others} = {percent(results.level)}, so that in each table those of all variants "
        f"hold jointly with 95 % confidence (Bonferroni). Not corrected: {uncorrected}.",
        "P(better): Newcombe's score interval; in the verdict it is corrected like the differences, for itself. p: "
        "Mann-Whitney's, exact; over environments, and with ties, of the permutation test stratified by environment.",
    ]
    if results.scales or len(results.complete) > 1:
        notes.append("Rank and P(first): bootstrap over runs, deviations multiplied by √(n/(n − 1)).")
    if any(scale.conditional for scale in results.scales):
        notes.append(
            "Conditional on the scale: the best run, or the best row, of each environment counts as 1, and its own "
            "sampling error is in no interval. Scores on different scales cannot be compared."
        )
    return notes + _what_few_runs_mean(results)


def _what_few_runs_mean(results: Results) -> list[str]:
    counts = [n for v in results.variants for e in results.environments if (n := len(results.scores(v, e)))]
    if not counts or min(counts) >= estimators.FEW:
        return []
    least, notes = min((n for n in counts if n > 1), default=1), []
    if min(counts) < estimators.IQM_LEAST <= max(counts):
        notes.append(
            f"Final returns of rows with fewer than {estimators.IQM_LEAST} runs are means, those of the others IQMs; a "
            f"difference is one of means where either row has fewer than {estimators.IQM_LEAST}."
        )
    if 1 < least < estimators.FEW:
        notes.append(
            f"Few runs (as few as {least}): 95 % intervals hold the truth 95 times in 100 where returns are about "
            "normal, but in one environment only 70 to 90 times where they are skewed or some runs fail (table in "
            "experiments/README.md). Where the answer matters, take 10 seeds or more."
        )
    return notes + _what_p_cannot_show(results)


def _what_p_cannot_show(results: Results) -> list[str]:
    sizes = {
        (len(results.scores(variant, environment)), len(results.scores(results.reference, environment)))
        for environment in results.environments
        for variant in results.variants
        if variant != results.reference
    }
    least = {(n, m): estimators.least_p([(np.zeros(n), np.zeros(m))]) for n, m in sizes if min(n, m) > 1}
    few, many = max(least, key=lambda pair: least[pair], default=(0, 0))
    if not least or least[few, many] < 1 - CONFIDENCE:
        return []
    return [
        f"With {few} runs against {many} in one environment, p cannot be below {least[few, many]:.2f}: no difference "
        "is shown by it there, however large."
    ]


def _left_out(results: Results) -> list[str]:
    scaled: Collection[str] = results.scales[0].ends if results.scales else results.complete
    if len(results.environments) == 1 or not (results.scales or (len(scaled) > 1 and not results.published)):
        return []  # there is no aggregate
    rest = [environment for environment in results.environments if environment not in scaled]
    in_all = [environment for environment in rest if environment in results.complete]
    reasons = {
        "a row with finished runs has none there": [e for e in rest if e not in results.complete],
        "no return of a random policy is known there": [e for e in in_all if reference_returns(e) is None],
        "no row is better than the random policy there": [e for e in in_all if reference_returns(e) is not None],
        "they have no finished run in one of its environments": [
            results.labels[v]
            for v in results.variants
            if v not in (results.scored if results.scales else results.finished)
        ],
    }
    return [f"Left out of the aggregate, because {why}: {', '.join(names)}" for why, names in reasons.items() if names]


def _shared_seeds(results: Results) -> list[str]:
    seeds, n_envs = sorted({r.run.seed for r in results.records}), max(r.run.n_envs for r in results.records)
    if all(later - seed >= n_envs for seed, later in pairwise(seeds)):
        return []
    return [
        f"Environment i of a run has the run's seed + i, as in SB3: with n_envs {n_envs}, runs whose seeds are less "
        f"than {n_envs} apart have environments that begin alike. With seeds {n_envs} apart (--seed) none do."
    ]


def _shortcomings(results: Results) -> list[str]:
    few = sum(r.result is not None and r.result.episodes < SCORE_EPISODES for r in results.records)
    notes = [f"Runs that finished fewer than {SCORE_EPISODES} episodes, so that all count: {few}"] if few else []
    notes += _shared_seeds(results)
    notes += untrained([r.run for r in results.records])
    if failed := [f"FAILED {r.run.label()}: {r.reason}" for r in results.records if r.state == "failed"]:
        notes += [*failed, "Tracebacks of failed runs are in workers.log, in the output folder."]
    return [*notes, *filter(None, (version_note(results.records), import_note(results.records)))]


# ---- Settings ----


def _settings_table(results: Results) -> tuple[list[Table], list[str]]:
    """The settings in which variants differ, if any, and notes on those that only some have."""
    runs = {variant: next(r.run for r in results.records if r.run.variant == variant) for variant in results.variants}
    named = any(run.name or run.normalize for run in runs.values())
    full: dict[str, Mapping[str, Any]] = {}
    for variant, run in runs.items():
        # Sorted, as runs that come from a file have it.
        filtered = run.normalize and dict(sorted(run.normalize.items()))
        around = {"algorithm": run.algorithm, "VecNormalize": filtered} if named else {}
        full[variant] = around | {"policy": "default"} | full_settings(run.algorithm, run.settings)
    differing, alone, some = differing_settings(full)
    notes = [f"Settings that only {variant} has: {_listed(own)}" for variant, own in alone.items()]
    if some:
        notes.append(f"Settings that some rows do not have, with the same value in the others: {_listed(some)}")
    if not differing:
        return [], notes or ["All rows have the same settings."]
    title = "Settings that differ between rows"
    if len(full) > MANY_VARIANTS:
        return [Table(title, ["row", "settings"], _by_variant(list(full), differing))], notes
    body = [[setting, *map(str, values)] for setting, values in differing.items()]
    return [Table(title, ["setting", *full], body)], notes


def _by_variant(variants: Sequence[str], differing: Mapping[str, list[Any]]) -> list[list[str]]:
    """The most common value of each setting, then the settings in which each variant differs from these."""
    usual = {}
    for setting, values in differing.items():
        texts = [repr(value) for value in values]
        usual[setting] = values[texts.index(max(texts, key=texts.count))]
    lines = [["most rows", _listed(usual)]]
    for i, variant in enumerate(variants):
        own = {setting: values[i] for setting, values in differing.items() if repr(values[i]) != repr(usual[setting])}
        lines.append([variant, _listed(own) or NONE])
    return lines


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items() if value is not ABSENT)
