"""The files of a tuning study.

``report.html`` says what was found, whether it holds, and all that a reader needs to doubt it. ``trials.csv`` and
``study.json`` hold the trials.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from sb3_ppo_variants.experiments.reporting.tables import NONE, Table, number
from sb3_ppo_variants.experiments.search_space.axis import documented_parameter
from sb3_ppo_variants.experiments.search_space.dimensions import BandRatio
from sb3_ppo_variants.experiments.tuning import pictures
from sb3_ppo_variants.experiments.tuning.checklist import (
    budget,
    checklist,
    test_seed_count,
    value_text,
    values_text,
    versions_text,
)
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord, counts, done, ranked
from sb3_ppo_variants.experiments.tuning.verdict import DEFAULTS, Verdict
from sb3_ppo_variants.files import write_csv, write_text

# These parameters are shown first, in the order of their documentation.
FIVE = ("clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef")
SHOWN_FAILURES = 40


def write_tables(
    plan: StudyPlan, trials: Sequence[TrialRecord], candidates: Sequence[Candidate], out: Path
) -> list[Path]:
    """Write ``trials.csv`` and ``study.json``.

    :param plan: The study
    :param trials: Its trials
    :param candidates: Its candidates
    :param out: The folder
    :return: The files
    """
    header = ["number", "state", "score", *plan.space, "reused", "seconds", "reason"]
    header += [f"return {e}" for e in plan.environments]
    rows = [
        [
            *(t.number, t.state, t.score),
            *(t.values.get(a) for a in plan.space),
            *(t.reused, round(t.seconds, 3), t.reason),
            *(" ".join(map(repr, t.returns.get(e, ()))) for e in plan.environments),
        ]
        for t in trials
    ]
    write_csv(out / "trials.csv", header, rows)
    study = {
        "plan": plan.to_json(),
        "trials": [dataclasses.asdict(t) for t in trials],
        "candidates": [dataclasses.asdict(c) for c in candidates],
    }
    write_text(out / "study.json", json.dumps(study, ensure_ascii=False) + "\n")
    return [out / "trials.csv", out / "study.json"]


def write_report(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    verdict: Verdict | None,
    out: Path,
    command: str | None = None,
) -> list[Path]:
    """Write ``report.html``.

    :param plan: The study
    :param trials: Its trials, in any order, any number of them finished
    :param candidates: What was run on test seeds; empty before the confirmation
    :param verdict: What that found; ``None`` before the confirmation
    :param out: The folder
    :param command: The command that made the study
    :return: The files written
    """
    trials = sorted(trials, key=lambda t: t.number)
    n = len(plan.environments)
    title = f"Tuning {plan.algorithm} on {' and '.join(plan.environments) if n <= 2 else f'{n} environments'}"
    answers = checklist(plan, trials, candidates, verdict, command)
    sections = [
        Section("Confirmation", _confirmation(verdict)),
        Section("Optimisation history", _history(plan, trials)),
        Section("Parameter importances", _importances(plan, trials)),
        Section("Slices", _slices(plan, trials)),
        Section("Settings", _settings(plan, trials, candidates)),
        Section("Failures", _failures(trials)),
        Section("Pruning", _pruning(plan, trials)),
        Section("The study", _study(plan, trials, candidates, command)),
        Section("Reproducibility checklist", [Grid(answers, prose=True)]),
    ]
    foot = "Made by ppo-variants tune. Everything in this file is computed from the study's ledger."
    path = out / "report.html"
    write_text(path, page(title, _lead(plan, trials, verdict), sections, foot))
    return [path]


def _lead(plan: StudyPlan, trials: Sequence[TrialRecord], verdict: Verdict | None) -> list[Block]:
    words = "Not confirmed yet: nothing has been run on test seeds." if verdict is None else verdict.words
    return [
        Callout(words[:1].upper() + words[1:], good=verdict is not None and verdict.winner is not None),
        Text(
            f"{len(trials)} trials ({counts(trials) or 'none finished'}) of {plan.seeds} seeds × {plan.timesteps:,} "
            f"timesteps on {', '.join(plan.environments)}. Trial 0 is the documented defaults."
        ),
    ]


def _confirmation(verdict: Verdict | None) -> list[Block]:
    if verdict is None:
        note = (
            "The best settings and the documented defaults have not been run on test seeds. The scores below flatter "
            "the best trials: these were chosen for them."
        )
        return [Text(note)]
    blocks: list[Block] = []
    if verdict.differences:
        caption = f"Differences on test seeds with {100 * verdict.level:.3g} % intervals; right of the line is better."
        alt = "; ".join(f"{d.candidate}: {number(d.difference)}" for d in verdict.differences)
        figure = pictures.draw_differences(verdict.differences)
        blocks.append(Picture(figure, f"Differences to the defaults. {alt}", caption))
    blocks += [Grid(verdict.table)] if verdict.table.body else []
    blocks += [Bullets(verdict.notes)] if verdict.notes else [Text(verdict.words)]
    return blocks


def _history(plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[Block]:
    finished = ranked(trials)
    if not finished:
        return [Text("No trial has finished, so there is no history to show.")]
    best, default = finished[0], next((t for t in finished if t.number == 0), None)
    caption = f"Best: trial {best.number} with {number(best.score or 0.0)}"
    caption += f"; documented defaults: {number(default.score or 0.0)}." if default else "; trial 0 has no score."
    caption += " Tuning seeds: the best of many scores is too good on average."
    return [Picture(pictures.draw_history(plan, trials), f"Trial scores in their order. {caption}", caption)]


def _importances(plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[Block]:
    shares = pictures.importances(plan, trials)
    if shares is None:
        note = (
            f"Too few trials: importances take at least {pictures.LEAST_TRIALS} finished trials with different scores, "
            f"and there are {len({t.score for t in done(trials)})}."
        )
        return [Text(note)]
    n = len(done(trials))
    caption = (
        f"PED-ANOVA (arXiv:2304.10255) on {n} trials: how unlike the rest the best tenth of them is in each parameter. "
        f"It says what mattered in this range, not in which direction, and with {n // 10} trials in that tenth "
        f"it is a rough guide."
    )
    alt = "Importances: " + ", ".join(f"{a} {share:.2f}" for a, share in shares.items())
    return [Picture(pictures.draw_importances(shares), alt, caption)]


def _slices(plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[Block]:
    if not done(trials):
        return [Text("No trial has finished, so there are no slices to show.")]
    arguments = [*(a for a in FIVE if a in plan.space), *(a for a in plan.space if a not in FIVE)]
    missing = [a for a in FIVE if a not in plan.space]
    found = [
        Picture(pictures.draw_slice(plan, trials, argument), f"Trial scores over {argument}", _slice_caption(argument))
        for argument in arguments
    ]
    blocks: list[Block] = [
        Text("One point per trial; all other parameters vary too. Darker points are later trials. Tuning seeds."),
        Pictures(found),
    ]
    if missing:
        blocks.append(Text(f"Not searched here: {', '.join(missing)}."))
    return blocks


def _slice_caption(argument: str) -> str:
    documented = documented_parameter(argument)
    if documented is None:
        return f"{argument}: nothing is documented for it beyond trial 0, the star."
    if documented.low is None:
        return f"{documented.symbol}: only the default {documented.default:g} is documented, the dashed line."
    return (
        f"{documented.symbol}: documented range {documented.low:g} to {documented.high:g}, shaded; default "
        f"{documented.default:g}, dashed."
    )


def _settings(plan: StudyPlan, trials: Sequence[TrialRecord], candidates: Sequence[Candidate]) -> list[Block]:
    columns: list[tuple[str, dict[str, Any]]] = [(c.name, dict(c.values)) for c in candidates]
    if not columns:
        columns = [(f"trial {t.number}", dict(t.values)) for t in ranked(trials)[:3]]
    if not columns:
        return [Text("No trial has finished.")]
    body = [
        [
            _searched(plan, argument),
            *(value_text(values[argument]) if argument in values else NONE for _, values in columns),
        ]
        for argument in plan.space
    ]
    title = "Searched parameters" if candidates else "Searched parameters of the best trials, not confirmed"
    table = Table(title, ["parameter", *("documented " * (n == DEFAULTS) + n for n, _ in columns)], body)
    fixed = f"The same in all: {values_text(plan.fixed)}." if plan.fixed else "Everything else is as documented."
    return [Grid(table), Text(fixed)]


def _searched(plan: StudyPlan, argument: str) -> str:
    """What was searched: the argument, or for a multiple the name of Optuna's parameter."""
    dimension = plan.space[argument]
    return dimension.parameter_name(argument) if isinstance(dimension, BandRatio) else argument


def _failures(trials: Sequence[TrialRecord]) -> list[Block]:
    failed = [t for t in trials if t.state == "failed"]
    if not failed:
        return [Text("No trial failed.")]
    body = [
        [f"trial {t.number}", t.reason or "no reason given", values_text(t.settings)] for t in failed[:SHOWN_FAILURES]
    ]
    kinds = Counter((t.reason or "unknown").partition(":")[0] for t in failed)
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    blocks: list[Block] = [
        Text(f"{len(failed)} of {len(trials)} trials failed: {counted}."),
        Grid(Table("Failed trials", ["trial", "reason", "settings"], body), prose=True),
    ]
    if len(failed) > SHOWN_FAILURES:
        blocks.append(Text(f"The first {SHOWN_FAILURES} are shown; the ledger has them all."))
    return blocks


def _pruning(plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[Block]:
    pruned = sum(t.state == "pruned" for t in trials)
    state = "Pruning was off in this study."
    if plan.pruning:
        state = f"Pruning was on and ended {pruned} of {len(trials)} trials."
    found = audit(trials, plan.timesteps)
    if found is None:
        return [Text(state), Text("No trial has finished, so there is nothing to replay.")]
    lost = "would have been lost" if found.best_lost else "would have been kept"
    named = f" ({', '.join(map(str, found.pruned[:SHOWN_FAILURES]))})" if found.pruned else ""
    replay = (
        f"The {found.trials} finished trials replayed along their learning curves with pruning on: it would have ended "
        f"{len(found.pruned)} of them{named} and saved {100 * found.steps_saved:.0f} % of their steps. The best trial "
        f"{lost}; the best that would have finished has rank {found.best_survivor_rank}."
    )
    if plan.pruning:
        replay += " Trials that pruning did end are not among them, so this understates what it does."
    return [Text(state), Text(replay)]


def _study(
    plan: StudyPlan, trials: Sequence[TrialRecord], candidates: Sequence[Candidate], command: str | None
) -> list[Block]:
    space = Table("Search space", ["parameter", "range"], [[a, d.describe()] for a, d in plan.space.items()])
    tested = test_seed_count(candidates)
    facts = [
        f"Environments: {', '.join(plan.environments)}; {plan.n_envs} stepped together in each run",
        f"Budget: {budget(plan, trials)}",
        f"Confirmation: {len(candidates)} settings × {tested} test seeds × {plan.timesteps:,} steps in each environment"
        if tested
        else "Confirmation: none so far",
        f"Sampler: {plan.sampler}, seed {plan.sampler_seed}",
        f"Wall time of the trials, added up: {sum(t.seconds for t in trials if t.reused is None):.0f} s",
        f"Software: {versions_text(trials) or 'no trial has finished'}",
    ]
    facts += plan.metric.scales()
    plan_text = json.dumps(plan.to_json(), indent=1, ensure_ascii=False)
    blocks: list[Block] = [Text("The command:"), Code(command)] if command else []
    folded = Folded("The plan as the ledger keeps it", [Code(plan_text)])
    return [*blocks, Bullets(facts), Grid(space, prose=True), folded]
