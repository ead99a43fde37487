"""The reproducibility checklist for hyperparameter optimisation in reinforcement learning, filled in from a study.

Its items are those of Eimer, Lindauer and Raileanu (2023), "Hyperparameters in Reinforcement Learning and How To Tune
Them", arXiv:2306.01324 (``checklist.tex`` of facebookresearch/how-to-autorl), in our words and in their order.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from sb3_ppo_variants.experiments.reporting.tables import Table
from sb3_ppo_variants.experiments.runs.seeds import test_seeds, tuning_seeds
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.samplers import SAMPLERS
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord
from sb3_ppo_variants.experiments.tuning.verdict import Verdict

YES, NO, OPEN = "yes", "no", "to fill in"


def checklist(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    verdict: Verdict | None,
    command: str | None,
) -> Table:
    """The checklist with its answers.

    :param plan: The study
    :param trials: Its trials
    :param candidates: What was run on test seeds
    :param verdict: The verdict, ``None`` before the confirmation
    :param command: What made the study
    :return: Item, answer, and what the answer rests on
    """
    tested = test_seed_count(candidates)
    items = [
        *_settings(tested),
        ("Tuner and method", YES, f"sb3_ppo_variants on Optuna: {SAMPLERS[plan.sampler]}"),
        ("Configuration space", YES, "; ".join(f"{a}: {d.describe()}" for a, d in plan.space.items())),
        ("Same space where algorithms share hyperparameters", YES, f"one algorithm, {plan.algorithm}"),
        ("Metric", YES, plan.metric.score_description),
        ("Tuning budget", YES, budget(plan, trials)),
        ("Same tuning budget for all tuned methods", YES, "one method; the defaults are, on purpose, not tuned"),
        ("Comparable hardware if the budget is time", "does not apply", "the budget is counted in environment steps"),
        ("All reported methods tuned like this", YES, "every setting but the documented defaults is from this study"),
        ("Tuning seeds", YES, f"{plan.seeds}: {_list(tuning_seeds(plan.seeds))}"),
        ("Test seeds", YES if tested else NO, f"{tested}: {_list(test_seeds(tested))}" if tested else "none so far"),
        _reported_on_test(tested),
        _incumbent(candidates, verdict),
        ("Code available", OPEN, f"sb3_ppo_variants {_ours(trials)}; add the link to the code of this very study"),
        ("Code includes the tuning", YES, command or "ppo-variants tune"),
        ("Exact software environment bundled", NO, f"recorded, not bundled: {_versions(trials)}"),
        ("Hardware", YES, f"CPU only, one thread per run; this report: {hardware()}"),
    ]
    body = [[f"{i}. {item}", answer, basis] for i, (item, answer, basis) in enumerate(items, 1)]
    return Table("Checklist of Eimer et al. (2023)", ["item", "answer", "here"], body)


def _settings(tested: int) -> list[tuple[str, str, str]]:
    return [
        (
            "Separate training and test settings of the environments",
            NO,
            "the environments have none; what is kept apart are the seeds, of the environments and of the algorithm",
        ),
        ("Only training seeds used to tune", YES, "by construction: see the two lists of seeds below"),
        ("Final results on the test setting", YES if tested else NO, "returns of training runs on test seeds"),
    ]


def _reported_on_test(tested: int) -> tuple[str, str, str]:
    where = "history, importances and slices show tuning seeds, and the verdict nothing but test seeds"
    return "All results on test seeds", "the verdict" if tested else NO, where


def _incumbent(candidates: Sequence[Candidate], verdict: Verdict | None) -> tuple[str, str, str]:
    title = "Final incumbent configurations"
    winner = next((c for c in candidates if verdict is not None and c.name == verdict.winner), None)
    if winner is None:
        return title, YES if verdict else NO, "the documented defaults: no other setting is confirmed"
    return title, YES, f"{winner.name}: {json.dumps(dict(winner.settings))}; all else as documented"


def budget(plan: StudyPlan, trials: Sequence[TrialRecord]) -> str:
    """What the search cost.

    :param plan: The study
    :param trials: Its trials
    """
    new = sum(t.reused is None for t in trials)
    steps = new * len(plan.environments) * plan.seeds * plan.timesteps
    upper = "at most " if any(t.state != "done" for t in trials) else ""
    return (
        f"{_count(len(trials), 'trial')}, of which {len(trials) - new} reused the returns of an equal one; "
        f"{_count(plan.seeds, 'seed')} × {_count(len(plan.environments), 'environment')} × {plan.timesteps:,} steps "
        f"per trial: {upper}{steps:,} steps"
    )


def test_seed_count(candidates: Sequence[Candidate]) -> int:
    """Test seeds of the confirmation, 0 without one.

    :param candidates: What was run
    """
    counts = [len(c.returns.get(e, ())) + len(c.failed.get(e, ())) for c in candidates for e in {*c.returns, *c.failed}]
    return max(counts, default=0)


def values_text(values: Mapping[str, Any]) -> str:
    """Settings in one line.

    :param values: Argument → value
    """
    return ", ".join(f"{argument}={value_text(value)}" for argument, value in values.items())


def value_text(value: Any) -> str:
    """A setting with four digits, as people read it.

    :param value: The value
    """
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def hardware() -> str:
    """The machine in a few words; not its name."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores, no GPU used"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 20 else f"{seeds[0]}, {seeds[1]}, … {seeds[-1]}"


def _ours(trials: Sequence[TrialRecord]) -> str:
    return next((t.versions["sb3_ppo_variants"] for t in trials if "sb3_ppo_variants" in t.versions), "")


def _versions(trials: Sequence[TrialRecord]) -> str:
    return versions_text(trials) or "no trial has finished"


def versions_text(trials: Sequence[TrialRecord]) -> str:
    """Software that made the trials; several versions of one package are all named.

    :param trials: The study
    """
    packages = dict.fromkeys(p for t in trials for p in t.versions)
    found = {p: sorted({t.versions[p] for t in trials if p in t.versions}) for p in packages}
    return ", ".join(f"{p} {' and '.join(versions)}" for p, versions in found.items())
