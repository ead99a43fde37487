"""One training, undisturbed or interrupted and resumed, and everything that it leaves."""

import csv
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback
from sb3_ppo_variants.resume.files import newest_checkpoint

N_STEPS = 16
#: Steps between checkpoints.
EVERY = 75
#: Columns of logs that are never equal in two runs.
CLOCKS = ("time/fps", "time/time_elapsed", "t")

needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="MuJoCo is not installed")
needs_box2d = pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="Box2D is not installed")


def model(algorithm: type[BaseAlgorithm], env: VecEnv, **settings: Any) -> BaseAlgorithm:
    settings = {"seed": 1, "device": "cpu", "policy_kwargs": {"net_arch": [8]}} | settings
    return algorithm(settings.pop("policy", "MlpPolicy"), env, n_steps=N_STEPS, **settings)  # type: ignore[arg-type]


def envs(environment: Any, n_envs: int = 2, **kwargs: Any) -> VecEnv:
    return make_vec_env(environment, n_envs=n_envs, seed=3, **kwargs)


PPO_SETTINGS = {"batch_size": 16, "n_epochs": 2}
ALGORITHMS: dict[str, Any] = {
    "ClipPPO": partial(model, ClipPPO, learning_rate="lin_3e-4", clip_range="lin_0.2", **PPO_SETTINGS),
    "KLPenaltyPPO": partial(model, KLPenaltyPPO, adaptive_kl_target=1e-5, **PPO_SETTINGS),
    "UnclippedPPO": partial(
        model, UnclippedPPO, ent_coef="lin_0.01", learning_rate="kl_1e-5", learning_rate_vf=1e-3, **PPO_SETTINGS
    ),
    "REINFORCE": partial(model, REINFORCE, learning_rate="lin_3e-4"),
    "TRPO": partial(model, TRPO, batch_size=16),
}


class Interrupted(Exception):  # noqa: N818
    pass


class InterruptAt(BaseCallback):
    """Ends a training as abruptly as a kill. The step is a class attribute, because an attribute would be kept."""

    at = 0

    def _on_step(self) -> bool:
        if self.num_timesteps >= InterruptAt.at > 0:
            raise Interrupted
        return True


class Curve(BaseCallback):
    """Remembers every reward."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[float] = []

    def _on_step(self) -> bool:
        self.rewards += self.locals["rewards"].tolist()
        return True


def reference_of(model: Any) -> dict[str, Any]:
    """What keeping near a reference policy, and the critic's warm-up, leave in a model."""
    frozen = getattr(model, "reference_policy", None)
    return {
        "coef": getattr(model, "reference_kl_coef", None),
        "warmup": getattr(model, "_n_warmup_updates", None),
        "states": None if frozen is None or frozen.states is None else [state.cpu().numpy() for state in frozen.states],
        "at_start": None if frozen is None else frozen.kl_at_start,
    }


def outcome(model: BaseAlgorithm, curve: Curve, checkpoints: ResumableCheckpointCallback) -> dict[str, Any]:
    """All that two equal runs have equal."""
    optimizer = model.policy.optimizer.state_dict()["state"]
    kept = {
        "parameters": [parameter.detach().cpu().numpy().copy() for parameter in model.policy.parameters()],
        "optimizer": [value.cpu().numpy().copy() for state in optimizer.values() for value in state.values()],
        "rewards": curve.rewards,
        "calls": (curve.n_calls, curve.num_timesteps, checkpoints.n_calls),
        "counters": (model.num_timesteps, model._n_updates, model._current_progress_remaining),
        "kl_coef": getattr(model, "kl_coef", None),
        "reference": reference_of(model),
        "last": (model._last_obs, model._last_episode_starts),
        "episodes": [(episode["r"], episode["l"]) for episode in model.ep_info_buffer or ()],
    }
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        rms = normalizer.obs_rms
        assert not isinstance(rms, dict)
        kept["normalizer"] = (rms.mean, rms.var, rms.count, normalizer.ret_rms.mean, normalizer.returns)
    return kept


#: The steps from which the runs of ``train`` that ended have gone on.
resumed_from: list[int] = []


def train(
    make_model: Callable[[VecEnv], BaseAlgorithm],
    make_env: Callable[[], VecEnv],
    folder: Path,
    total: int,
    interrupt_at: int = 0,
    resume: bool = False,
    more: tuple[BaseCallback, ...] = (),
    every: int = EVERY,
    **learn: Any,
) -> dict[str, Any] | None:
    env = make_env()
    try:
        model = make_model(env)
        curve, checkpoints = Curve(), ResumableCheckpointCallback(folder, every, resume=resume)
        InterruptAt.at = interrupt_at
        try:
            model.learn(total, callback=[curve, checkpoints, *more, InterruptAt()], **learn)
        except Interrupted:
            return None
        resumed_from.append(checkpoints.resumed_at or 0)
        return outcome(model, curve, checkpoints)
    finally:
        model.logger.close()
        env.close()


def assert_resumes_exactly(
    make_model: Callable[[VecEnv], BaseAlgorithm],
    make_env: Callable[[], VecEnv],
    folder: Path,
    total: int = 192,
    interruptions: tuple[int, ...] = (70, 150),
    **learn: Any,
) -> dict[str, Any]:
    learn = {"every": 45, **learn}
    undisturbed = train(make_model, make_env, folder / "undisturbed", total, **learn)
    assert undisturbed is not None
    for at in interruptions:
        assert train(make_model, make_env, folder / "resumed", total, at, resume=True, **learn) is None
    newest, _ = newest_checkpoint(folder / "resumed")
    # A run that began anew would end alike.
    assert newest is not None
    assert 0 < newest.about["steps"] < total
    # The numpy, torch and python generators are wherever they are: they have to be put back.
    ended_at, *_ = undisturbed["counters"]
    for resumed_at in (newest.about["steps"], ended_at):
        resumed = train(make_model, make_env, folder / "resumed", total, resume=True, **learn)
        assert resumed_from[-1] == resumed_at
        assert_equal(undisturbed, resumed)
    return undisturbed


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        np.testing.assert_array_equal(a, b)


def rows(path: Path, comment: str = "#") -> list[dict[str, str]]:
    """The lines of a CSV file, without clocks."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith(comment)]
    return [{key: row[key] for key in sorted(row) if key not in CLOCKS} for row in csv.DictReader(lines)]
