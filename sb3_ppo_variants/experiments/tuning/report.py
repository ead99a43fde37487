"""The files of a tuning study.

``report.html`` says what was found, whether it holds, and all that a reader needs to doubt it; its text is in the
templates ``report.html`` and ``checklist.html``. ``trials.csv`` and ``study.json`` hold the trials.
"""

import dataclasses
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.reporting.page import render, templates
from sb3_ppo_variants.experiments.runs.seeds import test_seeds, tuning_seeds
from sb3_ppo_variants.experiments.search_space.axis import documented_parameter
from sb3_ppo_variants.experiments.tuning import pictures
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit
from sb3_ppo_variants.experiments.tuning.samplers import SAMPLERS
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord, counts, ranked
from sb3_ppo_variants.experiments.tuning.verdict import DEFAULTS, Verdict
from sb3_ppo_variants.experiments.tuning.zoo_entry import to_copy
from sb3_ppo_variants.files import write_csv, write_text

# These parameters are shown first, in the order of their documentation.
FIRST = tuple(documented.argument for documented in DOCUMENTED)
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
            *(plan.arguments(t.values).get(a) for a in plan.space),
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
    failed = [t for t in trials if t.state == "failed"]
    tested = test_seed_count(candidates)
    winner = next((c for c in candidates if verdict is not None and c.name == verdict.winner), None)
    html = render(
        templates().get_template("tuning/report.html"),
        plan=plan,
        plan_text=json.dumps(plan.to_json(), indent=1, ensure_ascii=False),
        command=command,
        sampler=SAMPLERS[plan.sampler],
        trials=trials,
        counts=counts(trials),
        trained=sum(t.reused is None for t in trials),
        unfinished=any(t.state != "done" for t in trials),
        failed=failed,
        kinds=Counter((t.reason or "unknown").partition(":")[0] for t in failed).most_common(),
        shown_failures=SHOWN_FAILURES,
        audit=audit(trials, plan),
        candidates=candidates,
        verdict=verdict,
        winner=winner,
        to_copy=to_copy(plan, winner.settings, verdict.winner_lines) if winner and verdict else [],
        incumbent=json.dumps(dict(winner.settings)) if winner else None,
        tested=tested,
        tuning_seeds=tuning_seeds(plan.seeds),
        test_seeds=test_seeds(tested) if tested else [],
        our_version=next((t.versions["sb3_ppo_variants"] for t in trials if "sb3_ppo_variants" in t.versions), ""),
        versions=versions_text(trials),
        hardware=f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores",
        **_searched(plan, trials, candidates),
        **_pictures(plan, trials, verdict),
    )
    write_text(out / "report.html", html)
    return [out / "report.html"]


def _searched(plan: StudyPlan, trials: Sequence[TrialRecord], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The finished trials, and the values of the candidates, or of the best trials before there are any."""
    finished = ranked(trials)
    columns = {("documented " if c.name == DEFAULTS else "") + c.name: plan.arguments(c.values) for c in candidates}
    return {
        "finished": finished,
        "default": next((t for t in finished if t.number == 0), None),
        "columns": columns or {f"trial {t.number}": plan.arguments(t.values) for t in finished[:3]},
        "not_searched": [a for a in FIRST if a not in plan.space],
    }


def _pictures(plan: StudyPlan, trials: Sequence[TrialRecord], verdict: Verdict | None) -> dict[str, Any]:
    """The pictures; ``None`` for one that has nothing to show."""
    finished, shares = ranked(trials), pictures.importances(plan, trials)
    arguments = [*(a for a in FIRST if a in plan.space), *(a for a in plan.space if a not in FIRST)] if finished else []
    return {
        "differences": pictures.draw_differences(verdict.differences) if verdict and verdict.differences else None,
        "history": pictures.draw_history(plan, trials) if finished else None,
        "least_trials": pictures.LEAST_TRIALS,
        "shares": shares,
        "importances": None if shares is None else pictures.draw_importances(shares),
        "slices": [(a, documented_parameter(a), pictures.draw_slice(plan, trials, a)) for a in arguments],
    }


def test_seed_count(candidates: Sequence[Candidate]) -> int:
    """Test seeds of the confirmation, 0 without one.

    :param candidates: What was run
    """
    counts = [len(c.returns.get(e, ())) + len(c.failed.get(e, ())) for c in candidates for e in {*c.returns, *c.failed}]
    return max(counts, default=0)


def versions_text(trials: Sequence[TrialRecord]) -> str:
    """Software that made the trials; several versions of one package are all named.

    :param trials: The study
    """
    packages = dict.fromkeys(p for t in trials for p in t.versions)
    found = {p: sorted({t.versions[p] for t in trials if p in t.versions}) for p in packages}
    return ", ".join(f"{p} {' and '.join(versions)}" for p, versions in found.items())
