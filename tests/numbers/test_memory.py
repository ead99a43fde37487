"""The numbers of ``MEMORY.md`` are those of the committed runs."""

from pathlib import Path

import numpy as np
import pytest

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.stats.estimators import center, difference_interval
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.numbers.reading import cell, committed, difference, ratio, read, rows, says

MEMORY = Path("sb3_ppo_variants/MEMORY.md")
ALGORITHMS = ("clip_ppo", "kl_penalty_ppo", "unclipped_ppo", "reinforce", "paper_trpo")
CONTRIB = "contrib:recurrent_ppo"
#: Environment → its folder, the folder of the stacked runs, digits.
ENVIRONMENTS = {
    "CartPoleNoVel-v1": ("memory", "memory/stacked", 1),
    "Recall-v0": ("memory", "memory/stacked", 2),
    "PendulumNoVel-v1": ("memory/pendulum", "memory/pendulum_stacked", 0),
}


def header(environment: str) -> str:
    columns = ["memory", "four observations", "one observation", "memory − four observations"]
    return f"| algorithm on `{environment}` | {' | '.join(columns)} |"


def scores(results: Results, variant: str, environment: str) -> np.ndarray:
    return np.array(results.scores(variant, f"sb3_ppo_variants/{environment}"))


def memory_table(environment: str) -> dict[str, list[str]]:
    """Row by algorithm: final returns with memory, with stacked observations, with neither, and a difference."""
    folder, stacked_folder, digits = ENVIRONMENTS[environment]
    results, stacked_results = committed(folder)[0], committed(stacked_folder)[0]
    table = {}
    for name in ALGORITHMS:
        memory = scores(results, f"memory_{name}", environment)
        stacked = scores(stacked_results, name, environment.replace("-", "Stack-"))
        assert len(memory) == len(stacked) == 5
        cells = [cell(s, digits) for s in (memory, stacked, scores(results, name, environment))]
        table[f"`{name}`"] = [f"`{name}`", *cells, difference(memory, stacked, digits, len(ALGORITHMS))]
    contrib = cell(scores(results, CONTRIB, environment), digits)
    table[f"`{CONTRIB}`"] = [f"`{CONTRIB}`", contrib, "", "", ""]
    return table


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_memory_is_compared_with_stacking(environment: str) -> None:
    assert rows(MEMORY, header(environment)) == memory_table(environment)


def seconds_per_seed(results: Results, environment: str) -> np.ndarray:
    """RecurrentPPO's time over that of ClipPPO with short sequences, by seed."""
    taken = {
        variant: [record.result.seconds for record in results.of(variant, f"sb3_ppo_variants/{environment}")]
        for variant in (CONTRIB, "memory_clip_ppo")
    }
    return np.divide(*map(np.array, taken.values()))


def test_how_much_faster_short_sequences_are_is_the_measured_ratio() -> None:
    for environment, (folder, _, _) in ENVIRONMENTS.items():
        ratios = seconds_per_seed(committed(folder)[0], environment)
        says(MEMORY, f"{np.median(ratios):.1f} times as fast ({ratios.min():.1f} to {ratios.max():.1f}")
    (measured,) = read("speed/memory.json")["measurements"]
    short = ratio(measured, "clip_ppo, memory, sequence_length=16", CONTRIB)
    says(MEMORY, f"trains {short[0]} times as fast as `RecurrentPPO` {short[1][:-1]} in three interleaved rounds")
    assert len(measured["floor"]) == 3


def test_what_is_said_about_memory() -> None:
    results, stacked = committed("memory")[0], committed("memory/stacked")[0]
    cartpole, recall = "CartPoleNoVel-v1", "Recall-v0"
    memory = scores(results, "memory_clip_ppo", cartpole)
    says(MEMORY, difference(memory, scores(results, CONTRIB, cartpole), 1, 1))
    for name in ("clip_ppo", "kl_penalty_ppo", "paper_trpo"):
        assert scores(results, f"memory_{name}", cartpole).min() > scores(results, name, cartpole).max()
        assert scores(results, f"memory_{name}", cartpole).max() < scores(stacked, name, "CartPoleNoVelStack-v1").min()
    unclipped = [scores(results, name, cartpole) for name in ("memory_unclipped_ppo", "unclipped_ppo")]
    assert unclipped[0].max() < unclipped[1].min()
    answered = scores(results, "memory_clip_ppo", recall)
    assert sorted(answered > 0.9) == [False, True, True, True, True]
    assert min(answered) < 0.25
    for variant in ("memory_kl_penalty_ppo", CONTRIB):
        assert scores(results, variant, recall).min() > 0.85
    says(MEMORY, f"{difference(answered, scores(results, CONTRIB, recall), 2, 1)} on `Recall`")
    for name in ALGORITHMS:
        for sample in (scores(results, name, recall), scores(stacked, name, "RecallStack-v0")):
            assert sample.max() < 0.4


def test_what_is_said_about_the_pendulum() -> None:
    pendulum, stack = "PendulumNoVel-v1", "PendulumNoVelStack-v1"
    results, stacked = committed("memory/pendulum")[0], committed("memory/pendulum_stacked")[0]
    says(MEMORY, difference(scores(results, "memory_clip_ppo", pendulum), scores(results, CONTRIB, pendulum), 0, 1))
    best = {name: center(list(scores(results, f"memory_{name}", pendulum))) for name in ALGORITHMS}
    assert max(best, key=best.__getitem__) == "paper_trpo"
    best = {name: center(list(scores(stacked, name, stack))) for name in ALGORITHMS}
    assert max(best, key=best.__getitem__) == "paper_trpo"
    for name in ("clip_ppo", "kl_penalty_ppo"):
        pairs = (results, f"memory_{name}", "memory_paper_trpo", pendulum), (stacked, name, "paper_trpo", stack)
        for found, other, trpo, environment in pairs:
            pair = (scores(found, trpo, environment), scores(found, other, environment))
            low, high = difference_interval([pair], 0.95)
            assert low < 0 < high
    for name in ("clip_ppo", "paper_trpo"):
        assert scores(results, f"memory_{name}", pendulum).min() > scores(results, name, pendulum).max()
    memory, alone = (scores(results, name, pendulum) for name in ("memory_kl_penalty_ppo", "kl_penalty_ppo"))
    assert (sum(memory > alone.max()), sum(memory < alone.min())) == (3, 2)
    for name in ("clip_ppo", "kl_penalty_ppo", "paper_trpo"):
        pair = [(scores(results, f"memory_{name}", pendulum), scores(stacked, name, stack))]
        low, high = difference_interval(pair, corrected_level(len(ALGORITHMS)))
        assert low < 0 < high
