"""Long form: the two backends and SB3's PPO give returns of one distribution; the test says how much it could see."""

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments import Run, train_run

SEEDS = range(10)
SETTINGS = {"ent_coef": 0.0, "n_steps": 512}
#: Environment, training steps.
ENVIRONMENTS = {"CartPole-v1": 20_480, "Acrobot-v1": 20_480, "Pendulum-v1": 20_480}
CONTESTANTS = {
    "closed form": ("clip_ppo", {"update_backend": "closed_form"}),
    "autograd": ("clip_ppo", {"update_backend": "autograd"}),
    "SB3's PPO": ("sb3:ppo", {}),
}


def returns(environment: str, contestant: str) -> np.ndarray:
    algorithm, extra = CONTESTANTS[contestant]
    # Each has seeds of its own: with equal seeds the runs are copies of each other, and nothing would be tested.
    offset = 1000 * list(CONTESTANTS).index(contestant)
    runs = (
        Run(algorithm, environment, offset + seed, ENVIRONMENTS[environment], 1, SETTINGS | extra) for seed in SEEDS
    )
    return np.array([train_run(run).final_return for run in runs])


def detectable_difference(samples: list[np.ndarray]) -> float:
    """The difference of means that a two-sided t-test at 5 % would find with probability 0.8."""
    n = len(SEEDS)
    spread = np.sqrt(np.mean([np.var(sample, ddof=1) for sample in samples]))
    freedom = 2 * n - 2
    # Power = P(|t| > t_crit) with noncentrality d·√(n/2); solve for d on a grid of standardised differences.
    grid = np.linspace(0.1, 4, 2000)
    critical = stats.t.ppf(0.975, freedom)
    power = stats.nct.sf(critical, freedom, grid * np.sqrt(n / 2))
    return float(grid[np.argmax(power >= 0.8)] * spread)


@pytest.mark.long
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_returns_are_statistically_indistinguishable(environment: str, capsys) -> None:
    samples = {contestant: returns(environment, contestant) for contestant in CONTESTANTS}
    result = stats.kruskal(*samples.values())
    with capsys.disabled():
        print(f"\n{environment}, {ENVIRONMENTS[environment]} steps, {len(SEEDS)} seeds each")  # noqa: T201
        for contestant, sample in samples.items():
            print(f"  {contestant:12} mean {sample.mean():8.1f}  sd {sample.std(ddof=1):6.1f}")  # noqa: T201
        found = detectable_difference(list(samples.values()))
        print(f"  Kruskal-Wallis p = {result.pvalue:.3f}; found with power 0.8: a difference of {found:.1f}")  # noqa: T201
    # Three environments at 5 % together (Bonferroni).
    assert result.pvalue > 0.05 / len(ENVIRONMENTS)
