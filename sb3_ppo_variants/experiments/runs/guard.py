"""What ends a run early, and why a run has failed.

The reason of a failed run begins with its kind:

- ``config``: the model or the environment could not be made, or the training raised;
- ``env``: the environment raised in ``step`` or ``reset``;
- ``nan``: parameters, observations, rewards or the final return are not finite;
- ``timeout``: it took longer than allowed.
"""

import time
from typing import Any

import gymnasium
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants.experiments.runs.run import CurvePoint, NonFiniteScoreError
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite, nonfinite_parameter
from sb3_ppo_variants.workers.errors import WorkerError

TOO_LONG = "timeout: the run took longer than"


class RunFailure(Exception):  # noqa: N818 (reports call it a failure)
    """A run has failed. The message is the complete reason."""


class Guard:
    """Watches over a run: its time, its environments, numbers that are not finite.

    :param timeout: Seconds that it may take; ``None`` for any time
    """

    def __init__(self, timeout: float | None):
        self.timeout = timeout
        self.environment_raised = False
        self._start = time.monotonic()
        self._model: BaseAlgorithm | None = None

    def watch(self, model: BaseAlgorithm) -> None:
        """To be called before a model is trained, so that :meth:`reason` can tell where an error comes from.

        :param model: The untrained model
        """
        self._model = model
        environments = model.get_env()
        inner = None if environments is None else environments.unwrapped
        if isinstance(inner, DummyVecEnv):
            inner.envs = [_WatchedEnv(env, self) for env in inner.envs]

    def check_time(self) -> None:
        """To be called a few times a second.

        :raises RunFailure: when the run takes too long
        """
        if self.timeout is not None and time.monotonic() - self._start > self.timeout:
            raise RunFailure(f"{TOO_LONG} {self.timeout:g} s")

    def look_at(self, model: BaseAlgorithm, _point: CurvePoint) -> None:
        """To be called with each new point of the learning curve.

        :raises RunFailure: when numbers are not finite
        """
        if (where := not_finite(model)) is not None:
            raise RunFailure(f"nan: {where} are not finite after {model.num_timesteps} steps")

    def reason(self, error: Exception | SystemExit) -> str:
        """Why a run has failed, beginning with the kind.

        :param error: What the training raised
        """
        if isinstance(error, RunFailure):
            return str(error)
        # First: a policy that is not finite makes the environment or torch raise.
        diverged = self._model is not None and not_finite(self._model) is not None
        if diverged or isinstance(error, NonFiniteScoreError | NonFiniteError):
            kind = "nan"
        else:
            in_environment = isinstance(error, WorkerError) and error.env_index is not None
            kind = "env" if in_environment or self.environment_raised else "config"
        return f"{kind}: {type(error).__name__}: {error}"


class _WatchedEnv(gymnasium.Wrapper):
    """Tells the guard when the environment raises."""

    def __init__(self, env: gymnasium.Env, guard: Guard):
        super().__init__(env)
        self._guard = guard

    def step(self, action: Any) -> Any:
        try:
            return self.env.step(action)
        except (Exception, SystemExit):
            self._guard.environment_raised = True
            raise

    def reset(self, **options: Any) -> Any:
        try:
            return self.env.reset(**options)
        except (Exception, SystemExit):
            self._guard.environment_raised = True
            raise

    # ---- Protocol of sb3_ppo_variants.resume: in here is no state, so the ResumableEnv inside holds all of it ----

    def get_checkpoint_state(self) -> None:
        """Nothing."""

    def set_checkpoint_state(self, _state: None) -> None:
        """Nothing."""


def not_finite(model: BaseAlgorithm) -> str | None:
    """Which of a model's numbers are not finite, ``None`` if all are.

    :param model: The model
    """
    if nonfinite_parameter(model.policy) is not None:
        return "the policy's parameters"
    rewards = getattr(getattr(model, "rollout_buffer", None), "rewards", None)
    held = {"observations": getattr(model, "_last_obs", None), "rewards": rewards}
    return next((f"the {name}" for name, found in held.items() if not is_finite(found)), None)
