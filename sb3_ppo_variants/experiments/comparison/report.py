"""``report.html``: a whole comparison in one file, for a phone, a desktop, a printer or a mail."""

from collections.abc import Sequence
from pathlib import Path

from sb3_ppo_variants.experiments.comparison.overall_pictures import interval_figure, profile_figure
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.comparison.tables import MANY_VARIANTS, ComparisonTables
from sb3_ppo_variants.experiments.engine.records import learning_curves
from sb3_ppo_variants.experiments.reporting.curves import AXES, Curves, Groups, Subplot, curve_figure, save, subplots
from sb3_ppo_variants.experiments.reporting.page import (
    Block,
    Bullets,
    Callout,
    Code,
    Folded,
    Grid,
    Picture,
    Pictures,
    Section,
    Text,
    page,
)
from sb3_ppo_variants.experiments.reporting.tables import interval, number
from sb3_ppo_variants.experiments.runs.registry import REFERENCE
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, aggregate, rank_correlation
from sb3_ppo_variants.files import write_text

FOOT = "Made by ppo-variants compare. Everything in this file is computed from the runs in the comparison's ledger."


def write_report(
    results: Results, tables: ComparisonTables, out: Path, groups: Groups | None = None, command: str | None = None
) -> list[Path]:
    """Write ``report.html`` and, if scores can be averaged over environments, ``scores.png`` and ``profiles.png``.

    :param results: The comparison
    :param tables: Its tables
    :param out: The folder
    :param groups: Title → variants that are drawn together
    :param command: The command that made the comparison
    :return: The files written
    """
    divided = subplots(results.variants, groups, REFERENCE)
    files = []
    if results.scales:
        files.append(save(interval_figure(results), out / "scores.png"))
        files.append(save(profile_figure(results, divided), out / "profiles.png"))
    overall = [Section("Over all environments", _overall(results, tables, divided))] if tables.overall else []
    sections = [
        *overall,
        *_environments(results, tables, groups),
        Section("Settings", _settings(results, tables)),
        Section("How to read it", [Bullets(tables.notes)]),
        Section("Command and software", [*([Code(command)] if command else []), Text(_versions(results))]),
    ]
    path = out / "report.html"
    write_text(path, page(_title(results), _lead(results), sections, FOOT))
    return [*files, path]


# ---- The top ----


def _title(results: Results) -> str:
    environments = results.environments
    where = f"{len(environments)} environments" if len(environments) > 3 else ", ".join(environments)
    if results.published:
        return f"{len(results.variants)} ways to bound the step on {where}"
    return f"Comparison on {where}"


def _lead(results: Results) -> list[Block]:
    runs = [r.run for r in results.records]
    done = sum(r.state == "done" for r in results.records)
    seeds = len({run.seed for run in runs})
    budget = f"{runs[0].timesteps:,} timesteps" if runs[0].wall_time is None else f"{runs[0].wall_time:g} seconds"
    what = f"{len(results.variants)} rows × {len(results.environments)} environments × {seeds} seeds, {budget} each"
    state = f"all {done} runs are done" if done == len(runs) else f"{done} of {len(runs)} runs are done"
    return [Callout(_finding(results), good=done == len(runs)), Text(f"{what}; {state}.")]


def _finding(results: Results) -> str:
    """The finding in a sentence or two."""
    if results.scales:
        return _finding_over_environments(results)
    return " ".join(_finding_on(results, environment) for environment in results.environments[:3])


def _finding_over_environments(results: Results) -> str:
    means = {name: aggregate(results.samples(name)).mean for name in results.scored}
    order = sorted(means, key=lambda name: -means[name].value)
    first, last = (f"{name} with {_text(means[name])}" for name in (order[0], order[-1]))
    environments = list(results.scales[0].ends)
    where = f"{len(environments)} environments" if len(environments) > 3 else " and ".join(environments)
    text = f"Best mean score over {where}: {first}; worst: {last}."
    compared = [name for name in order if name in results.published]
    if len(compared) > 2:
        samples = [results.samples(name) for name in compared]
        rho = rank_correlation(samples, [results.published[name] for name in compared]).spearman
        text += f" Order beside the published one: Spearman's ρ = {_text(rho)}."
    return text


def _finding_on(results: Results, environment: str) -> str:
    found = {name: results.scores(name, environment) for name in results.variants}
    centers = {name: float(estimators.center(sample)) for name, sample in found.items() if sample}
    if not centers:
        return f"{environment}: no run has finished."
    best = max(centers, key=lambda name: centers[name])
    text = f"{environment}: {best} has the highest final return, {number(centers[best])}"
    if best != results.reference and found[results.reference]:
        pair = [(found[best], found[results.reference])]
        better = Estimate(estimators.mean_improvement(pair), estimators.improvement_interval(pair))
        text += f"; a run of it beats one of {results.reference} with probability {_text(better)}"
    return text + "."


def _text(found: Estimate) -> str:
    return f"{found.value:.2f}" if found.interval is None else f"{found.value:.2f} {interval(found.interval, 2)}"


# ---- The sections ----


def _overall(results: Results, tables: ComparisonTables, divided: Sequence[Subplot]) -> list[Block]:
    grids: list[Block] = [Grid(table) for table in tables.overall]
    if not results.scales:
        return grids
    scale = results.scales[0]
    caption = f"Scores over {len(scale.ends)} environments; {scale.name}."
    intervals = Picture(interval_figure(results), f"Mean and interquartile mean of each row. {caption}", caption)
    higher = "Share of runs that score above τ: higher is better everywhere."
    profiles = [
        Picture(profile_figure(results, [subplot]), f"Performance profile. {subplot.title}", higher)
        for subplot in divided
    ]
    return [intervals, *grids, Pictures(profiles)]


def _environments(results: Results, tables: ComparisonTables, groups: Groups | None) -> list[Section]:
    divided = subplots(results.variants, groups, REFERENCE, results.peers)
    curves = {over: learning_curves(results.records, over) for over in AXES}
    sections = []
    for environment, table in zip(results.environments, tables.single, strict=True):
        drawn: list[Block] = [Text("No run has finished here yet.")]
        if any(results.scores(variant, environment) for variant in results.variants):
            steps, seconds = (_pictures(environment, curves[over][environment], over, divided) for over in AXES)
            drawn = [steps, Folded("The same over time", [seconds])]
        sections.append(Section(environment, [Grid(table), *drawn]))
    return sections


def _pictures(environment: str, curves: Curves, over: str, divided: Sequence[Subplot]) -> Pictures:
    return Pictures(
        [
            Picture(
                curve_figure(environment, curves, over, [subplot]),
                f"Learning curves on {environment} over {AXES[over]}: {', '.join(subplot.labels)}",
                f"Return over {AXES[over]}.",
            )
            for subplot in divided
        ]
    )


def _settings(results: Results, tables: ComparisonTables) -> list[Block]:
    if not tables.settings:
        return [Text("All rows have the same settings.")]
    return [Grid(table, prose=len(results.variants) > MANY_VARIANTS) for table in tables.settings]


def _versions(results: Results) -> str:
    made_by = next((r.result.versions for r in results.records if r.result is not None), None)
    if made_by is None:
        return "No run has finished."
    return ", ".join(f"{package} {version}" for package, version in made_by.items()) + "; one thread a run."
