"""Training speed on several cores: rollout workers compared with SB3's best on the same machine.

SB3 is measured in three ways, of which the fastest of each round counts: ``DummyVecEnv`` with one torch thread and with
one per core, and ``SubprocVecEnv``. All models have SB3's ``Monitor``, and its progress bar if that is asked for.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl
import torch as th
from scipy import optimize
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_ppo_variants.backends import why_not_installed
from sb3_ppo_variants.cores import available_cores
from sb3_ppo_variants.experiments.reporting.tables import Table
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.speed.one_core import WARM_UP_ROUNDS
from sb3_ppo_variants.experiments.speed.timed_model import TimedModel, check_configurations
from sb3_ppo_variants.workers import WorkerVecEnv

#: Backends of ours that are measured; the compiled one where numba is installed.
BACKENDS = ("closed_form", "compiled")
SB3_BEST = "the best of SB3's"
#: Cores of the table of growth that are computed.
COMPUTED_CORES = (4, 8, 16, 32, 64)


class Setup(NamedTuple):
    """A way to train.

    :param algorithm: Name of the algorithm
    :param settings: Arguments of its constructor
    :param vec_env: See :func:`.environments.make_environment`
    :param rollout_workers: Number of workers
    :param threads: Threads of torch
    """

    algorithm: str
    settings: Mapping[str, Any]
    vec_env: str | None
    rollout_workers: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class CollectionParts:
    """Times of one model, in microseconds per environment step, one entry per round.

    :param workers: Workers collect, from handing them the weights to having their rollouts
    :param rest: The rest of the collection, in the main process: values, callbacks, returns and advantages
    :param update: ``train()``
    """

    workers: list[float]
    rest: list[float]
    update: list[float]

    def totals(self) -> np.ndarray:
        """Of each round, shape (rounds,)."""
        return np.sum((self.workers, self.rest, self.update), axis=0)

    def medians(self) -> tuple[float, float, float]:
        """Of each part."""
        return statistics.median(self.workers), statistics.median(self.rest), statistics.median(self.update)

    def collection(self) -> np.ndarray:
        """Of each round, shape (rounds,)."""
        return np.sum((self.workers, self.rest), axis=0)


@dataclass(frozen=True)
class Growth:
    """Microseconds per environment step of one backend on a number of cores.

    :param backend: The backend
    :param cores: Number of cores, each with a worker
    :param measured: Whether it was measured; otherwise it is computed (see :func:`growth`)
    :param workers: Workers step the environments and act
    :param undivided: What each worker does in full: it acts on a batch with a row for every environment, and exchanges
        weights and rollouts
    :param rest: The rest of the collection
    :param update: ``train()``
    """

    backend: str
    cores: int
    measured: bool
    workers: float
    undivided: float
    rest: float
    update: float

    @property
    def total(self) -> float:
        """All parts."""
        return self.workers + self.undivided + self.rest + self.update

    @property
    def largest(self) -> str:
        """The part that takes longest."""
        return max(("workers", "undivided", "rest", "update"), key=lambda part: getattr(self, part))


@dataclass(frozen=True)
class WorkersMeasurement:
    """The measurement of one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param cores: The largest number of workers, and SB3's of torch threads
    :param progress_bar: Whether every model trained with SB3's progress bar
    :param splits: Name of a model → its times
    :param ratios: Name of a model of ours → its speed over SB3's best of each round
    :param collection: Backend → how many times faster two workers collect than one, one entry per round
    :param growth: See :func:`growth`
    """

    environment: str
    n_envs: int
    width: int
    cores: int
    progress_bar: bool
    splits: dict[str, CollectionParts]
    ratios: dict[str, list[float]]
    collection: dict[str, list[float]]
    growth: list[Growth]


def our_name(backend: str, workers: int) -> str:
    """Name of one of our models.

    :param backend: Its backend
    :param workers: Number of its rollout workers
    """
    return f"clip_ppo {backend}, {workers} worker{'s' if workers > 1 else ''}"


def setups(cores: int) -> dict[str, Setup]:
    """What is measured: name → setup.

    :param cores: The largest number of workers, and SB3's of torch threads
    """
    found = {
        our_name(backend, workers): Setup("clip_ppo", {"update_backend": backend}, WorkerVecEnv.__name__, workers)
        for backend in backends()
        for workers in range(1, cores + 1)
    }
    for threads in dict.fromkeys((1, cores)):
        name = f"sb3:ppo, DummyVecEnv, {threads} thread{'s' if threads > 1 else ''}"
        found[name] = Setup("sb3:ppo", {}, None, threads=threads)
    found["sb3:ppo, SubprocVecEnv"] = Setup("sb3:ppo", {}, SubprocVecEnv.__name__)
    return found


def backends() -> list[str]:
    """Those of :data:`BACKENDS` that are installed."""
    return [backend for backend in BACKENDS if backend != "compiled" or why_not_installed() is None]


def measure_workers(
    environment: str, n_envs: int, width: int, cores: int, rounds: int, progress_bar: bool, tick: Callable[[], None]
) -> WorkersMeasurement:
    """Measure one configuration.

    :param environment: Gymnasium id
    :param n_envs: Environments stepped together
    :param width: Units of each of the two hidden layers
    :param cores: The largest number of workers, at most ``n_envs``, and SB3's of torch threads
    :param rounds: Rounds that count, ≥ 1
    :param progress_bar: Whether every model trains with SB3's progress bar
    :param tick: Called after each round, including the warm-up
    :return: The measurement
    """
    asked = setups(cores)
    with _models(asked, environment, n_envs, width, progress_bar) as models:
        for _ in range(WARM_UP_ROUNDS + rounds):
            for name, model in models.items():
                th.set_num_threads(asked[name].threads)
                model.iterate()
            tick()
        th.set_num_threads(1)
        splits = {name: _parts(model) for name, model in models.items()}
    ours = {backend: [our_name(backend, n) for n in range(1, cores + 1)] for backend in backends()}
    best = np.min([split.totals() for name, split in splits.items() if asked[name].algorithm == "sb3:ppo"], axis=0)
    ratios = {name: (best / splits[name].totals()).tolist() for names in ours.values() for name in names}
    speedups = {
        backend: (splits[names[0]].collection() / splits[names[1]].collection()).tolist()
        for backend, names in ours.items()
        if cores > 1
    }
    table = [one for backend, names in ours.items() for one in growth(backend, [splits[name] for name in names])]
    return WorkersMeasurement(environment, n_envs, width, cores, progress_bar, splits, ratios, speedups, table)


@contextmanager
def _models(
    asked: Mapping[str, Setup], environment: str, n_envs: int, width: int, progress_bar: bool
) -> Iterator[dict[str, TimedModel]]:
    """The models; their environments' processes end with the block."""
    models: dict[str, TimedModel] = {}
    try:
        for name, setup in asked.items():
            env = make_environment(environment, n_envs, 0, vec_env=setup.vec_env, rollout_workers=setup.rollout_workers)
            models[name] = TimedModel(setup.algorithm, setup.settings, env, width, progress_bar=progress_bar)
        yield models
    finally:
        for model in models.values():
            model.env.close()


def _parts(model: TimedModel) -> CollectionParts:
    workers, collection = model.workers[WARM_UP_ROUNDS:], model.collection[WARM_UP_ROUNDS:]
    rest = [whole - part for whole, part in zip(collection, workers, strict=True)]
    return CollectionParts(workers, rest, model.split["update"][WARM_UP_ROUNDS:])


def growth(backend: str, by_workers: Sequence[CollectionParts]) -> list[Growth]:
    """How the time per step falls with the number of cores: measured, then computed for :data:`COMPUTED_CORES`.

    The workers' time with w workers is fitted as a / w + b by least squares: a is the environments, which are divided
    among the workers, and b is what each worker does in full; both ≥ 0. The rest of the collection and the update are
    those measured with the most workers: they do not depend on the cores. There must be an environment for each core.

    :param backend: The backend
    :param by_workers: Times with 1, 2, … workers
    :return: One entry per number of cores; the measured ones have b within ``workers``
    """
    found = [_measured(backend, cores, parts) for cores, parts in enumerate(by_workers, 1)]
    if len(found) < 2:
        return found
    shares = np.array([[1 / one.cores, 1.0] for one in found])
    (divided, undivided), _ = optimize.nnls(shares, np.array([one.workers for one in found]))
    last = found[-1]
    return found + [
        Growth(backend, cores, False, float(divided / cores), float(undivided), last.rest, last.update)
        for cores in COMPUTED_CORES
        if cores > last.cores
    ]


def _measured(backend: str, cores: int, parts: CollectionParts) -> Growth:
    workers, rest, update = parts.medians()
    return Growth(backend, cores, True, workers, 0.0, rest, update)


def speed_of_workers(
    environments: Sequence[str],
    n_envs: Sequence[int],
    widths: Sequence[int],
    cores: int,
    rounds: int = 5,
    progress_bar: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[WorkersMeasurement]:
    """Measure every configuration, in processes of one thread except for SB3's with several.

    :param environments: Gymnasium ids
    :param n_envs: Numbers of environments stepped together
    :param widths: Widths of the hidden layers
    :param cores: See :func:`measure_workers`, as the others
    :return: An iterator over the measurements
    :raises ValueError: if there are more workers than environments or usable cores, or fewer than one; for an
        environment that cannot be made, or a number below 1
    """
    check_configurations(environments, rounds, n_envs=n_envs, width=widths)
    if cores < 1 or cores > min(n_envs):
        raise ValueError(
            f"--workers {cores} must be 1 to {min(n_envs)}, one environment per worker at least: give more --n-envs"
        )
    if cores > available_cores():
        raise ValueError(f"--workers {cores} must be at most {available_cores()}, the cores that this process may use")
    with threadpoolctl.threadpool_limits(limits=1):
        for environment, count, width in itertools.product(environments, n_envs, widths):
            yield measure_workers(environment, count, width, cores, rounds, progress_bar, tick)


# ---- Tables ----


def workers_tables(measurement: WorkersMeasurement) -> list[Table]:
    """What was measured, and how it grows.

    :param measurement: The measurement of one configuration
    """
    return [_measured_table(measurement), _growth_table(measurement)]


def _measured_table(measurement: WorkersMeasurement) -> Table:
    bar = ", with a progress bar" if measurement.progress_bar else ""
    rounds = len(next(iter(measurement.splits.values())).update)
    title = (
        f"{measurement.environment}, {measurement.n_envs} envs, width {measurement.width}, {measurement.cores} cores: "
        f"µs per environment step, medians of {rounds} interleaved rounds{bar}; {SB3_BEST} is the fastest of its "
        "three in each round"
    )
    for backend, speedups in measurement.collection.items():
        title += f"; {backend}: 2 workers collect {statistics.median(speedups):.2f} times as fast as 1"
    body = []
    for name, split in measurement.splits.items():
        total = statistics.median(split.totals())
        parts = [f"{median:.1f}" for median in split.medians()]
        ratios = measurement.ratios.get(name)
        beside = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        body.append([name, f"{1e6 / total:.0f}", f"{total:.1f}", *parts, beside])
    columns = ["model", "steps/s", "total", "workers", "rest of collection", "update"]
    return Table(title, [*columns, f"times the speed of {SB3_BEST} (range)"], body)


def _growth_table(measurement: WorkersMeasurement) -> Table:
    title = (
        f"{measurement.environment}, width {measurement.width}: how it grows with the cores, in µs per environment "
        f"step. Up to {measurement.cores} measured, more computed, with an environment for each core: of the workers' "
        "time the environments are divided and the acting and the hand-over are not, and the rest of the collection "
        "and the update stay"
    )
    body = [
        [
            one.backend,
            str(one.cores),
            "measured" if one.measured else "computed",
            f"{1e6 / one.total:.0f}",
            f"{one.workers:.1f}",
            "" if one.measured else f"{one.undivided:.1f}",
            f"{one.rest:.1f}",
            f"{one.update:.1f}",
            f"{one.largest} ({getattr(one, one.largest) / one.total:.0%})",
        ]
        for one in measurement.growth
    ]
    columns = ["backend", "cores", "how", "steps/s", "workers", "undivided", "rest of collection", "update"]
    return Table(title, [*columns, "largest part"], body)
