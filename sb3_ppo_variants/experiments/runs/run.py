"""One training run as a function: (algorithm, settings, environment, seed, timesteps, n_envs) → curve and score.

The result is deterministic for a given number of threads and the software and processor that :mod:`.provenance` lists.
"""

import dataclasses
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.backends import kernel_versions
from sb3_ppo_variants.checks import integer, number, optional, plain_number
from sb3_ppo_variants.experiments.runs.classes import with_classes
from sb3_ppo_variants.experiments.runs.environments import close, closing, make_environment
from sb3_ppo_variants.experiments.runs.provenance import versions
from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.experiments.runs.settings import all_parameters
from sb3_ppo_variants.policies import takes_masks
from sb3_ppo_variants.resume import ResumableCheckpointCallback
from sb3_ppo_variants.workers import WorkerVecEnv
from sb3_ppo_variants.workers.collecting import why_not_by_workers

SCORE_EPISODES = 100  # the final return is the mean over this many training episodes, the last ones
CURVE_POINTS = 500
REPORT_SECONDS = 0.2

_OPTIONAL = ("name", "normalize", "wall_time", "vec_env")

#: Called with the steps so far and the mean return so far.
OnProgress = Callable[[int, float], None]
#: Called with the model and a new point of its learning curve.
OnPoint = Callable[[BaseAlgorithm, "CurvePoint"], None]


class NonFiniteScoreError(ValueError):
    """The final return of a run is NaN or infinite."""


class CurvePoint(NamedTuple):
    """One point of a learning curve.

    :param timesteps: Steps so far
    :param seconds: Seconds of training so far
    :param mean_return: Mean return of the last 100 training episodes; ``None`` if no episode has finished yet
    :param mean_length: Mean length of these episodes; ``None`` if no episode has finished yet
    """

    timesteps: int
    seconds: float
    mean_return: float | None
    mean_length: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that determines one training run.

    :param algorithm: Name of the algorithm (see :mod:`.registry`)
    :param environment: Gymnasium id
    :param seed: Seed of the algorithm and its environments
    :param timesteps: Training steps; the last rollout is always finished
    :param n_envs: Number of environments stepped together
    :param settings: Arguments of the algorithm's constructor
    :param name: Name of the variant that it belongs to, if that differs from the algorithm's
    :param normalize: Arguments of ``VecNormalize`` around the environments; ``None``: not normalised
    :param wall_time: Seconds of training after which the run ends if it has not reached its timesteps; such a run is
        not deterministic
    :param vec_env: Class of the vectorised environment (see :func:`.environments.vec_env_name`); ``None``:
        ``DummyVecEnv``
    """

    algorithm: str
    environment: str
    seed: int
    timesteps: int
    n_envs: int = 1
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str | None = None
    normalize: Mapping[str, Any] | None = None
    wall_time: float | None = None
    vec_env: str | None = None

    @property
    def variant(self) -> str:
        """Name of the variant that it belongs to."""
        return self.name or self.algorithm

    def __post_init__(self) -> None:
        # numpy takes seeds of 32 bits.
        for name, check in (("seed", integer(0, at_most=2**32 - 1)), ("timesteps", integer(1)), ("n_envs", integer(1))):
            value = plain_number(getattr(self, name))  # numpy's integers are no JSON
            check(name, value)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "wall_time", plain_number(self.wall_time))
        optional(number(above=0, hint="It is in seconds."))("wall_time", self.wall_time)
        if self.vec_env not in (None, WorkerVecEnv.__name__):
            raise ValueError(f"vec_env is {self.vec_env!r}: give {WorkerVecEnv.__name__!r}, or None for DummyVecEnv")

    def description(self) -> dict[str, Any]:
        """The run as JSON values."""
        described = {**dataclasses.asdict(self), "settings": dict(self.settings)}
        # Optional fields without a value are left out: keys from before these fields existed stay the same.
        return {key: value for key, value in described.items() if value is not None or key not in _OPTIONAL}

    def key(self) -> str:
        """The run's identity in a ledger: canonical JSON of its description."""
        return json.dumps(self.description(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def label(self) -> str:
        """A short name for display."""
        return f"{self.variant} {self.environment} seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of one run.

    :param final_return: Mean return of the last 100 training episodes; ``None`` if no episode finished
    :param episodes: Number of finished episodes
    :param steps: Steps trained; may exceed those of the run, because the last rollout is always finished
    :param seconds: Wall time of ``learn()``
    :param curve: The learning curve, at most 500 points
    :param versions: See :func:`.provenance.versions`
    """

    final_return: float | None
    episodes: int
    steps: int
    seconds: float
    curve: list[CurvePoint]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values; :meth:`from_json` reads it."""
        return {**dataclasses.asdict(self), "curve": [list(point) for point in self.curve]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Result":
        """The result that :meth:`to_json` wrote."""
        return cls(**{**found, "curve": [CurvePoint(*point) for point in found["curve"]]})

    @property
    def steps_per_second(self) -> float:
        """Training speed: steps over the wall time of ``learn()``."""
        return self.steps / self.seconds


class Start(NamedTuple):
    """A trained model from which a run starts.

    :param wrap: Puts the run's environment into the normalisation of the model
    :param load: Loads the model, with its environment
    :param earlier: The result of the run that this one extends; ``None``: the run counts its steps from 0
    """

    wrap: Callable[[VecEnv], VecEnv]
    load: Callable[[VecEnv], BaseAlgorithm]
    earlier: Result | None = None


class Recorder(BaseCallback):
    """Keeps the learning curve and reports progress.

    :param timesteps: Steps that the run will train
    :param report: Called a few times per second with the steps so far and the mean return so far (NaN before the first
        episode ends); it may raise to end the run
    :param on_point: Called with the model and each new point of the curve, at the same steps in every repetition of
        the run; it may raise to end the run
    :param wall_time: Seconds after which the training ends; ``None``: no limit
    """

    reads_step_values = False

    def __init__(
        self,
        timesteps: int,
        report: OnProgress | None = None,
        on_point: OnPoint | None = None,
        wall_time: float | None = None,
    ):
        super().__init__()
        self.curve: list[CurvePoint] = []
        self.report, self.on_point, self.wall_time = report, on_point, wall_time
        self._stride = timesteps / (CURVE_POINTS - 1)  # the end may add another point
        self._next_point = 0.0
        self._next_second = 0.0
        self._last_report = self._start = time.perf_counter()
        #: Wall time of this run in earlier, interrupted processes.
        self.seconds_before = 0.0

    def follow(self, earlier: Result) -> None:
        """Begin with the curve of the run that this one extends, thinned to its share of the points.

        :param earlier: Its result
        """
        share = max(1.0, earlier.steps / self._stride)
        self.curve = earlier.curve[:: math.ceil(len(earlier.curve) / share)]
        self.seconds_before = earlier.seconds

    def _on_training_start(self) -> None:
        self._last_report = time.perf_counter()
        self._start = self._last_report - self.seconds_before

    def _on_step(self) -> bool:
        if self.report is not None and time.perf_counter() - self._last_report >= REPORT_SECONDS:
            mean_return = self._point().mean_return
            self.report(self.num_timesteps, math.nan if mean_return is None else mean_return)
            self._last_report = time.perf_counter()
        return self.wall_time is None or time.perf_counter() - self._start < self.wall_time

    def _on_rollout_end(self) -> None:
        # Off-policy algorithms end a rollout every few steps: keep the first one in each stride.
        if self._is_due() and len(self.curve) < CURVE_POINTS - 1:
            self._add_point()
            self._next_point = (self.num_timesteps // self._stride + 1) * self._stride
            self._next_second = self.curve[-1].seconds + (self.wall_time or 0.0) / (CURVE_POINTS - 1)

    def _is_due(self) -> bool:
        """Whether a stride of steps has passed or, with ``wall_time``, a stride of seconds."""
        if self.wall_time is not None and time.perf_counter() - self._start >= self._next_second:
            return True
        return self.num_timesteps >= self._next_point

    def _on_training_end(self) -> None:
        if not self.curve or self.curve[-1].timesteps != self.num_timesteps:
            self._add_point()

    # ---- Protocol of sb3_ppo_variants.resume: another process has another clock, so seconds are kept ----

    def get_checkpoint_state(self) -> dict[str, Any]:
        """The state to keep in a checkpoint."""
        seconds = time.perf_counter() - self._start
        names = ("curve", "_next_point", "n_calls", "num_timesteps")
        return {"seconds_before": seconds, **{name: getattr(self, name) for name in names}}

    def set_checkpoint_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint.

        :param state: Returned by ``get_checkpoint_state``, perhaps in another process
        """
        vars(self).update(state)
        self._start = time.perf_counter() - self.seconds_before
        if self.wall_time is None:
            self._thin()

    def _thin(self) -> None:
        """Leave the points that this run would have kept: one that it extends may have kept more."""
        kept, next_point = list[CurvePoint](), 0.0
        for point in self.curve:
            if point.timesteps >= next_point:
                kept.append(point)
                next_point = (point.timesteps // self._stride + 1) * self._stride
        self.curve, self._next_point = kept, next_point

    def _add_point(self) -> None:
        self.curve.append(self._point())
        if self.on_point is not None:
            self.on_point(self.model, self.curve[-1])

    def _point(self) -> CurvePoint:
        seconds = round(time.perf_counter() - self._start, 3)
        episodes = self.model.ep_info_buffer
        if not episodes:
            return CurvePoint(self.num_timesteps, seconds, None, None)
        mean_return = float(np.mean([e["r"] for e in episodes]))
        return CurvePoint(self.num_timesteps, seconds, mean_return, float(np.mean([e["l"] for e in episodes])))


def policy_name(space: spaces.Space, algorithm: type[BaseAlgorithm] | None = None) -> str:
    """Name of the policy for an observation space.

    :param space: The environment's observation space
    :param algorithm: The algorithm; one that has only policies with memory gets such a one
    :return: ``"MultiInputPolicy"``, ``"CnnPolicy"`` or ``"MlpPolicy"``, or ``"MultiInputLstmPolicy"``, …
    """
    is_dict = isinstance(space, spaces.Dict)
    kind = "MultiInput" if is_dict else "Cnn" if is_image_space(space) else "Mlp"
    aliases = {} if algorithm is None else algorithm.policy_aliases
    has_memory = f"{kind}LstmPolicy" in aliases and f"{kind}Policy" not in aliases
    return f"{kind}LstmPolicy" if has_memory else f"{kind}Policy"


def is_masked(run: Run) -> bool:
    """Whether a run's policy takes action masks.

    :param run: The run
    """
    algorithm, policy = algorithm_class(run.algorithm), with_classes(run.settings).get("policy")
    return bool(run.settings.get("use_masking")) or issubclass(algorithm, MaskablePPO) or takes_masks(policy)


class UnfitError(ValueError):
    """An algorithm does not support an environment's spaces."""


def build(run: Run, env: VecEnv) -> BaseAlgorithm:
    """The untrained model of a run.

    :param run: The run
    :param env: Its environment
    :return: The model, on the CPU
    :raises UnfitError: if the algorithm does not support the environment's spaces
    """
    settings = with_classes(run.settings)
    policy = settings.pop("policy", None) or policy_name(env.observation_space, algorithm_class(run.algorithm))
    if "stats_window_size" in all_parameters(run.algorithm):
        settings["stats_window_size"] = SCORE_EPISODES
    make: Callable[..., BaseAlgorithm] = algorithm_class(run.algorithm)
    try:
        return make(policy, env, seed=run.seed, device="cpu", **settings)
    except (NotImplementedError, AssertionError) as error:  # what SB3 raises for unsupported spaces, and more
        raise UnfitError(f"{run.algorithm} cannot be trained on {run.environment}: {error}") from error


def check_by_building(run: Run) -> None:
    """Build the model of a run once, so that a wrong setting is one clear error before anything runs.

    An algorithm that does not take the environment's spaces passes: that is a failure of its runs, not of the command.

    :param run: The run
    :raises ValueError: if the algorithm does not take the settings
    """
    env = make_environment(run.environment, run.n_envs, run.seed, run.normalize)
    try:
        build(run, env)
    except UnfitError as error:
        # SB3 has the same errors for wrong settings as for spaces.
        if _fits_with_defaults(run, env):
            raise ValueError(_refusal(run, error.__cause__ or error)) from error
    # torch has RuntimeError for sizes, arithmetic fails for zeros.
    except (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, LookupError) as error:
        raise ValueError(_refusal(run, error)) from error
    finally:
        close(env)


def _fits_with_defaults(run: Run, env: VecEnv) -> bool:
    if not issubclass(algorithm_class(run.algorithm), OnPolicyAlgorithm):
        return False  # the default replay buffer of images takes tens of gigabytes
    kept = {name: value for name, value in run.settings.items() if name in ("n_steps", "policy")}
    with suppress(Exception):
        build(dataclasses.replace(run, settings=kept), env)
        return True
    return False


def _refusal(run: Run, error: BaseException) -> str:
    return f"{run.algorithm} does not take the settings {dict(run.settings)}: {error}"


def notes_on_workers(runs: Sequence[Run]) -> list[str]:
    """For each variant of ours whose rollout workers only step the environments, a warning that says why.

    :param runs: The runs; one of each variant in each environment is built
    """
    first = {(run.variant, run.environment): run for run in reversed(runs)}
    reasons = dict.fromkeys((run.variant, _why_not_by_workers(run)) for run in reversed(first.values()))
    return [
        f"{variant}: rollout workers step the environments and do not collect on their own: {reason}"
        for variant, reason in reasons
        if reason is not None
    ]


def _why_not_by_workers(run: Run) -> str | None:
    if run.vec_env is None or not issubclass(algorithm_class(run.algorithm), OnPolicyVariant):
        return None
    with closing(make_environment(run.environment, run.n_envs, run.seed, run.normalize)) as env:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the run itself warns
                model: Any = build(run, env)
        except UnfitError:
            return None
        return why_not_by_workers(model, model.get_env(), Recorder(run.timesteps), model.rollout_buffer)


def fit(
    run: Run,
    report: OnProgress | None = None,
    on_point: OnPoint | None = None,
    prepare: Callable[[BaseAlgorithm], None] | None = None,
    callbacks: Sequence[BaseCallback] = (),
    start: Start | None = None,
    rollout_workers: int | None = None,
) -> tuple[BaseAlgorithm, Result]:
    """Train one model.

    :param run: The run
    :param report: See :class:`Recorder`
    :param on_point: See :class:`Recorder`
    :param prepare: Called with the untrained model, for example to set a logger
    :param callbacks: Further callbacks, called after the recorder
    :param start: The trained model from which to start; ``None``: a new one
    :param rollout_workers: Number of workers of a run with a ``WorkerVecEnv``; ``None``: one per usable core
    :return: The trained model and the result
    """
    resumable = any(isinstance(callback, ResumableCheckpointCallback) for callback in callbacks)
    normalize = run.normalize if start is None else None  # start.wrap does it
    env = make_environment(
        run.environment,
        run.n_envs,
        run.seed,
        normalize,
        resumable=resumable,
        vec_env=run.vec_env,
        rollout_workers=rollout_workers,
    )
    try:
        made_with = _versions(run, env)  # before the model seeds the global generators
        env = env if start is None else start.wrap(env)
        model = build(run, env) if start is None else start.load(env)
        if prepare is not None:
            prepare(model)
        recorder = Recorder(run.timesteps, report, on_point, run.wall_time)
        earlier = None if start is None else start.earlier
        timesteps = run.timesteps
        if earlier is not None:
            recorder.follow(earlier)
            timesteps -= model.num_timesteps
        made_with |= kernel_versions(getattr(model, "active_backend", None))
        began = time.perf_counter()
        model.learn(timesteps, callback=[recorder, *callbacks], reset_num_timesteps=earlier is None)
        seconds = recorder.seconds_before + time.perf_counter() - began
        episodes = sum(len(rewards) for rewards in env.unwrapped.env_method("get_episode_rewards"))
        episodes += 0 if earlier is None else earlier.episodes
    finally:
        close(env)
    last = recorder.curve[-1]
    return model, Result(last.mean_return, episodes, last.timesteps, seconds, recorder.curve, made_with)


def _versions(run: Run, env: VecEnv) -> dict[str, str]:
    """See :func:`.provenance.versions`; environments in workers are described by another one in this process."""
    if run.vec_env is None:
        return versions(env)
    with closing(make_environment(run.environment, 1, run.seed)) as same:
        return versions(same)


def train_run(run: Run) -> Result:
    """Train one model for its curve and score.

    :param run: The run
    :return: Curve and score; the model is discarded
    :raises ValueError: if the run has no score: no episode finished, or the score is not finite
    """
    _, result = fit(run)
    check_score(run, result)
    return result


def check_score(run: Run, result: Result) -> None:
    """Check that a run has a score.

    :param run: The run
    :param result: Its result
    :raises ValueError: if no episode finished
    :raises NonFiniteScoreError: (a ``ValueError``) if the score is not finite
    """
    if result.final_return is None:
        raise ValueError(
            f"No episode of {run.environment} finished within {result.steps} timesteps, so there is no return to "
            f"report: train for more timesteps, or give the environment a time limit"
        )
    if not math.isfinite(result.final_return):
        raise NonFiniteScoreError(
            f"The final return on {run.environment} is {result.final_return}: the environment gave a reward that is "
            f"not finite, or the training diverged"
        )
