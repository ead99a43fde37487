"""One environment whose state can be captured and restored, in whatever process it lives."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from sb3_ppo_variants.resume.box2d import lacks_new_world
from sb3_ppo_variants.resume.descriptions import described
from sb3_ppo_variants.resume.random_states import RandomStates, capture_random_states, restore_random_states
from sb3_ppo_variants.resume.rehearsal import (
    CannotCheck,
    Event,
    capture,
    chain,
    follows,
    replay,
    restore,
    same,
    second_of,
)

#: A check starts some steps after it was asked for, because right after a reset too little has happened to show a
#: fault, and takes this many steps.
STEPS_BEFORE_CHECK, STEPS_OF_CHECK = 3, 20
_UNSEEN = (
    "to replay it, the beginning of its episode is needed, which make_vec_env(..., wrapper_class=ResumableEnv) sees "
    "from the first on"
)


class EnvState(NamedTuple):
    """
    The state of one environment, or the reason why there is none.

    :param kept: Whether the state is in here
    :param why_not: The reason, for people
    :param layers: Pickled: the layers from the outermost wrapper inwards, now or (for a replay) before the last reset
    :param random: The random states of the environment's process, now
    :param reset: The arguments of the last reset; ``None``: there is nothing to replay, the layers are those of now
    :param actions: The actions since that reset
    :param observation: The environment's last observation, which a replay has to reach
    :param later: Not kept now, but it can be once the environment has begun its next episode
    """

    kept: bool
    why_not: str = ""
    layers: bytes = b""
    random: RandomStates | None = None
    reset: dict[str, Any] | None = None
    actions: tuple[Any, ...] = ()
    observation: Any = None
    later: bool = False


class _Beginning(NamedTuple):
    """An episode that can be replayed: the layers before its reset, the arguments of the reset, the actions since."""

    layers: bytes
    reset: dict[str, Any]
    actions: list[Any]


class _Check(NamedTuple):
    """An earlier state, captured in both ways, and all calls since."""

    layers: bytes
    beginning: _Beginning | None
    events: list[Event]


class ResumableEnv(gym.Wrapper):
    """
    Captures and restores an environment's state, wrappers included. It is the outermost wrapper:
    ``make_vec_env(id, wrapper_class=ResumableEnv, vec_env_cls=SubprocVecEnv)``.

    There are two ways, tried in this order; the first that works is used:

    - copy the attributes of the environment and its wrappers (for classes with the protocol of ``layers``, what that
      returns; for MuJoCo environments, the simulator's data too);
    - restore the attributes from before the last reset, and replay the actions since.

    Whether a way works is checked on a second environment. A state is captured while the first environment goes on; the
    second one, put into that state, must return the same observations, rewards and ends, bit for bit, for the same
    actions. (When a copy is checked, the process's random states, which checkpoints keep, are restored before each
    action: an environment may draw from the modules ``random`` and ``numpy.random``.)

    :param env: The environment with its other wrappers
    :param make: Makes the second environment, with the other wrappers. ``None``, or if it fails: the second one is made
        from the attributes of the first, or where that does not work by ``gymnasium.make`` from its specification
    """

    def __init__(self, env: gym.Env, make: Callable[[], gym.Env] | None = None):
        super().__init__(env)
        self._make = make
        self._second: gym.Env | None = None
        self._means: str | None = "copy"
        self._is_checked = False
        self._why_not = ""
        # Why the episode that was under way at the first check cannot be kept; empty: unknown, or that episode is over.
        self._awaits_episode = ""
        self._wait = -1
        self._check: _Check | None = None
        self._beginning: _Beginning | None = None
        self._observation: Any = None
        self._is_made = True

    #: Whether ``__init__`` has ended.
    _is_made = False

    def __setattr__(self, name: str, value: Any) -> None:
        # VecEnv.set_attr means the environment inside: without this wrapper, its outermost one would have got it.
        is_own = name in vars(self) or callable(getattr(type(self), name, None))
        if is_own or not self._is_made or type(self) is not ResumableEnv:
            super().__setattr__(name, value)
        else:
            setattr(self.env, name, value)

    # ---- The environment's interface ----

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self._beginning = None
        if self._means == "replay" or (self._means == "copy" and not self._is_checked):
            # An environment of one's own may have no state before its first reset.
            with suppress(Exception):
                self._beginning = _Beginning(capture(self.env), deepcopy(kwargs), [])
        random = self._random_if_checking()
        observation, info = self.env.reset(**kwargs)
        self._note("reset", kwargs, observation, random)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._wait >= 0:
            self._wait -= 1
            if self._wait < 0:
                self._start_check()
        if self._beginning is not None:
            self._beginning.actions.append(deepcopy(action))
        random = self._random_if_checking()
        result = self.env.step(action)
        self._note("step", action, result[:4], random)
        if self._check is not None and len(self._check.events) >= STEPS_OF_CHECK:
            self._judge()
        return result

    def _random_if_checking(self) -> RandomStates | None:
        return None if self._check is None else capture_random_states()

    def _note(self, kind: str, given: Any, returned: Any, random: RandomStates | None) -> None:
        self._observation = returned[0] if kind == "step" else returned
        if self._check is not None and random is not None:
            self._check.events.append(Event(kind, deepcopy(given), deepcopy(returned), random))

    # ---- What the callback calls, through env_method ----

    def describe_checkpoint(self) -> dict[str, Any]:
        """
        :return: see ``describe_env``
        """
        return describe_env(self)

    def begin_checkpoint_check(self) -> None:
        """Check in the coming steps that the environment's state can be kept, unless a check is under way."""
        if self._means is not None and self._check is None and self._wait < 0:
            self._wait = STEPS_BEFORE_CHECK

    def capture_checkpoint(self, unchecked: bool = False) -> EnvState | None:
        """
        :param unchecked: Capture even what has not been checked yet
        :return: the state; ``None``: too early, the environment has to be stepped first
        """
        if self._check is not None and self._check.events:
            self._judge()
        if self._means is None:
            return EnvState(False, self._why_not)
        if self._awaits_episode and not unchecked:
            return EnvState(False, self._awaits_episode, later=True)
        if not (self._is_checked or unchecked) or (self._means == "replay" and self._beginning is None):
            return None
        if self._means == "copy":
            try:
                return EnvState(True, layers=capture(self.env), random=capture_random_states())
            except Exception as error:  # a user's environment may raise anything, before its first reset, say
                return EnvState(False, _not_captured(error))
        layers, reset, actions = self._beginning  # type: ignore[misc]
        return EnvState(True, "", layers, capture_random_states(), reset, tuple(actions), deepcopy(self._observation))

    def restore_checkpoint(self, state: EnvState) -> str:
        """
        :param state: What ``capture_checkpoint`` returned in a process with the same environment
        :return: what went wrong; empty if nothing did
        """
        self._check, self._wait = None, -1
        if not state.kept:
            return state.why_not
        try:
            restore(self.env, state.layers)
            if state.reset is not None:
                self._means = "replay"
                self._beginning = _Beginning(state.layers, state.reset, list(state.actions))
                self._observation = replay(self.env, state.reset, state.actions)
                if not same(self._observation, state.observation):
                    return "replaying its actions led elsewhere"
        except Exception as error:  # it would end a worker process, whose message would be lost
            return f"{type(error).__name__}: {error}"
        if state.random is not None:
            restore_random_states(state.random)
        return ""

    def close(self) -> None:
        if self._second is not None:
            self._second.close()
        super().close()

    # ---- The check ----

    def _start_check(self) -> None:
        try:
            layers = capture(self.env)
        except Exception as error:
            self._means, self._why_not = None, _not_captured(error)
            return
        begun = self._beginning and self._beginning._replace(actions=list(self._beginning.actions))
        self._check = _Check(layers, begun, [])

    def _judge(self) -> None:
        check, self._check = self._check, None
        if check is None or self._means is None:
            return
        self._awaits_episode = ""
        here = capture_random_states()
        failures = []
        try:
            if self._means == "copy":
                failures.append(self._failure(check))
                if failures[-1] and check.beginning is None:
                    # The episode began unseen: check again in the next one.
                    self._awaits_episode = f"{failures[-1]}; {_UNSEEN}"
                    self._is_checked = False
                    return
            if self._means == "replay" or failures[-1]:
                self._means = "replay"
                unknown = "the beginning of its episode is not known"
                failures.append(unknown if check.beginning is None else self._failure(check, check.beginning))
        finally:
            restore_random_states(here)
        self._is_checked = not failures[-1]
        if self._means == "copy":
            self._beginning = None  # an endless episode would keep all its actions
        if failures[-1]:
            self._means = None
            self._why_not = "; ".join(dict.fromkeys(failures))
            if lacks_new_world(self.env):
                self._why_not += "; put a BipedalWalker into NewWorldEachEpisode (sb3_ppo_variants.checkpoints)"

    def _failure(self, check: _Check, replayed: _Beginning | None = None) -> str:
        """Why a second environment, copied or replayed from the beginning, does not do the same; empty if it does."""
        way = "a copy of its attributes" if replayed is None else "a replay of its actions"
        try:
            second = self._second_in(check.layers if replayed is None else replayed.layers)
            if replayed is not None:
                replay(second, replayed.reset, replayed.actions)
            return "" if follows(second, check.events, with_random=replayed is None) else f"{way} goes another way"
        except CannotCheck as error:
            return "" if error.trusted and replayed is None else str(error)
        except Exception as error:  # a user's environment may raise anything
            return f"{way} does not work ({_named(error)})"

    def _second_in(self, layers: bytes) -> gym.Env:
        """The second environment, put into a state."""
        if self._second is None:
            self._second = self._make_second(layers)
        restore(self._second, layers)
        return self._second

    def _make_second(self, layers: bytes) -> gym.Env:
        if self._make is None:
            return second_of(self.env, layers)
        try:
            return self._make()
        except Exception as error:  # a simulator of which there can be only one, say
            try:
                return second_of(self.env, layers)
            except CannotCheck as unmade:
                raise CannotCheck(f"{unmade} ({_named(error)})", unmade.trusted) from error


def _not_captured(error: Exception) -> str:
    return f"its state cannot be captured ({_named(error)})"


def _named(error: Exception) -> str:
    return f"{type(error).__name__}{': ' if str(error) else ''}{error}"


def describe_env(env: gym.Env) -> dict[str, Any]:
    """
    :param env: An environment
    :return: as JSON values, what another environment is compared by: its classes from outside inwards, its time limit,
        and how ``gymnasium.make`` made it; of one that it did not make, as ``"attributes"``, the plain attributes with
        the names of its constructor's arguments, which it may have changed since
    """
    layers = [layer for layer in chain(env) if not isinstance(layer, ResumableEnv)]
    limits = [layer._max_episode_steps for layer in layers if isinstance(layer, TimeLimit)]
    description = {"classes": [type(layer).__qualname__ for layer in layers], "time limit": limits}
    spec = env.unwrapped.spec
    if spec is None:
        return {**description, "attributes": _as_made(env.unwrapped)}
    # Rendering changes nothing about a run.
    arguments = described({name: value for name, value in spec.kwargs.items() if name != "render_mode"})
    return {**description, "id": spec.id, "arguments": arguments}


def _as_made(env: gym.Env) -> dict[str, Any]:
    try:
        names = set(inspect.signature(type(env)).parameters) - {"render_mode"}
    except (TypeError, ValueError):  # a constructor that is not Python's
        return {}
    plain = bool | int | float | str | np.generic | None
    return {name: described(value) for name, value in vars(env).items() if name in names and isinstance(value, plain)}
