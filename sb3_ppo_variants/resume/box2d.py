"""Box2D environments whose episodes leave traces in one another."""

from typing import Any

import gymnasium as gym

_WALKER = "gymnasium.envs.box2d.bipedal_walker"


class NewWorldEachEpisode(gym.Wrapper):
    """
    Gives ``BipedalWalker`` a new Box2D world at every reset, so that its episodes can be replayed.

    It keeps its world from episode to episode, and what is left there (the order of contacts, for one) moves the last
    bits of the next episode, which then depends on all episodes before it. ``LunarLander`` and ``CarRacing`` make a new
    world by themselves. Inside of ``ResumableEnv``:
    ``make_vec_env(id, wrapper_class=lambda env: ResumableEnv(NewWorldEachEpisode(env)))``.

    :param env: A ``BipedalWalker``, wrapped or not
    :raises TypeError: it has no world to make anew
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
    :return: whether it is gymnasium's ``BipedalWalker``, or made from it
    """
    return any(cls.__module__ == _WALKER for cls in type(env.unwrapped).__mro__)


def lacks_new_world(env: gym.Env) -> bool:
    """
    :param env: An environment, wrapped or not
    :return: whether it is a ``BipedalWalker`` that keeps its world from episode to episode
    """
    walker, outer = is_walker(env), env
    while walker and isinstance(outer, gym.Wrapper):
        walker, outer = not isinstance(outer, NewWorldEachEpisode), outer.env
    return walker
