"""Tables over all environments of a comparison: normalised scores, and the agreement with a published column."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sb3_ppo_variants.experiments.engine.records import Record, complete_environments, scores
from sb3_ppo_variants.experiments.reporting.tables import Table, improvement_cells, interval
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, aggregate, mean_score, rank_correlation
from sb3_ppo_variants.experiments.stats.scales import Scale, paper_scales


def score_table(rows: Sequence[Record], names: Sequence[str], scale: Scale, reference: str) -> Table:
    """Normalised scores over all environments of a scale.

    :param rows: The comparison
    :param names: The rows
    :param scale: The scale
    :param reference: The row that the others are compared with
    """
    body = []
    for name in names:
        samples = scale.samples(rows, name)
        found = aggregate(samples)
        cells = [cell for one in (found.mean, found.iqm) for cell in _cells(one)]
        pairs = list(zip(samples, scale.samples(rows, reference), strict=True))
        better = improvement_cells([] if name == reference else pairs)
        body.append([name, *cells, f"{found.median.value:.2f}", f"{found.gap.value:.2f}", *better, runs(samples)])
    header = ["row", "mean", "95 %", "IQM", "95 %", "median", "optimality gap", f"P(better than {reference})", "95 %"]
    title = f"Scores over {len(scale.ends)} environments ({scale.name})"
    return Table(title, [*header, "runs"], body)


def published_scales(rows: Sequence[Record], published: Mapping[str, float]) -> list[Scale]:
    """The four readings of a published table's scale, over the environments in which all of its rows have a run.

    :param rows: The comparison
    :param published: Row → published score
    :return: None of them while there is nothing to compare
    """
    names = _published_rows(rows, published)
    environments = complete_environments(rows, names)
    return paper_scales(rows, names, environments) if len(names) > 1 and environments else []


def published_tables(rows: Sequence[Record], published: Mapping[str, float], reference: str) -> list[Table]:
    """A published column beside ours, in the four readings of its scale.

    :param rows: The comparison
    :param published: Row → published score
    :param reference: The row that the others are compared with
    :return: The column beside ours, all metrics, the four readings, how well the orders agree
    """
    scales = published_scales(rows, published)
    if not scales:
        return []
    names, environments = _published_rows(rows, published), list(scales[0].ends)
    others = [r for r in dict.fromkeys(r.run.variant for r in rows) if r not in names]
    shown = [*names, *(name for name in others if all(scores(rows, name, e) for e in environments))]
    tables = [
        _beside(rows, names, published, scales[0]),
        score_table(rows, shown, scales[0], reference if reference in names else names[0]),
        _readings(rows, shown, scales),
    ]
    if len(names) > 2:
        tables.append(_agreement(rows, names, published, scales))
    return tables


def _published_rows(rows: Sequence[Record], published: Mapping[str, float]) -> list[str]:
    return [name for name in dict.fromkeys(r.run.variant for r in rows) if name in published]


def _beside(rows: Sequence[Record], names: Sequence[str], published: Mapping[str, float], scale: Scale) -> Table:
    ours = {name: float(mean_score(*scale.samples(rows, name))) for name in names}
    theirs_rank, ours_rank = (_ranks([column[name] for name in names]) for column in (published, ours))
    body = []
    for i, name in enumerate(names):
        found = aggregate(scale.samples(rows, name)).mean
        body.append(
            [
                name,
                f"{published[name]:.2f}",
                *_cells(found),
                f"{theirs_rank[i]:g}",
                f"{ours_rank[i]:g}",
                runs(scale.samples(rows, name)),
            ]
        )
    header = ["row", "published", "measured", "95 %", "rank published", "rank measured", "runs"]
    return Table(f"Published and measured, mean over {len(scale.ends)} environments ({scale.name})", header, body)


def _readings(rows: Sequence[Record], names: Sequence[str], scales: Sequence[Scale]) -> Table:
    columns = [[float(mean_score(*scale.samples(rows, name))) for name in names] for scale in scales]
    ranks = [_ranks(column) for column in columns]
    body = [
        [name, *(f"{column[i]:.2f} ({rank[i]:g})" for column, rank in zip(columns, ranks, strict=True))]
        for i, name in enumerate(names)
    ]
    header = ["row", *(f"{scale.zero}; {scale.one}" for scale in scales)]
    return Table("Mean score (rank) in each reading: what is 0; what is 1", header, body)


def _agreement(
    rows: Sequence[Record], names: Sequence[str], published: Mapping[str, float], scales: Sequence[Scale]
) -> Table:
    body = []
    for scale in scales:
        found = rank_correlation([scale.samples(rows, name) for name in names], [published[name] for name in names])
        body.append([scale.name, *_cells(found.spearman), *_cells(found.kendall)])
    header = ["scale", "Spearman's ρ", "95 %", "Kendall's τ", "95 %"]
    return Table(f"Agreement of the measured order of {len(names)} rows with the published one", header, body)


def _cells(found: Estimate) -> list[str]:
    return [f"{found.value:.2f}", interval(found.interval, digits=2)]


def _ranks(column: Sequence[float]) -> list[float]:
    return list(stats.rankdata(-np.asarray(column)))


def runs(samples: Sequence[ArrayLike]) -> str:
    """Number of runs, and how they are spread where they are not alike.

    :param samples: One sample an environment
    """
    counts = {np.size(sample) for sample in samples}
    total = sum(np.size(sample) for sample in samples)
    return f"{total}" if len(counts) == 1 else f"{total} ({min(counts)} to {max(counts)} each)"
