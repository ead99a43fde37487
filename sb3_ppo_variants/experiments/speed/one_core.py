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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import threadpoolctl
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.backends import kernel_versions, why_not_installed
from sb3_ppo_variants.experiments.reporting.tables import Table
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.provenance import processor, versions
from sb3_ppo_variants.experiments.speed import timed_model
from sb3_ppo_variants.experiments.speed.timed_model import PARTS, OwnCallback, Split, TimedModel, check_configurations

WARM_UP_ROUNDS = 1

#: Name in the report → an algorithm of ours and its settings.
Ours: TypeAlias = dict[str, tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Peer:
    """
    :param module: The package that it is in
    :param algorithm: Its name
    :param ours: Our models that are compared with it
    :param on_request: Whether both are measured only if the peer is asked for: not every environment suits them
    """

    module: str
    algorithm: str
    ours: Ours
    on_request: bool = False


# A user's callback may read the values of every step, which are then computed step by step.
OWN_CALLBACK = "clip_ppo, own callback"
COMPILED = "clip_ppo compiled"
CLIP: Ours = {
    "clip_ppo": ("clip_ppo", {}),
    OWN_CALLBACK: ("clip_ppo", {}),
    "clip_ppo autograd": ("clip_ppo", {"update_backend": "autograd"}),
}
if why_not_installed() is None:
    CLIP[COMPILED] = ("clip_ppo", {"update_backend": "compiled"})
TRUST_REGION: Ours = {"paper_trpo": ("paper_trpo", {})}
#: What an update costs with memory depends on the size of minibatches and on how long episodes are, so the size is
#: RecurrentPPO's, and so is the entropy coefficient, with which policies learn.
MEMORY = {"policy": "MlpLstmPolicy", "batch_size": 128, "ent_coef": 0.0}
PEERS = {
    "sb3": Peer("stable_baselines3", "sb3:ppo", CLIP),
    "contrib": Peer("sb3_contrib", "contrib:trpo", TRUST_REGION),
    "sbx": Peer("sbx", "sbx:PPO", {"clip_ppo": CLIP["clip_ppo"]}),
    "contrib:maskable_ppo": Peer(
        "sb3_contrib",
        "contrib:maskable_ppo",
        {
            "clip_ppo, masks": ("clip_ppo", {"use_masking": True}),
            "clip_ppo, masks, autograd": ("clip_ppo", {"use_masking": True, "update_backend": "autograd"}),
        },
        on_request=True,
    ),
    # With its own minibatches, and in sequences of 16 rows.
    "contrib:recurrent_ppo": Peer(
        "sb3_contrib",
        "contrib:recurrent_ppo",
        {
            "clip_ppo, memory": ("clip_ppo", MEMORY),
            "clip_ppo, memory, sequence_length=16": ("clip_ppo", MEMORY | {"sequence_length": 16}),
        },
        on_request=True,
    ),
}


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
    :param progress_bar: Whether every model trained with SB3's progress bar
    """

    environment: str
    n_envs: int
    width: int
    floor: list[float]
    splits: dict[str, Split]
    ratios: list[Ratio]
    progress_bar: bool = False


def measure(
    environment: str,
    n_envs: int,
    width: int,
    peers: Sequence[str],
    rounds: int,
    tick: Callable[[], None],
    progress_bar: bool = False,
) -> Measurement:
    """Measure one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param peers: Libraries to compare with: ``"sb3"``, ``"contrib"``, ``"sbx"``; ``"contrib:recurrent_ppo"``, and
        in an environment with action masks ``"contrib:maskable_ppo"``
    :param rounds: Rounds that count, ≥ 1
    :param tick: Called after each round, including the warm-up
    :param progress_bar: Whether every model trains with SB3's progress bar
    :return: The measurement
    """
    compared = [PEERS[peer] for peer in peers]
    of_all = CLIP | TRUST_REGION | {name: one for peer in compared for name, one in peer.ours.items()}
    of_all |= {peer.algorithm: (peer.algorithm, {}) for peer in compared}
    models = {name: _model(name, *one, environment, n_envs, width, progress_bar) for name, one in of_all.items()}
    bare = make_environment(environment, n_envs, seed=0)
    floor: list[float] = []
    for _ in range(WARM_UP_ROUNDS + rounds):
        floor.append(_alone(bare, timed_model.ROLLOUT_ROWS // n_envs))
        for model in models.values():
            model.iterate()
        tick()
    splits: dict[str, Split] = {
        name: {part: times[WARM_UP_ROUNDS:] for part, times in model.split.items()} for name, model in models.items()
    }
    floor = floor[WARM_UP_ROUNDS:]
    ratios = [_ratio(splits, floor, ours, peer.algorithm) for peer in compared for ours in peer.ours]
    return Measurement(environment, n_envs, width, floor, splits, ratios, progress_bar)


def _model(
    name: str,
    algorithm: str,
    settings: dict[str, Any],
    environment: str,
    n_envs: int,
    width: int,
    progress_bar: bool,
) -> TimedModel:
    env = make_environment(environment, n_envs, seed=0)
    callback = OwnCallback() if name == OWN_CALLBACK else None
    return TimedModel(algorithm, settings, env, width, callback, progress_bar)


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
    """The peers that are installed, without those that are only measured on request."""
    return [name for name, peer in PEERS.items() if _is_installed(peer) and not peer.on_request]


def _is_installed(peer: Peer) -> bool:
    return importlib.util.find_spec(peer.module) is not None


def speed(
    environments: Sequence[str],
    n_envs: Sequence[int],
    widths: Sequence[int],
    peers: Sequence[str] | None = None,
    rounds: int = 5,
    tick: Callable[[], None] = lambda: None,
    progress_bar: bool = False,
) -> Iterator[Measurement]:
    """Measure every configuration, with one thread for BLAS and torch.

    :param environments: Gymnasium ids
    :param n_envs: Numbers of environments stepped together
    :param widths: Widths of the hidden layers
    :param peers: See :func:`measure`; ``None``: those that are installed
    :param rounds: Rounds that count
    :param tick: Called after each round, including the warm-up
    :param progress_bar: See :func:`measure`
    :return: An iterator over the measurements
    :raises ValueError: for a peer that is unknown or not installed, an environment that cannot be made, or a number
        below 1
    """
    check_configurations(environments, rounds, n_envs=n_envs, width=widths)
    for peer in peers or ():
        if peer not in PEERS:
            raise ValueError(f"--peers {peer!r} is unknown: pass some of {', '.join(PEERS)}")
        if not _is_installed(PEERS[peer]):
            raise ValueError(f"--peers {peer!r} is not installed (it would be imported as {PEERS[peer].module!r})")
    compared = installed_peers() if peers is None else peers
    with threadpoolctl.threadpool_limits(limits=1):
        for environment, count, width in itertools.product(environments, n_envs, widths):
            yield measure(environment, count, width, compared, rounds, tick, progress_bar)


def as_json(measurements: Sequence[Any]) -> dict[str, Any]:
    """Measurements as JSON values, with the machine and the versions.

    :param measurements: The measurements, of one core or of several
    """
    machine = {"processor": processor(), "python": platform.python_version(), "threads": 1}
    made_by = versions() | kernel_versions("compiled" if COMPILED in CLIP else None)
    on_one_core = [measurement for measurement in measurements if isinstance(measurement, Measurement)]
    if any(ratio.peer == PEERS["sbx"].algorithm for measurement in on_one_core for ratio in measurement.ratios):
        made_by |= {name: importlib.metadata.version(name) for name in ("sbx-rl", "jax")}
    return {"machine": machine, "versions": made_by, "measurements": [asdict(m) for m in measurements]}


def speed_table(measurement: Measurement) -> Table:
    """Medians over the rounds, in microseconds per environment step; "added" is the total less the environments alone.

    :param measurement: The measurement of one configuration
    """
    plural = "s" if measurement.n_envs > 1 else ""
    bar = ", with a progress bar" if measurement.progress_bar else ""
    title = (
        f"{measurement.environment}, {measurement.n_envs} env{plural}, width {measurement.width}: µs per environment "
        f"step, medians of {len(measurement.floor)} interleaved rounds, one thread{bar}; the environments alone with "
        f"random actions: {statistics.median(measurement.floor):.0f}"
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
