"""``report.html``: a whole comparison in one file, for a phone, a desktop, a printer or a mail.

Its text is in the template ``report.html``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.comparison.overall_pictures import interval_figure, profile_figure
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.comparison.tables import MANY_VARIANTS, ComparisonTables
from sb3_ppo_variants.experiments.engine.records import learning_curves, made_with
from sb3_ppo_variants.experiments.reporting.curves import AXES, Groups, curve_figure, save, subplots
from sb3_ppo_variants.experiments.reporting.page import render, templates
from sb3_ppo_variants.experiments.reporting.tables import percent
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, aggregate, rank_correlation
from sb3_ppo_variants.files import write_text


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
    files, scored = [], {}
    if results.scales:
        divided = subplots(results.variants, groups, results.reference, results.peers)
        files.append(save(interval_figure(results), out / "scores.png"))
        files.append(save(profile_figure(results, divided), out / "profiles.png"))
        profiles = [(subplot, profile_figure(results, [subplot])) for subplot in divided]
        scored = {"scores": interval_figure(results), "profiles": profiles, **_extremes(results)}
    html = render(
        templates().get_template("comparison/report.html"),
        results=results,
        tables=tables,
        runs=[r.run for r in results.records],
        done=sum(r.state == "done" for r in results.records),
        leaders=[] if results.scales else [_leader(results, e) for e in results.environments[:3]],
        environments=_environments(results, tables, groups),
        axes=AXES,
        many=len(results.variants) > MANY_VARIANTS,
        level=percent(results.level),
        command=command,
        versions=made_with(results.records),
        **scored,
    )
    write_text(out / "report.html", html)
    return [*files, out / "report.html"]


def _extremes(results: Results) -> dict[str, Any]:
    """The best and the worst variant over all environments, and the agreement with the published order."""
    means = {name: aggregate(results.samples(name)).mean for name in results.scored}
    order = sorted(means, key=lambda name: -means[name].value)
    compared = [name for name in order if name in results.published]
    rho = None
    if len(compared) > 2:
        samples = [results.samples(name) for name in compared]
        rho = rank_correlation(samples, [results.published[name] for name in compared]).spearman
    environments = list(results.scales[0].ends)
    return {"means": means, "best": order[0], "worst": order[-1], "rho": rho, "scaled": environments}


def _leader(results: Results, environment: str) -> tuple[str, list[str], float, Estimate | None]:
    """The variants with the highest return in an environment, none without a run, and how a single one compares."""
    found = {name: results.scores(name, environment) for name in results.variants}
    finished = [name for name, sample in found.items() if sample]
    if not finished:
        return environment, [], 0.0, None
    above = [float(estimators.center(s)) for s in estimators.from_common_run([found[name] for name in finished])]
    best = [name for name, center in zip(finished, above, strict=True) if center == max(above)]
    highest, better = float(estimators.center(found[best[0]])), None
    if len(best) == 1 and best[0] != results.reference and found[results.reference]:
        pair = [(found[best[0]], found[results.reference])]
        better = Estimate(estimators.mean_improvement(pair), estimators.improvement_interval(pair, results.level))
    return environment, best, highest, better


def _environments(results: Results, tables: ComparisonTables, groups: Groups | None) -> Iterator[tuple[Any, ...]]:
    """Each environment with its table and, once a run has finished there, its learning curves."""
    divided = subplots(results.variants, groups, results.reference, results.peers)
    curves = {over: learning_curves(results.records, over) for over in AXES}
    for environment, table in zip(results.environments, tables.single, strict=True):
        finished = any(results.scores(variant, environment) for variant in results.variants)
        yield (
            environment,
            table,
            *(
                [(s, curve_figure(environment, curves[over][environment], over, [s])) for s in divided if finished]
                for over in AXES
            ),
        )
