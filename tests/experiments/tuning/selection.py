"""Which rule names the better winner of a tuning study? The committed studies, replayed.

    python -m tests.experiments.tuning.selection

Three measurements, in normalised score (random policy 0, reference 1, mean over environments):

* Held out: the winner is named with two of the three tuning seeds and judged on the third, which had no part in it.
  These are real runs, but only three of them per environment.
* Simulated: studies like the committed one are drawn, and the winner is judged by its true mean. The true means of a
  setting are its measured means, shrunk towards those of all trials by the share of their variance that is seed noise.
  A run deviates from them as a run of one of the ten trials with the nearest means in that environment did, times √1.5
  for the degree of freedom that each mean takes. So runs fail as often in simulated studies as in the real one.
* Simulated with failures: one run in ten, of any trial and in any environment, returns what the random policy does.

Each rule says which trials go to the confirmation; "confirmed" is the best of its three by the interquartile means of
ten fresh seeds. TPE is not replayed: the settings are those of the committed studies.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

RESULTS = Path(__file__).parents[3] / "zoo_configs/results/tuning"
STUDIES = ("clip_ppo-tpe", "kl_penalty_ppo-tpe")
NEIGHBOURS, CONFIRMED, TEST_SEEDS, REPETITIONS, FAILURES = 10, 3, 10, 2000, 0.1

#: Returns (trials, environments, seeds) → the score of each trial.
Score = Callable[[NDArray[Any]], NDArray[Any]]


def by_mean(returns: NDArray[Any]) -> NDArray[Any]:
    return returns.mean(2).mean(1)


def by_median(returns: NDArray[Any]) -> NDArray[Any]:
    return np.median(returns, 2).mean(1)


def by_ranks(returns: NDArray[Any]) -> NDArray[Any]:
    """Mean rank among the trials, over environments and seeds."""
    return stats.rankdata(returns, axis=0).mean((1, 2))


def by_ranks_of_means(returns: NDArray[Any]) -> NDArray[Any]:
    return stats.rankdata(returns.mean(2), axis=0).mean(1)


class Rule(NamedTuple):
    """How a study names its winner.

    :param name: In the table
    :param score: What the trials are ranked by
    :param rounds: (trials, seeds): how many of the best trials have how many seeds by the end of each round; ``None``
        for all trials
    :param share: Share of the trials that are tried at all
    """

    name: str
    score: Score
    rounds: tuple[tuple[int | None, int], ...]
    share: float = 1.0


RULES = (
    Rule("mean of 3 seeds", by_mean, ((None, 3),)),
    Rule("median of 3 seeds", by_median, ((None, 3),)),
    Rule("ranks of 3 seeds", by_ranks, ((None, 3),)),
    Rule("ranks of the means of 3 seeds", by_ranks_of_means, ((None, 3),)),
    Rule("mean of 5 seeds, 3/5 of the trials", by_mean, ((None, 5),), 0.6),
    Rule("race: 1 seed, best half 3, best quarter 7", by_mean, ((None, 1), (2, 3), (4, 7))),
    Rule("race: 2 seeds, best quarter 6", by_mean, ((None, 2), (4, 6))),
    Rule("race: 3 seeds, best 5 get 8", by_mean, ((None, 3), (-5, 8))),
    Rule("race: 3 seeds, best quarter 8", by_mean, ((None, 3), (4, 8))),
    Rule("mean of 8 seeds", by_mean, ((None, 8),)),
)
HELD_OUT = (
    Rule("mean of 2 seeds", by_mean, ((None, 2),)),
    Rule("ranks of 2 seeds", by_ranks, ((None, 2),)),
    Rule("race: 1 seed, best half 2", by_mean, ((None, 1), (2, 2))),
)


def read_returns(study: str) -> NDArray[Any]:
    """Normalised returns (trials, environments, seeds) of a committed study."""
    found = json.loads((RESULTS / study / "study.json").read_text(encoding="utf-8"))
    trials = [t["returns"] for t in found["trials"] if t["state"] == "done" and t["reused"] is None]
    ends = found["plan"]["references"].items()
    scaled = [[[(x - zero) / (one - zero) for x in returns[e]] for e, (zero, one) in ends] for returns in trials]
    return np.array(scaled)


def survivors(rule: Rule, returns: NDArray[Any]) -> tuple[list[int], int]:
    """The trials that a rule ranks first, the best first, and how many runs it took.

    :param rule: The rule
    :param returns: (trials, environments, seeds), with at least as many seeds as it asks for
    """
    trials, environments, _ = returns.shape
    left, before, runs = np.arange(round(rule.share * trials)), 0, 0
    for part, seeds in rule.rounds:
        if part is not None:
            left = left[: -part if part < 0 else -(-len(returns) // part)]
        runs += len(left) * environments * (seeds - before)
        scores = rule.score(returns[left, :, :seeds])
        left, before = left[np.argsort(-scores, kind="stable")], seeds
    return left[:CONFIRMED].tolist(), runs


class Model:
    """Studies like a measured one.

    :param returns: (trials, environments, seeds) of the measured study
    :param failures: Share of the runs that fail beyond those that do in the measured study
    """

    def __init__(self, returns: NDArray[Any], failures: float = 0.0):
        self.failures = failures
        trials, environments, seeds = returns.shape
        means = returns.mean(2)
        noise = returns.var(2, ddof=1).mean(0) / seeds
        kept = np.clip(1 - noise / means.var(0, ddof=1), 0, 1)
        self.truth = means.mean(0) + kept * (means - means.mean(0))
        deviations = (returns - means[:, :, None]) * np.sqrt(seeds / (seeds - 1))
        self.deviations = np.empty((trials, environments, NEIGHBOURS * seeds))
        for trial, e in itertools.product(range(trials), range(environments)):
            nearest = np.argsort(np.abs(means[:, e] - means[trial, e]))[:NEIGHBOURS]
            self.deviations[trial, e] = deviations[nearest, e].ravel()

    def draw(self, seeds: int, rng: np.random.Generator) -> NDArray[Any]:
        """Returns (trials, environments, seeds) of a simulated study."""
        chosen = rng.integers(self.deviations.shape[2], size=(*self.truth.shape, seeds))
        returns = self.truth[:, :, None] + np.take_along_axis(self.deviations, chosen, 2)
        return np.where(rng.random(returns.shape) < self.failures, 0.0, returns)


def simulate(model: Model, repetitions: int = REPETITIONS) -> list[tuple[str, int, float, float, float]]:
    """For each rule: name, runs, true score of its first and of its confirmed winner, standard error of the latter's
    difference from the mean of three seeds."""
    rng, truth = np.random.default_rng(0), model.truth.mean(1)
    first, confirmed = np.empty((len(RULES), repetitions)), np.empty((len(RULES), repetitions))
    runs = [0] * len(RULES)
    for repetition in range(repetitions):
        order = rng.permutation(len(truth))
        returns = model.draw(8 + TEST_SEEDS, rng)[order]
        tuning, fresh = returns[:, :, :8], stats.trim_mean(returns[:, :, 8:], 0.25, axis=2).mean(1)
        for i, rule in enumerate(RULES):
            best, runs[i] = survivors(rule, tuning)
            first[i, repetition] = truth[order[best[0]]]
            confirmed[i, repetition] = truth[order[max(best, key=fresh.__getitem__)]]
    errors = (confirmed - confirmed[0]).std(1) / np.sqrt(repetitions)
    means = zip(first.mean(1).tolist(), confirmed.mean(1).tolist(), errors.tolist(), strict=True)
    return [(rule.name, n, *row) for rule, n, row in zip(RULES, runs, means, strict=True)]


def held_out(study: str) -> list[tuple[str, float, list[float]]]:
    """For each rule: name, mean score of its winner on the seed that had no part, and the score on each."""
    returns, found = read_returns(study), []
    for rule in HELD_OUT:
        scores = {seed: list[float]() for seed in range(3)}
        for order in itertools.permutations(range(3)):
            best, _ = survivors(rule, returns[:, :, order[:2]])
            scores[order[2]].append(float(returns[best[0], :, order[2]].mean()))
        by_seed = [float(np.mean(found)) for found in scores.values()]
        found.append((rule.name, float(np.mean(by_seed)), by_seed))
    return found


def main() -> None:
    """Print the measurements for each study."""
    say = Console(soft_wrap=True, highlight=False, markup=False).print
    for study in STUDIES:
        returns = read_returns(study)
        say(f"{study}, {len(returns)} trials: held out (and for each held-out seed)")
        for name, mean, by_seed in held_out(study):
            say(f"  {name:<44} {mean:.3f} ({', '.join(f'{x:.3f}' for x in by_seed)})")
        for failures in (0.0, FAILURES):
            model = Model(returns, failures)
            best = f"best true score {model.truth.mean(1).max():.4f}"
            say(f"\n{study}: {REPETITIONS} simulated studies, {failures:.0%} further failures, {best}")
            say(f"  {'rule':<44} {'runs':>5} {'first':>7} {'confirmed':>10}   and its difference from the first line")
            start = None
            for name, runs, first, confirmed, error in simulate(model):
                start = confirmed if start is None else start
                gain = f"{confirmed - start:+.4f} ± {error:.4f}"
                say(f"  {name:<44} {runs:>5} {first:>7.4f} {confirmed:>10.4f}   {gain}")
        say()


if __name__ == "__main__":
    main()
