"""Box2D environments whose episodes influence each other."""

import sys
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import is_wrapped


class NewWorldEachEpisode(gym.Wrapper):
    """
    Gives ``BipedalWalker`` a new Box2D world at every reset, so that its episodes can be replayed.

    ``BipedalWalker`` keeps its world from episode to episode, and what is left in it (the order of contacts, for one)
    changes the last bits of the next episode, which thus depends on all episodes before it. ``LunarLander`` and
    ``CarRacing`` make a new world at every reset. The wrapper goes inside ``ResumableEnv``:
    ``make_vec_env(id, wrapper_class=lambda env: ResumableEnv(NewWorldEachEpisode(env)))``.

    :param env: A ``BipedalWalker``, wrapped or not
    :raises TypeError: the environment has no Box2D world
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        if not (hasattr(env.unwrapped, "world") and hasattr(env.unwrapped, "_destroy")):
            raise TypeError(f"{type(env.unwrapped).__name__} has no Box2D world of its own: leave the wrapper out.")

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        base: Any = self.unwrapped
        base._destroy()
        base.world = type(base.world)()
        return self.env.reset(**kwargs)


def is_walker(env: gym.Env) -> bool:
    """
    :param env: An environment, wrapped or not
    :return: whether it is gymnasium's ``BipedalWalker`` or a subclass of it
    """
    # Importing the module needs Box2D; if nobody has imported it, there is no such environment.
    module = sys.modules.get("gymnasium.envs.box2d.bipedal_walker")
    return module is not None and isinstance(env.unwrapped, module.BipedalWalker)


def lacks_new_world(env: gym.Env) -> bool:
    """
    :param env: An environment, wrapped or not
    :return: whether it is a ``BipedalWalker`` that keeps its world from episode to episode
    """
    return is_walker(env) and not is_wrapped(env, NewWorldEachEpisode)
