"""How far the return of a cloned policy falls in fine-tuning, with a reference policy, a warmed-up critic, or both.

    python tuning/fine_tuning.py

For each environment, an expert is trained and plays demonstrations, and for each seed a policy is cloned from them and
then fine-tuned in four ways. Interrupt it when you like, and rerun it to resume: what is in ``runs.csv`` is not
repeated.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from rich.console import Console
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments.stats.estimators import (
    center,
    center_interval,
    difference_interval,
    mean_difference,
)
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from sb3_ppo_variants.terminal import make_streams_safe

STUDY: dict[str, Any] = {
    "environments": {  # how many times as long as a run its expert is trained, and the settings of both
        "CartPole-v1": {"expert": 1, "n_envs": 1, "settings": {}},
        "Pendulum-v1": {
            "expert": 3,
            "n_envs": 4,
            "settings": {"n_steps": 512, "gamma": 0.9, "learning_rate": 1e-3, "ent_coef": 0.0},
        },
        "Hopper-v5": {"expert": 5, "n_envs": 1, "settings": {"ent_coef": 0.0}},
    },
    "variants": {
        "neither": {},
        "reference": {"reference_kl_coef": "lin_1"},
        "warm-up": {"critic_warmup": 5},
        "both": {"reference_kl_coef": "lin_1", "critic_warmup": 5},
    },
    "demonstrations": 4000,  # steps of the expert
    "clone_steps": 2000,  # minibatches of 64 of them
    "timesteps": 100_000,  # of each run
    "early": 50_000,  # the steps in which the deepest fall is looked for
    "seeds": 5,
    "out": "runs/fine-tuning",
}
COLUMNS = ("environment", "variant", "seed", "cloned", "lowest", "final", "timesteps")


class Episodes(BaseCallback):
    """Keeps the return of every training episode, and the step at which it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self.ended += [(self.num_timesteps, info["episode"]["r"]) for info in infos if "episode" in info]
        return True

    def returns(self, until: float = np.inf) -> np.ndarray:
        """The returns of the episodes that ended in the first steps."""
        return np.array([value for step, value in self.ended if step <= until])


def made(environment: str, seed: int, **settings: Any) -> ClipPPO:
    """An untrained model with the study's settings for an environment."""
    about = STUDY["environments"][environment]
    env = make_vec_env(environment, n_envs=about["n_envs"], seed=seed)
    return ClipPPO("MlpPolicy", env, seed=seed, device="cpu", **about["settings"] | settings)


def demonstrations(environment: str, out: Path) -> tuple[th.Tensor, th.Tensor]:
    """Observations and actions of an expert, which is trained once and kept."""
    file, about = out / f"expert-{environment}.zip", STUDY["environments"][environment]
    if not file.exists():
        made(environment, seed=1000).learn(about["expert"] * STUDY["timesteps"]).save(file)
    expert, env = ClipPPO.load(file), make_vec_env(environment, seed=1000)
    observation, pairs = env.reset(), []
    for _ in range(STUDY["demonstrations"]):
        action, _ = expert.predict(observation)
        pairs.append((observation[0], action[0]))
        observation = env.step(action)[0]
    observations, actions = (np.array(column) for column in zip(*pairs, strict=True))
    return th.as_tensor(observations), th.as_tensor(actions)


def cloned(environment: str, seed: int, observations: th.Tensor, actions: th.Tensor) -> ClipPPO:
    """Behaviour cloning: raise the likelihood of the demonstrated actions. The critic stays as it is."""
    model = made(environment, seed)
    optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)
    for _ in range(STUDY["clone_steps"]):
        chosen = th.randint(len(observations), (64,))
        _, log_prob, _ = model.policy.evaluate_actions(observations[chosen], actions[chosen])
        optimizer.zero_grad()
        (-log_prob.mean()).backward()
        optimizer.step()
    return model


def mean_return(model: ClipPPO, environment: str, episodes: int = 20) -> float:
    """Of the policy as it acts in training, by sampled actions."""
    env, returns = make_vec_env(environment, seed=2000), []
    observation = env.reset()
    while len(returns) < episodes:
        action, _ = model.predict(observation)
        observation, _, _, infos = env.step(action)
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    return float(np.mean(returns))


def measured(environment: str, variant: str, seed: int, start: ClipPPO, start_return: float) -> dict[str, Any]:
    """One run: a cloned policy is fine-tuned in one of the ways."""
    settings = dict(STUDY["variants"][variant])
    if "reference_kl_coef" in settings:
        settings["reference_policy"] = start
    model, episodes = made(environment, seed, **settings), Episodes()
    model.policy.load_state_dict(start.policy.state_dict())
    model.set_random_seed(seed)
    model.learn(STUDY["timesteps"], callback=episodes)
    early = episodes.returns(STUDY["early"])
    # Ten episodes in a row, so that one unlucky episode is no fall.
    means = np.convolve(early, np.ones(10) / 10, "valid") if len(early) >= 10 else early
    lowest, final = (means.min(), episodes.returns()[-100:].mean()) if len(means) > 0 else (np.nan, np.nan)
    found = (environment, variant, seed, start_return, lowest, final, model.num_timesteps)
    return dict(zip(COLUMNS, found, strict=True))


def read_runs(file: Path) -> list[dict[str, str]]:
    """The finished runs."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def table(runs: list[dict[str, str]], environment: str) -> list[list[str]]:
    """
    For each variant: its name, the cloned, lowest and final returns over the seeds, and how much higher the last two
    are than the first variant's.
    """
    found, first = [], next(iter(STUDY["variants"]))
    level = corrected_level(len(STUDY["variants"]) - 1)
    for variant in dict.fromkeys(run["variant"] for run in runs):
        cells = [
            _with_interval(_values(runs, environment, variant, column)) for column in ("cloned", "lowest", "final")
        ]
        for column in ("lowest", "final"):
            pair = tuple(_values(runs, environment, name, column) for name in (variant, first))
            more = _shown(mean_difference([pair]), difference_interval([pair], level), "+")
            cells.append("" if variant == first else more)
        found.append([variant, *cells])
    return found


def _values(runs: list[dict[str, str]], environment: str, variant: str, column: str) -> list[float]:
    return [float(run[column]) for run in runs if (run["environment"], run["variant"]) == (environment, variant)]


def _with_interval(values: list[float]) -> str:
    return _shown(center(values), center_interval(values) if len(values) > 1 else None)


def _shown(value: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    shown = f"{value:{sign}.0f}" + (f" ({interval[0]:{sign}.0f} to {interval[1]:{sign}.0f})" if interval else "")
    return shown.replace("-", "−")


def markdown(runs: list[dict[str, str]]) -> str:
    """The tables of all environments."""
    lines = []
    for environment in dict.fromkeys(run["environment"] for run in runs):
        first = next(iter(STUDY["variants"]))
        head = [f"`{environment}`", "cloned", f"lowest in {STUDY['early']:,} steps", "final"]
        head += [f"lowest − {first}'s", f"final − {first}'s"]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in table(runs, environment)] + [""]
    return "\n".join(lines)


def main() -> None:
    """Do the runs that are missing, and write their table."""
    th.set_num_threads(1)
    console = Console()
    out = Path(STUDY["out"])
    out.mkdir(parents=True, exist_ok=True)
    file = out / "runs.csv"
    done = {(run["environment"], run["variant"], int(run["seed"])) for run in read_runs(file)}
    for environment in STUDY["environments"]:
        shown = demonstrations(environment, out)
        for seed in range(STUDY["seeds"]):
            missing = [variant for variant in STUDY["variants"] if (environment, variant, seed) not in done]
            if not missing:
                continue
            start = cloned(environment, seed, *shown)
            start_return = mean_return(start, environment)
            for variant in missing:
                run = measured(environment, variant, seed, start, start_return)
                with file.open("a", newline="") as lines:
                    writer = csv.DictWriter(lines, COLUMNS)
                    if lines.tell() == 0:
                        writer.writeheader()
                    writer.writerow(run)
                console.print(*(f"{value:.1f}" if isinstance(value, float) else value for value in run.values()))
    (out / "table.md").write_text(markdown(read_runs(file)), encoding="utf-8")
    console.print(f"wrote {out / 'table.md'}", markup=False)


if __name__ == "__main__":
    make_streams_safe()  # whatever the encoding of the terminal or file
    main()
