"""How fast training is, beside the peers: interleaved rounds in one process, one thread each.

Machines drift, so only what was measured in turn is compared: in each round every contestant collects one rollout and
does one update, and the environments alone are stepped for the floor. A ratio is taken within a round.
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

ROLLOUT_ROWS = 2048  # SB3's default for one environment; with more, the rows are shared out
WARM_UP_ROUNDS = 1

OWN_CALLBACK = "clip_ppo, own callback"
#: Ours by the name in the report: the algorithm and its settings.
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_ppo": ("clip_ppo", {}),
    # A user's callback may look at every step's values, which are then computed step by step.
    OWN_CALLBACK: ("clip_ppo", {}),
    "clip_ppo autograd": ("clip_ppo", {"update_backend": "autograd"}),
    "paper_trpo": ("paper_trpo", {}),
}
#: By library: the module it is imported as, its algorithm, and which of ours are set beside it.
MODULES = {"sb3": "stable_baselines3", "contrib": "sb3_contrib", "sbx": "sbx"}
PEER_OF = {"sb3": "sb3:ppo", "contrib": "contrib:trpo", "sbx": "sbx:PPO"}
SET_BESIDE = {"sb3": ("clip_ppo", OWN_CALLBACK, "clip_ppo autograd"), "contrib": ("paper_trpo",), "sbx": ("clip_ppo",)}


@dataclass
class Split:
    """Microseconds per environment step of one contestant, one entry a round.

    :param environment: Inside ``VecEnv.step``
    :param acting: Observation to action, value and log-probability, those included that are computed at the end of
        the rollout
    :param gae: Returns and advantages
    :param bookkeeping: What is left of the collection: buffer, callbacks, the loop
    :param update: The rest of the iteration: ``train()`` and the log
    """

    environment: list[float] = field(default_factory=list)
    acting: list[float] = field(default_factory=list)
    gae: list[float] = field(default_factory=list)
    bookkeeping: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)

    def add(self, environment: float, acting: float, gae: float, bookkeeping: float, update: float) -> None:
        """Add a round."""
        parts = (environment, acting, gae, bookkeeping, update)
        for rounds, part in zip(vars(self).values(), parts, strict=True):
            rounds.append(part)

    def totals(self) -> np.ndarray:
        """Microseconds per step of each round, shape (rounds,)."""
        return np.sum([self.environment, self.acting, self.gae, self.bookkeeping, self.update], axis=0)


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours is than a peer: median, lowest and highest over the rounds."""

    ours: str
    peer: str
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measurement:
    """One configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param floor: Microseconds per step of the environments alone with random actions, one entry a round
    :param splits: By contestant
    :param ratios: Ours over the peers
    """

    environment: str
    n_envs: int
    width: int
    floor: list[float]
    splits: dict[str, Split]
    ratios: list[Ratio]


class _Stopwatch:
    """Adds up the seconds spent inside some methods."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """
        :param method: What to time
        :return: the same, timed
        """

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return run


class _Clock(BaseCallback):
    """Notes when the rollout starts and ends."""

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


class _Contestant:
    """A model that trains on, an iteration at a time, with stopwatches on its parts."""

    def __init__(self, name: str, environment: str, n_envs: int, width: int):
        algorithm, own = OURS.get(name, (name, {}))
        self._make_clock = _UsersClock if name == OWN_CALLBACK else _Clock
        env = make_environment(environment, n_envs, seed=0)
        self.n_rows = max(ROLLOUT_ROWS // n_envs, 2) * n_envs
        settings: dict[str, Any] = {"n_steps": self.n_rows // n_envs, "policy_kwargs": {"net_arch": [width, width]}}
        settings |= own
        make: Callable[..., Any] = algorithm_class(algorithm)
        self.model: OnPolicyAlgorithm = make(policy_name(env.observation_space), env, seed=0, device="cpu", **settings)
        self.split = Split()
        self._environment, self._acting, self._gae = _Stopwatch(), _Stopwatch(), _Stopwatch()
        self._catching_up = _Stopwatch()
        # On the instances: the classes stay as they are.
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
            # finish() calls catch_up(): counted by both, and taken from the one when the round is booked.
            _put(actor, "catch_up", self._catching_up.timed(actor.catch_up))
            _put(actor, "finish", self._gae.timed(actor.finish))
            return actor

        return timed

    def iterate(self, keep: bool) -> None:
        """Collect and update once.

        :param keep: Whether the times count (the first iterations warm up)
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
    # Not setattr on a torch module: it is for parameters there, and forward is neither.
    target.__dict__[name] = method


def measure(
    environment: str, n_envs: int, width: int, peers: Sequence[str], rounds: int, tick: Callable[[], None]
) -> Measurement:
    """Time one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param peers: Libraries to compare with: ``"sb3"``, ``"contrib"``, ``"sbx"``
    :param rounds: Rounds that count, ≥ 1
    :param tick: Called after each round, warm-up included
    :return: what was measured
    """
    names = [*OURS, *(PEER_OF[library] for library in peers)]
    contestants = {name: _Contestant(name, environment, n_envs, width) for name in names}
    bare = make_environment(environment, n_envs, seed=0)
    floor: list[float] = []
    for index in range(WARM_UP_ROUNDS + rounds):
        counts = index >= WARM_UP_ROUNDS
        alone = _alone(bare, ROLLOUT_ROWS // n_envs)
        if counts:
            floor.append(alone)
        for contestant in contestants.values():
            contestant.iterate(counts)
        tick()
    splits = {name: contestant.split for name, contestant in contestants.items()}
    ratios = [_ratio(splits, ours, PEER_OF[library]) for library in peers for ours in SET_BESIDE[library]]
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
    """The peer libraries that can be imported here."""
    return [library for library, module in MODULES.items() if importlib.util.find_spec(module) is not None]


def speed(
    environments: Sequence[str],
    n_envs: Sequence[int],
    widths: Sequence[int],
    peers: Sequence[str] | None = None,
    rounds: int = 5,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Time every configuration, with one thread for BLAS and torch.

    :param environments: Gymnasium ids
    :param n_envs: Numbers of environments stepped together
    :param widths: Widths of the hidden layers
    :param peers: See ``measure``; ``None``: those that are installed
    :param rounds: Rounds that count
    :param tick: Called after each round
    :return: an iterator over the measurements
    :raises ValueError: for an unknown or missing peer
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
    """
    :param measurements: What was measured
    :return: it as JSON values, with the machine and the versions
    """
    machine = {"processor": processor(), "python": platform.python_version(), "threads": 1}
    made_by = dict(versions())
    if any(ratio.peer == PEER_OF["sbx"] for measurement in measurements for ratio in measurement.ratios):
        made_by |= {name: importlib.metadata.version(name) for name in ("sbx-rl", "jax")}
    return {"machine": machine, "versions": made_by, "measurements": [asdict(m) for m in measurements]}
