"""The verdict of a comparison in one sentence, from corrected intervals.

A variant is called better or worse than the reference only if its corrected interval excludes the value of no
difference. Where the interval of returns or scores does not, the verdict says whether that of ranks does: a single
failed run, or an environment whose scores weigh little, can hide from one what the other shows. Each is corrected on
its own, so up to 10 in 100 verdicts may name a difference where there is none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.reporting.tables import counted, significant
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, difference_of_means
from sb3_ppo_variants.experiments.stats.intervals import CONFIDENCE

MOST_AMOUNTS = 3  # variants up to which each one's difference is said
NOTHING = "nothing can be compared, for want of finished runs"
ENOUGH = 10  # runs of each variant to advise where fewer tell nothing apart


class _Differences(NamedTuple):
    """How the variants differ from the reference.

    :param where: The environments, in words
    :param found: Variant → its difference from the reference; empty if nothing can be compared
    :param pairs: Variant → the scores behind it, and the reference's, in each environment
    :param n: Runs of the smallest sample
    :param level: Confidence level of each interval
    :param none: The value of no difference: 0, or ½ for the probability that a run beats one of the reference
    """

    where: str
    found: Mapping[str, Estimate] = {}
    pairs: Mapping[str, estimators.Pairs] = {}
    n: int = 0
    level: float = CONFIDENCE
    none: float = 0.0

    def of(self, sign: int) -> list[str]:
        """The variants that are better (1) or worse (−1) than the reference, those farthest from it first."""
        far = {
            name: (interval.low - self.none if sign > 0 else self.none - interval.high)
            for name, (_, interval) in self.found.items()
            if interval is not None
        }
        return sorted((name for name in far if far[name] > 0), key=lambda name: -far[name])


def verdict(results: Results) -> str:
    """Which variants are better or worse than the reference, in one sentence.

    :param results: The comparison
    """
    reference, differences = results.labels[results.reference], _differences(results)
    better, worse = differences.of(1), differences.of(-1)
    rest = [name for name in differences.found if name not in (*better, *worse)]
    if len(results.variants) == 1:
        said = f"There is only {reference}, and nothing to compare it with"
    elif not differences.found:
        without = results.reference not in results.finished
        what = f"nothing can be compared with {reference}, which has no finished run" if without else NOTHING
        said = f"{differences.where} {what}"
    elif not better and not worse:
        said = f"{differences.where} {_nothing(results, differences, rest)}"
    else:
        groups = [_group(results, differences, better, "better"), _group(results, differences, worse, "worse")]
        if rest:
            groups.append(f"the seeds do not tell {_listed(results.labels[name] for name in rest)} apart from it")
        said = f"{differences.where} {'; '.join(filter(None, groups))} ({_certainty(results, differences)})"
    return "; ".join([said, *_by_ranks(results, differences, rest), *_not_counted(results, differences)]) + "."


# ---- Numbers ----


def _differences(results: Results) -> _Differences:
    """The differences in the table that decides: of the only environment with finished runs, or over all of them."""
    samples: dict[str, Sequence[ArrayLike]]
    estimate: Callable[[estimators.Pairs, float], Estimate]
    several = len(results.environments) > 1
    only = results.complete if several and not results.scales else results.environments
    if len(only) == 1:
        (environment,) = only
        samples = {v: [scores] for v in results.variants if (scores := results.scores(v, environment))}
        where, estimate, none = f"On {environment}", _difference_of_returns, 0.0
        if several:
            of = f"of {len(results.environments)} environments"
            where += f", the only one {of} where every row with finished runs has one,"
    elif results.scales:
        samples = {v: results.samples(v) for v in results.scored}
        scale = results.scales[0]
        where = f"Over {counted(len(scale.ends), 'environment')}, in mean score ({scale.title}),"
        estimate, none = difference_of_means, 0.0
    else:
        complete = results.complete if len(results.complete) > 1 else []
        samples = {v: [results.scores(v, e) for e in complete] for v in results.finished if complete}
        where, estimate, none = f"Over {len(complete) or len(results.environments)} environments", _improvement, 0.5
    if results.reference not in samples:
        return _Differences(where)
    theirs = samples.pop(results.reference)
    pairs = {v: list(zip(own, theirs, strict=True)) for v, own in samples.items()}
    found = {v: estimate(each, results.level) for v, each in pairs.items()}
    n = min(np.size(sample) for own in (theirs, *samples.values()) for sample in own)
    return _Differences(where, found, pairs, n, results.level, none)


def _difference_of_returns(pairs: estimators.Pairs, level: float) -> Estimate:
    return Estimate(estimators.mean_difference(pairs), estimators.difference_interval(pairs, level))


def _improvement(pairs: estimators.Pairs, level: float) -> Estimate:
    return Estimate(estimators.mean_improvement(pairs), estimators.improvement_interval(pairs, level))


# ---- Words ----


def _group(results: Results, differences: _Differences, names: Sequence[str], word: str) -> str | None:
    """That some variants are better or worse, and by how much if they are not too many; ``None`` without variants."""
    if not names:
        return None
    one, reference = len(names) == 1, results.labels[results.reference]
    said = f"{_listed(results.labels[name] for name in names)} {'is' if one else 'are'} {word} than {reference}"
    if len(names) > MOST_AMOUNTS:
        return said
    if differences.none:
        amounts = _listed(_amount(differences.found[name], 1, _probability) for name in names)
        return f"{said}, whose runs {'it beats' if one else 'they beat'} with probability {amounts}"
    sign = 1 if word == "better" else -1
    amounts = _listed(_amount(differences.found[name], sign, significant) for name in names)
    return f"{said} by {amounts}"


def _amount(found: Estimate, sign: int, text: Callable[[float], str]) -> str:
    assert found.interval is not None
    low, high = sorted(sign * end for end in found.interval)
    return f"{text(sign * found.value)} ({text(low)} to {text(high)})"


def _probability(value: float) -> str:
    return f"{value:.2f}" if f"{value:.2f}" != "0.50" else f"{value:.3f}"  # an end near ½ lies on one side of it


def _nothing(results: Results, differences: _Differences, names: Sequence[str]) -> str:
    """That no variants are told apart, how large a difference would have shown, and what more seeds would change."""
    labels = [results.labels[name] for name in names]
    said = f"the seeds do not tell {_listed(labels)} apart from {results.labels[results.reference]}"
    half_widths = {v: (i.high - i.low) / 2 for v, (_, i) in differences.found.items() if i is not None}
    if unknown := [results.labels[v] for v in names if v not in half_widths]:
        why = "one run does" if differences.n < 2 else f"{differences.n} runs that are all equal do"
        of = "" if len(unknown) == len(labels) else f" of {_listed(unknown)}"
        said += f": {why} not show how much runs{of} differ, so give more --seeds"
        if not half_widths:
            return said
    if varying := [v for v, half_width in half_widths.items() if half_width > 0]:
        if not differences.none:
            shown = _range([significant(half_widths[v]) for v in sorted(varying, key=half_widths.__getitem__)])
            begin = "; of the others, " if unknown else ": "
            said += f"{begin}only a measured difference of more than about {shown} would have shown"
        more = ENOUGH if differences.n < ENOUGH else 4 * differences.n
        width = estimators.relative_improvement_width if differences.none else estimators.relative_difference_width
        ratios = sorted(width(differences.pairs[v], more, differences.level) for v in varying)
        said += f"; with --seeds {more}, intervals are about {_range([f'{r:.2g}' for r in ratios])} times as wide"
    return f"{said} ({_certainty(results, differences)})"


def _by_ranks(results: Results, differences: _Differences, names: Iterable[str]) -> list[str]:
    """Which variants are better or worse by ranks, of those that returns or scores do not tell apart."""
    if differences.none:
        return []
    found = {name: _improvement(differences.pairs[name], differences.level) for name in names}
    ranks = differences._replace(found=found, none=0.5)
    groups = [_group(results, ranks, ranks.of(sign), word) for sign, word in ((1, "better"), (-1, "worse"))]
    return [f"by ranks {said}" for said in groups if said]


def _range(ascending: Sequence[str]) -> str:
    """The first and the last of them, once where they are the same."""
    return " to ".join(dict.fromkeys((ascending[0], ascending[-1])))


def _certainty(results: Results, differences: _Differences) -> str:
    few = ", few" if differences.n < estimators.FEW else ""
    comparisons = len(results.variants) - 1
    corrected = f", corrected for {comparisons} comparisons" if comparisons > 1 else ""
    return f"n = {differences.n}{few}; 95 %{corrected}"


def _not_counted(results: Results, differences: _Differences) -> list[str]:
    """What the verdict does not rest on: variants without a score, and runs that failed or are not done."""
    total, states = len(results.records), [record.state for record in results.records]
    without = [v for v in results.variants if v not in differences.found and v != results.reference]
    said = []
    if differences.found and without:
        said.append(f"{_listed(results.labels[v] for v in without)} cannot be compared, for want of finished runs")
    if failed := states.count("failed"):
        said.append(f"{failed} of {total} runs failed and {'is' if failed == 1 else 'are'} not counted")
    if missing := states.count("missing"):
        said.append(f"{missing} of {total} runs {'is' if missing == 1 else 'are'} not done yet")
    return said


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
