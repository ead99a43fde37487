"""Train every entry of some configurations for a few steps, through rl_zoo3, and print one JSON line per entry.

A script for a process of its own: ``python train_zoo_entries.py clip_ppo reinforce`` in an empty folder.
``spo:default,atari`` names the entries to train.
"""

import contextlib
import functools
import inspect
import io
import json
import sys
from pathlib import Path

import gymnasium as gym
import yaml

from sb3_ppo_variants import zoo
from sb3_ppo_variants.experiments.runs.registry import algorithm_class

# So small that an entry takes less than a second; the entry's other values stay.
SMALL = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "n_critic_updates": 1, "n_envs": 1}
ATARI = "PongNoFrameskip-v4"


def environment_of(entry: str) -> str:
    return {"default": "CartPole-v1", "atari": ATARI}.get(entry, entry)


@functools.cache
def cannot_make(environment: str) -> str | None:
    try:
        gym.make(environment).close()
    except (gym.error.DependencyNotInstalled, gym.error.NameNotFound, gym.error.NamespaceNotFound) as error:
        return str(error)
    return None


def value(setting):
    """A setting of a model as a number: schedules at the start."""
    setting = setting(1.0) if callable(setting) else setting
    return setting if setting is None or isinstance(setting, str) else float(setting)


def train(algorithm: str, entry: str, settings: dict) -> dict:
    environment = environment_of(entry)
    if (reason := cannot_make(environment)) is not None:
        return {"algorithm": algorithm, "entry": entry, "skipped": reason}
    takes = inspect.signature(algorithm_class(algorithm)).parameters
    small = [f"{name}:{size}" for name, size in SMALL.items() if name in takes or name == "n_envs"]
    if entry == "atari":
        small.append("policy_kwargs:dict(features_extractor_kwargs=dict(features_dim=16))")  # of 512: most of the time
    configuration = []
    if entry == "default":  # CartPole has an entry of its own
        Path("default.yml").write_text(yaml.safe_dump({"default": settings}))
        configuration = ["-conf", "default.yml"]
    arguments = [
        "--algo",
        algorithm,
        "--env",
        environment,
        "-n",
        "16",
        "--eval-freq",
        "-1",
        "-f",
        entry,
        *configuration,
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        zoo.run("train", [*arguments, *configuration, "--verbose", "0", "--seed", "1", "-params", *small])
    name = environment.replace("/", "-")  # as rl_zoo3 does
    folder = Path(entry) / algorithm / f"{name}_1"
    model = algorithm_class(algorithm).load(folder / f"{name}.zip", device="cpu")
    names = [name for name in settings if name in takes and name not in (*SMALL, "policy")]
    return {
        "algorithm": algorithm,
        "entry": entry,
        "timesteps": model.num_timesteps,
        "policy": type(model.policy).__name__,
        "observations": list(model.observation_space.shape),
        "normalized": (folder / name / "vecnormalize.pkl").is_file(),
        "settings": {name: value(getattr(model, name)) for name in names},
    }


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        algorithm, _, wanted = argument.partition(":")
        for entry, settings in yaml.safe_load(zoo.config_file(algorithm).read_text()).items():
            if not entry.startswith("_") and entry in (wanted.split(",") if wanted else [entry]):
                sys.stdout.write(json.dumps(train(algorithm, entry, settings)) + "\n")
