"""Tables over all environments of a comparison: normalised scores, ranks, and the agreement with published scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.reporting.tables import Table, improvement_cells, interval
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, aggregate, mean_score, rank_correlation


def overall_tables(results: Results) -> list[Table]:
    """The tables over all environments; none if there is only one, or nothing to compare yet.

    :param results: The comparison
    """
    if results.published:
        return _published_tables(results) if results.scales else []
    if results.scales:
        return [_score_table(results)]
    return [_rank_table(results)] if len(results.complete) > 1 else []


def _score_table(results: Results) -> Table:
    scale, reference = results.scales[0], results.reference
    header = ["row", "mean", "95 %", "IQM", "95 %", "median", "optimality gap", f"P(better than {reference})", "95 %"]
    body = []
    for variant in results.scored:
        samples = results.samples(variant)
        found = aggregate(samples)
        pairs = list(zip(samples, results.samples(reference), strict=True)) if variant != reference else []
        aggregates = [*_cells(found.mean), *_cells(found.iqm), f"{found.median.value:.2f}", f"{found.gap.value:.2f}"]
        body.append([variant, *aggregates, *improvement_cells(pairs), _runs(samples)])
    return Table(f"Scores over {len(scale.ends)} environments ({scale.name})", [*header, "runs"], body)


def _rank_table(results: Results) -> Table:
    """Ranks and probabilities only: raw returns of different environments have no common scale."""
    reference, environments = results.reference, results.complete
    samples = {variant: [results.scores(variant, e) for e in environments] for variant in results.variants}
    centers = [[float(estimators.center(own[i])) for own in samples.values()] for i in range(len(environments))]
    ranks = estimators.mean_ranks(centers)
    header = ["row", "mean rank", f"mean P(better than {reference})", "95 %", "runs"]
    body = []
    for (variant, own), rank in zip(samples.items(), ranks, strict=True):
        pairs = list(zip(own, samples[reference], strict=True)) if variant != reference else []
        body.append([variant, f"{rank:.2f}", *improvement_cells(pairs), _runs(own)])
    return Table(f"All {len(environments)} environments", header, body)


# ---- Beside a published column ----


def _published_tables(results: Results) -> list[Table]:
    tables = [_published_and_measured(results), _score_table(results), _readings(results)]
    return [*tables, _agreement(results)] if len(results.compared_with_published) > 2 else tables


def _published_and_measured(results: Results) -> Table:
    scale, names = results.scales[0], results.compared_with_published
    samples = [results.samples(name) for name in names]
    published_ranks = _ranks([results.published[name] for name in names])
    measured_ranks = _ranks([float(mean_score(*own)) for own in samples])
    header = ["row", "published", "measured", "95 %", "rank published", "rank measured", "runs"]
    body = [
        [name, f"{results.published[name]:.2f}", *_cells(aggregate(own).mean), f"{theirs:g}", f"{ours:g}", _runs(own)]
        for name, own, theirs, ours in zip(names, samples, published_ranks, measured_ranks, strict=True)
    ]
    return Table(f"Published and measured, mean over {len(scale.ends)} environments ({scale.name})", header, body)


def _readings(results: Results) -> Table:
    columns = []
    for scale in results.scales:
        means = [float(mean_score(*results.samples(variant, scale))) for variant in results.scored]
        columns.append([f"{mean:.2f} ({rank:g})" for mean, rank in zip(means, _ranks(means), strict=True)])
    header = ["row", *(f"{scale.zero}; {scale.one}" for scale in results.scales)]
    body = [list(line) for line in zip(results.scored, *columns, strict=True)]
    return Table("Mean score (rank) in each reading: what is 0; what is 1", header, body)


def _agreement(results: Results) -> Table:
    names = results.compared_with_published
    published = [results.published[name] for name in names]
    body = []
    for scale in results.scales:
        found = rank_correlation([results.samples(name, scale) for name in names], published)
        body.append([scale.name, *_cells(found.spearman), *_cells(found.kendall)])
    header = ["scale", "Spearman's ρ", "95 %", "Kendall's τ", "95 %"]
    return Table(f"Agreement of the measured order of {len(names)} rows with the published one", header, body)


def _cells(found: Estimate) -> list[str]:
    return [f"{found.value:.2f}", interval(found.interval, digits=2)]


def _ranks(column: Sequence[float]) -> list[float]:
    return list(stats.rankdata(-np.asarray(column)))


def _runs(samples: Sequence[ArrayLike]) -> str:
    """Number of runs, and the fewest and most per environment if these differ."""
    counts = [np.size(sample) for sample in samples]
    return f"{sum(counts)}" if len(set(counts)) == 1 else f"{sum(counts)} ({min(counts)} to {max(counts)} each)"
