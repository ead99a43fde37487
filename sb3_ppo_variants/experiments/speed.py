"""Training speed beside the peers: interleaved rounds in one process, with one thread.

The speed of a machine drifts, so only measurements of the same round are compared. In each round every model collects
one rollout and does one update, and the environments are stepped alone, which gives the floor.
"""

import importlib.metadata
import importlib.util
import itertools
import platform
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import threadpoolctl
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.backends import kernel_versions, why_not_installed
from sb3_ppo_variants.experiments.reporting.tables import Table
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
COMPILED = "clip_ppo compiled"
if why_not_installed() is None:
    OURS[COMPILED] = ("clip_ppo", {"update_backend": "compiled"})
#: The same for environments with action masks, measured beside sb3-contrib's MaskablePPO.
MASKABLE_PPO = "contrib:maskable_ppo"
OURS_WITH_MASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_ppo, masks": ("clip_ppo", {"use_masking": True}),
    "clip_ppo, masks, autograd": ("clip_ppo", {"use_masking": True, "update_backend": "autograd"}),
}
#: The same with memory, measured beside sb3-contrib's RecurrentPPO: with its minibatches, and in sequences of 16 rows.
#: What an update costs depends on the size of minibatches and on how long episodes are, so the size is RecurrentPPO's,
#: and so is the entropy coefficient, with which policies learn.
RECURRENT_PPO = "contrib:recurrent_ppo"
OURS_WITH_MEMORY: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_ppo, memory": ("clip_ppo", {"policy": "MlpLstmPolicy", "batch_size": 128, "ent_coef": 0.0}),
    "clip_ppo, memory, sequence_length=16": (
        "clip_ppo",
        {"policy": "MlpLstmPolicy", "batch_size": 128, "ent_coef": 0.0, "sequence_length": 16},
    ),
}
#: Library, or a peer that only some environments suit → its module, its algorithm, and ours that are compared with it.
MODULES = {"sb3": "stable_baselines3", "contrib": "sb3_contrib", "sbx": "sbx", MASKABLE_PPO: "sb3_contrib"}
MODULES[RECURRENT_PPO] = "sb3_contrib"
PEER_OF = {"sb3": "sb3:ppo", "contrib": "contrib:trpo", "sbx": "sbx:PPO", MASKABLE_PPO: MASKABLE_PPO}
PEER_OF[RECURRENT_PPO] = RECURRENT_PPO
COMPARED_WITH = {
    "sb3": ("clip_ppo", OWN_CALLBACK, "clip_ppo autograd", COMPILED),
    "contrib": ("paper_trpo",),
    "sbx": ("clip_ppo",),
    MASKABLE_PPO: tuple(OURS_WITH_MASKS),
    RECURRENT_PPO: tuple(OURS_WITH_MEMORY),
}


#: The parts of an iteration, in the table's order.
#:
#: - environment: inside ``VecEnv.step``
#: - acting: from observations to actions, values and log-probabilities, including those computed at the end of the
#:   rollout
#: - bookkeeping: the rest of the collection: buffer, callbacks, the loop
#: - gae: returns and advantages
#: - update: the rest of the iteration: ``train()`` and the log
PARTS = ("environment", "acting", "bookkeeping", "gae", "update")
#: Part → microseconds per environment step of one model, one entry per round.
Split = Mapping[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """Our speed over a peer's.

    :param ours: Name of our model
    :param peer: Name of the peer
    :param median: Median over the rounds
    :param low: Lowest
    :param high: Highest
    :param added: What the peer adds to the time of the environments alone over what we add, median over the rounds
    """

    ours: str
    peer: str
    median: float
    low: float
    high: float
    added: float


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


class _OwnCallback(BaseCallback):
    """A user's own callback, which may read everything: see ``may_read_values``."""

    def _on_step(self) -> bool:
        return True


class _TimedModel:
    """A model that is trained one iteration at a time, with stopwatches on its parts."""

    def __init__(self, name: str, environment: str, n_envs: int, width: int):
        algorithm, given = (OURS | OURS_WITH_MASKS | OURS_WITH_MEMORY).get(name, (name, {}))
        settings = dict(given)
        self._callback = _OwnCallback() if name == OWN_CALLBACK else None
        env = make_environment(environment, n_envs, seed=0)
        self.n_rows = max(ROLLOUT_ROWS // n_envs, 2) * n_envs
        make: Callable[..., Any] = algorithm_class(algorithm)
        self.model: OnPolicyAlgorithm = make(
            settings.pop("policy", policy_name(env.observation_space, algorithm_class(algorithm))),
            env,
            seed=0,
            device="cpu",
            n_steps=self.n_rows // n_envs,
            policy_kwargs={"net_arch": [width, width]},
            **settings,
        )
        self.split: dict[str, list[float]] = defaultdict(list)
        self._seconds: Counter[str] = Counter()
        self._time("collection", self.model, "collect_rollouts")
        self._time("environment", env, "step_wait")
        if isinstance(self.model, OnPolicyVariant):
            make_actor = self.model.make_actor
            self.model.make_actor = lambda *args: self._timed_actor(make_actor(*args))  # type: ignore[method-assign]
        else:
            # SBX's policies are not torch modules; its loop acts through predict_all.
            acts = "predict_all" if hasattr(self.model.policy, "predict_all") else "forward"
            self._time("acting", self.model.policy, acts)
            self._time("gae", self.model.rollout_buffer, "compute_returns_and_advantage")

    def _timed_actor(self, actor: Actor) -> Actor:
        self._time("acting", actor, "act")
        # finish() calls catch_up(), so both count it; iterate() subtracts it from the GAE.
        self._time("catching up", actor, "catch_up")
        self._time("gae", actor, "finish")
        return actor

    def _time(self, part: str, target: Any, name: str) -> None:
        """Replace a method of one object, not of its class, by one whose time counts.

        :param part: What its seconds are added to
        :param target: The object
        :param name: The method
        """
        method = getattr(target, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            self._seconds[part] += time.perf_counter() - start  # type: ignore[assignment]
            return result

        timed.only_watches = True  # type: ignore[attr-defined]  # see may_change_the_policy
        # Not setattr: on a torch module it does more than set an attribute.
        target.__dict__[name] = timed

    def iterate(self) -> None:
        """Collect and update once, and add a round to the times."""
        self._seconds.clear()
        start = time.perf_counter()
        self.model.learn(self.n_rows, self._callback, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        total = time.perf_counter() - start
        seconds = self._seconds
        parts = {
            "environment": seconds["environment"],
            "acting": seconds["acting"] + seconds["catching up"],
            "gae": seconds["gae"] - seconds["catching up"],
            "bookkeeping": seconds["collection"] - seconds["environment"] - seconds["acting"] - seconds["gae"],
            "update": total - seconds["collection"],
        }
        for part, spent in parts.items():
            self.split[part].append(spent / self.n_rows * 1e6)


def measure(
    environment: str, n_envs: int, width: int, peers: Sequence[str], rounds: int, tick: Callable[[], None]
) -> Measurement:
    """Measure one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param peers: Libraries to compare with: ``"sb3"``, ``"contrib"``, ``"sbx"``; ``"contrib:recurrent_ppo"``, and
        in an environment with action masks ``"contrib:maskable_ppo"``
    :param rounds: Rounds that count, ≥ 1
    :param tick: Called after each round, including the warm-up
    :return: The measurement
    """
    asked = {MASKABLE_PPO: OURS_WITH_MASKS, RECURRENT_PPO: OURS_WITH_MEMORY}
    ours = [*OURS, *(name for peer, names in asked.items() if peer in peers for name in names)]
    names = [*ours, *(PEER_OF[library] for library in peers)]
    models = {name: _TimedModel(name, environment, n_envs, width) for name in names}
    bare = make_environment(environment, n_envs, seed=0)
    floor: list[float] = []
    for _ in range(WARM_UP_ROUNDS + rounds):
        floor.append(_alone(bare, ROLLOUT_ROWS // n_envs))
        for model in models.values():
            model.iterate()
        tick()
    splits: dict[str, Split] = {
        name: {part: times[WARM_UP_ROUNDS:] for part, times in model.split.items()} for name, model in models.items()
    }
    floor = floor[WARM_UP_ROUNDS:]
    pairs = [(ours, PEER_OF[library]) for library in peers for ours in COMPARED_WITH[library] if ours in splits]
    ratios = [_ratio(splits, floor, *pair) for pair in pairs]
    return Measurement(environment, n_envs, width, floor, splits, ratios)


def _alone(env: VecEnv, n_steps: int) -> float:
    """Microseconds per step of the environments alone."""
    env.reset()
    actions = [np.array([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(max(n_steps, 1))]
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    return (time.perf_counter() - start) / (len(actions) * env.num_envs) * 1e6


def _ratio(splits: Mapping[str, Split], floor: Sequence[float], ours: str, peer: str) -> Ratio:
    theirs, own = _totals(splits[peer]), _totals(splits[ours])
    per_round = theirs / own
    with np.errstate(divide="ignore", invalid="ignore"):  # an environment may have been slower alone
        added = float(np.median((theirs - floor) / (own - floor)))
    return Ratio(ours, peer, float(np.median(per_round)), float(per_round.min()), float(per_round.max()), added)


def _totals(split: Split) -> np.ndarray:
    """Microseconds per step of each round, shape (rounds,)."""
    return np.sum(list(split.values()), axis=0)


def installed_peers() -> list[str]:
    """The peer libraries that are installed, without those of sb3-contrib that are only measured on request."""
    return [library for library in MODULES if _is_installed(library) and ":" not in library]


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(MODULES[library]) is not None


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
    for library in peers or ():
        if library not in MODULES:
            raise ValueError(f"--peers {library!r} is unknown: pass some of {', '.join(MODULES)}")
        if not _is_installed(library):
            raise ValueError(f"--peers {library!r} is not installed (it would be imported as {MODULES[library]!r})")
    compared = installed_peers() if peers is None else peers
    with threadpoolctl.threadpool_limits(limits=1):
        for environment, count, width in itertools.product(environments, n_envs, widths):
            yield measure(environment, count, width, compared, rounds, tick)


def as_json(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Measurements as JSON values, with the machine and the versions.

    :param measurements: The measurements
    """
    machine = {"processor": processor(), "python": platform.python_version(), "threads": 1}
    made_by = versions() | kernel_versions("compiled" if COMPILED in OURS else None)
    if any(ratio.peer == PEER_OF["sbx"] for measurement in measurements for ratio in measurement.ratios):
        made_by |= {name: importlib.metadata.version(name) for name in ("sbx-rl", "jax")}
    return {"machine": machine, "versions": made_by, "measurements": [asdict(m) for m in measurements]}


def speed_table(measurement: Measurement) -> Table:
    """Medians over the rounds, in microseconds per environment step; "added" is the total less the environments alone.

    :param measurement: The measurement of one configuration
    """
    plural = "s" if measurement.n_envs > 1 else ""
    title = (
        f"{measurement.environment}, {measurement.n_envs} env{plural}, width {measurement.width}: µs per environment "
        f"step, medians of {len(measurement.floor)} interleaved rounds, one thread; the environments alone with random "
        f"actions: {statistics.median(measurement.floor):.0f}"
    )
    body = []
    for name, split in measurement.splits.items():
        totals = _totals(split)
        total, added = statistics.median(totals), statistics.median(totals - measurement.floor)
        parts = [f"{statistics.median(split[part]):.1f}" for part in PARTS]
        ratios = [r for r in measurement.ratios if r.ours == name]
        beside = ", ".join(f"{r.median:.2f} × {r.peer} ({r.low:.2f} to {r.high:.2f})" for r in ratios)
        adds = ", ".join(f"{r.added:.1f}" for r in ratios)
        body.append([name, f"{1e6 / total:.0f}", f"{total:.0f}", *parts, f"{added:.0f}", adds, beside])
    columns = ["model", "steps/s", "total", *PARTS, "added", "peer adds (times)", "times the peer's speed (range)"]
    return Table(title, columns, body)
