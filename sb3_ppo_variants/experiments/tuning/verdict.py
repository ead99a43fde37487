"""The verdict of a confirmation: does a tuned setting beat the documented defaults?

The k best settings of a study were chosen for their tuning returns, which therefore flatter them. Only a second set of
runs counts here, on seeds that the study has never seen. With k settings, one may look better by chance: the intervals
are Bonferroni-corrected to level 1 − 0.05/k, and all k hold jointly with 95 % confidence. Only a setting whose
corrected interval lies above zero is called better. Intervals in single environments are corrected for all k·E of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from sb3_ppo_variants.experiments.reporting.tables import NONE, Table, number, percent, significant
from sb3_ppo_variants.experiments.stats.estimators import IQM_LEAST
from sb3_ppo_variants.experiments.stats.intervals import Interval, corrected_level
from sb3_ppo_variants.experiments.tuning.differences import (
    Difference,
    difference_to_defaults,
    worst_return,
)
from sb3_ppo_variants.experiments.tuning.metric import POWER, Metric
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord

DEFAULTS = "defaults"
NO_WINNER = "no tuned setting is shown to beat the documented defaults: "
LEAST_SEEDS = 10  # below, intervals depend on how returns are distributed
LEAST_FINISHED = 5  # of the defaults' runs


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the confirmation found.

    :param winner: Name of the confirmed setting, ``None`` when there is none
    :param words: The verdict in sentences
    :param table: All differences
    :param notes: How they were computed and what failed
    :param level: Confidence level of the intervals that decide, 1 − 0.05/k
    :param differences: The aggregate of each candidate, in the candidates' order
    :param winner_lines: The winner's difference in each environment; empty without a winner
    """

    winner: str | None
    words: str
    table: Table
    notes: list[str]
    level: float
    differences: list[Difference]
    winner_lines: list[Difference] = dataclasses.field(default_factory=list)


def judge(plan: StudyPlan, candidates: Sequence[Candidate]) -> Verdict:
    """Compare the candidates with the documented defaults on the test seeds.

    A failed run of a candidate counts as the random policy's return, or as the worst return of all candidates in that
    environment if that is lower or the random policy's is not known. A failed run of the defaults is left out. Both
    can only speak against the candidate.

    :param plan: The study
    :param candidates: ``"defaults"`` and the k other settings, in any order
    :return: The verdict; ``winner`` is the confirmed setting with the highest lower limit
    :raises ValueError: when the defaults are not among the candidates
    """
    defaults = next((c for c in candidates if c.name == DEFAULTS), None)
    if defaults is None:
        raise ValueError(f"The confirmation needs a candidate {DEFAULTS!r}, got {[c.name for c in candidates]}")
    others = [c for c in candidates if c.name != DEFAULTS]
    level = corrected_level(max(len(others), 1))
    metrics = _metrics(plan)
    levels = [*(corrected_level(max(len(others), 1) * len(plan.environments)) for _ in metrics[:-1]), level]
    worst = {e: worst_return(plan, e, candidates) for e in plan.environments}
    lines = {
        c.name: [
            d
            for m, its_level in zip(metrics, levels, strict=True)
            if (d := difference_to_defaults(c, defaults, m, worst, its_level)) is not None
        ]
        for c in others
    }
    deciding = {name: ds[-1] for name, ds in lines.items() if len(ds) == len(metrics)}
    enough = [c.name for c in others if c.name in deciding and _enough(plan, c, defaults)]
    confirmed = [deciding[name] for name in enough if deciding[name].better]
    winner = max(confirmed, key=lambda d: d.lower_limit, default=None)
    found = list(deciding.values())
    winner_lines = [d for d in lines[winner.candidate] if d.environment is not None] if winner else []
    words = _winner_words(winner, winner_lines, len(others)) if winner else _no_winner_words(plan, candidates, found)
    header = [
        *("setting", "environment", "return", "defaults", "difference", "interval"),
        *("P(better)", "interval", "level", "detectable", "n", "failed"),
    ]
    table = Table("Confirmation on test seeds", header, [_line(d) for ds in lines.values() for d in ds])
    notes = _notes(candidates, metrics[-1])
    return Verdict(winner.candidate if winner else None, words, table, notes, level, found, winner_lines)


def nothing_to_confirm(trials: Sequence[TrialRecord]) -> Verdict:
    """The verdict on a study in which only the defaults have a score.

    :param trials: Its trials
    """
    tried = [t for t in trials if t.number]
    failed = [t for t in tried if t.state == "failed"]
    why = "the study offered no other setting."
    if failed:
        why = (
            f"no other setting has a score; {len(failed)} of the {len(tried)} trials other than the defaults failed, "
            f"the last with {failed[-1].reason!r}."
        )
    table = Table("Confirmation on test seeds", [], [])
    return Verdict(None, NO_WINNER + why, table, [], corrected_level(1), [])


def _metrics(plan: StudyPlan) -> list[Metric]:
    """The return in each environment, then, where there are several, the study's metric: the last one decides."""
    each = [Metric([e], plan.references) for e in plan.environments]
    return each if len(each) == 1 else [*each, plan.metric]


def _enough(plan: StudyPlan, candidate: Candidate, defaults: Candidate) -> bool:
    asked = min(_asked(c, e) for c in (candidate, defaults) for e in plan.environments)
    finished = min(len(defaults.returns.get(e, ())) for e in plan.environments)
    return asked >= LEAST_SEEDS and finished >= LEAST_FINISHED


def _asked(candidate: Candidate, environment: str) -> int:
    return len(candidate.returns.get(environment, ())) + len(candidate.failed.get(environment, ()))


def _winner_words(winner: Difference, lines: Sequence[Difference], candidates: int) -> str:
    words = (
        f"{winner.candidate} beats the documented defaults: {amount(winner)} {winner.metric.unit}, "
        f"with {_joint(candidates)}. A run of it beats a run of the defaults with probability "
        f"{winner.improvement:.2f} ({_shares(winner.improvement_interval)})."
    )
    if len(lines) < 2:
        return words
    # An aggregate may hide that a setting helps in one environment and harms in another.
    groups = {
        "better": [d for d in lines if d.better],
        "worse": [d for d in lines if d.worse],
        "not shown to differ": [d for d in lines if not d.better and not d.worse],
    }
    said = [f"{what} in {', '.join(str(d.environment) for d in group)}" for what, group in groups.items() if group]
    words += f" By environment: {'; '.join(said)}."
    # One failed run can hide from the interquartile mean what all the others show.
    ranks = [(d, d.improvement_interval) for d in groups["not shown to differ"] if d.improvement_interval]
    found = [
        *(f"better in {d.environment} ({d.improvement:.2f})" for d, interval in ranks if interval.low > 0.5),
        *(f"worse in {d.environment} ({d.improvement:.2f})" for d, interval in ranks if interval.high < 0.5),
    ]
    return f"{words} By P(better) besides: {', '.join(found)}." if found else words


def _no_winner_words(plan: StudyPlan, candidates: Sequence[Candidate], found: Sequence[Difference]) -> str:
    others = len(candidates) - 1
    if not others:
        return NO_WINNER + "the study offered no other setting."
    if not found:
        return NO_WINNER + "too few runs finished to compare anything."
    asked = min(_asked(c, e) for c in candidates for e in plan.environments)
    best = max(found, key=lambda d: d.lower_limit)
    words = NO_WINNER + (
        f"of the {others} compared, {best.candidate} comes closest with {amount(best)} {best.metric.unit}"
        if others > 1
        else f"{best.candidate} differs by {amount(best)} {best.metric.unit}"
    )
    words += f", with {_joint(others)}." if best.interval is not None else "."
    if all(d.worse for d in found):
        words += " It is worse than the defaults." if others == 1 else " All of them are worse than the defaults."
    finished = min(len(c.returns.get(e, ())) for c in candidates if c.name == DEFAULTS for e in plan.environments)
    if finished < LEAST_FINISHED:
        words += f" With {finished} finished runs of the defaults nothing is confirmed: that takes {LEAST_FINISHED}."
    if asked < LEAST_SEEDS:
        words += f" With {asked} test seeds nothing is confirmed: that takes at least {LEAST_SEEDS}."
    if best.detectable and finished >= LEAST_FINISHED and asked >= LEAST_SEEDS and not all(d.worse for d in found):
        words += (
            f" A true difference of {significant(best.detectable)} would have been found with a probability of about "
            f"{POWER:g}."
        )
    return words


def amount(difference: Difference) -> str:
    """A difference with its interval, for people.

    :param difference: The difference
    """
    if difference.interval is None:
        return _signed(difference.difference)
    low, high = difference.interval
    return f"{_signed(difference.difference)} ({_signed(low)} to {_signed(high)})"


def _joint(candidates: int) -> str:
    if candidates == 1:
        return "95 % confidence"
    return f"95 % confidence for all {candidates} candidates simultaneously"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{significant(abs(value))}"


def _line(d: Difference) -> list[str]:
    return [
        d.candidate,
        d.environment or d.metric.all_environments,
        NONE if d.center is None else number(d.center),
        NONE if d.center_defaults is None else number(d.center_defaults),
        _signed(d.difference),
        NONE if d.interval is None else f"{_signed(d.interval.low)} to {_signed(d.interval.high)}",
        f"{d.improvement:.2f}",
        _shares(d.improvement_interval),
        percent(d.level),
        NONE if d.detectable is None else significant(d.detectable),
        f"{d.n} / {d.m}",
        f"{d.failed} / {d.failed_defaults}",
    ]


def _shares(found: Interval | None) -> str:
    return NONE if found is None else f"{found.low:.2f} to {found.high:.2f}"


def _method(metric: Metric) -> str:
    widened = (
        f"percentile bootstrap of the IQM, widened for few runs (Hesterberg 2015, arXiv:1411.5279); Welch's t below "
        f"{IQM_LEAST} runs"
    )
    return f"{widened}; over all environments as those of P(better)" if metric.relative else widened


def _correction(settings: int, environments: int) -> str:
    """How the levels of the intervals are corrected, for k settings in E environments."""
    level = percent(corrected_level(settings))
    words = f"Level 1 − 0.05/{settings} = {level} each, so that the intervals of the {settings} compared hold jointly "
    if environments == 1:
        return f"{words}with 95 % confidence (Bonferroni)."
    each = percent(corrected_level(settings * environments))
    return (
        f"The lines over all environments decide. {words}with 95 % confidence (Bonferroni). Those of single "
        f"environments have level 1 − 0.05/({settings}·{environments}) = {each}, so that they hold jointly in all "
        "environments too."
    )


def _notes(candidates: Sequence[Candidate], metric: Metric) -> list[str]:
    k = max(len(candidates) - 1, 1)
    notes = [
        f"Return: mean of the last 100 training episodes; IQM over runs (mean below {IQM_LEAST}). n and "
        "failed: runs of the setting / of the defaults, all on test seeds that no trial has used.",
        f"Intervals of differences: {_method(metric)}. Those of P(better): Newcombe's score interval with a continuity "
        "correction.",
        _correction(k, len(metric.environments)),
        f"Detectable: the true difference that this comparison would have found with a probability of about {POWER:g}.",
    ]
    if metric.difference_note is not None:
        notes.append(metric.difference_note)
    if any(reasons for c in candidates if c.name != DEFAULTS for reasons in c.failed.values()):
        notes.append("A failed run of a setting counts as the random policy's return, or as the worst seen if lower.")
    if any(reasons for c in candidates if c.name == DEFAULTS for reasons in c.failed.values()):
        notes.append("Failed runs of the defaults are left out, which speaks for the defaults.")
    for candidate in candidates:
        for environment, reasons in candidate.failed.items():
            counts = Counter(reasons)
            notes += [f"FAILED {candidate.name} {environment}, {n} runs: {text}" for text, n in counts.items()]
    return notes
