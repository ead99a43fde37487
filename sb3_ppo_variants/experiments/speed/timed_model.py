"""A model with stopwatches on the parts of its training."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import rich
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.rollouts import Actor

ROLLOUT_ROWS = 2048  # SB3's default for one environment; several environments share these rows

#: The parts of an iteration, in the table's order.
#:
#: - environment: inside ``VecEnv.step``
#: - acting: from observations to actions, values and log-probabilities, including those computed at the end of the
#:   rollout
#: - bookkeeping: the rest of the collection: buffer, callbacks, the loop
#: - gae: returns and advantages
#: - update: ``train()``
PARTS = ("environment", "acting", "bookkeeping", "gae", "update")
#: Part → microseconds per environment step of one model, one entry per round.
Split = Mapping[str, list[float]]


def check_configurations(environments: Sequence[str], rounds: int, **counts: Sequence[int]) -> None:
    """Check what is to be measured before anything is.

    :param environments: Gymnasium ids
    :param rounds: Rounds that count
    :param counts: Numbers that have to be positive, by the name of their argument
    :raises ValueError: for an environment that cannot be made, or a number below 1
    """
    for name, numbers in {"rounds": [rounds], **counts}.items():
        for number in numbers:
            integer(at_least=1)(name, number)
    for environment in environments:
        check_environment(environment)


class OwnCallback(BaseCallback):
    """A user's own callback, which may read everything: see ``may_read_values``."""

    def _on_step(self) -> bool:
        return True


class TimedModel:
    """A model that is trained one iteration at a time, with stopwatches on its parts.

    :param algorithm: Name of the algorithm
    :param settings: Arguments of its constructor
    :param env: Its environments
    :param width: Units of each of the two hidden layers
    :param callback: Called at each step; ``None``: none
    :param progress_bar: Whether SB3's progress bar is shown
    """

    def __init__(
        self,
        algorithm: str,
        settings: Mapping[str, Any],
        env: VecEnv,
        width: int,
        callback: BaseCallback | None = None,
        progress_bar: bool = False,
    ):
        own = dict(settings)
        self.env, self._callback, self._progress_bar = env, callback, progress_bar
        self.n_rows = max(ROLLOUT_ROWS // env.num_envs, 2) * env.num_envs
        make: Callable[..., Any] = algorithm_class(algorithm)
        self.model: OnPolicyAlgorithm = make(
            own.pop("policy", policy_name(env.observation_space, algorithm_class(algorithm))),
            env,
            seed=0,
            device="cpu",
            n_steps=self.n_rows // env.num_envs,
            policy_kwargs={"net_arch": [width, width]},
            **own,
        )
        self.split: dict[str, list[float]] = defaultdict(list)
        #: Microseconds per step of each round: workers collecting, hand-over included, and the whole collection.
        self.workers: list[float] = []
        self.collection: list[float] = []
        self._seconds: Counter[str] = Counter()
        self._time("collection", self.model, "collect_rollouts")
        self._time("update", self.model, "train")
        self._time("environment", env, "step_wait")
        self._is_watching_workers = False
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
        collector = getattr(self.env, "collector", None)  # a WorkerVecEnv has one once workers have collected
        if collector is not None and not self._is_watching_workers:
            self._is_watching_workers = True
            self._time("workers", collector, "record")
        self._seconds.clear()
        with _unseen_progress_bars():
            self.model.learn(
                self.n_rows,
                self._callback,
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=False,
                progress_bar=self._progress_bar,
            )
        seconds = self._seconds
        parts = {
            "environment": seconds["environment"],
            "acting": seconds["acting"] + seconds["catching up"],
            "gae": seconds["gae"] - seconds["catching up"],
            "bookkeeping": seconds["collection"] - seconds["environment"] - seconds["acting"] - seconds["gae"],
            "update": seconds["update"],
        }
        for part, spent in parts.items():
            self.split[part].append(spent / self.n_rows * 1e6)
        self.workers.append(seconds["workers"] / self.n_rows * 1e6)
        self.collection.append(seconds["collection"] / self.n_rows * 1e6)


@contextmanager
def _unseen_progress_bars() -> Iterator[None]:
    """Let progress bars be drawn as on a terminal, but into nowhere: what they cost is measured, not shown."""
    console = rich.get_console()
    kept = console.__dict__
    with open(os.devnull, "w") as nowhere:
        rich.reconfigure(file=nowhere, force_terminal=True)
        try:
            yield
        finally:
            console.__dict__ = kept
