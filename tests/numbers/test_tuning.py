"""The tuning studies."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sb3_ppo_variants.experiments.search_space.spaces import RANGES
from sb3_ppo_variants.experiments.stats.estimators import difference_interval, mean_difference
from sb3_ppo_variants.experiments.tuning.pictures import importances
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord
from tests.numbers.reading import README, RESULTS, TUNING, between, number, read, rows, says
from tests.pages import ROOT, tables

STUDIES = (
    "| command (with these environments) | trials | defaults, best trial (tuning seeds) | defaults, best trial (test "
    "seeds) | confirmed difference |"
)
BY_ENVIRONMENT = "| environment | `ClipPPO`, trial 13 | 99.7 % | `KLPenaltyPPO`, trial 16 | 99.5 % |"
TUNED = {"clip_ppo": "trial 13", "kl_penalty_ppo": "trial 16"}


@cache
def confirmation(algorithm: str) -> dict[tuple[str, str], list[str]]:
    """(Setting, environment) → difference and its interval, from the study's report."""
    page = (ROOT / RESULTS / f"tuning/{algorithm}/report.html").read_text(encoding="utf-8")
    lines = [re.findall(r"<t[hd]\b.*?>([^<]*)</t[hd]>", line) for line in page.split("<tr ")]
    # Name, environment, return, defaults, difference, interval, …
    return {(line[0], line[1]): line[4:6] for line in lines if len(line) == 12}


def normalised(study: dict[str, Any], returns: dict[str, list[float]]) -> float:
    """Mean over environments of normalised interquartile means."""
    scores = []
    for environment, values in returns.items():
        zero, one = study["plan"]["references"][environment]
        scores.append((stats.trim_mean(values, 0.25) - zero) / (one - zero))
    return float(np.mean(scores))


def test_the_studies_are_the_measured_ones() -> None:
    for (algorithm, best), row in zip(TUNED.items(), tables(TUNING, STUDIES)[0], strict=True):
        study = read(f"tuning/{algorithm}/study.json")
        scores = {trial["number"]: trial["score"] for trial in study["trials"]}
        winner = max(scores, key=scores.__getitem__)
        assert best == f"trial {winner}"
        on_test = {c["name"]: normalised(study, c["returns"]) for c in study["candidates"]}
        gain, interval = confirmation(algorithm)[best, "all, normalised"]
        assert row[1:4] == [
            str(len(scores)),
            f"{scores[0]:.3f}, {scores[winner]:.3f}",
            f"{on_test['defaults']:.3f}, {on_test[best]:.3f}",
        ]
        assert re.fullmatch(rf"\*\*{re.escape(gain)}\*\* \(\d+\.\d %: {re.escape(interval)}\)", row[4])


def test_gains_by_environment_are_the_measured_ones() -> None:
    shown = rows(TUNING, BY_ENVIRONMENT)
    for environment, row in shown.items():
        assert row[1:] == [cell for a, best in TUNED.items() for cell in confirmation(a)[best, environment]]
    clip = confirmation("clip_ppo")
    says(TUNING, "({}, {})".format(*clip["trial 30", "HalfCheetah-v5"]))
    differences = {e: clip["trial 30", e][1] for e in shown}
    assert [e for e, its in differences.items() if not its.startswith("+")] == ["HalfCheetah-v5"]
    gain, interval = clip["trial 13", "all, normalised"]
    loss, its_interval = clip["trial 13", "Acrobot-v1"]
    says(README, f"{gain} in normalised score (98.3 % interval {interval})")
    says(README, f"lose {loss.strip('−')}, which cannot be distinguished from zero ({its_interval})")


def test_what_is_said_about_the_clip_study() -> None:
    study = read("tuning/clip_ppo/study.json")
    candidates = {c["name"]: c for c in study["candidates"]}
    only_pendulum = candidates["defaults"]["returns"] | {
        "Pendulum-v1": candidates["trial 13"]["returns"]["Pendulum-v1"]
    }
    defaults = normalised(study, candidates["defaults"]["returns"])
    gain = normalised(study, candidates["trial 13"]["returns"]) - defaults
    share = (normalised(study, only_pendulum) - defaults) / gain
    says(TUNING, f"{share:.0%} of `ClipPPO`'s gain".replace("%", " %"))
    says(README, f"Pendulum accounts for {share:.0%} of that".replace("%", " %"))
    pairs = []
    for environment, (zero, one) in study["plan"]["references"].items():
        both = (candidates[name]["returns"][environment] for name in ("trial 13", "trial 30"))
        pairs.append(tuple((np.array(returns) - zero) / (one - zero) for returns in both))
    interval = between(*difference_interval(pairs), 3, "+")
    says(TUNING, f"are not told apart ({number(mean_difference(pairs), 3, '+')}, {interval})")
    trials = sorted(study["trials"], key=lambda trial: -trial["score"])
    says(TUNING, f"(+{trials[0]['score'] - study['trials'][0]['score']:.3f})")
    best = [trial["values"] for trial in trials[:5]]
    says(
        TUNING,
        f"ε of {ends(best, lambda v: v['clip_range'])} below 1",
        f"{ends(best, lambda v: v['clip_range'] * v['clip_range_high'])} above it",
        f"λ of {ends(best, lambda v: v['gae_lambda'])}",
        f"c₁ of {ends(best, lambda v: v['vf_coef'], '.2g')}",
        f"c₂ of {ends(best, lambda v: v['ent_coef'], '.3f')}",
        f"learning rate of {best[0]['learning_rate']:.4f}",
        f"γ {best[0]['gamma']:.3f}",
    )
    assert {v["n_epochs"] for v in best} == {9, 10}
    assert max(t["score"] for t in trials if 3 <= t["values"]["n_epochs"] <= 6) < 0.36


def test_what_is_said_about_the_study_with_wider_ranges() -> None:
    study, found = read("tuning/wider/clip_ppo/study.json"), confirmation("wider/clip_ppo")
    plan, earlier = StudyPlan.from_json(study["plan"]), read("tuning/clip_ppo/study.json")
    assert plan.environments == StudyPlan.from_json(earlier["plan"]).environments
    assert {a: d for a, d in plan.space.items() if a in RANGES} == {a: RANGES[a] for a in plan.space if a in RANGES}
    trials = sorted(study["trials"], key=lambda trial: -trial["score"])
    defaults, winner = (study["candidates"][i]["returns"] for i in (0, 1))
    assert (trials[0]["number"], study["candidates"][1]["name"]) == (23, "trial 23")
    on_test = [normalised(study, returns) for returns in (defaults, winner)]
    says(
        TUNING,
        f"went from {study['trials'][0]['score']:.3f} to {trials[0]['score']:.3f} on tuning seeds and from "
        f"{on_test[0]:.3f} to {on_test[1]:.3f} on the same test seeds",
    )
    shown = rows(TUNING, "| environment | `ClipPPO`, trial 23 | 99.7 % |")
    assert shown.pop("all, normalised (98.3 %)")[1:] == found["trial 23", "all, normalised"]
    assert {name: row[1:] for name, row in shown.items()} == {e: found["trial 23", e] for e in plan.environments}
    assert [e for e in plan.environments if found["trial 23", e][1].startswith("+")] == [
        "Pendulum-v1",
        "InvertedPendulum-v5",
    ]
    share = normalised(study, defaults | {"Pendulum-v1": winner["Pendulum-v1"]}) - on_test[0]
    percent = f"{share / (on_test[1] - on_test[0]):.0%}".replace("%", " %")
    says(TUNING, f"Pendulum is {percent} of it")
    gain, interval = found["trial 23", "all, normalised"]
    says(README, f"found {gain} (98.3 %: {interval}), {percent} of it on Pendulum, with K of 17 to 20 among the best")
    before = next(c["returns"] for c in earlier["candidates"] if c["name"] == "trial 13")
    pairs = [
        tuple((np.array(returns[e]) - zero) / (one - zero) for returns in (winner, before))
        for e, (zero, one) in plan.references.items()
    ]
    more = between(*difference_interval(pairs), 3)
    says(TUNING, f"larger than the earlier winner's, by {number(mean_difference(pairs), 3)} ({more})")
    best = [trial["values"] for trial in trials[:5]]
    short = max(t["score"] for t in trials if t["values"]["n_epochs"] <= 10)
    says(
        TUNING,
        f"the five best trials have {ends(best, lambda v: v['n_epochs'], 'd')}, and none with at most 10 scores above "
        f"{short:.3f}",
        f"learning rates of {ends(best, lambda v: v['learning_rate'], '.4f')}",
        f"γ of {ends(best, lambda v: v['gamma'], '.3f')}, λ of {ends(best, lambda v: v['gae_lambda'])}",
        f"ε of {ends(best, lambda v: v['clip_range'])} below 1, and "
        f"{ends(best, lambda v: v['clip_range'] * v['clip_range_high'])} above it",
    )
    assert {v["batch_size"] for v in best} == {128}
    assert max(v["clip_range_high"] for v in best) < 0.62


def ends(settings: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], form: str = ".2f") -> str:
    values = [value(one) for one in settings]
    return f"{min(values):{form}} to {max(values):{form}}"


SELECTION = (
    "| rule | runs (`ClipPPO`) | `ClipPPO` | `KLPenaltyPPO` | `ClipPPO`, one more run in ten fails | `KLPenaltyPPO`, "
    "likewise |"
)


def test_what_is_said_about_the_defaults_and_the_importances() -> None:
    study = read("tuning/clip_ppo/study.json")
    defaults, winner, *_ = (c["returns"] for c in study["candidates"])
    tuned = {trial["number"]: trial["score"] for trial in study["trials"]}
    says(
        TUNING,
        f"it went from {tuned[13]:.3f} to {normalised(study, winner):.3f}. The defaults rose from {tuned[0]:.3f} to "
        f"{normalised(study, defaults):.3f}",
        "mostly because one of their three tuning runs on Acrobot had learnt nothing (−499)",
    )
    others = read("tuning/kl_penalty_ppo/study.json")
    others_defaults = normalised(others, others["candidates"][0]["returns"])
    says(TUNING, f"`KLPenaltyPPO` score {others_defaults:.3f} and those of `ClipPPO` {normalised(study, defaults):.3f}")
    assert sum(value < -490 for value in study["trials"][0]["returns"]["Acrobot-v1"]) == 1
    assert min(defaults["Acrobot-v1"]) > -110
    plan, trials = StudyPlan.from_json(study["plan"]), [TrialRecord(**trial) for trial in study["trials"]]
    shares = importances(plan, trials)
    assert shares is not None
    (first, share), (second, next_share) = list(shares.items())[:2]
    assert (first, second) == ("learning_rate", "clip_range")
    says(
        TUNING,
        f"({share:.2f}; next ε with {next_share:.2f}), which rest on the best {len(trials) // 10} of {len(trials)}",
    )


def test_pruning_would_have_done_what_the_page_says() -> None:
    audits = []
    for algorithm in TUNED:
        study = read(f"tuning/{algorithm}/study.json")
        plan = StudyPlan.from_json(study["plan"])
        found = audit([TrialRecord(**trial) for trial in study["trials"]], plan)
        assert found is not None
        assert not found.best_lost
        audits.append(found)
    ended = " and ".join(f"{len(found.pruned)} of {found.trials}" for found in audits)
    saved = " and ".join(f"{found.steps_saved:.0%}".replace("%", " %") for found in audits)
    says(Path("tuning/README.md"), f"it would have ended {ended} trials and saved {saved} of the runs")


def test_how_the_winner_is_named_is_what_the_replay_found() -> None:
    text = (ROOT / RESULTS / "tuning/selection.txt").read_text(encoding="utf-8")
    simulated = re.findall(r"^  (.+?) +(\d+) +0\.\d+ +0\.\d+   (\S+) ± (\S+)$", text, re.MULTILINE)
    found: dict[str, list[tuple[str, str]]] = {}
    for rule, runs, gain, _ in simulated:
        found.setdefault(rule, []).append((runs, gain.replace("-", "−")))
    shown = rows(TUNING, SELECTION)
    assert shown.pop("mean of 3 seeds (the present rule)")[1:] == ["600", "0", "0", "0", "0"]
    for rule, row in shown.items():
        clip, clip_failing, penalty, penalty_failing = found[rule]
        assert row[1:] == [clip[0], clip[1], penalty[1], clip_failing[1], penalty_failing[1]]
    assert max(float(error) for *_, error in simulated) == 0.0004
    held_out = dict.fromkeys(["mean of 2 seeds", "race: 1 seed, best half 2", "ranks of 2 seeds"])
    scores = {rule: re.findall(rf"^  {rule} +(\S+) \(", text, re.MULTILINE) for rule in held_out}
    mean, race, by_ranks = scores.values()
    assert mean == race
    says(TUNING, "({} and {})".format(*mean), "those of ranks score {} and {}".format(*by_ranks))
