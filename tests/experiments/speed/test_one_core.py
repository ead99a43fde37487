"""The speed report: that its parts add up and its ratios are what they say. Nothing here asserts a time."""

import json
import time
from io import StringIO

import pytest
from rich.console import Console
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants.experiments.speed import PARTS, as_json, measure, speed, speed_table
from sb3_ppo_variants.experiments.speed import one_core as module


def test_ratio_is_taken_within_each_round() -> None:
    splits = {
        "ours": {"acting": [5.0, 10.0, 5.0], "update": [5.0, 10.0, 5.0]},
        "peer": {"acting": [0.0, 0.0, 0.0], "update": [40.0, 60.0, 70.0]},
    }
    ratio = module._ratio(splits, [2.0, 4.0, 5.0], "ours", "peer")
    # 40/10, 60/20, 70/10
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 4.0, 7.0)
    # (40 − 2)/(10 − 2), (60 − 4)/(20 − 4), (70 − 5)/(10 − 5)
    assert ratio.added == 4.75


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_a_measurement_adds_up_and_can_be_shown_and_kept() -> None:
    ticks = []
    measurement = measure(
        "CartPole-v1", 2, 8, ["sb3", "contrib"], rounds=2, tick=lambda: ticks.append(1), progress_bar=True
    )
    assert len(ticks) == 3
    assert set(measurement.splits) == {*module.CLIP, *module.TRUST_REGION, "sb3:ppo", "contrib:trpo"}
    assert len(measurement.floor) == 2
    for split in measurement.splits.values():
        assert set(split) == set(PARTS)
        assert all(len(part) == 2 for part in split.values())
        assert all(value > 0 for part in split.values() for value in part)
    assert [(ratio.ours, ratio.peer) for ratio in measurement.ratios] == [
        ("clip_ppo", "sb3:ppo"),
        ("clip_ppo, own callback", "sb3:ppo"),
        ("clip_ppo autograd", "sb3:ppo"),
        *[(name, "sb3:ppo") for name in module.CLIP if name == module.COMPILED],
        ("paper_trpo", "contrib:trpo"),
    ]
    console = Console(record=True, width=200, file=StringIO())
    console.print(speed_table(measurement))
    shown = console.export_text()
    assert all(name in shown for name in measurement.splits)
    assert shown.count(" × sb3:ppo (") == len(measurement.ratios) - 1
    kept = json.loads(json.dumps(as_json([measurement])))
    assert kept["measurements"][0]["n_envs"] == 2
    assert {"torch", "stable-baselines3"} <= set(kept["versions"])


def test_the_stopwatch_sees_what_passes_inside(monkeypatch) -> None:
    """A method of one part is slow by a second a call: the time shows there, and only there."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    step_wait = DummyVecEnv.step_wait

    def slowly(env: DummyVecEnv) -> object:
        now[0] += 1.0
        return step_wait(env)

    monkeypatch.setattr(DummyVecEnv, "step_wait", slowly)
    measurement = measure("CartPole-v1", 2, 8, ["sb3"], rounds=1, tick=lambda: None)
    assert measurement.floor == [5e5]  # a second for two environments, in microseconds per step
    for split in measurement.splits.values():
        assert split == {part: [5e5 if part == "environment" else 0.0] for part in PARTS}


def test_values_left_for_later_count_as_acting(monkeypatch) -> None:
    """The clock is put off by a second where they are computed: no part but the acting may show it."""
    from sb3_ppo_variants.backends.closed_form.actor import ClosedFormActor

    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    fill_in = ClosedFormActor._fill_in

    def slowly(*args) -> None:
        now[0] += 1.0
        fill_in(*args)

    monkeypatch.setattr(ClosedFormActor, "_fill_in", slowly)
    splits = measure("CartPole-v1", 2, 8, [], rounds=1, tick=lambda: None).splits
    assert splits["clip_ppo"]["acting"][0] > 0
    assert splits["clip_ppo"]["gae"] == [0.0]
    # At every step, and so nothing is left for later.
    assert splits[module.OWN_CALLBACK]["acting"] == [0.0]


def test_unknown_and_missing_peers_are_refused(monkeypatch) -> None:
    with pytest.raises(ValueError, match="Cannot make the environment 'CartPole-v9'"):
        list(speed(["CartPole-v9"], [1], [8]))
    for n_envs, width, rounds, message in ((0, 8, 1, "n_envs=0"), (1, -8, 1, "width=-8"), (1, 8, 0, "rounds=0")):
        with pytest.raises(ValueError, match=message):
            list(speed(["CartPole-v1"], [n_envs], [width], rounds=rounds))
    with pytest.raises(ValueError, match=r"--peers 'jax' is unknown: pass some of sb3, contrib, sbx"):
        next(speed(["CartPole-v1"], [1], [8], ["jax"]))
    monkeypatch.setattr(module, "installed_peers", lambda: ["sb3"])
    with pytest.raises(ValueError, match=r"--peers 'sbx' is not installed"):
        next(speed(["CartPole-v1"], [1], [8], ["sbx"]))
