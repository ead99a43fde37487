"""Search spaces: what they hold, how they are scaled, and how a user writes one."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.runs.registry import KNOWN, OURS
from sb3_ppo_variants.experiments.runs.settings import constructor_parameters, full_settings, run_settings
from sb3_ppo_variants.experiments.search_space.axis import documented_place
from sb3_ppo_variants.experiments.search_space.dimensions import (
    BandRatio,
    Choice,
    Complement,
    Dimension,
    Integer,
    Real,
    dimension_from_json,
)
from sb3_ppo_variants.experiments.search_space.spaces import (
    EARLIER_RANGES,
    RANGES,
    SPACES,
    batch_sizes,
    default_space,
    finite_size,
    read_space,
    settings_of,
    values_of,
    without_range,
)

DIMENSIONS: list[tuple[Dimension, Any]] = [
    (Real(0.0, 2.0), 0.5),
    (Real(1e-5, 1e-1, log=True), 1e-3),
    (Complement(0.8, 0.995), 0.95),
    (Integer(3, 10), 7),
    (Integer(1, 1000, log=True), 10),
    (Choice((None, 0.003, "lin_0.1", True, [64, 64])), 0.003),
    (BandRatio(0.5, 2.0), 1.0),
]
IDS = [d.kind for d, _ in DIMENSIONS]


@pytest.mark.parametrize("algorithm", [*KNOWN, "tests.experiments.mine:MyPPO"])
@pytest.mark.parametrize("n_envs", [1, 8])
def test_ranges_hold_the_defaults_and_the_documented_ranges(algorithm: str, n_envs: int) -> None:
    start = run_settings(algorithm, {})
    space, settings = default_space(algorithm, start, n_envs), full_settings(algorithm, start)
    assert set(space) <= set(constructor_parameters(algorithm))
    if algorithm in SPACES:
        missing = set(SPACES[algorithm]) - set(space)
        assert not missing
    for argument, value in values_of(space, settings).items():
        dimension = space[argument]
        assert dimension.contains(value)
        assert dimension.distribution._contains(dimension.distribution.to_internal_repr(dimension.parameter(value)))
    for documented in DOCUMENTED:
        if documented.argument in space:
            ends = {documented.default, documented.low, documented.high} - {None}
            assert all(space[documented.argument].contains(end) for end in ends)
            places = documented_place(documented.argument, space[documented.argument])
            assert places is not None
            assert 0 <= places[0] <= places[1] <= 1
    # What trial 0 would be given, were its values written out, is what it has without them.
    assert settings_of(space, values_of(space, settings), settings) == {a: settings[a] for a in space}


def test_every_algorithm_of_ours_has_a_space_with_its_own_parameters() -> None:
    assert set(SPACES) == set(OURS)
    assert {"clip_range", "clip_range_high"} <= set(SPACES["clip_ppo"])
    assert {"kl_coef", "adaptive_kl_target"} <= set(SPACES["kl_penalty_ppo"])
    assert {"target_kl", "cg_max_steps", "cg_damping", "n_critic_updates"} <= set(SPACES["paper_trpo"])
    assert all("gamma" in space for space in SPACES.values())
    for argument, earlier in EARLIER_RANGES.items():
        assert all(RANGES[argument].contains(end) for end in earlier.extremes())
        low, high = map(RANGES[argument].place, earlier.extremes())
        assert (low > 0) == (argument == "kl_coef")  # what did best lay at this end, else at the other
        assert (high < 1) == (argument != "kl_coef")
    assert RANGES["kl_coef"].contains(0.3)
    assert RANGES["kl_coef"].contains(10.0)


@pytest.mark.parametrize(("algorithm", "argument"), [("clip_ppo", "clip_softness"), ("scopic_ppo", "kl_coef")])
def test_what_is_searched_only_on_request(algorithm: str, argument: str) -> None:
    start = run_settings(algorithm, {})
    assert argument not in default_space(algorithm, start, 1)
    dimension = default_space(algorithm, start, 1, only=[argument])[argument]
    assert dimension.contains(full_settings(algorithm, start)[argument])


def test_users_class_gets_what_its_constructor_takes() -> None:
    space = default_space("tests.experiments.mine:MyPPO", {}, 1)
    assert set(space) >= {"clip_range", "n_epochs", "learning_rate", "batch_size"}
    assert "target_kl" not in space  # None by default: not inside the range
    assert "learning_rate" not in default_space("sb3:ppo", {"learning_rate": "lin_0.001"}, 1)
    assert without_range("tests.experiments.mine:MyPPO") == ["my_argument"]


@pytest.mark.parametrize(
    ("rollout", "default", "sizes"),
    [
        (2048, 64, (32, 64, 128, 256, 512, 1024, 2048)),
        (2**14, 64, (32, 64, 128, 256, 512, 1024, 2048, 4096)),
        (96, 64, (32, 64)),
        (100, 64, None),
        (2048, 50, (32, 50, 64, 128, 256, 512, 1024, 2048)),
        (64, None, (32, 64, None)),
    ],
)
def test_batch_sizes_divide_the_rollout(rollout: int, default: int | None, sizes: tuple[int, ...] | None) -> None:
    found = batch_sizes(rollout, default)
    assert (None if found is None else found.values) == sizes
    if found is not None:
        assert all(v in (default, None) or rollout % v == 0 for v in found.values)


@pytest.mark.parametrize(("dimension", "value"), DIMENSIONS, ids=IDS)
def test_values_go_to_optuna_and_back(dimension: Dimension, value: Any) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask({"x": dimension.distribution})
        found = dimension.value(trial.params["x"])
        assert dimension.contains(found)
        assert 0 <= dimension.place(found) <= 1
        back, there = dimension.parameter(found), trial.params["x"]
        assert back == (pytest.approx(there, rel=1e-12) if isinstance(there, float) else there)
    assert dimension.value(dimension.parameter(value)) == value
    again = dimension_from_json(json.loads(json.dumps(dimension.to_json())))
    assert again == dimension


def test_lambda_is_searched_through_the_logarithm_of_its_distance_to_one() -> None:
    dimension = Complement(0.8, 0.995)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [dimension.value(study.ask({"x": dimension.distribution}).params["x"]) for _ in range(400)]
    assert stats.kstest(1 - np.array(drawn), stats.loguniform(0.005, 0.2).cdf).pvalue > 0.01
    assert dimension.place(0.8) == pytest.approx(0)
    assert dimension.place(0.995) == pytest.approx(1)
    assert dimension.place(1 - np.sqrt(0.2 * 0.005)) == pytest.approx(0.5)


def test_places() -> None:
    assert Real(1.0, 3.0).place(1.5) == 0.25
    assert Real(0.01, 100.0, log=True).place(1.0) == pytest.approx(0.5)
    assert Integer(3, 11).place(5) == 0.25
    assert Choice((None, 1, 2)).place(1) == 0.5
    assert BandRatio(0.5, 2.0).place(1.0) == pytest.approx(0.5)
    assert documented_place("clip_range", Real(0.05, 0.4, log=True)) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert documented_place("ent_coef", Real(0.0, 0.05)) == (pytest.approx(0.2), pytest.approx(0.2))
    assert documented_place("kl_coef", Real(0.3, 10.0)) is None


def test_the_band_is_a_multiple_of_the_clip_range_tuned_or_not() -> None:
    both = {"clip_range": Real(0.05, 0.4), "clip_range_high": BandRatio(0.5, 2.0)}
    settings = full_settings("clip_ppo", {})
    assert settings_of(both, {"clip_range": 0.1, "clip_range_high": 1.5}, settings)["clip_range_high"] == 1.5 * 0.1
    assert settings_of(both, {"clip_range": 0.1, "clip_range_high": 1.0}, settings)["clip_range_high"] is None
    alone = {"clip_range_high": BandRatio(0.5, 2.0)}
    assert settings_of(alone, {"clip_range_high": 1.5}, settings) == {"clip_range_high": 1.5 * 0.2}
    assert values_of(alone, {"clip_range": 0.1, "clip_range_high": 0.2}) == {"clip_range_high": 2.0}
    for scheduled in ({"clip_range": "lin_0.1"}, {"clip_range": 0.1, "clip_range_high": "lin_0.3"}):
        assert "clip_range_high" not in default_space("clip_ppo", full_settings("clip_ppo", scheduled), 1)


def test_size_of_a_finite_space_is_the_number_of_combinations() -> None:
    space: dict[str, Dimension] = {
        "n_epochs": Integer(3, 5),
        "batch_size": Choice((32, 64)),
        "a": Choice((None, 1.0, "x")),
    }
    combinations = list(itertools.product((3, 4, 5), (32, 64), (None, 1.0, "x")))
    assert finite_size(space) == len(combinations) == 18
    assert finite_size({**space, "clip_range": Real(0.1, 0.2)}) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(0.2, 0.1), "low < high, got low=0.2 and high=0.1"),
        (lambda: Real(0.0, 0.1, log=True), "starts above 0"),
        (lambda: Real("a", 1), "numbers as ends"),  # type: ignore[arg-type]
        (lambda: Complement(0.5, 1.0), "ends below 1"),
        (lambda: Integer(1.5, 3), "whole ends"),  # type: ignore[arg-type]
        (lambda: Choice(()), "at least one value"),
        (lambda: Choice((1, 1)), "each value once"),
        (lambda: Choice((1, True)).values and Choice((1,)).place(2), "2 is none of"),
        (lambda: dimension_from_json({"kind": "reel", "low": 0, "high": 1}), "Did you mean 'real'"),
        (lambda: dimension_from_json({"kind": "real", "low": 0}), "real needs high"),
        (lambda: dimension_from_json({"kind": "real", "low": 0, "hihg": 1}), "Did you mean 'high'"),
        (lambda: dimension_from_json(3), "list of values, or kind with low and high, got 3"),
    ],
)
def test_mistakes_in_a_dimension(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


SPACE = {
    "clip_range": Real(0.1, 0.3, log=True),
    "gae_lambda": Complement(0.9, 0.99),
    "n_epochs": Integer(3, 10),
    "batch_size": Choice((32, 64, 128)),
}
YAML = """
clip_range: {kind: real, low: 0.1, high: 0.3, log: true}
gae_lambda: {kind: complement, low: 0.9, high: 0.99}
n_epochs: {kind: integer, low: 3, high: 10}
batch_size: [32, 64, 128]
"""
TOML = """
batch_size = [32, 64, 128]
[clip_range]
kind = "real"
low = 0.1
high = 0.3
log = true
[gae_lambda]
kind = "complement"
low = 0.9
high = 0.99
[n_epochs]
kind = "integer"
low = 3
high = 10
"""


@pytest.mark.parametrize("kind", ["yaml", "yml", "json", "toml"])
def test_own_space_from_a_file(kind: str, tmp_path: Path) -> None:
    if kind == "toml" and sys.version_info < (3, 11):
        pytest.skip("no tomllib")
    as_json = json.dumps({argument: dimension.to_json() for argument, dimension in SPACE.items()})
    file = tmp_path / f"space.{kind}"
    file.write_text({"json": as_json, "toml": TOML}.get(kind, YAML))
    assert read_space(file) == SPACE


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere.yml", None, "There is no space file"),
        ("space.txt", "", r"ends in \.json, \.yaml, \.yml or \.toml"),
        ("space.json", "{", "cannot be read"),
        ("space.yml", "a: [", "cannot be read"),
        ("space.yml", "", "holds no space; one looks like this"),
        ("space.yml", "clip_range: {kind: real, low: 1}", "clip_range in .*real needs high"),
        ("space.yml", "clip_range: {kind: real, low: 2, high: 1}", "clip_range in .*low < high"),
    ],
)
def test_mistakes_in_a_space_file(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_space(tmp_path / name)
