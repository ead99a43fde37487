"""The sensitivity studies."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.stats.estimators import (
    difference_interval,
    mean_difference,
)
from sb3_ppo_variants.experiments.stats.intervals import Interval, corrected_level
from tests.numbers.reading import TUNING, between, number, rows, says, table_of

SYMBOLS = {"clip_range": "ε", "n_epochs": "K", "gae_lambda": "λ", "vf_coef": "c₁", "ent_coef": "c₂"}


ENVIRONMENTS = ("CartPole-v1", "Acrobot-v1", "InvertedPendulum-v5", "Pendulum-v1")
#: Folder of a study and a parameter that it moves → the page's table and line. ClipPPO's study lies above the others.
OWN_PARAMETERS = {
    ("adaptive_kl", "adaptive_kl_target"): ("KLPenaltyPPO", "d_targ"),
    ("adaptive_kl", "kl_tolerance"): ("KLPenaltyPPO", "tolerance"),
    ("adaptive_kl", "kl_coef"): ("KLPenaltyPPO", "β at the start"),
    ("fixed_kl", "kl_coef"): ("KLPenaltyPPO", "β, fixed"),
    ("trpo", "target_kl"): ("TRPO", "δ"),
    ("trpo", "cg_damping"): ("TRPO", "damping"),
    ("trpo", "cg_max_steps"): ("TRPO", "CG steps"),
}
WHOLE_NUMBERS = ("n_epochs", "cg_max_steps")


@cache
def sensitivity(environment: str, study: str = ".") -> pd.DataFrame:
    return table_of(f"sensitivity/{study}/sensitivity-{environment}.csv").set_index(["parameter", "value"])


def compared_with_the_default(
    environment: str, parameter: str, study: str = "."
) -> dict[float, tuple[float, Interval]]:
    """Value → difference from the default, and its interval corrected for the number of values."""
    points = sensitivity(environment, study).loc[parameter]
    returns = {value: [float(x) for x in point["returns"].split()] for value, point in points.iterrows()}
    (default,) = points.index[points["default"]]
    level, found = corrected_level(len(points) - 1), {}
    for value in points.index.drop(default):
        pairs = [(returns[value], returns[default])]
        interval = difference_interval(pairs, level)
        assert interval is not None
        found[value] = (mean_difference(pairs), interval)
    return found


#: The differences that the page names as shown, beside those of ε and K in CartPole and InvertedPendulum.
SHOWN = {
    ("Acrobot-v1", "clip_range", 0.5),
    ("CartPole-v1", "gae_lambda", 0.5),
    ("CartPole-v1", "gae_lambda", 0.995),
    ("Pendulum-v1", "gae_lambda", 0.5),
    ("Pendulum-v1", "gae_lambda", 0.8),
    ("CartPole-v1", "vf_coef", 0.0),
    ("InvertedPendulum-v5", "vf_coef", 0.0),
    ("Pendulum-v1", "vf_coef", 0.0),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("parameter", SYMBOLS)
def test_what_the_sensitivity_study_shows_is_what_the_page_says(environment: str, parameter: str) -> None:
    said = rows(TUNING, "| | what it says, in this budget |")[SYMBOLS[parameter]][1]
    both = parameter in ("clip_range", "n_epochs") and environment in ("CartPole-v1", "InvertedPendulum-v5")
    for value, (found, interval) in compared_with_the_default(environment, parameter).items():
        point = sensitivity(environment).loc[(parameter, value)]
        assert list(point[["difference", "difference_low", "difference_high"]]) == pytest.approx([found, *interval])
        shown = interval.low > 0 or interval.high < 0
        if not both:
            assert shown == ((environment, parameter, value) in SHOWN)
        text = f"{number(found, 0, '+')} ({between(*interval, 0, '+')})"
        assert (text in said) == shown, (value, text)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(("study", "parameter"), OWN_PARAMETERS)
def test_what_the_other_studies_show_is_what_the_page_says(environment: str, study: str, parameter: str) -> None:
    algorithm, line = OWN_PARAMETERS[study, parameter]
    said = rows(TUNING, f"| `{algorithm}` | what it says, in this budget |")[line][1]
    for value, (found, interval) in compared_with_the_default(environment, parameter, study).items():
        point = sensitivity(environment, study).loc[(parameter, value)]
        assert list(point[["difference", "difference_low", "difference_high"]]) == pytest.approx([found, *interval])
        shown = interval.low > 0 or interval.high < 0
        assert (f"{number(found, 0, '+')} ({between(*interval, 0, '+')})" in said) == shown, value


BOTH = ("CartPole-v1", "InvertedPendulum-v5")
#: Study → how many differences it has, and those left if they are corrected for all of them: (environment, parameter,
#: value), first what is better.
LEFT: dict[str, tuple[int, set[tuple[str, str, float]], set[tuple[str, str, float]]]] = {
    ".": (
        104,
        {("InvertedPendulum-v5", "clip_range", 0.5)},
        {(e, "clip_range", value) for e in BOTH for value in (0.05, 0.1)}
        | {(e, "n_epochs", value) for e in BOTH for value in (1.0, 3.0)}
        | {("CartPole-v1", "n_epochs", 5.0), ("CartPole-v1", "gae_lambda", 0.995)},
    ),
    "adaptive_kl": (
        48,
        {
            ("InvertedPendulum-v5", "adaptive_kl_target", 0.03),
            *(("InvertedPendulum-v5", "kl_coef", value) for value in (0.1, 0.3)),
        },
        {(e, "adaptive_kl_target", value) for e in BOTH for value in (0.001, 0.003)}
        | {(e, "kl_coef", 10.0) for e in BOTH},
    ),
    "fixed_kl": (
        16,
        {("InvertedPendulum-v5", "kl_coef", value) for value in (0.1, 0.3)},
        {(e, "kl_coef", value) for e in BOTH for value in (3.0, 10.0)} | {("Acrobot-v1", "kl_coef", 10.0)},
    ),
    "trpo": (
        48,
        {("InvertedPendulum-v5", "target_kl", value) for value in (0.03, 0.1)},
        {(e, "target_kl", 0.001) for e in (*BOTH, "Pendulum-v1")}
        | {
            (e, parameter, value)
            for e in BOTH
            for parameter, value in (("target_kl", 0.003), ("cg_damping", 1.0), ("cg_max_steps", 2.0))
        },
    ),
}


@pytest.mark.parametrize("study", LEFT)
def test_what_is_left_when_corrected_for_the_whole_study(study: str) -> None:
    found: list[tuple[tuple[str, str, float], float, float]] = []
    for environment in ENVIRONMENTS:
        points = sensitivity(environment, study)
        returns = {at: [float(x) for x in point["returns"].split()] for at, point in points.iterrows()}
        default = {parameter: returns[parameter, value] for parameter, value in points.index[points["default"]]}
        for (parameter, value), own in returns.items():
            if not points.loc[(parameter, value), "default"]:
                test = stats.ttest_ind(own, default[parameter], equal_var=False)
                found.append(((environment, parameter, value), float(test.statistic), float(test.pvalue)))
    count, better, worse = LEFT[study]
    assert len(found) == count
    # Where all runs of both are the same, p is not a number.
    assert {at for at, t, p in found if t > 0 and p * count < 0.05} == better
    assert {at for at, t, p in found if t < 0 and p * count < 0.05} == worse


def test_what_is_said_of_the_largest_target() -> None:
    returns = sensitivity("InvertedPendulum-v5", "adaptive_kl").loc[("adaptive_kl_target", 0.1), "returns"]
    low, *others = sorted(map(float, returns.split()))
    assert others[0] > 400
    says(TUNING, f"one ends at {low:.0f}")


def test_what_is_said_of_a_beta_that_adapts_and_of_one_that_stays() -> None:
    for environment, text in (
        ("CartPole-v1", "ends at {:.0f} on CartPole where the fixed one ends at {:.0f}"),
        ("InvertedPendulum-v5", "at {:.0f} on InvertedPendulum against {:.0f}"),
    ):
        ends = [
            sensitivity(environment, study).loc[("kl_coef", 10.0), "return"] for study in ("adaptive_kl", "fixed_kl")
        ]
        says(TUNING, text.format(*ends))


@pytest.mark.parametrize(
    ("study", "given"), [(".", {}), ("adaptive_kl", {}), ("fixed_kl", {"adaptive_kl_target": None}), ("trpo", {})]
)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_sensitivity_tables_are_those_of_the_runs(environment: str, study: str, given: dict[str, None]) -> None:
    runs = table_of(f"sensitivity/{study}/runs.csv.gz")
    found: dict[str, list[float]] = {}
    for _, run in runs[runs["environment"] == environment].sort_values("seed").iterrows():
        found.setdefault(run["settings"], []).append(run["final_return"])
    for (parameter, value), point in sensitivity(environment, study).iterrows():
        set_to = int(value) if parameter in WHOLE_NUMBERS else value
        change = {} if point["default"] else {parameter: set_to}
        assert found[json.dumps(given | change)] == [float(x) for x in point["returns"].split()]


def test_what_the_sensitivity_study_comes_to() -> None:
    above: dict[str, set[str]] = {parameter: set() for parameter in SYMBOLS}
    acrobot = 0
    for environment in ENVIRONMENTS:
        assert sensitivity(environment).loc["n_epochs"]["return"].idxmax() == 20
        for parameter in SYMBOLS:
            for value, (_, interval) in compared_with_the_default(environment, parameter).items():
                default = next(d.default for d in DOCUMENTED if d.argument == parameter)
                if interval.low > 0 and value > default:
                    above[parameter].add(environment)
                acrobot += environment == "Acrobot-v1" and (interval.low > 0 or interval.high < 0)
    assert [parameter for parameter, where in above.items() if len(where) == 2] == ["clip_range", "n_epochs"]
    assert all(len(where) < 3 for where in above.values())
    assert acrobot == 1
    # Of Acrobot's default seeds one failed: the interval of the mean.
    points = sensitivity("Acrobot-v1").loc["clip_range"]["returns"]
    half, default = (np.array([float(x) for x in points[value].split()]) for value in (0.5, 0.2))
    welch = stats.ttest_ind(half, default, equal_var=False).confidence_interval(corrected_level(5))
    says(TUNING, f"in the mean its gain is {number(half.mean() - default.mean(), 0, '+')} ({between(*welch, 0, '+')})")


def test_the_sweep_of_epochs_is_the_measured_one() -> None:
    cartpole = sensitivity("CartPole-v1").loc["n_epochs"]["return"]
    said = rows(TUNING, "| | what it says, in this budget |")["K"][1].replace("*", "")
    assert ", ".join(f"{value:.0f}" for value in cartpole) in said
    assert ", ".join(f"{k:.0f}" for k in cartpole.index) in said


def test_what_is_said_of_trpo_beyond_its_differences() -> None:
    shown: dict[tuple[str, float], set[str]] = {}
    for environment in ENVIRONMENTS:
        for parameter in ("target_kl", "cg_damping", "cg_max_steps"):
            for value, (_, interval) in compared_with_the_default(environment, parameter, "trpo").items():
                if interval.high < 0:
                    shown.setdefault((parameter, value), set()).add(environment)
    assert shown["target_kl", 0.001] == shown["target_kl", 0.003] == set(ENVIRONMENTS)
    assert (len(shown["cg_damping", 0.01]), len(shown["cg_damping", 1.0]), len(shown["cg_max_steps", 2])) == (2, 3, 3)
    returns = {e: sensitivity(e, "trpo")["returns"] for e in ENVIRONMENTS}
    low, *others = sorted(map(float, returns["Acrobot-v1"]["cg_damping", 1.0].split()))
    assert others[0] > -100
    says(TUNING, f"one of the five runs at 1 ends at −{-low:.0f}")
    same = [e for e in ENVIRONMENTS if returns[e]["cg_max_steps", 15] == returns[e]["cg_max_steps", 30]]
    assert same == ["CartPole-v1", "InvertedPendulum-v5"]
