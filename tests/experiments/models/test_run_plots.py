import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

from sb3_ppo_variants.experiments import train
from sb3_ppo_variants.experiments.models.run_plots import DIAGNOSTICS, find_runs, plot_runs

SMALL = {"n_steps": 64, "n_epochs": 2}
SMALL_TRPO = {"n_steps": 64, "batch_size": 64}
COMPARISON = Path(__file__).parents[3] / "zoo_configs/results/cartpole"


def is_png(path: Path) -> bool:
    return path.read_bytes()[:4] == b"\x89PNG"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train("clip_ppo", timesteps=256, seed=seed, settings=SMALL, out=top / f"a{seed}")
    train("paper_trpo", timesteps=256, settings=SMALL_TRPO, out=top / "b")
    return top


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that SB3 writes: one monitor file per environment, and a CSV log in another folder."""
    top = tmp_path_factory.mktemp("sb3")
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0, monitor_dir=str(top / "monitors"))
    model = PPO("MlpPolicy", env, n_steps=512, n_epochs=1, seed=0)
    logger = configure(str(top / "log"), ["csv"])
    model.set_logger(logger)
    model.learn(4000)
    logger.close()
    env.close()
    return top


def test_a_run_of_ours(ours: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert plot_runs([ours / "b"]) == [ours / "b/curves-CartPole-v1.png", ours / "b/diagnostics.png"]
    request.getfixturevalue("blank_pictures")  # from here on only their names count
    files = plot_runs([ours / "a0", ours / "b"], tmp_path)
    assert [path.name for path in files] == ["curves-CartPole-v1.png", "diagnostics-a0.png", "diagnostics-b.png"]
    assert all(map(is_png, files))
    for folder in ("one/seed0", "two/seed0"):  # names that are alike
        shutil.copytree(ours / "a0", tmp_path / folder)
    files = plot_runs([tmp_path / "one", tmp_path / "two"], tmp_path)
    assert [path.name for path in files[1:]] == ["diagnostics-seed0.png", "diagnostics-seed0_2.png"]
    ((_, (row,)),) = find_runs(ours / "a0")
    with (ours / "a0/curve.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(p.timesteps, p.mean_return) for p in row.result.curve] == [
        (int(line["timesteps"]), float(line["mean_return"])) for line in lines
    ]
    assert row.run.algorithm == "clip_ppo"


def test_a_folder_of_runs(ours: Path) -> None:
    found = {folder.name: [row.run.seed for row in rows] for folder, rows in find_runs(ours)}
    assert found == {"a0": [0], "a1": [1], "b": [0]}


def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *paths: Path) -> dict[str, int]:
    """Label → number of runs, of what is drawn."""
    drawn: dict[str, int] = {}

    def see(environments: dict, *args: object, **kwargs: object) -> list[Path]:
        drawn.update({label: len(runs) for curves in environments.values() for label, runs in curves.items()})
        return [tmp_path / "picture.png"]

    monkeypatch.setattr("sb3_ppo_variants.experiments.models.run_plots.draw_curves", see)
    monkeypatch.setattr("sb3_ppo_variants.experiments.models.run_plots._draw_diagnostics", lambda *args: [])
    plot_runs(paths, tmp_path)
    return drawn


def test_a_run_that_is_named_twice_counts_once(ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"clip_ppo": 2, "paper_trpo": 1}
    assert lines(tmp_path, monkeypatch, ours) == once
    assert lines(tmp_path, monkeypatch, ours, ours / "a0", ours / "b/../a0") == once


def test_runs_with_other_settings_have_lines_of_their_own(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("clip_ppo", timesteps=256, seed=2, settings={**SMALL, "clip_range": 0.1}, out=tmp_path / "low")
    train("clip_ppo", timesteps=256, seed=3, settings={**SMALL, "n_epochs": 1}, out=tmp_path / "short")
    assert lines(tmp_path, monkeypatch, ours / "a0", ours / "a1", tmp_path / "low", tmp_path / "short") == {
        "clip_ppo n_epochs=2": 2,
        "clip_ppo low": 1,  # n_epochs=2, clip_range=0.1 would be too long
        "clip_ppo n_epochs=1": 1,
    }
    # What is not known of a comparison's runs is not said of them.
    shutil.copytree(COMPARISON, tmp_path / "compared")
    found = lines(tmp_path, monkeypatch, tmp_path / "low", tmp_path / "compared")
    assert found["clip_ppo"] == 6


def test_a_run_under_way_is_named_as_what_it_is(ours: Path, tmp_path: Path) -> None:
    shutil.copytree(ours / "a0", tmp_path / "run")
    (tmp_path / "run/curve.csv").unlink()
    ((_, (record,)),) = find_runs(tmp_path)
    assert (record.run.algorithm, record.run.environment) == ("clip_ppo", "CartPole-v1")


def test_the_log_of_a_run_has_what_is_drawn(ours: Path) -> None:
    with (ours / "b/progress.csv").open() as file:
        keys = set(next(csv.reader(file)))
    drawn = {key for diagnostic in DIAGNOSTICS for key in diagnostic.keys}
    assert {"train/kl", "train/is_line_search_success", "train/ess", "time/total_timesteps"} <= keys
    assert keys & drawn >= {"train/kl", "train/ratio_max", "train/explained_variance"}


def test_monitor_files(theirs: Path, tmp_path: Path) -> None:
    ((folder, (row,)),) = find_runs(theirs / "monitors")
    assert folder == theirs / "monitors"
    assert (row.run.algorithm, row.run.environment) == ("monitors", "CartPole-v1")
    # The same by hand: episodes of both environments by the time at which they ended.
    episodes = []
    for path in (theirs / "monitors").glob("*.monitor.csv"):
        header, _, *lines = path.read_text().splitlines()
        start = json.loads(header[1:])["t_start"]
        episodes += [(start + float(t), float(r), int(n)) for r, n, t in (line.split(",") for line in lines)]
    episodes.sort()
    assert len(episodes) > 100
    assert row.result.curve[-1].timesteps == sum(n for _, _, n in episodes)
    assert row.result.final_return == pytest.approx(np.mean([r for _, r, _ in episodes[-100:]]))
    fifth = row.result.curve[4]
    assert fifth.mean_return == pytest.approx(np.mean([r for _, r, _ in episodes[:5]]))
    assert [path.name for path in plot_runs([theirs / "monitors"], tmp_path)] == ["curves-CartPole-v1.png"]


def test_a_log_of_sb3(theirs: Path, tmp_path: Path) -> None:
    ((_, (row,)),) = find_runs(theirs / "log")
    assert [p.timesteps for p in row.result.curve] == [1024, 2048, 3072, 4096]
    files = plot_runs([theirs / "log"], tmp_path)
    assert [path.name for path in files] == ["curves-unknown-environment.png", "diagnostics.png"]


def test_rl_zoo3s_folders_are_runs_of_one_algorithm(theirs: Path, tmp_path: Path) -> None:
    for run in ("CartPole-v1_1", "CartPole-v1_2"):
        shutil.copytree(theirs / "monitors", tmp_path / "logs/clip_ppo" / run)
    rows = [row for _, rows in find_runs(tmp_path / "logs") for row in rows]
    assert [row.run.algorithm for row in rows] == ["clip_ppo", "clip_ppo"]


def test_a_comparison(tmp_path: Path) -> None:
    ((_, rows),) = find_runs(COMPARISON)
    with (COMPARISON / "runs.csv").open() as file:
        final = {(line["algorithm"], int(line["seed"])): float(line["final_return"]) for line in csv.DictReader(file)}
    assert {(row.run.algorithm, row.run.seed): row.result.final_return for row in rows} == pytest.approx(final)
    assert [path.name for path in plot_runs([COMPARISON], tmp_path)] == ["curves-CartPole-v1.png"]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Give at least one run folder"):
        plot_runs([])
    with pytest.raises(ValueError, match="There is no folder"):
        plot_runs([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"There is no run in .*: neither run\.json with curve\.csv"):
        plot_runs([tmp_path])
    (tmp_path / "monitor.csv").write_text('#{"t_start": 0.0, "env_id": "CartPole-v1"}\nr,l,t\n')
    with pytest.raises(ValueError, match="No episode has ended"):
        plot_runs([tmp_path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"monitor\.csv is empty"),
        ("\n\n", r"monitor\.csv is empty"),
        ("\0\0\0", r"monitor\.csv is empty"),
        ('#{"t_st', r"monitor\.csv has no complete first line"),
        ("garbage\n", r"monitor\.csv has no complete first line"),
        ("#{}\nr,l\n1.0,2\n", r"Cannot read .*monitor\.csv: it has no column t, but r, l"),
        ("#{}\nr,l,t\nmuch,2,3.0\n", r"Cannot read .*monitor\.csv: .* the first line 3: much,2,3\.0"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "monitor.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        plot_runs([tmp_path])


def test_a_cut_last_line_of_a_monitor_file_is_left_out(tmp_path: Path) -> None:
    lines = ['#{"t_start": 1.0, "env_id": "CartPole-v1"}', "r,l,t", "10.0,10,0.1", "12.0,12,0.2", "20.0,2"]
    (tmp_path / "monitor.csv").write_text("\n".join(lines))
    ((_, (record,)),) = find_runs(tmp_path)
    assert record.result.final_return == 11.0  # the mean of the two whole episodes
    assert len(record.result.curve) == 2


HEADER = '#{"t_start": 1.0, "env_id": "CartPole-v1"}\nr,l,t\n'


@pytest.mark.parametrize(
    ("text", "returns", "fault"),
    [
        (
            f"{HEADER}10.0,10,0.1\n12.0,\n14.0,14,0.3\n",
            [10.0, 12.0],
            "1 of its lines hold no episode, the first line 4",
        ),
        (f"{HEADER}10.0,10,0.1\nx,y,z\n14.0,14,0.3\n", [10.0, 12.0], "the first line 4: x,y,z"),
        (f"{HEADER}10.0,10,0.112.0,12,0.2\n14.0,14,0.3\n", [14.0], "the first line 3"),  # two writers
        (f"{HEADER}10.0,10,0.1\n\0\0\0\n\n14.0,14,0.3\n", [10.0, 12.0], None),  # a power cut
        ("r,l,t\n10.0,10,0.1\n14.0,14,0.3\n", [10.0, 12.0], "has no complete first line"),
        ("10.0,10,0.1\n14.0,14,0.3\n", [10.0, 12.0], "has no complete first line"),
        ('#{"t_start": 1.\nr,l,t\n10.0,10,0.1\n', [10.0], "has no complete first line"),
        ('#{"t_start": null}\nr,l,t\n10.0,10,0.1\n', [10.0], None),
        ("#{}\nr,l,t,success\n10.0,10,0.1,True\n", [10.0], None),
        ("#{}\nl,t,r\n10,0.1,9.0\n", [9.0], None),
    ],
)
def test_the_good_lines_of_a_monitor_file_are_kept(
    text: str, returns: list[float], fault: str | None, tmp_path: Path
) -> None:
    (tmp_path / "0.monitor.csv").write_text(text)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ((_, (record,)),) = find_runs(tmp_path)
    assert [point.mean_return for point in record.result.curve] == pytest.approx(returns)
    assert len(said) == (fault is not None)
    if fault is not None:
        assert str(tmp_path / "0.monitor.csv") in str(said[0].message)
        assert fault in str(said[0].message)


def test_a_blank_monitor_file_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "0.monitor.csv").write_text("")
    (tmp_path / "1.monitor.csv").write_text(f"{HEADER}10.0,10,0.1\n")
    with pytest.warns(UserWarning, match=r"0\.monitor\.csv is empty"):
        ((_, (record,)),) = find_runs(tmp_path)
    assert (record.run.environment, record.result.final_return) == ("CartPole-v1", 10.0)


@pytest.mark.parametrize("bad", ["abc,1,2,3", "512,1.0", "512,1.0,2.0,3.0,4,5,6", ",1.0,2.0,3.0"])
def test_the_good_lines_of_other_files_are_kept(ours: Path, tmp_path: Path, bad: str) -> None:
    shutil.copytree(ours / "b", tmp_path / "b")
    lines = (tmp_path / "b/curve.csv").read_text().splitlines()
    (tmp_path / "b/curve.csv").write_text("\n".join([*lines[:2], bad, *lines[2:], "77"]))
    with pytest.warns(UserWarning, match=r"curve\.csv: \d of \d lines cannot be read and are left out"):
        ((_, (record,)),) = find_runs(tmp_path)
    ((_, (expected,)),) = find_runs(ours / "b")
    curve = [point for point in record.result.curve if point.mean_return is not None]
    assert curve == [point for point in expected.result.curve if point.mean_return is not None]


def test_a_description_that_cannot_be_read_is_named(ours: Path, tmp_path: Path) -> None:
    shutil.copytree(ours / "b", tmp_path / "b")
    (tmp_path / "b/run.json").write_text('{"run": {"algo')
    with pytest.raises(ValueError, match=r"b/run\.json does not describe a run"):
        plot_runs([tmp_path])
