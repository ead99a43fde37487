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


if __name__ == "__main__":
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for env_id in ("CartPole-v1", "Pendulum-v1"):
        times = {name: statistics.median(values) for name, values in seconds(env_id, n_rounds).items()}
        shown = ", ".join(
            f"{name} {value * 1e3:.0f} ms ({value / times['plain'] - 1:+.0%})" for name, value in times.items()
        )
        sys.stdout.write(f"{env_id}: {shown}\n")
