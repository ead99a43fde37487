"""Make files as users may have stored them with a version, and write what a reader finds in them to EXPECTED.json.

    OMP_NUM_THREADS=1 python -m tests.stored.make FOLDER

FOLDER is emptied first. The installed package makes the files, through the commands and calls of a user, with networks
of eight units and runs of a few hundred steps. The files here were made by version 0.1.0 before its modules moved into
packages; add files of later versions in folders of their own.

A ledger's study is called after its folder, so a reader copies a folder under its own name and runs commands in the
folder above it. For every interrupted training, comparison and study, EXPECTED.json also says how the version that made
it ended it when it resumed a copy.

The files differ from a user's in three ways: pictures and HTML pages, which nothing reads, are left out; ledgers are
packed into small pages; the name of the machine in them is ``machine``.

A reader resumes the checkpoint in ``callback`` by :func:`walk_training`. The environment and the callback of that
script claim to be of a module ``users_code``, so this file can move. ``train_walker`` needs Box2D.
"""

import csv
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, StopTrainingOnNoModelImprovement
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback, ResumableEnv
from sb3_ppo_variants.experiments import sensitivity
from sb3_ppo_variants.experiments.runs.provenance import processor, versions

Observation = Any
Expected = dict[str, Any]

NET: dict[str, Any] = {"net_arch": {"pi": [8], "vf": [8]}}
SMALL: dict[str, Any] = {"n_steps": 64, "seed": 1, "device": "cpu", "policy_kwargs": NET}
BATCHES: dict[str, Any] = {"batch_size": 32, "n_epochs": 2}
SET_NET = f"--set policy_kwargs={json.dumps(NET, separators=(',', ':'))}"
SET_SMALL = f"--set n_steps=64 --set batch_size=32 --set n_epochs=2 {SET_NET} --seed 1"


# ---- A user's own code ----


class Walk(gym.Env):
    """
    Keep near zero. How an episode goes on stands in a suspended function, of which there is no copy: its state is kept
    by replaying its actions.
    """

    __module__ = "users_code"

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.episode: Generator[Any, int, None] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        super().reset(seed=seed)
        self.episode = self._episode()
        return next(self.episode), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict]:
        assert self.episode is not None
        return *self.episode.send(int(action)), {}

    def _episode(self) -> Generator[Any, int, None]:
        position, end = float(self.np_random.normal()), int(self.np_random.integers(20, 40))
        action = yield np.array([position, 0.0], np.float32)
        for step in range(1, end + 1):
            position += 0.2 * (2 * action - 1) + 0.1 * float(self.np_random.normal())
            action = yield np.array([position, step / 40], np.float32), -abs(position), abs(position) > 3, step == end


class Rewards(BaseCallback):
    """Remembers every reward."""

    __module__ = "users_code"

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[float] = []

    def _on_step(self) -> bool:
        self.rewards += self.locals["rewards"].tolist()
        return True


class Rooms(gym.Env):
    """An observation in two parts."""

    def __init__(self) -> None:
        parts = {"place": spaces.Box(-1.0, 1.0, (3,), np.float32), "room": spaces.Discrete(4)}
        self.observation_space, self.action_space = spaces.Dict(parts), spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict]:
        return self._seen(), float(action[0]), bool(self.np_random.random() < 0.1), False, {}

    def _seen(self) -> Observation:
        place = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return {"place": place, "room": int(self.np_random.integers(4))}


# ---- What is expected of a model ----


def digest(model: BaseAlgorithm) -> str:
    """SHA-256 of the policy's parameters and buffers: of each, ordered by name, the name and the bytes."""
    return _digest(sorted(model.policy.state_dict().items()))


def optimizer_digest(model: BaseAlgorithm) -> str:
    """SHA-256 of the optimiser's moments, named ``<parameter's number>.<name>``, in the same way."""
    state = model.policy.optimizer.state_dict()["state"]
    return _digest(sorted((f"{i}.{name}", tensor) for i, kept in state.items() for name, tensor in kept.items()))


def _digest(tensors: list[tuple[str, th.Tensor]]) -> str:
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()


def parameters(model: BaseAlgorithm) -> list[float]:
    """All parameters in a row, for readers on another kind of processor, where a resumed run differs in last bits."""
    ordered = [tensor.detach().ravel() for _, tensor in sorted(model.policy.named_parameters())]
    return [float(f"{number:.7g}") for number in th.cat(ordered).tolist()]


def probes(space: spaces.Space) -> Observation:
    """Three observations of a space."""
    if isinstance(space, spaces.Dict):
        return {name: probes(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Discrete):
        return np.arange(3) % int(space.n)
    return np.linspace(-1, 1, 3 * int(np.prod(space.shape or ()))).reshape(3, *(space.shape or ())).astype(np.float32)


def setting(model: BaseAlgorithm, name: str) -> Any:
    """A setting; of a schedule its values at the start, in the middle and at the end of training."""
    value = getattr(model, name)
    return [float(value(progress)) for progress in (1.0, 0.5, 0.0)] if callable(value) else value


def about(model: BaseAlgorithm, *settings: str) -> Expected:
    """What a reader finds in a stored model."""
    return {
        "class": type(model).__name__,
        "num_timesteps": model.num_timesteps,
        "n_updates": model._n_updates,  # type: ignore[attr-defined]
        "digest": digest(model),
        "optimizer_digest": optimizer_digest(model),
        "actions": model.predict(probes(model.observation_space), deterministic=True)[0].tolist(),
        "settings": {name: setting(model, name) for name in settings},
    }


# ---- Models ----


def make_models() -> Expected:
    """``models/``: SB3's zips, by ``save``."""
    starts = {"learning_rate": 3e-4, "learning_rate_vf": 1e-3, "clip_range": 0.2, "clip_range_vf": 0.4}
    schedules = {name: f"lin_{start}" for name, start in {**starts, "ent_coef": 0.01, "vf_coef": 0.5}.items()}
    band = {"clip_range_high": 0.3, "normalize_advantage": "rollout"}
    made: dict[str, tuple[Any, str, dict[str, Any]]] = {
        "clip_ppo": (ClipPPO, "CartPole-v1", BATCHES),
        "clip_ppo_schedules": (ClipPPO, "CartPole-v1", BATCHES | schedules),
        "clip_ppo_rollout": (ClipPPO, "CartPole-v1", BATCHES | band),
        "kl_penalty_ppo": (KLPenaltyPPO, "Pendulum-v1", BATCHES | {"adaptive_kl_target": 0.003}),
        "trpo": (TRPO, "Pendulum-v1", {"batch_size": 32, "n_critic_updates": 2}),
        "reinforce": (REINFORCE, "CartPole-v1", {"baseline": False}),
        "unclipped_ppo": (UnclippedPPO, "CartPole-v1", BATCHES | {"learning_rate_vf": 1e-3, "target_kl": 0.05}),
    }
    found = {}
    for name, (algorithm, environment, settings) in made.items():
        model = algorithm("MlpPolicy", environment, **SMALL | settings).learn(256)
        model.save(f"models/{name}")
        found[f"models/{name}.zip"] = about(model, "n_steps", "gamma", *settings, *_adapts(model))
    return found


def make_safe_files() -> Expected:
    """``safe/``: files by ``save_safe``."""
    gsde = ClipPPO("MlpPolicy", "Pendulum-v1", use_sde=True, clip_range="lin_0.2", **SMALL | BATCHES).learn(256)
    both = SMALL | BATCHES | {"learning_rate_vf": "lin_1e-3", "gamma": 0.9}
    rooms = KLPenaltyPPO("MultiInputPolicy", make_vec_env(Rooms, 2, seed=1), **both).learn(256)
    found = {}
    for model, name, settings in (
        (gsde, "clip_ppo_gsde", ("use_sde", "clip_range", "n_epochs")),
        (rooms, "kl_penalty_ppo_dict", ("learning_rate_vf", "gamma", "batch_size")),
    ):
        path = model.save_safe(f"safe/{name}")
        found[str(path)] = about(model, *settings, *_adapts(model))
    return found


def _adapts(model: BaseAlgorithm) -> tuple[str, ...]:
    return ("kl_coef",) if isinstance(model, KLPenaltyPPO) else ()


# ---- The command line ----


def command(arguments: str) -> list[str]:
    return [sys.executable, "-m", "sb3_ppo_variants", *arguments.split()]


def run(arguments: str) -> str:
    """What a command says on its standard output."""
    done = subprocess.run(command(arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def interrupt(arguments: str, is_time: Callable[[], bool]) -> str:
    """Give a command, and Ctrl-C once it is time. What it then says."""
    process = subprocess.Popen(
        command(arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    while not is_time() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    if process.returncode != 130:
        raise RuntimeError(f"{arguments} was not interrupted but ended with {process.returncode}: {said}")
    return said.strip().splitlines()[-1].partition("; all of it is kept in")[0]


@contextmanager
def copied(*folders: str) -> Iterator[Path]:
    """Work in copies of folders, under their own names."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as elsewhere:
        for folder in folders:
            shutil.copytree(folder, Path(elsewhere) / folder)
        os.chdir(elsewhere)
        try:
            yield here
        finally:
            os.chdir(here)


# ---- Trained runs ----


def make_runs() -> Expected:
    """``train/``: run folders, for ``evaluate``, ``record`` and ``plot``."""
    found: Expected = {}
    for folder, arguments in {
        "train/cartpole": "--algo clip_ppo --env CartPole-v1 --timesteps 512",
        "train/pendulum": "--algo kl_penalty_ppo --env Pendulum-v1 --timesteps 512 --n-envs 2 --normalize both",
    }.items():
        run(f"train {arguments} {SET_SMALL} --out {folder}")
        with copied(folder):
            said = (
                run(f"evaluate {folder} --episodes 5"),
                run(f"evaluate {folder} --episodes 5 --stochastic"),
                run(f"record {folder} --max-steps 100 --out agent.gif"),
            )
            run(f"plot {folder}")
            pictures = sorted(path.name for path in Path(folder).glob("*.png"))
        found[folder] = dict(zip(("evaluate", "stochastic", "record"), said, strict=True)) | {"plot": pictures}
        found[folder] |= _ended(folder)
    for path, arguments in {
        "safe/clip_ppo_gsde.safetensors": "--env Pendulum-v1 --episodes 5",
        "models/trpo.zip": "--env Pendulum-v1 --algo paper_trpo --episodes 5",
    }.items():
        found[path] = {"evaluate": run(f"evaluate {path} {arguments}"), "arguments": arguments}
    return found


def _ended(folder: str) -> Expected:
    """What a run folder of ``train`` holds."""
    about_run = json.loads((Path(folder) / "run.json").read_text())
    classes: dict[str, Any] = {"clip_ppo": ClipPPO, "kl_penalty_ppo": KLPenaltyPPO}
    model = classes[about_run["run"]["algorithm"]].load(f"{folder}/model.zip", device="cpu")
    result = {name: about_run["result"][name] for name in ("final_return", "episodes", "steps")}
    return {"digest": digest(model), "parameters": parameters(model), "result": result}


# ---- Checkpoints ----


def make_checkpoints() -> Expected:
    """``train_pendulum/``, ``train_walker/`` and ``callback/``: trainings that were interrupted."""
    found: Expected = {}
    for folder, arguments in {
        "train_pendulum": "--algo clip_ppo --env Pendulum-v1 --timesteps 2048 --n-envs 2 --checkpoint-every 1024",
        "train_walker": "--algo kl_penalty_ppo --env BipedalWalker-v3 --timesteps 1024 --checkpoint-every 512",
    }.items():
        whole = f"train {arguments} --normalize both {SET_SMALL}"
        said = interrupt(f"{whole} --out {folder}", lambda folder=folder: bool(_checkpoints(f"{folder}/checkpoints")))
        resume = f"{whole} --out {folder} --resume"
        with copied(folder):
            run(resume)
            ended = _ended(folder)
            run(f"{whole} --out undisturbed")
            assert _ended("undisturbed") == ended, folder
        kept = _checkpoints(f"{folder}/checkpoints")
        found[folder] = {"command": resume, "checkpoints": kept, "interrupted": said, "resumed": ended}

    # In the middle of its sixth update.
    update, updates = KLPenaltyPPO.train, iter(range(5))

    def interrupted_update(model: KLPenaltyPPO) -> None:
        if next(updates, None) is None:
            raise KeyboardInterrupt
        update(model)

    with mock.patch.object(KLPenaltyPPO, "train", interrupted_update), suppress(KeyboardInterrupt):
        walk_training("callback")
    with copied("callback"):
        ended = about_walk_training(*walk_training("callback"))
        assert about_walk_training(*walk_training("undisturbed")) == ended
    found["callback"] = {"checkpoints": _checkpoints("callback"), "resumed": ended}
    return found


def walk_training(folder: str | Path) -> tuple[BaseAlgorithm, Rewards, EvalCallback]:
    """Train, or resume from the newest checkpoint in a folder: with environments that are replayed, in a VecNormalize,
    and with callbacks beside ours, one of which evaluates."""

    def resumable(env: gym.Env) -> gym.Env:
        return ResumableEnv(env, make=lambda: Monitor(Walk()))

    def walks(n_envs: int, seed: int) -> Any:
        return make_vec_env(Walk, n_envs, seed=seed, wrapper_class=resumable)

    model = KLPenaltyPPO("MlpPolicy", VecNormalize(walks(2, 3), gamma=0.9), gamma=0.9, **SMALL | BATCHES)
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=50)
    evaluate = EvalCallback(
        VecNormalize(walks(1, 4), training=False, norm_reward=False),
        callback_after_eval=stop,
        n_eval_episodes=2,
        eval_freq=50,
        verbose=0,
    )
    rewards, keep = Rewards(), ResumableCheckpointCallback(folder, every=256, keep=1, resume=True)
    model.learn(1024, callback=[rewards, keep, evaluate])
    return model, rewards, evaluate


def about_walk_training(model: BaseAlgorithm, rewards: Rewards, evaluate: EvalCallback) -> Expected:
    """What a reader finds when :func:`walk_training` has ended."""
    normalizer = model.get_vec_normalize_env()
    assert normalizer is not None
    return {
        "digest": digest(model),
        "optimizer_digest": optimizer_digest(model),
        "parameters": parameters(model),
        "num_timesteps": model.num_timesteps,
        "kl_coef": model.kl_coef,  # type: ignore[attr-defined]
        "rewards": [len(rewards.rewards), float(np.sum(rewards.rewards))],
        "normalizer": [*normalizer.obs_rms.mean.tolist(), normalizer.ret_rms.var.tolist()],  # type: ignore[union-attr]
        "evaluations": [evaluate.n_calls, evaluate.best_mean_reward, evaluate.last_mean_reward],
    }


def _checkpoints(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("step-*.checkpoint"))


# ---- Ledgers ----


def make_comparisons() -> Expected:
    """``compare/``, with all runs done, and ``compare_interrupted/``, with some."""
    rows = "--algo clip_ppo --algo eps=clip_ppo --algo stable_baselines3:PPO --normalize observations"
    rows += " --set clip_ppo.n_steps=64 --set eps.n_steps=64 --set eps.clip_range=0.1"
    rows += " --set stable_baselines3:PPO.n_steps=256"
    whole = f"compare --env CartPole-v1 {rows} --timesteps 512 --seeds 2 --jobs 1 --out compare"
    run(whole)
    found: Expected = {"compare": {"command": whole, "states": states("compare"), "runs": runs_of("compare")}}

    folder = "compare_interrupted"
    rows = "--algo clip_ppo --algo paper_trpo --algo sb3:ppo --set clip_ppo.n_steps=64 --set paper_trpo.n_steps=128"
    whole = f"compare --env CartPole-v1 {rows} --timesteps 2048 --seeds 2 --jobs 1 --out {folder}"
    said = interrupt_ledger(whole, folder, done=2)
    run(f"{whole} --report-only")
    found[folder] = {"command": whole, "interrupted": said, "states": states(folder), "runs": runs_of(folder)}
    with copied(folder):
        run(whole)
        found[folder]["resumed"] = runs_of(folder)
    return found


def make_studies() -> Expected:
    """``tune/``, finished, with pruning and a confirmation, and ``tune_interrupted/``, in the middle of its trials."""
    common = f"tune --algo clip_ppo --set n_steps=64 {SET_NET} --seeds 2 --confirm 1 --jobs 1"
    space = "--only clip_range --only gae_lambda --only n_epochs"
    whole = f"{common} {space} --timesteps 640 --trials 10 --pruning --out tune"
    run(whole)
    found: Expected = {"tune": {"command": whole, "states": states("tune"), **study_of("tune")}}

    folder = "tune_interrupted"
    space = "--only clip_range --only clip_range_high --only n_epochs --only batch_size"
    whole = f"{common} {space} --timesteps 512 --trials 5 --out {folder}"
    said = interrupt_ledger(whole, folder, done=2)
    found[folder] = {"command": whole, "interrupted": said, "states": states(folder)}
    with copied(folder):
        run(whole)
        found[folder]["resumed"] = study_of(folder)
    return found


def sensitivity_study() -> Any:
    """As ``tuning/sensitivity.py`` does it; called again, it runs nothing that is in the ledger."""
    points = {"clip_range": [0.1], "n_epochs": [5]}
    settings = {"n_steps": 64, "policy_kwargs": NET}
    given: dict[str, Any] = {"parameters": ["clip_range", "n_epochs"], "points": points, "timesteps": 512, "seeds": 2}
    return sensitivity("clip_ppo", ["CartPole-v1"], settings=settings, out="sensitivity", jobs=1, **given)


def make_sensitivity() -> Expected:
    """``sensitivity/``."""
    points = [[p.argument, p.value, p.default, list(p.returns)] for p in sensitivity_study().points]
    return {"sensitivity": {"states": states("sensitivity"), "points": points}}


def interrupt_ledger(arguments: str, folder: str, done: int) -> str:
    """Interrupt a command in the middle of a run, so that its ledger holds a run that was put back."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        said = interrupt(arguments, lambda: sum(s.get("COMPLETE", 0) for s in states(folder).values()) >= done)
        found = states(folder)[folder]
        if found.get("FAIL") and found.get("WAITING"):
            return said
    raise RuntimeError(f"{folder}: no run was put back in 20 attempts")


def ledger(path: Path) -> closing[sqlite3.Connection]:
    """A ledger that is there."""
    return closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True))


def states(folder: str) -> dict[str, dict[str, int]]:
    """Study → state → how many trials of a ledger are in it."""
    counted: dict[str, dict[str, int]] = {}
    query = "SELECT study_name, state, COUNT(*) FROM trials JOIN studies USING (study_id) GROUP BY study_name, state"
    # Before the ledger is there, and while its tables are made.
    with suppress(sqlite3.OperationalError), ledger(Path(folder) / "ledger.db") as db:
        for study, state, number in db.execute(query):
            counted.setdefault(study, {})[state] = number
    return counted


def runs_of(folder: str) -> list[list[Any]]:
    """Row, environment, seed, state and final return of each run of a comparison."""
    with (Path(folder) / "runs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    names = ("row", "environment", "seed", "state")
    returns = [float(line["final_return"]) if line["final_return"] else None for line in lines]
    return [[*(line[name] for name in names), r] for line, r in zip(lines, returns, strict=True)]


def study_of(folder: str) -> Expected:
    """Trials and candidates of a study."""
    study = json.loads((Path(folder) / "study.json").read_text())
    names = ("number", "state", "values", "returns", "score", "reason", "reused")
    return {
        "trials": [{name: trial[name] for name in names} for trial in study["trials"]],
        "candidates": {candidate["name"]: candidate["returns"] for candidate in study["candidates"]},
    }


# ---- All of it ----


def tidy() -> None:
    """Leave out what nothing reads again, pack the ledgers, and take the machine's name out of them."""
    for path in (p for kind in ("*.png", "*.html") for p in Path().rglob(kind)):
        path.unlink()
    change = "UPDATE trial_user_attributes SET value_json = REPLACE(value_json, ?, ?) WHERE key = 'worker'"
    for path in Path().rglob("ledger.db"):
        with ledger(path) as db:
            db.execute(change, (f'"{socket.gethostname()}/', '"machine/'))
            db.commit()
            for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 1024", "VACUUM"):
                db.execute(statement)
            db.execute("PRAGMA journal_mode = WAL")


def made_with() -> dict[str, str]:
    packages = ("sb3_ppo_variants", "stable-baselines3", "torch", "numpy", "gymnasium", "optuna", "cloudpickle")
    return {**{name: version(name) for name in packages}, **machine()}


def machine() -> dict[str, str]:
    """What results equal to the bit depend on besides the packages: processors of one name may have other kernels."""
    kernels = {"BLAS": versions()["BLAS"], "torch kernels": th.backends.cpu.get_cpu_capability()}
    return {"python": platform.python_version(), "processor": processor(), **kernels, "torch threads": "1"}


def main(folder: Path) -> None:
    """Make everything.

    :param folder: Where; what is there is removed
    """
    th.set_num_threads(1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    for name in ("models", "safe", "train"):
        Path(name).mkdir()
    makers: list[Callable[[], Expected]] = [make_models, make_safe_files, make_runs, make_checkpoints]
    makers += [make_comparisons, make_studies, make_sensitivity]
    expected: Expected = {"made_with": made_with()}
    for make in makers:
        sys.stderr.write(f"{make.__name__}\n")
        for path, found in make().items():
            expected[path] = expected.get(path, {}) | found
    tidy()
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)  # a list of numbers on one line
    Path("EXPECTED.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
