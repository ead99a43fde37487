"""One training, undisturbed or interrupted and resumed, and all that it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback

N_STEPS = 16
EVERY = 75


class Interrupted(Exception):  # noqa: N818
    pass


class InterruptAt(BaseCallback):
    """Ends a training as a kill does: nothing more of it is run. The step is not an attribute, which would be kept."""

    at = 0

    def _on_step(self) -> bool:
        if self.num_timesteps >= InterruptAt.at > 0:
            raise Interrupted
        return True


class Curve(BaseCallback):
    """Looks at every reward, and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[float] = []

    def _on_step(self) -> bool:
        self.rewards += self.locals["rewards"].tolist()
        return True


def outcome(model: BaseAlgorithm, curve: Curve, checkpoints: ResumableCheckpointCallback) -> dict[str, Any]:
    """All that two equal runs have equal."""
    optimizer = model.policy.optimizer.state_dict()["state"]
    kept = {
        "parameters": [parameter.detach().numpy().copy() for parameter in model.policy.parameters()],
        "optimizer": [value.numpy().copy() for state in optimizer.values() for value in state.values()],
        "rewards": curve.rewards,
        "calls": (curve.n_calls, curve.num_timesteps, checkpoints.n_calls),
        "counters": (model.num_timesteps, model._n_updates, model._current_progress_remaining),
        "kl_coef": getattr(model, "kl_coef", None),
        "last": (model._last_obs, model._last_episode_starts),
        "episodes": [(episode["r"], episode["l"]) for episode in model.ep_info_buffer or ()],
    }
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        rms = normalizer.obs_rms
        assert not isinstance(rms, dict)
        kept["normalizer"] = (rms.mean, rms.var, rms.count, normalizer.ret_rms.mean, normalizer.returns)
    return kept


def train(
    make_model: Callable[[VecEnv], BaseAlgorithm],
    make_env: Callable[[], VecEnv],
    folder: Path,
    total: int,
    interrupt_at: int = 0,
    resume: bool = False,
    more: tuple[BaseCallback, ...] = (),
    **learn: Any,
) -> dict[str, Any] | None:
    env = make_env()
    try:
        model = make_model(env)
        curve, checkpoints = Curve(), ResumableCheckpointCallback(folder, EVERY, resume=resume)
        InterruptAt.at = interrupt_at
        try:
            model.learn(total, callback=[curve, checkpoints, *more, InterruptAt()], **learn)
        except Interrupted:
            return None
        return outcome(model, curve, checkpoints)
    finally:
        model.logger.close()
        env.close()


def assert_resumes_exactly(
    make_model: Callable[[VecEnv], BaseAlgorithm],
    make_env: Callable[[], VecEnv],
    folder: Path,
    total: int = 320,
    interruptions: tuple[int, ...] = (115, 250),
    **learn: Any,
) -> dict[str, Any]:
    undisturbed = train(make_model, make_env, folder / "undisturbed", total, **learn)
    assert undisturbed is not None
    for at in interruptions:
        assert train(make_model, make_env, folder / "resumed", total, at, resume=True, **learn) is None
    # The numpy, torch and python generators are wherever they are: they have to be put back.
    resumed = train(make_model, make_env, folder / "resumed", total, resume=True, **learn)
    assert_equal(undisturbed, resumed)
    again = train(make_model, make_env, folder / "resumed", total, resume=True, **learn)
    assert_equal(undisturbed, again)
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
