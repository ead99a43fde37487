"""A sensitivity study from end to end, tiny, and its grid, axes and picture."""

import csv
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.runs.run import Run, train_run
from sb3_ppo_variants.experiments.search_space.axis import ticks
from sb3_ppo_variants.experiments.search_space.dimensions import Choice, Complement, Integer, Real
from sb3_ppo_variants.experiments.sensitivity_analysis.picture import dimension_of, draw_sensitivity, legend
from sb3_ppo_variants.experiments.sensitivity_analysis.points import POINTS, Point, grid, with_differences
from sb3_ppo_variants.experiments.sensitivity_analysis.study import sensitivity
from tests.experiments.in_process import InProcess, without_workers

TINY: dict[str, Any] = {"timesteps": 128, "settings": {"n_steps": 128, "n_epochs": 1}}


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Does the runs of each call in this process."""
    return without_workers(monkeypatch)


def test_from_end_to_end_and_again(tmp_path: Path, executor: InProcess) -> None:
    points = {"clip_range": [0.1], "ent_coef": [0.0]}
    arguments: dict[str, Any] = {"parameters": list(points), "points": points, "seeds": 2, "out": tmp_path} | TINY
    found = sensitivity("clip_ppo", "CartPole-v1", **arguments)
    assert len(executor.tasks) == 3 * 2  # the defaults once, and one point beside them for each parameter
    assert [(p.argument, p.value, p.default) for p in found.points] == [
        ("clip_range", 0.1, False), ("clip_range", 0.2, True), ("ent_coef", 0.0, False), ("ent_coef", 0.01, True),
    ]  # fmt: skip
    assert found.points[1].returns == found.points[3].returns
    for seed, place in ((0, 0), (1000, 1)):
        run = Run("clip_ppo", "CartPole-v1", seed, 128, 1, {"n_steps": 128, "n_epochs": 1, "clip_range": 0.1})
        assert found.points[0].returns[place] == train_run(run).final_return
    names = ["runs.csv", "sensitivity-CartPole-v1.csv", "sensitivity-CartPole-v1.png"]
    assert [f.name for f in found.files] == names
    with (tmp_path / names[1]).open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["parameter"], float(r["value"]), r["default"], r["n"]) for r in rows][:2] == [
        ("clip_range", 0.1, "False", "2"),
        ("clip_range", 0.2, "True", "2"),
    ]
    mine, default = ([float(x) for x in row["returns"].split()] for row in rows[:2])
    assert float(rows[0]["return"]) == pytest.approx(np.mean(mine))
    assert float(rows[0]["difference"]) == pytest.approx(np.mean(mine) - np.mean(default))
    welch = stats.ttest_ind(mine, default, equal_var=False).confidence_interval(float(rows[0]["difference_level"]))
    assert (float(rows[0]["difference_low"]), float(rows[0]["difference_high"])) == pytest.approx(tuple(welch))
    assert rows[1]["difference"] == ""
    again = sensitivity("clip_ppo", "CartPole-v1", **arguments)
    assert again.points == found.points
    assert [r.result for r in again.records] == [r.result for r in found.records]  # the seconds too: nothing ran again


def test_another_study_is_not_replaced(
    tmp_path: Path, executor: InProcess, monkeypatch: pytest.MonkeyPatch, blank_pictures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {"parameters": "ent_coef", "points": {"ent_coef": [0.1]}, "seeds": 1} | TINY
    first = sensitivity("clip_ppo", **arguments)
    table = first.files[0].read_bytes()
    assert first.files[0] == Path("runs/sensitivity/runs.csv")
    with pytest.raises(ValueError, match="runs/sensitivity holds other runs: give another folder"):
        sensitivity("unclipped_ppo", out="runs/sensitivity", **arguments)
    assert sensitivity("unclipped_ppo", **arguments).files[0] == Path("runs/sensitivity_2/runs.csv")
    assert first.files[0].read_bytes() == table
    assert sensitivity("clip_ppo", **arguments).files == first.files
    assert len(sensitivity("unclipped_ppo", out="runs/sensitivity", overwrite=True, **arguments).records) == 2


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize(
    ("algorithm", "parameters", "settings"),
    [
        ("kl_penalty_ppo", ["adaptive_kl_target", "kl_tolerance", "kl_coef"], TINY["settings"]),
        ("paper_trpo", ["target_kl", "cg_damping", "cg_max_steps"], {"n_steps": 128}),
    ],
)
def test_the_penalty_and_the_constraint_too(
    algorithm: str, parameters: list[str], settings: dict[str, Any], tmp_path: Path, executor: InProcess
) -> None:
    found = sensitivity(
        algorithm, "CartPole-v1", parameters=parameters, timesteps=128, seeds=1, settings=settings, out=tmp_path
    )
    assert not found.failed
    assert [(p.argument, p.value) for p in found.points] == [(name, v) for name in parameters for v in POINTS[name]]
    assert len(executor.tasks) == 1 + sum(not p.default for p in found.points)


@pytest.mark.usefixtures("blank_pictures")
def test_a_failed_point_is_reported(tmp_path: Path, executor: InProcess) -> None:
    tiny = TINY | {"timesteps": 8, "settings": {"n_steps": 8, "n_epochs": 1, "batch_size": 8}}
    points = {"n_epochs": [2]}
    found = sensitivity(
        "clip_ppo", "Pendulum-v1", parameters=["n_epochs"], points=points, seeds=1, out=tmp_path, **tiny
    )
    assert len(found.failed) == 2  # no episode ends within 8 steps
    assert found.points[0].center is None
    assert "No episode of Pendulum-v1 finished" in found.points[0].failed[0]
    assert (tmp_path / "sensitivity-Pendulum-v1.png").exists()


def test_a_difference_is_shown_where_its_corrected_interval_excludes_zero() -> None:
    rng = np.random.default_rng(0)
    shifts = {0.05: 2.3, 0.1: 5.0, 0.2: 0.0}
    for values, shown in ((shifts, [False, True]), ({0.05: 2.3, 0.2: 0.0}, [True])):
        points = [
            Point("CartPole-v1", "clip_range", value, value == 0.2, tuple(shift + np.array([-1.0, 0.0, 1.0])), ())
            for value, shift in values.items()
        ]
        found = with_differences([*points, Point("CartPole-v1", "n_epochs", 10, True, tuple(rng.normal(size=3)), ())])
        differences = [p.difference for p in found if p.difference is not None]
        assert [d.shown for d in differences] == shown
        for point, difference in zip(found, differences, strict=False):
            p = stats.ttest_ind(point.returns, found[len(values) - 1].returns, equal_var=False).pvalue
            assert difference.shown == (p * len(shown) < 0.05)


def test_grid() -> None:
    found = grid("clip_ppo", {}, None, {})
    assert list(found) == ["clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef"]
    assert {k: tuple(v) for k, v in found.items()} == {k: POINTS[k] for k in found}  # the defaults are among the points
    assert found["clip_range"][0] <= 0.05
    assert found["clip_range"][-1] >= 0.5
    assert {1, 3, 10, 20} <= set(found["n_epochs"])
    assert 0 in found["vf_coef"]
    assert 0 in found["ent_coef"]
    penalty = grid("kl_penalty_ppo", {}, None, {})
    assert "clip_range" not in penalty
    assert list(penalty)[-3:] == ["adaptive_kl_target", "kl_tolerance", "kl_coef"]
    assert "adaptive_kl_target" not in grid("kl_penalty_ppo", {"adaptive_kl_target": None}, None, {})
    assert {"target_kl", "cg_damping", "cg_max_steps"} <= set(grid("paper_trpo", {}, None, {}))
    assert grid("clip_ppo", {"clip_range": 0.12}, ["clip_range"], {"clip_range": [0.2, 0.1]}) == {
        "clip_range": [0.1, 0.12, 0.2]
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": ["clip_rnage"]}, "takes no argument 'clip_rnage'. Did you mean 'clip_range'?"),
        ({"parameters": ["max_grad_norm"]}, "points of 'max_grad_norm' must be numbers.*got None around 0.5"),
        ({"points": {"target_kl": [0.1]}}, "points of 'target_kl' must be numbers, as its default must be"),
        ({"points": {"clip_range": [0.2]}, "parameters": ["clip_range"]}, "no point besides its default 0.2"),
        ({"points": {"clip_range": [-0.1]}}, "clip_ppo does not take the settings.*clip_range"),
        ({"environments": []}, "needs an environment, got none"),
        ({"environments": "CartPol-v1"}, "Cannot make the environment 'CartPol-v1'"),
        ({"seeds": 0}, "seeds=0 is out of range"),
        ({"jobs": 0}, "jobs=0 is out of range: it must be >= 1"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        sensitivity(**({"out": tmp_path} | TINY | arguments))
    assert not list(tmp_path.iterdir())


def test_axes() -> None:
    assert dimension_of("gae_lambda", [0.5, 0.9, 0.995]) == Complement(0.5, 0.995)
    assert dimension_of("n_epochs", [1, 5, 20]) == Integer(1, 20)
    assert dimension_of("clip_range", [0.05, 0.5]) == Real(0.05, 0.5, log=True)
    assert dimension_of("ent_coef", [0.0, 0.1]) == Choice((0.0, 0.1))
    assert dimension_of("gae_lambda", [0.9, 1.0]) == Real(0.9, 1.0, log=True)  # 1 has no distance to itself


@pytest.mark.parametrize(
    "dimension",
    [
        *(Real(1e-6, 3.0, log=True), Real(1.0, 3.0, log=True), Integer(1, 4, log=True)),
        *(Complement(0.5, 0.9995), Integer(1, 1000), Real(0, 7)),
    ],
)
def test_ticks_are_few_and_lie_where_their_labels_say(dimension: Any) -> None:
    found = ticks(dimension)
    assert 3 <= len(found) <= 8
    assert all(-1e-6 <= place <= 1 + 1e-6 for place, _ in found)
    for place, label in found:
        assert dimension.place(float(label)) == pytest.approx(place, abs=1e-9)


def test_the_legend_names_what_is_drawn() -> None:
    def labels(argument: str, counts: tuple[int, ...]) -> list[str]:
        points = [Point("CartPole-v1", argument, i, i == 0, (1.0,) * n, ()) for i, n in enumerate(counts)]
        return [handle.get_label() for handle in legend(points)]

    both = ["documented range", "documented default"]
    marks = [
        "shown to differ, corrected by panel",
        "no difference shown",
        "all defaults: the same runs",
    ]
    assert labels("clip_range", (5, 5)) == ["IQM over runs, 95 % intervals", *marks, *both]
    assert labels("gae_lambda", (5, 4)) == ["IQM or mean over runs, 95 % intervals", *marks, "documented default"]
    assert labels("tolerance", (1, 1)) == ["mean over runs", *marks]


def test_the_picture_shows_every_panel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = [
        Point("CartPole-v1", argument, value, value == values[1], tuple(rng.normal(300, 50, size=5)), ())
        for argument, values in list(POINTS.items())[:5]
        for value in values
    ]
    drawn = matplotlib.image.imread(draw_sensitivity(points, "title", tmp_path / "picture.png"))
    height, width, _ = drawn.shape
    dark = (drawn[..., :3].min(axis=-1) < 0.5).astype(int)
    panels = [dark[:height // 2, i * width // 3:(i + 1) * width // 3].sum() for i in range(3)]  # fmt: skip
    assert all(count > 500 for count in panels)
