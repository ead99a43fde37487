"""A user's own algorithm."""

from typing import Any

from stable_baselines3 import PPO


class MyPPO(PPO):
    """A user's own class, with an argument of its own in front of SB3's."""

    def __init__(self, *args: Any, my_argument: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.my_argument = my_argument
