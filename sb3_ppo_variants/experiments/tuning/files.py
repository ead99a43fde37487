"""The files of a tuning study besides its report: tables, JSON, and a confirmed winner for rl_zoo3."""

import json
from collections.abc import Sequence
from pathlib import Path

from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.experiments.tuning.confirmation import amount
from sb3_ppo_variants.experiments.tuning.differences import Difference
from sb3_ppo_variants.experiments.tuning.trials import Candidate, StudyPlan, TrialRecord
from sb3_ppo_variants.experiments.tuning.zoo_entry import is_papers, write_entry
from sb3_ppo_variants.files import write_csv, write_text


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
        "trials": [t.to_json() for t in trials],
        "candidates": [c.to_json() for c in candidates],
    }
    write_text(out / "study.json", json.dumps(study, ensure_ascii=False) + "\n")
    return [out / "trials.csv", out / "study.json"]


def write_winner(
    plan: StudyPlan, winner: Candidate, lines: Sequence[Difference], study: str, zoo_configs: Path
) -> tuple[list[Path], list[str]]:
    """Write a confirmed setting as an entry for each environment in which it is better by itself.

    The paper's own settings stay where a file has them. A file that cannot take an entry is named and left as it is.

    :param plan: The study
    :param winner: The confirmed setting
    :param lines: Its difference to the defaults in each environment
    :param study: Name of the study
    :param zoo_configs: The folder
    :return: The files; and for each environment without an entry, why it has none
    """
    files, without = [], []
    for line in lines:
        environment = str(line.environment)
        try:
            if not line.better:
                why = f"{winner.name} is not shown to be better there by itself"
            elif is_papers(plan.algorithm, environment, zoo_configs):
                why = f"the paper's settings stand in {zoo_configs}"
            else:
                files.append(_write(plan, winner, line, study, zoo_configs))
                continue
        except (ValueError, OSError) as error:
            why = str(error)
        without.append(f"No entry for {environment}: {why}")
    return list(dict.fromkeys(files)), without


def _write(plan: StudyPlan, winner: Candidate, line: Difference, study: str, zoo_configs: Path) -> Path:
    environment = str(line.environment)
    env = make_environment(environment, 1, seed=0)
    policy = str(winner.settings.get("policy") or policy_name(env.observation_space))
    env.close()
    settings = {k: v for k, v in winner.settings.items() if k != "policy"}
    note = (
        f"{winner.name} of the study {study}: {amount(line)} return against the documented defaults, "
        f"{line.n} test seeds, {plan.timesteps} steps"
    )
    args = (plan.algorithm, environment, settings, plan.timesteps, plan.n_envs, policy)
    return write_entry(*args, note=note, path=zoo_configs)
