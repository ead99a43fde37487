"""Environments in worker processes, several to a worker."""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

from sb3_ppo_variants.checks import integer, number, optional
from sb3_ppo_variants.cores import available_cores
from sb3_ppo_variants.workers.shared_memory import SharedArrays
from sb3_ppo_variants.workers.team import Team

#: The remedy for a callback that has to be called while the environments are stepped.
STEP_BY_STEP = (
    "To collect step by step, leave out WorkerVecEnv(replay_callbacks=True), and reads_step_values = False in the "
    "callback's class."
)


class WorkerVecEnv(VecEnv):
    """
    Environments in worker processes, each of which has several; observations and rewards go through shared memory.

    It is a ``VecEnv`` for every algorithm of SB3, and what it returns equals what ``DummyVecEnv`` returns. This
    package's algorithms let the workers collect whole rollouts on their own (``WORKERS.md`` says when and how).

    Objects passed to environments are copies, as in SB3's ``SubprocVecEnv``. With an object of a class of the script
    its class comes along: the class's own attributes in the workers become those of the main process.

    A script that makes one needs SB3's usual ``if __name__ == "__main__":``, since workers import it.

    :param env_fns: Functions that make the environments, sent to the workers by cloudpickle
    :param n_workers: Number of workers, at most one per environment; ``None``: one per usable core
    :param start_method: ``"forkserver"`` or ``"spawn"``; ``None``: ``"forkserver"`` where there is one
    :param timeout: Seconds without a step or an answer after which a worker counts as hanging
    :param replay_callbacks: Collect whole rollouts even with callbacks of one's own, which are then called for each
        step once the rollout is there. They cannot change it: editing observations, rewards or dones raises, and so
        does asking the environments for anything
    :raises TypeError: an argument of the wrong type
    :raises ValueError: an argument out of its range, or a system without shared memory that needs no name
    :raises WorkerError: an environment cannot be made
    """

    #: For ``rollouts.collection.may_change_the_policy``.
    only_steps = True

    def __init__(
        self,
        env_fns: list[Callable[[], gym.Env]],
        n_workers: int | None = None,
        start_method: str | None = None,
        timeout: float = 300.0,
        replay_callbacks: bool = False,
    ):
        _check(env_fns, n_workers, start_method, timeout)
        has_server = "forkserver" in multiprocessing.get_all_start_methods()
        start_method = start_method or ("forkserver" if has_server else "spawn")
        self.n_workers = min(int(n_workers or available_cores()), len(env_fns))
        self.replay_callbacks = replay_callbacks
        #: While callbacks are called for a rollout that has been collected, the environments stand at its end.
        self.is_replaying = False
        #: Has them collect whole rollouts, once one has been.
        self.collector: Any = None
        #: Why whole rollouts are not collected; each reason is given once.
        self.reasons_told: set[str] = set()
        self.team = Team(env_fns, self.n_workers, start_method, timeout)
        observation_space, action_space, metadata = self._ask("make", ())[0]
        self._keys, shapes, dtypes = obs_space_info(observation_space)
        self._share_memory(len(env_fns), shapes, dtypes)
        super().__init__(len(env_fns), observation_space, action_space)
        self.metadata = metadata

    def _share_memory(self, n_envs: int, shapes: dict[Any, tuple[int, ...]], dtypes: dict[Any, np.dtype]) -> None:
        fields: dict[Any, Any] = {
            ("observations", key): ((n_envs, *shapes[key]), np.dtype(dtypes[key])) for key in self._keys
        }
        if any(dtype.hasobject for _, dtype in fields.values()):
            self.close()
            raise ValueError(f"Observations of Python objects cannot be shared: {dtypes}. Use DummyVecEnv.")
        fields["rewards"] = (n_envs,), np.dtype(np.float32)
        fields["dones"] = (n_envs,), np.dtype(np.bool_)
        fields["progress"] = self.team.progress.shape, self.team.progress.dtype
        memory = SharedArrays(fields)
        self._arrays = memory.arrays
        self._arrays["progress"][:] = self.team.progress
        self.team.share(memory, "share")
        self.team.progress = self._arrays["progress"]

    # ---- Asking the workers ----

    def _ask(self, command: str, *arguments: tuple[Any, ...]) -> list[Any]:
        """
        :param command: A method of ``process.Worker``
        :param arguments: For each worker; once, for all alike
        :return: their answers
        """
        self._check_ready()
        given = arguments * self.n_workers if len(arguments) == 1 else arguments
        return self.team.ask(command, given)

    def _check_ready(self) -> None:
        if self.is_replaying:
            raise RuntimeError(
                "A callback asks the environments for something, but workers have already collected the rollout: the "
                f"environments stand at its end. {STEP_BY_STEP}"
            )

    def _shares(self, values: Any) -> list[Any]:
        return [values[member.envs] for member in self.team.members]

    def _call(self, method: str, indices: VecEnvIndices, /, *arguments: Any, **keywords: Any) -> list[Any]:
        """
        :param method: Of SB3's ``VecEnv``
        :param indices: Which environments
        :param arguments: Passed to it
        :param keywords: Passed to it
        :return: what it returns for each of them
        """
        self._check_ready()
        wanted = list(self._get_indices(indices))
        for index in wanted:
            if not -self.num_envs <= index < self.num_envs:
                raise IndexError(f"There is no environment {index}: give indices from 0 to {self.num_envs - 1}.")
        by_worker: dict[int, list[int]] = {}
        for index in wanted:
            by_worker.setdefault(self.team.worker_of(index % self.num_envs), []).append(index % self.num_envs)
        messages = {}
        for worker, envs in by_worker.items():
            own = [index - self.team.members[worker].envs.start for index in envs]
            messages[worker] = method, arguments, {"indices": own, **keywords}
        self.team.begin("call", messages)
        answers = {worker: iter(answer or ()) for worker, answer in self.team.finish().items()}
        return [next(answers[self.team.worker_of(index % self.num_envs)], None) for index in wanted]

    # ---- SB3's interface ----

    def step_async(self, actions: np.ndarray) -> None:
        self._check_ready()
        self.team.begin("step", {number: (part,) for number, part in enumerate(self._shares(actions))})

    def step_wait(self) -> VecEnvStepReturn:
        infos: list[dict[str, Any]] = []
        for of_steps, of_resets in self.team.finish().values():
            infos += of_steps
            for index, info in of_resets.items():
                self.reset_infos[index] = info
        return self._observations(), self._arrays["rewards"].copy(), self._arrays["dones"].copy(), infos

    def reset(self) -> VecEnvObs:
        given = zip(self._shares(self._seeds), self._shares(self._options), strict=True)
        self.reset_infos = [info for infos in self._ask("reset", *given) for info in infos]
        # Seeds and options are used once.
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def _observations(self) -> VecEnvObs:
        return dict_to_obs(
            self.observation_space, {key: self._arrays["observations", key].copy() for key in self._keys}
        )

    def wrap_environments(self, wrapper: Callable[[gym.Env], gym.Env]) -> None:
        """
        :param wrapper: Put around each environment
        """
        self._ask("call", ("wrap_environments", (wrapper,), {}))

    def close(self) -> None:
        self.team.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"The render mode is {self.render_mode}, but this method assumes it is `rgb_array` to obtain images.",
                stacklevel=2,
            )
            return [None for _ in range(self.num_envs)]
        return [image for images in self._ask("call", ("get_images", (), {})) for image in images]

    def has_attr(self, attr_name: str) -> bool:
        return all(self._ask("call", ("has_attr", (attr_name,), {})))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self._call("get_attr", indices, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        self._call("set_attr", indices, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        return self._call("env_method", indices, method_name, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return self._call("env_is_wrapped", indices, wrapper_class)


def _check(env_fns: Any, n_workers: Any, start_method: Any, timeout: Any) -> None:
    if os.name == "nt":
        raise ValueError("WorkerVecEnv does not run on Windows: use SB3's SubprocVecEnv.")
    if len(env_fns) == 0:
        raise ValueError("WorkerVecEnv needs at least one environment, got no functions that make one.")
    for index, make in enumerate(env_fns):
        if not callable(make):
            raise TypeError(
                f"env_fns must be functions that make environments; got {make!r} at index {index}: pass functions "
                'such as lambda: gym.make("CartPole-v1"), or use SB3\'s make_vec_env(..., vec_env_cls=WorkerVecEnv).'
            )
    optional(integer(at_least=1, hint="None is one per usable core."))("n_workers", n_workers)
    if start_method not in (None, "spawn", "forkserver"):
        raise ValueError(
            f'start_method must be "spawn" or "forkserver", got {start_method!r}: a forked worker would not notice the '
            "death of the main process."
        )
    number(above=0, hint="It is in seconds.")("timeout", timeout)
