import sys
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from PIL import Image, ImageSequence

from sb3_ppo_variants.experiments import evaluate, train
from sb3_ppo_variants.experiments.models.recording import record


@pytest.fixture(scope="module", autouse=True)
def no_display():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"n_steps": 64, "n_epochs": 1}
    return train("clip_ppo", timesteps=64, settings=settings, out=tmp_path_factory.mktemp("run")).out


def test_gif_shows_the_episode_that_evaluate_scores(trained: Path, tmp_path: Path) -> None:
    made = record(trained, tmp_path / "agent.gif")
    scored = evaluate(trained, episodes=1)
    assert made.returns == scored.returns
    assert made.steps == scored.lengths[0]
    assert (made.algorithm, made.environment) == ("clip_ppo", "CartPole-v1")
    with Image.open(made.path) as picture:
        assert picture.info["loop"] == 0
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]
        shown = sum(frame.info["duration"] for frame in ImageSequence.Iterator(picture))
    # CartPole has 50 pictures a second; every second one is kept, 40 ms each, so the film takes as long as the episode.
    kept = 1 + (made.steps - 1) // 2
    assert shown == 40 * kept
    assert {frame.size for frame in frames} == {(480, 320)}
    # The first picture is what the environment shows after its first reset.
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=10_000)
    wanted = Image.fromarray(env.render()).resize((480, 320), Image.Resampling.BILINEAR)
    env.close()
    difference = np.abs(np.asarray(frames[0], dtype=int) - np.asarray(wanted, dtype=int))
    assert difference.mean() < 1  # 256 colours


def test_default_file_and_limits(trained: Path) -> None:
    made = record(trained, max_steps=7, episodes=3, deterministic=False)
    assert made.path == trained / "agent.gif"
    assert made.path.is_file()
    assert (made.steps, made.returns) == (7, [])


def test_several_episodes(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CartPoleEnv, "render", lambda self: np.zeros((20, 30, 3), np.uint8))  # the steps count here
    made = record(trained, tmp_path / "a.gif", episodes=3)
    assert made.returns == evaluate(trained, episodes=3).returns
    assert made.steps == sum(made.returns)  # CartPole pays 1 a step


def test_mp4(trained: Path, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip(
        "imageio_ffmpeg", reason="imageio-ffmpeg is not installed: pip install 'sb3_ppo_variants[video]'"
    )
    made = record(trained, tmp_path / "agent.mp4", max_steps=9, episodes=2)
    frames, seconds = ffmpeg.count_frames_and_secs(str(made.path))
    assert frames == made.steps + 1
    assert seconds == pytest.approx(frames / 50, abs=0.03)


def test_mp4_without_the_extra(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sb3_ppo_variants\[video\]', or record a .gif"):
        record(trained, tmp_path / "agent.mp4")
    assert not list(tmp_path.iterdir())


class Blind(gym.Env):
    """An environment that does not draw."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = CartPoleEnv().observation_space
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, broken: bool = False):
        self.render_mode, self.broken = render_mode, broken

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 0.0, True, False, {}

    def render(self):
        if self.broken:
            raise RuntimeError("no OpenGL")


@pytest.mark.parametrize(("broken", "message"), [(False, "does not draw pictures"), (True, "set MUJOCO_GL=egl")])
def test_environments_that_do_not_draw(trained: Path, tmp_path: Path, broken: bool, message: str) -> None:
    gym.register("Blind-v0", Blind, kwargs={"broken": broken}, disable_env_checker=True)
    try:
        with pytest.raises(ValueError, match=message):
            record(trained / "model.zip", tmp_path / "a.gif", "Blind-v0", "clip_ppo")
    finally:
        del gym.registry["Blind-v0"]
    assert not list(tmp_path.iterdir())  # no half a file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "agent.avi"}, "A recording is a .gif or .mp4 file, got 'agent.avi'"),
        ({"episodes": 0}, "episodes=0 is out of range: it must be >= 1"),
        ({"environment": "CartPol-v1"}, "Cannot make the environment"),
    ],
)
def test_mistakes(trained: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(trained, **arguments)
    with pytest.raises(TypeError, match=r"max_steps=1\.5 is a float: pass a whole number >= 1"):
        record(trained, max_steps=1.5)  # type: ignore[arg-type]


class NoRender(gym.Env):
    """Takes no render_mode, as many environments of one's own."""

    observation_space = CartPoleEnv().observation_space
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 0.0, True, False, {}


class NoPicture(NoRender):
    """Takes a render_mode and has no render()."""

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode


@pytest.mark.parametrize("name", ["NoRender", "NoPicture"])
def test_environments_without_render(trained: Path, tmp_path: Path, name: str) -> None:
    path = f"tests.experiments.models.test_recording:{name}"
    with pytest.raises(
        ValueError, match=r"cannot be drawn.*render_mode='rgb_array', and its render\(\) returns an RGB"
    ):
        record(trained / "model.zip", tmp_path / "a.gif", path, "clip_ppo")
    assert not list(tmp_path.iterdir())
