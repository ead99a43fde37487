"""Training speed beside the peers: interleaved rounds in one process, with one thread.

The speed of a machine drifts, so only measurements of the same round are compared. In each round every model collects
one rollout and does one update, and the environments are stepped alone, which gives the floor.
"""

import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import threadpoolctl
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.provenance import processor, versions
from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.rollouts import Actor

ROLLOUT_ROWS = 2048  # SB3's default for one environment; several environments share these rows
WARM_UP_ROUNDS = 1

OWN_CALLBACK = "clip_ppo, own callback"
#: Name in the report → our algorithm and its settings.
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_ppo": ("clip_ppo", {}),
    # A user's callback may read the values of every step, which are then computed step by step.
    OWN_CALLBACK: ("clip_ppo", {}),
    "clip_ppo autograd": ("clip_ppo", {"update_backend": "autograd"}),
    "paper_trpo": ("paper_trpo", {}),
}
#: Library → its module, its algorithm, and ours that are compared with it.
MODULES = {"sb3": "stable_baselines3", "contrib": "sb3_contrib", "sbx": "sbx"}
PEER_OF = {"sb3": "sb3:ppo", "contrib": "contrib:trpo", "sbx": "sbx:PPO"}
COMPARED_WITH = {
    "sb3": ("clip_ppo", OWN_CALLBACK, "clip_ppo autograd"),
    "contrib": ("paper_trpo",),
    "sbx": ("clip_ppo",),
}


@dataclass
class Split:
    """Microseconds per environment step of one model, one entry per round.

    :param environment: Inside ``VecEnv.step``
    :param acting: From observations to actions, values and log-probabilities, including those computed at the end of
        the rollout
    :param gae: Returns and advantages
    :param bookkeeping: The rest of the collection: buffer, callbacks, the loop
    :param update: The rest of the iteration: ``train()`` and the log
    """

    environment: list[float] = field(default_factory=list)
    acting: list[float] = field(default_factory=list)
    gae: list[float] = field(default_factory=list)
    bookkeeping: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)

    def add(self, environment: float, acting: float, gae: float, bookkeeping: float, update: float) -> None:
        """Add a round."""
        for rounds, part in zip(vars(self).values(), (environment, acting, gae, bookkeeping, update), strict=True):
            rounds.append(part)

    def totals(self) -> np.ndarray:
        """Microseconds per step of each round, shape (rounds,)."""
        return np.sum(list(vars(self).values()), axis=0)


@dataclass(frozen=True)
class Ratio:
    """Our speed over a peer's: median, lowest and highest over the rounds."""

    ours: str
    peer: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measurement:
    """The measurement of one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param floor: Microseconds per step of the environments alone with random actions, one entry per round
    :param splits: Name of a model → its times
    :param ratios: Our speed over the peers'
    """

    environment: str
    n_envs: int
    width: int
    floor: list[float]
    splits: dict[str, Split]
    ratios: list[Ratio]


class _Stopwatch:
    """Adds up the seconds spent in some methods."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method such that its time counts.

        :param method: The method
        :return: The wrapped method
        """

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return run


class _Clock(BaseCallback):
    """Records when the rollout starts and ends."""

    reads_step_values = False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.started = time.perf_counter()

    def _on_rollout_end(self) -> None:
        self.collected = time.perf_counter()


class _UsersClock(_Clock):
    """The same, as a user's own callback, which may read everything: see ``may_read_values``."""

    reads_step_values = True


class _TimedModel:
    """A model that is trained one iteration at a time, with stopwatches on its parts."""

    def __init__(self, name: str, environment: str, n_envs: int, width: int):
        algorithm, settings = OURS.get(name, (name, {}))
        self._make_clock = _UsersClock if name == OWN_CALLBACK else _Clock
        env = make_environment(environment, n_envs, seed=0)
        self.n_rows = max(ROLLOUT_ROWS // n_envs, 2) * n_envs
        make: Callable[..., Any] = algorithm_class(algorithm)
        self.model: OnPolicyAlgorithm = make(
            policy_name(env.observation_space),
            env,
            seed=0,
            device="cpu",
            n_steps=self.n_rows // n_envs,
            policy_kwargs={"net_arch": [width, width]},
            **settings,
        )
        self.split = Split()
        self._environment, self._acting, self._gae = _Stopwatch(), _Stopwatch(), _Stopwatch()
        self._catching_up = _Stopwatch()
        # Methods are replaced on the instances, not in their classes.
        _put(env, "step_wait", self._environment.timed(env.step_wait))
        if isinstance(self.model, OnPolicyVariant):
            _put(self.model, "make_actor", self._timed_actor(self.model.make_actor))
        else:
            # SBX's policies are not torch modules; its loop acts through predict_all.
            name = "predict_all" if hasattr(self.model.policy, "predict_all") else "forward"
            _put(self.model.policy, name, self._acting.timed(getattr(self.model.policy, name)))
            buffer = self.model.rollout_buffer
            name = "compute_returns_and_advantage"
            _put(buffer, name, self._gae.timed(buffer.compute_returns_and_advantage))

    def _timed_actor(self, make_actor: Callable[..., Actor]) -> Callable[..., Actor]:
        def timed(*args: Any) -> Actor:
            actor = make_actor(*args)
            _put(actor, "act", self._acting.timed(actor.act))
            # finish() calls catch_up(), so both stopwatches count it; iterate() subtracts it from the GAE.
            _put(actor, "catch_up", self._catching_up.timed(actor.catch_up))
            _put(actor, "finish", self._gae.timed(actor.finish))
            return actor

        return timed

    def iterate(self, keep: bool) -> None:
        """Collect and update once.

        :param keep: Whether the times count; those of warm-up iterations do not
        """
        clock = self._make_clock()
        watches = (self._environment, self._acting, self._gae, self._catching_up)
        for watch in watches:
            watch.seconds = 0.0
        start = time.perf_counter()
        self.model.learn(self.n_rows, clock, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        total = time.perf_counter() - start
        collection = clock.collected - clock.started
        if keep:
            environment, acting, gae, late = (watch.seconds for watch in watches)
            parts = (
                environment,
                acting + late,
                gae - late,
                collection - environment - acting - gae,
                total - collection,
            )
            self.split.add(*(part / self.n_rows * 1e6 for part in parts))


def _put(target: Any, name: str, method: Callable[..., Any]) -> None:
    # Not setattr: on a torch module it does more than set an attribute.
    target.__dict__[name] = method


def measure(
    environment: str, n_envs: int, width: int, peers: Sequence[str], rounds: int, tick: Callable[[], None]
) -> Measurement:
    """Measure one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param peers: Libraries to compare with: ``"sb3"``, ``"contrib"``, ``"sbx"``
    :param rounds: Rounds that count, ≥ 1
    :param tick: Called after each round, including the warm-up
    :return: The measurement
    """
    names = [*OURS, *(PEER_OF[library] for library in peers)]
    models = {name: _TimedModel(name, environment, n_envs, width) for name in names}
    bare = make_environment(environment, n_envs, seed=0)
    floor: list[float] = []
    for index in range(WARM_UP_ROUNDS + rounds):
        counts = index >= WARM_UP_ROUNDS
        alone = _alone(bare, ROLLOUT_ROWS // n_envs)
        if counts:
            floor.append(alone)
        for model in models.values():
            model.iterate(counts)
        tick()
    splits = {name: model.split for name, model in models.items()}
    ratios = [_ratio(splits, ours, PEER_OF[library]) for library in peers for ours in COMPARED_WITH[library]]
    return Measurement(environment, n_envs, width, floor, splits, ratios)


def _alone(env: VecEnv, n_steps: int) -> float:
    """Microseconds per step of the environments alone."""
    env.reset()
    actions = [np.array([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(max(n_steps, 1))]
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    return (time.perf_counter() - start) / (len(actions) * env.num_envs) * 1e6


def _ratio(splits: dict[str, Split], ours: str, peer: str) -> Ratio:
    per_round = splits[peer].totals() / splits[ours].totals()
    return Ratio(ours, peer, float(np.median(per_round)), float(per_round.min()), float(per_round.max()))


def installed_peers() -> list[str]:
    """The peer libraries that are installed."""
    return [library for library, module in MODULES.items() if importlib.util.find_spec(module) is not None]


def speed(
    environments: Sequence[str],
    n_envs: Sequence[int],
    widths: Sequence[int],
    peers: Sequence[str] | None = None,
    rounds: int = 5,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Measure every configuration, with one thread for BLAS and torch.

    :param environments: Gymnasium ids
    :param n_envs: Numbers of environments stepped together
    :param widths: Widths of the hidden layers
    :param peers: See :func:`measure`; ``None``: those that are installed
    :param rounds: Rounds that count
    :param tick: Called after each round
    :return: An iterator over the measurements
    :raises ValueError: for a peer that is unknown or not installed
    """
    here = installed_peers()
    for library in peers or ():
        if library not in MODULES:
            raise ValueError(f"--peers {library!r} is unknown: pass some of {', '.join(MODULES)}")
        if library not in here:
            raise ValueError(f"--peers {library!r} is not installed (it would be imported as {MODULES[library]!r})")
    with threadpoolctl.threadpool_limits(limits=1):
        for environment in environments:
            for count in n_envs:
                for width in widths:
                    yield measure(environment, count, width, here if peers is None else peers, rounds, tick)


def as_json(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Measurements as JSON values, with the machine and the versions.

    :param measurements: The measurements
    """
    machine = {"processor": processor(), "python": platform.python_version(), "threads": 1}
    made_by = dict(versions())
    if any(ratio.peer == PEER_OF["sbx"] for measurement in measurements for ratio in measurement.ratios):
        made_by |= {name: importlib.metadata.version(name) for name in ("sbx-rl", "jax")}
    return {"machine": machine, "versions": made_by, "measurements": [asdict(m) for m in measurements]}
