"""Tables over all environments of a comparison: normalised scores, ranks, and the agreement with published scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.reporting.tables import NONE, Table, counted, improvement_cells, interval, percent
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.aggregates import (
    Estimate,
    aggregate,
    difference_of_means,
    mean_score,
    rank_correlation,
)
from sb3_ppo_variants.experiments.stats.estimators import Array, Pairs, mean_ranks, rank_spread, resampled_centers
from sb3_ppo_variants.experiments.stats.scales import Scale


def overall_tables(results: Results) -> list[Table]:
    """The tables over all environments; none if there is only one, or nothing to compare yet.

    :param results: The comparison
    """
    if results.published:
        return _published_tables(results) if results.scales else []
    if results.scales:
        return [_score_table(results, results.scales[0])]
    return [_rank_table(results)] if len(results.complete) > 1 else []


def _score_table(results: Results, scale: Scale) -> Table:
    reference, names = results.reference, results.scored
    samples = {name: results.samples(name, scale) for name in names}
    header = ["row", "mean", "95 %", f"difference from {reference}", percent(results.level), "rank", "95 %", "P(first)"]
    header += ["IQM", "95 %", "median", "optimality gap", f"P(better than {reference})", "95 %", "p", "runs"]
    ranks = _mean_score_ranks(list(samples.values()))
    body = []
    for (name, own), its_rank in zip(samples.items(), ranks, strict=True):
        found = aggregate(own)
        pairs = _pairs(samples, name, reference)
        # The mean over environments has one estimate, of means, whatever the number of runs.
        difference = difference_of_means(pairs, results.level) if pairs else None
        aggregates = [*_cells(found.iqm), f"{found.median.value:.2f}", f"{found.gap.value:.2f}"]
        body.append(
            [
                *(
                    name,
                    *_cells(found.mean),
                    *(_difference_cells(difference) if difference else [NONE, NONE]),
                    *its_rank,
                ),
                *(*aggregates, *improvement_cells(pairs), _runs(own)),
            ]
        )
    return Table(f"Scores over {counted(len(scale.ends), 'environment')} ({scale.title})", header, body)


def _rank_table(results: Results) -> Table:
    """Ranks and probabilities only: raw returns of different environments have no common scale."""
    reference, environments = results.reference, results.complete
    samples = {variant: [results.scores(variant, e) for e in environments] for variant in results.finished}
    shifted = estimators.from_common_runs(list(samples.values()))
    centers = [[float(estimators.center(own[i])) for own in shifted] for i in range(len(environments))]
    ranks = _rank_cells(centers, resampled_centers(shifted))
    header = ["row", "mean rank", "95 %", "P(first)", f"mean P(better than {reference})", percent(results.level), "p"]
    body = []
    for (variant, own), its_rank in zip(samples.items(), ranks, strict=True):
        pairs = _pairs(samples, variant, reference)
        body.append([variant, *its_rank, *improvement_cells(pairs, results.level), _runs(own)])
    return Table(f"All {len(environments)} environments", [*header, "runs"], body)


def _pairs(samples: Mapping[str, Sequence[ArrayLike]], name: str, reference: str) -> Pairs:
    """The samples of a variant beside those of the reference; none for the reference itself, or if it has no runs."""
    return (
        []
        if name == reference or reference not in samples
        else list(zip(samples[name], samples[reference], strict=True))
    )


def _mean_score_ranks(samples: Sequence[Sequence[ArrayLike]]) -> list[list[str]]:
    """:func:`_rank_cells` of mean scores over all environments.

    :param samples: A variants of E samples (n,) each
    """
    shifted = estimators.from_common_runs(samples)
    resampled = resampled_centers(shifted, np.mean)
    means = None if resampled is None else resampled.mean(axis=1, keepdims=True)
    return _rank_cells([[float(mean_score(*own)) for own in shifted]], means)


def _rank_cells(centers: ArrayLike, resampled: Array | None) -> list[list[str]]:
    """Rank, its interval and P(first) of each variant, as text.

    :param centers: (E, A)
    :param resampled: (R, E, A)
    """
    ranks = [f"{rank:.3g}" for rank in mean_ranks(centers)]
    if resampled is None:
        return [[rank, NONE, NONE] for rank in ranks]
    spread = rank_spread(resampled)
    ends = [f"{low:.3g} to {high:.3g}" for low, high in spread.intervals]
    return [list(cells) for cells in zip(ranks, ends, (f"{first:.2f}" for first in spread.first), strict=True)]


# ---- Beside a published column ----


def _published_tables(results: Results) -> list[Table]:
    tables = [_published_and_measured(results), _score_table(results, results.scales[0])]
    if results.shipped is not None:
        tables.append(_score_table(results, results.shipped))
    tables.append(_readings(results))
    return [*tables, _agreement(results)] if len(results.compared_with_published) > 2 else tables


def _published_and_measured(results: Results) -> Table:
    scale, names = results.scales[0], results.compared_with_published
    samples = [results.samples(name) for name in names]
    published_ranks = _ranks([results.published[name] for name in names])
    ranks = _mean_score_ranks(samples)
    header = ["row", "published", "measured", "95 %", "rank published", "rank measured", "95 %", "P(first)", "runs"]
    body = [
        [name, f"{results.published[name]:.2f}", *_cells(aggregate(own).mean), f"{theirs:g}", *ours, _runs(own)]
        for name, own, theirs, ours in zip(names, samples, published_ranks, ranks, strict=True)
    ]
    if results.shipped is not None:
        header.insert(4, f"measured ({results.shipped.name})")
        for line in body:
            line.insert(4, f"{mean_score(*results.samples(line[0], results.shipped)):.2f}")
    title = f"Published and measured, mean over {counted(len(scale.ends), 'environment')} ({scale.title})"
    return Table(title, header, body)


def _readings(results: Results) -> Table:
    scales = [*results.scales, *([] if results.shipped is None else [results.shipped])]
    columns = []
    for scale in scales:
        means = [float(mean_score(*results.samples(variant, scale))) for variant in results.scored]
        columns.append([f"{mean:.2f} ({rank:g})" for mean, rank in zip(means, _ranks(means), strict=True)])
    header = ["row", *(f"{scale.zero}; {scale.one}" for scale in scales)]
    body = [list(line) for line in zip(results.scored, *columns, strict=True)]
    return Table("Mean score (rank) in each reading: what is 0; what is 1", header, body)


def _agreement(results: Results) -> Table:
    names = results.compared_with_published
    published = [results.published[name] for name in names]
    body = []
    for scale in results.scales:
        found = rank_correlation([results.samples(name, scale) for name in names], published)
        left_out = NONE
        if found.left_out:
            lowest = names[int(np.argmin(found.left_out))]
            left_out = f"{min(found.left_out):.2f} (without {lowest}) to {max(found.left_out):.2f}"
        body.append([scale.name, *_cells(found.spearman), left_out, *_cells(found.kendall)])
    header = [
        "scale",
        "Spearman's ρ",
        "95 % of resamples",
        "ρ with one row left out",
        "Kendall's τ",
        "95 % of resamples",
    ]
    title = f"Agreement of the measured order of {len(names)} rows with the published one"
    return Table(f"{title}; seeds resampled in both columns, as if the published one were as uncertain", header, body)


def _cells(found: Estimate) -> list[str]:
    return [f"{round(found.value, 2) + 0:.2f}", interval(found.interval, digits=2)]  # + 0: no minus before a zero


def _difference_cells(found: Estimate) -> list[str]:
    """A difference of scores and its interval; an end that two digits would make a zero shows on which side it lies."""
    ends = [f"{end:.2f}" if round(end, 2) or not end else f"{end:#.1g}" for end in found.interval or ()]
    return [_cells(found)[0], f"[{', '.join(ends)}]" if ends else NONE]


def _ranks(column: Sequence[float]) -> list[float]:
    return list(stats.rankdata(-np.asarray(column)))


def _runs(samples: Sequence[ArrayLike]) -> str:
    """Number of runs, and the fewest and most per environment if these differ."""
    counts = [np.size(sample) for sample in samples]
    return f"{sum(counts)}" if len(set(counts)) == 1 else f"{sum(counts)} ({min(counts)} to {max(counts)} each)"
