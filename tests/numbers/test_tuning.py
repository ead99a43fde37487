"""The tuning studies."""

import html
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.search_space.spaces import RANGES
from sb3_ppo_variants.experiments.stats.estimators import difference_interval, mean_difference
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from sb3_ppo_variants.experiments.tuning.pictures import importances
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord
from sb3_ppo_variants.experiments.tuning.verdict import judge
from tests.numbers.reading import (
    README,
    RESULTS,
    TUNING,
    between,
    cell,
    committed,
    difference,
    number,
    read,
    references,
    rows,
    says,
)
from tests.pages import ROOT

STUDIES = (
    "| study | defaults, best trial (tuning seeds) | defaults, best trial (test seeds) | confirmed difference | "
    "without Pendulum |"
)
BY_ENVIRONMENT = "| environment | `ClipPPO`, trial 23 | 99.7 % | `KLPenaltyPPO`, trial 38 | 99.7 % |"
#: Folder → name in the tables, and the winner.
TUNED = {"clip_ppo-tpe": ("`ClipPPO`, TPE", "trial 23"), "kl_penalty_ppo-tpe": ("`KLPenaltyPPO`, TPE", "trial 38")}
#: Folder of a study by TPE → the same by random search, and its winner.
RANDOM = {
    "clip_ppo-tpe": ("clip_ppo-random", "trial 2"),
    "kl_penalty_ppo-tpe": ("kl_penalty_ppo-random", "trial 5"),
}
BEST = 5
Returns = dict[str, list[float]]


@cache
def study_of(folder: str) -> dict[str, Any]:
    return read(f"tuning/{folder}/study.json")


@cache
def confirmation(folder: str) -> dict[tuple[str, str], list[str]]:
    """(Setting, environment) → difference and its interval, from the study's report."""
    return {at: line[4:6] for at, line in _confirmation_table(folder).items()}


def ranks(folder: str) -> dict[tuple[str, str], list[str]]:
    """(Setting, environment) → P(better) and its interval, from the study's report."""
    return {at: line[6:8] for at, line in _confirmation_table(folder).items()}


def _confirmation_table(folder: str) -> dict[tuple[str, str], list[str]]:
    page = (ROOT / RESULTS / f"tuning/{folder}/report.html").read_text(encoding="utf-8")
    lines = [re.findall(r"<t[hd]\b.*?>([^<]*)</t[hd]>", line) for line in page.split("<tr ")]
    # Name, environment, return, defaults, difference, interval, P(better), interval, …
    return {(line[0], line[1]): line for line in lines if len(line) == 12 and line[0] != "setting"}


def returns(folder: str, setting: str) -> Returns:
    """Environment → returns of a candidate on the test seeds."""
    return next(c["returns"] for c in study_of(folder)["candidates"] if c["name"] == setting)


def normalised(study: dict[str, Any], returns: dict[str, list[float]]) -> float:
    """Mean over environments of normalised interquartile means."""
    scores = []
    for environment, values in returns.items():
        zero, one = study["plan"]["references"][environment]
        scores.append((stats.trim_mean(values, 0.25) - zero) / (one - zero))
    return float(np.mean(scores))


def score_difference(ours: Returns, others: Returns, comparisons: int, label: str = "") -> str:
    """Normalised, of returns by environment, with the interval of one of that many comparisons."""
    pairs = [
        tuple((np.array(of[environment]) - zero) / (one - zero) for of in (ours, others))
        for environment, (zero, one) in study_of("clip_ppo-tpe")["plan"]["references"].items()
        if environment in ours
    ]
    interval = difference_interval(pairs, corrected_level(comparisons))
    return f"{number(mean_difference(pairs), 3, '+')} ({label}{between(*interval, 3, '+')})"


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def gain_without_pendulum(folder: str, best: str, label: str = "98.3 %: ") -> str:
    ours, defaults = (
        {environment: found for environment, found in returns(folder, of).items() if environment != "Pendulum-v1"}
        for of in (best, "defaults")
    )
    return score_difference(ours, defaults, 3, label)


def best_values(folder: str) -> list[dict[str, Any]]:
    return [trial["values"] for trial in sorted(study_of(folder)["trials"], key=lambda t: -t["score"])[:BEST]]


def ends(folder: str, value: Callable[[dict[str, Any]], float], form: str = ".2f") -> str:
    values = [value(one) for one in best_values(folder)]
    return f"{min(values):{form}} to {max(values):{form}}"


def test_the_studies_are_the_measured_ones() -> None:
    shown = rows(TUNING, STUDIES)
    assert list(shown) == [name for name, _ in TUNED.values()]
    for folder, (name, best) in TUNED.items():
        study = study_of(folder)
        scores = {trial["number"]: trial["score"] for trial in study["trials"]}
        assert len(scores) == 40
        winner = max(scores, key=scores.__getitem__)
        assert best == f"trial {winner}"
        on_test = [normalised(study, returns(folder, setting)) for setting in ("defaults", best)]
        gain, interval = confirmation(folder)[best, "all, normalised"]
        assert shown[name][1:] == [
            f"{scores[0]:.3f}, {scores[winner]:.3f}",
            "{:.3f}, {:.3f}".format(*on_test),
            f"**{gain}** (98.3 %: {interval})",
            gain_without_pendulum(folder, best),
        ]


def test_the_studies_have_the_ranges_of_now_and_one_plan() -> None:
    plans = [StudyPlan.from_json(study_of(folder)["plan"]) for folder in TUNED]
    for plan in plans:
        searched = {argument: found for argument, found in plan.space.items() if argument in RANGES}
        assert searched == {argument: RANGES[argument] for argument in searched}
        assert {"n_epochs", "gamma", "learning_rate"} <= searched.keys()
        assert (plan.environments, plan.timesteps, plan.seeds) == (plans[0].environments, 40_960, 3)


@pytest.mark.parametrize("folder", [*TUNED, *(folder for folder, _ in RANDOM.values())])
def test_the_reports_verdict_is_that_of_the_present_code(folder: str) -> None:
    study = study_of(folder)
    found = judge(StudyPlan.from_json(study["plan"]), [Candidate(**one) for one in study["candidates"]])
    report = (ROOT / RESULTS / f"tuning/{folder}/report.html").read_text(encoding="utf-8")
    assert f"{found.words[0].upper()}{found.words[1:]}" in html.unescape(report)


AGAINST_RANDOM = "| | `ClipPPO`, TPE | `ClipPPO`, random | `KLPenaltyPPO`, TPE | `KLPenaltyPPO`, random |"


def study_and_its_plan(folder: str) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    study = study_of(folder)
    return {trial["number"]: trial for trial in study["trials"]}, dict(study["plan"])


def test_tpe_against_random_settings() -> None:
    columns = []
    for tpe, (random, its_best) in RANDOM.items():
        (trials, plan), (others, its_plan) = study_and_its_plan(tpe), study_and_its_plan(random)
        assert (plan.pop("sampler"), its_plan.pop("sampler")) == ("tpe", "random")
        assert plan == its_plan
        assert [n for n in range(40) if trials[n]["returns"] == others[n]["returns"]] == list(range(11))
        for of, found, winner in ((tpe, trials, TUNED[tpe][1]), (random, others, its_best)):
            scores = [found[n]["score"] for n in range(40)]
            assert winner == f"trial {np.argmax(scores)}"
            gain, interval = confirmation(of)[winner, "all, normalised"]
            columns.append(
                [
                    f"{np.mean(scores[11:]):.3f}",
                    winner.removeprefix("trial "),
                    f"{max(scores):.3f}",
                    f"{normalised(study_of(of), returns(of, winner)):.3f}",
                    f"{gain} (98.3 %: {interval})",
                ]
            )
    assert [row[1:] for row in rows(TUNING, AGAINST_RANDOM).values()] == [
        list(cells) for cells in zip(*columns, strict=True)
    ]
    said = [
        score_difference(returns(tpe, TUNED[tpe][1]), returns(random, best), 2, label)
        for (tpe, (random, best)), label in zip(RANDOM.items(), ("97.5 %: ", ""), strict=True)
    ]
    says(TUNING, "by {} for `ClipPPO` and by {} for `KLPenaltyPPO`".format(*said))
    says(README, "than those of as many random settings, in one search each, by {} and {}".format(*said))
    clip, penalty = (best for _, best in RANDOM.values())
    assert (clip, penalty) == ("trial 2", "trial 5")  # both in common with TPE
    for (tpe, (random, best)), more in zip(RANDOM.items(), (4, 11), strict=True):
        most = study_and_its_plan(random)[0][int(best.removeprefix("trial "))]["score"]
        later = [[study_and_its_plan(of)[0][n]["score"] > most for n in range(11, 40)] for of in (tpe, random)]
        assert [sum(found) for found in later] == [more, 0]


def test_what_is_said_of_random_searchs_winner() -> None:
    tpe = "clip_ppo-tpe"
    folder, best = RANDOM[tpe]
    pair = {tpe: TUNED[tpe][1], folder: best}
    says(
        TUNING,
        f"is mostly Pendulum's as well: without it there is {gain_without_pendulum(folder, best)}",
        "worse than the defaults on Acrobot ({}, {})".format(*confirmation(folder)[best, "Acrobot-v1"]),
        "better on HalfCheetah ({}, {})".format(*ranks(folder)[best, "HalfCheetah-v5"]),
    )
    found = {
        e: difference(*(np.array(returns(of, winner)[e]) for of, winner in pair.items()), 1, 5)
        for e in study_of(tpe)["plan"]["environments"]
    }
    says(
        TUNING,
        f"better on Acrobot, {found['Acrobot-v1']}, and InvertedPendulum, {found['InvertedPendulum-v5']}, and worse "
        f"on HalfCheetah, {found['HalfCheetah-v5']}",
    )


def test_gains_by_environment_are_the_measured_ones() -> None:
    shown = rows(TUNING, BY_ENVIRONMENT)
    assert list(shown) == list(StudyPlan.from_json(study_of("clip_ppo-tpe")["plan"]).environments)
    for environment, row in shown.items():
        assert row[1:] == [cell for f, (_, best) in TUNED.items() for cell in confirmation(f)[best, environment]]


def test_pruning_would_have_done_what_the_page_says() -> None:
    audits = []
    for folder in TUNED:
        study = study_of(folder)
        found = audit([TrialRecord(**trial) for trial in study["trials"]], StudyPlan.from_json(study["plan"]))
        assert found is not None
        assert not found.best_lost
        audits.append(found)
    ended = " and ".join(f"{len(found.pruned)} of {found.trials}" for found in audits)
    saved = " and ".join(percent(found.steps_saved) for found in audits)
    says(Path("tuning/README.md"), f"it would have ended {ended} trials and saved {saved} of the runs")


SELECTION = (
    "| rule | runs (`ClipPPO`) | `ClipPPO` | `KLPenaltyPPO` | `ClipPPO`, one more run in ten fails | `KLPenaltyPPO`, "
    "likewise |"
)


SAME_RUNS = ("race: 1 seed, best half 3, best quarter 7", "race: 2 seeds, best quarter 6")


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
    assert max(float(error) for *_, error in simulated) == 0.0007
    gains = {rule: [float(gain.replace("−", "-")) for _, gain in four] for rule, four in found.items()}
    most = max(max(clip, penalty) for clip, _, penalty, _ in gains.values())
    says(TUNING, f"no rule is better than the present one by more than {most:.4f}")
    says(
        TUNING, f"as many runs are better by up to {max(gains[rule][0] for rule in gains if rule in SAME_RUNS):.4f} in"
    )
    assert max(gains[rule][2] for rule in SAME_RUNS) < 0
    assert all(clip < 0 and penalty < 0 for rule, (clip, _, penalty, _) in gains.items() if rule.startswith("ranks"))
    says(TUNING, "the median of three seeds would be better by {1:.4f} and {3:.4f}".format(*gains["median of 3 seeds"]))
    held_out = dict.fromkeys(["mean of 2 seeds", "race: 1 seed, best half 2", "ranks of 2 seeds"])
    scores = {rule: re.findall(rf"^  {rule} +(\S+) \(", text, re.MULTILINE) for rule in held_out}
    mean, race, by_ranks = scores.values()
    assert mean == race
    says(TUNING, "({} and {})".format(*mean), "those of ranks score {} and {}".format(*by_ranks))


def winner_on_tuning_seeds(folder: str) -> Returns:
    trials, _ = study_and_its_plan(folder)
    return trials[int(TUNED[folder][1].removeprefix("trial "))]["returns"]


def test_what_is_said_about_winners_and_runners_up() -> None:
    clip, penalty = TUNED
    first = {folder: returns(folder, best) for folder, (_, best) in TUNED.items()}
    others = [
        score_difference(first[folder], returns(folder, f"trial {number}"), 4)
        for folder, numbers in ((clip, (37, 27)), (penalty, (36, 30)))
        for number in numbers
    ]
    # Means, as there are three tuning seeds.
    of_tests = {
        folder: score_difference(first[folder], winner_on_tuning_seeds(folder), 2, label)
        for folder, label in ((penalty, "97.5 %: "), (clip, ""))
    }
    says(
        TUNING,
        "better than trial 37, {}, and cannot be told apart from trial 27, {}.".format(*others[:2]),
        "neither trial 36, {}, nor trial 30, {}; 98.75 % each".format(*others[2:]),
        "trial 36 by {} ({}), trial 30 by ranks ({}, {}). Its winner is at the border ({}, {})".format(
            *confirmation(penalty)["trial 36", "HalfCheetah-v5"],
            *ranks(penalty)["trial 30", "HalfCheetah-v5"],
            *ranks(penalty)["trial 38", "HalfCheetah-v5"],
        ),
        "with probability {} (99.7 %: {}), as do runs of both runners-up ({} and {})".format(
            *ranks(penalty)["trial 38", "Acrobot-v1"],
            *(ranks(penalty)[trial, "Acrobot-v1"][0] for trial in ("trial 36", "trial 30")),
        ),
        f"One default run in ten, at {number(min(returns(penalty, 'defaults')['Acrobot-v1']), 0)}, keeps",
        f"scores less than that of `ClipPPO`: {score_difference(first[penalty], first[clip], 2, '97.5 %: ')}",
        f"cannot be told apart: {score_difference(returns(penalty, 'defaults'), returns(clip, 'defaults'), 2)}",
        f"in means `KLPenaltyPPO`'s has {of_tests[penalty]} on test seeds",
        f"and `ClipPPO`'s {of_tests[clip]}. `ClipPPO`'s defaults rose",
    )
    for folder, (_, best) in TUNED.items():
        shown = [e for e in study_of(folder)["plan"]["environments"] if confirmation(folder)[best, e][1][0] == "+"]
        assert shown == ["Pendulum-v1", "InvertedPendulum-v5"]
    by_ranks_alone = set()
    for folder in TUNED:
        for (trial, environment), (_, interval) in ranks(folder).items():
            low, high = map(float, interval.split(" to "))
            signs = {end[0] for end in confirmation(folder)[trial, environment][1].split(" to ")}
            if (low > 0.5 or high < 0.5) and len(signs) == 2:
                by_ranks_alone.add((trial, environment))
    assert by_ranks_alone == {
        *((trial, "Acrobot-v1") for trial in ("trial 38", "trial 36", "trial 30")),
        ("trial 30", "HalfCheetah-v5"),
    }
    better = {key for f in TUNED for key, found in confirmation(f).items() if found[1].startswith("+")}
    assert [key for key in better if key[1] == "HalfCheetah-v5"] == [("trial 36", "HalfCheetah-v5")]
    scores = {trial["number"]: trial["score"] for trial in study_of(penalty)["trials"]}
    assert min(sorted(scores, key=lambda number: -scores[number])[:BEST]) >= len(scores) - 12
    failed = study_of(clip)["trials"][0]["returns"]["Acrobot-v1"]
    assert sum(value < -490 for value in failed) == 1
    assert min(returns(clip, "defaults")["Acrobot-v1"]) > -130


def test_what_is_said_about_the_best_trials() -> None:
    clip, penalty = TUNED
    says(
        TUNING,
        f"have K of {ends(clip, lambda v: v['n_epochs'], 'd')}, learning rates of "
        f"{ends(clip, lambda v: v['learning_rate'], '.4f')}, γ of {ends(clip, lambda v: v['gamma'], '.3f')}, λ of "
        f"{ends(clip, lambda v: v['gae_lambda'])}, minibatches of 128, ε of {ends(clip, lambda v: v['clip_range'])} "
        f"below 1 and {ends(clip, lambda v: v['clip_range'] * v['clip_range_high'])} above it",
        f"at {ends(penalty, lambda v: v['kl_coef'])}, with K of {ends(penalty, lambda v: v['n_epochs'], 'd')}, "
        f"learning rates of {ends(penalty, lambda v: v['learning_rate'], '.4f')}, γ of "
        f"{ends(penalty, lambda v: v['gamma'], '.3f')}, λ of {ends(penalty, lambda v: v['gae_lambda'])}, minibatches "
        f"of 32, and c₁ of {ends(penalty, lambda v: v['vf_coef'])}",
    )
    assert {v["batch_size"] for v in best_values(clip)} == {128}
    assert {(v["batch_size"], v["adaptive_kl_target"]) for v in best_values(penalty)} == {(32, None)}
    both = best_values(clip) + best_values(penalty)
    rates, gammas = (sorted(v[name] for v in both) for name in ("learning_rate", "gamma"))
    says(
        README,
        f"K of {ends(clip, lambda v: v['n_epochs'], 'd')} (`ClipPPO`) and "
        f"{ends(penalty, lambda v: v['n_epochs'], 'd')} (`KLPenaltyPPO`), learning rates of {rates[0]:.4f} to "
        f"{rates[-1]:.4f} and γ of {gammas[0]:.3f} to {gammas[-1]:.3f}",
    )
    said = []
    for folder in TUNED:
        trials = [TrialRecord(**trial) for trial in study_of(folder)["trials"]]
        shares = importances(StudyPlan.from_json(study_of(folder)["plan"]), trials)
        assert shares is not None
        said += [(name, f"{share:.2f}") for name, share in list(shares.items())[:2]]
    assert [name for name, _ in said] == ["gae_lambda", "gamma", "vf_coef", "n_epochs"]
    says(
        TUNING,
        "λ comes first for `ClipPPO` ({}; next γ with {}), c₁ for `KLPenaltyPPO` ({}; next K with {})".format(
            *(share for _, share in said)
        ),
    )


def test_the_readme_has_the_confirmed_gains() -> None:
    without = [gain_without_pendulum(folder, best, "") for folder, (_, best) in TUNED.items()]
    (clip_gain, clip_interval), (gain, interval) = (
        confirmation(folder)[best, "all, normalised"] for folder, (_, best) in TUNED.items()
    )
    says(
        README,
        f"by {clip_gain} in normalised score (98.3 % interval {clip_interval}) and by {gain} ({interval})",
        "in the mean over the other four environments, {} and {}, none is shown".format(*without),
    )
    assert all(text.partition("(")[2][0] == "−" and " to +" in text for text in without)  # both include zero


LONGER = {"clip_ppo": "`ClipPPO`", "kl_penalty_ppo": "`KLPenaltyPPO`"}


def longer(algorithm: str, environment: str) -> tuple[np.ndarray, np.ndarray]:
    """Final returns of the winner and of the defaults."""
    results = committed(f"tuning/longer/{algorithm}")[0]
    winner, defaults = (np.array(results.scores(name, environment)) for name in ("tuned", algorithm))
    return winner, defaults


@pytest.mark.parametrize("algorithm", LONGER)
def test_longer_runs_are_of_the_winner_and_as_the_table_says(algorithm: str) -> None:
    folder = f"{algorithm}-tpe"
    results = committed(f"tuning/longer/{algorithm}")[0]
    tuned = next(r.run for r in results.records if r.run.variant == "tuned")
    assert dict(tuned.settings) == next(
        c["settings"] for c in study_of(folder)["candidates"] if c["name"] == TUNED[folder][1]
    )
    assert tuned.timesteps == 200_000
    shown = rows(TUNING, "| 200,000 steps | defaults | winner | winner − defaults, 98.75 % |")
    for environment in ("Pendulum-v1", "HalfCheetah-v5"):
        winner, defaults = longer(algorithm, environment)
        assert (len(winner), len(defaults)) == (10, 10)
        found = [cell(defaults, 0), cell(winner, 0), difference(winner, defaults, 0, 4)]
        assert shown[f"{LONGER[algorithm]}, {environment}"][1:] == found


def test_what_is_said_about_longer_runs() -> None:
    clip, penalty = (difference(*longer(name, "Pendulum-v1"), 0, 4) for name in LONGER)
    says(README, f"`ClipPPO`'s by {clip.replace('(', '(98.75 %: ')}, `KLPenaltyPPO`'s by {penalty}")
    winner, defaults = longer("clip_ppo", "HalfCheetah-v5")
    says(README, f"where the defaults do: {difference(winner, defaults, 0, 4)}")
    random, _ = study_of("clip_ppo-tpe")["plan"]["references"]["HalfCheetah-v5"]
    untrained = references()["HalfCheetah-v5"]["untrained"]
    says(
        TUNING,
        f"end at {between(winner.min(), winner.max(), 0)}, where untrained policies have {number(untrained, 0)} "
        f"(uniform actions: {number(random, 0)})",
    )
    assert winner.max() < min(defaults.min(), random)
    ends = [number(end(sample), 0) for sample in longer("kl_penalty_ppo", "HalfCheetah-v5") for end in (min, max)]
    says(TUNING, "from {} to {} where those of the defaults are from {} to {}".format(*ends))
