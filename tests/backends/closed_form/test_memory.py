"""Peak memory beside SB3's, each training in a process of its own."""

import pathlib
import subprocess
import sys

import pytest

TRAIN = """
import pathlib, sys
import gymnasium, numpy
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from sb3_ppo_variants import ClipPPO

name, environment, n_envs, n_steps, width = sys.argv[1:]
size = int(environment) if environment.isdigit() else None

class Screen(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), numpy.uint8) if size else None
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.high, 1.0, False, False, {}

make = {"ours": ClipPPO, "sb3": PPO}[name]
# Large minibatches: it is the whole rollout that takes memory, and small ones take most of the time.
settings = {"n_epochs": 1, "n_steps": int(n_steps), "batch_size": 1024}
settings["policy_kwargs"] = {"net_arch": [int(width)] * 2}
if name == "ours":
    settings["update_backend"] = "closed_form"
env = make_vec_env(Screen if size else environment, int(n_envs), seed=0)
model = make("MlpPolicy", env, device="cpu", **settings)
model.learn(2 * int(n_envs) * int(n_steps))
# Not getrusage: its maximum is inherited from the process that started this one.
print(next(line for line in pathlib.Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1])
"""

#: Environment (or the side of an image whose pixels the MLP is given), environments together, steps of each, width of
#: the layers.
CONFIGURATIONS = [
    ("CartPole-v1", 64, 256, 256),
    ("CartPole-v1", 64, 512, 256),
    ("FrozenLake8x8-v1", 8, 2048, 64),
    ("48", 1, 1024, 64),
    ("CartPole-v1", 64, 512, 512),
    ("Pendulum-v1", 8, 2048, 256),
]


def peak(*arguments: object) -> int:
    """In kilobytes."""
    command = [sys.executable, "-c", TRAIN, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.long
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda case: case[0])
def test_peak_memory_is_at_most_a_tenth_above_sb3s(configuration: tuple[str, int, int, int]) -> None:
    ours, sb3 = (peak(name, *configuration) for name in ("ours", "sb3"))
    assert ours <= 1.1 * sb3, f"{ours} kB against SB3's {sb3}"
