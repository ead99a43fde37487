"""Speed beside others, on one core and on several."""

import re

import numpy as np

from tests.numbers.reading import BACKENDS, ENGINE, README, RESULTS, ratio, read, says
from tests.pages import ROOT, tables

SPEED = (
    "| environment | envs | environment alone | `ClipPPO` | SB3 `PPO` | times as fast | with your own callback | "
    "times as fast as SBX `PPO` | `TRPO` | contrib `TRPO` | times as fast |"
)
SHORT_SPEED = "| environment | environments | `ClipPPO` over SB3's `PPO` | `TRPO` over sb3-contrib's |"


def median_time(splits: dict[str, list[float]]) -> str:
    return f"{np.median(np.sum(list(splits.values()), axis=0)):.0f}"


def test_the_speed_tables_are_the_measured_ones() -> None:
    measured = read("speed/default.json")["measurements"]
    (shown,), (short,) = tables(BACKENDS, SPEED), tables(README, SHORT_SPEED)
    for one, row, short_row in zip(measured, shown, short, strict=True):
        times = {name: median_time(splits) for name, splits in one["splits"].items()}
        clip, own, sbx, trpo = (
            ratio(one, *pair)
            for pair in (
                ("clip_ppo", "sb3:ppo"),
                ("clip_ppo, own callback", "sb3:ppo"),
                ("clip_ppo", "sbx:PPO"),
                ("paper_trpo", "contrib:trpo"),
            )
        )
        where = [one["environment"], str(one["n_envs"])]
        bold = ["**{}** {}".format(*found) for found in (clip, sbx, trpo)]
        ours = [f"{np.median(one['floor']):.0f}", times["clip_ppo"], times["sb3:ppo"], bold[0], " ".join(own), bold[1]]
        assert row == [*where, *ours, times["paper_trpo"], times["contrib:trpo"], bold[2]]
        assert short_row == [*where, " ".join(clip), " ".join(trpo)]
    medians = sorted(float(ratio(one, "clip_ppo", "sb3:ppo")[0]) for one in measured)
    says(README, f"{medians[0]} to {medians[-1]} times as fast as SB3's `PPO` in the four settings")


def test_the_other_speeds_are_the_measured_ones() -> None:
    on_xeon = read("speed/default_xeon.json")["measurements"]
    xeon = [ratio(one, "clip_ppo", "sb3:ppo")[0] for one in on_xeon]
    says(BACKENDS, f"HalfCheetah alone takes {np.median(on_xeon[0]['floor']):.0f} µs")
    says(BACKENDS, f"gave {', '.join(xeon[:3])} and {xeon[3]} over SB3's `PPO`")
    wide = [ratio(one, "clip_ppo", "sb3:ppo")[0] for one in read("speed/wide.json")["measurements"]]
    says(BACKENDS, "{} times as fast at width 256 and {} at 512 with one environment, {} and {} with 64".format(*wide))
    for name in ("default", "wide"):
        found = [
            r["median"]
            for one in read(f"speed/{name}.json")["measurements"]
            for r in one["ratios"]
            if (r["ours"], r["peer"]) == ("clip_ppo autograd", "sb3:ppo")
        ]
        says(BACKENDS, f"{min(found):.2f} to {max(found):.2f}")


def test_the_machine_of_the_timing_is_on_the_page() -> None:
    kept = read("speed/default.json")
    machine, made_with = kept["machine"], kept["versions"]
    torch, sb3 = made_with["torch"].removesuffix("+cpu"), made_with["stable-baselines3"]
    says(
        BACKENDS,
        f"of an {machine['processor']} shared with others, Python {machine['python']}, torch {torch} (CPU), "
        f"numpy {made_with['numpy']}, SB3 {sb3}, "
        f"SBX {made_with['sbx-rl']} (jax {made_with['jax']}), gymnasium {made_with['gymnasium']}",
    )


def test_what_scheduling_costs_is_the_measured_share() -> None:
    text = (ROOT / RESULTS / "engine/scaling.txt").read_text(encoding="utf-8")
    costs = re.findall(r"cost (\S+) %", text)
    ratios = re.findall(r"two over one: (\S+); (\S+) with", text)[0]
    instant = [float(found) for found in re.findall(r"(\S+) ms each", text)]
    says(
        ENGINE,
        "took {} % of the time in one process and {} % in two".format(*costs),
        "two processes were {} times as fast ({} with the start".format(*ratios),
        f"A run of no length costs {min(instant)} to {max(instant)} ms",
    )
