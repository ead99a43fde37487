"""What a reference policy adds to an update in closed form: ``python -m tests.algorithms.reference_cost``."""

import statistics
import sys
import time
from typing import Any

from sb3_ppo_variants import ClipPPO

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ref_new": {"reference_kl_coef": 0.1},
    "new_ref": {"reference_kl_coef": 0.1, "reference_kl_direction": "new_ref"},
}


def seconds(environment: str, rounds: int) -> dict[str, list[float]]:
    """Time of ``train()`` on the same rollout size, one entry per round; the ways take turns."""
    models = {}
    for name, extra in SETTINGS.items():
        near = extra and {"reference_policy": ClipPPO("MlpPolicy", environment, seed=1), **extra}
        models[name] = ClipPPO("MlpPolicy", environment, seed=0, **near).learn(2048)
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.train()
            found[name].append(time.perf_counter() - start)
    return found


def added(times: dict[str, list[float]], name: str) -> str:
    """Median and quartiles, over the rounds, of what one way adds to the plain update of the same round."""
    ratios = [one / plain - 1 for one, plain in zip(times[name], times["plain"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return f"{name} {median:+.0%} ({low:+.0%} to {high:+.0%})"


if __name__ == "__main__":
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for env_id in ("CartPole-v1", "Pendulum-v1"):
        times = seconds(env_id, n_rounds)
        shown = ", ".join(added(times, name) for name in ("ref_new", "new_ref"))
        sys.stdout.write(f"{env_id}: plain {statistics.median(times['plain']) * 1e3:.0f} ms, {shown}\n")
