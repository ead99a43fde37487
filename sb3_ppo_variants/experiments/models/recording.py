"""Record a trained agent as a GIF, or as an mp4 with the ``video`` extra."""

import dataclasses
import importlib.util
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v2 as imageio
import numpy as np
from PIL import Image
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.models.saved_models import SEED, find_model, opened
from sb3_ppo_variants.experiments.runs.environments import check_environment, maker
from sb3_ppo_variants.experiments.runs.playing import with_masks
from sb3_ppo_variants.files import atomic

RENDER_MODE = "rgb_array"
USUAL_RATE = 30.0  # pictures per second of an environment without render_fps
# Viewers show each picture of a GIF for whole hundredths of a second, and ignore durations below two.
MOST_PER_SECOND = {".gif": 30.0, ".mp4": 60.0}
GIF_WIDTH = 480  # pixels; wider pictures are scaled down


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording of an agent.

    :param path: The file
    :param algorithm: The agent's algorithm
    :param environment: Gymnasium id
    :param returns: Return of each finished episode
    :param steps: Number of environment steps
    :param normalization: How observations were normalised, in words
    """

    path: Path
    algorithm: str
    environment: str
    returns: list[float]
    steps: int
    normalization: str


def record(
    path: str | Path,
    out: str | Path | None = None,
    environment: str | None = None,
    algorithm: str | type[BaseAlgorithm] | None = None,
    *,
    episodes: int = 1,
    max_steps: int = 1000,
    seed: int = SEED,
    deterministic: bool = True,
    normalization: str | Path | None = None,
) -> Recording:
    """Record episodes of a trained model, at the environment's own speed.

    The environment is wrapped and normalised as in the model's training. A model's zip can run code: see
    :func:`.evaluation.evaluate`.

    :param path: A run folder of ours or of rl_zoo3, a model zip, or a file of ``save_safe``
    :param out: The file, ``.gif`` or ``.mp4`` (which needs the ``video`` extra); by default ``agent.gif`` beside the
        model
    :param environment: Gymnasium id, by default that of the training
    :param algorithm: Its algorithm, by default that of the training
    :param episodes: Number of episodes
    :param max_steps: Largest number of steps
    :param seed: Seed of the environment and of the actions
    :param deterministic: Take the most likely action instead of sampling one
    :param normalization: See :func:`.evaluation.evaluate`
    :return: The recording
    :raises ValueError: if there is no such model or environment, or the environment cannot be drawn
    :raises ModuleNotFoundError: for an mp4 without the ``video`` extra
    """
    integer(at_least=1)("episodes", episodes)
    integer(at_least=1)("max_steps", max_steps)
    model_path, environment, name = find_model(path, environment, algorithm)
    target = Path(out).expanduser() if out is not None else model_path.parent / "agent.gif"
    if target.suffix not in MOST_PER_SECOND:
        raise ValueError(f"A recording is a {' or '.join(MOST_PER_SECOND)} file, got {str(target)!r}")
    if target.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ModuleNotFoundError(
            "An mp4 needs imageio-ffmpeg, which is not installed: pip install 'sb3_ppo_variants[video]', or record "
            "a .gif"
        )
    check_environment(environment)
    _check_drawing(environment)
    with opened(model_path, environment, name, seed, normalization, render_mode=RENDER_MODE) as found:
        given: Any = found.env.metadata.get("render_fps")
        rate = float(given or USUAL_RATE)
        stride = math.ceil(rate / MOST_PER_SECOND[target.suffix])
        show = Show(found.model, episodes, max_steps, stride, deterministic)
        with atomic(target) as temporary:
            _write(temporary, iter(show), rate / stride)
    return Recording(target, name, environment, show.returns, show.steps, found.normalization)


def _check_drawing(environment: str) -> None:
    """Raise where an environment cannot be made with a renderer of pictures, or says that it has none."""
    remedy = f"its class takes render_mode={RENDER_MODE!r}, and its render() returns an RGB array"
    try:
        made: Any = maker(environment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an environment that does not declare its render modes
            env = gym.make(made, render_mode=RENDER_MODE) if isinstance(made, str) else made(render_mode=RENDER_MODE)
    except TypeError as error:
        raise ValueError(f"The environment {environment!r} cannot be drawn ({error}): to be drawn, {remedy}") from error
    except gym.error.DependencyNotInstalled as error:
        raise ValueError(f"The environment cannot be drawn: {error}") from error
    if getattr(type(env.unwrapped), "render", None) is gym.Env.render:
        raise ValueError(f"The environment {environment!r} cannot be drawn, because it has no render(): {remedy}")
    env.close()


class Show:
    """The pictures of an agent that plays episodes; iterate once.

    :param model: The agent, with its environment
    :param episodes: Number of episodes
    :param max_steps: Largest number of steps
    :param stride: Steps between pictures
    :param deterministic: Take the most likely action instead of sampling one
    """

    def __init__(self, model: BaseAlgorithm, episodes: int, max_steps: int, stride: int, deterministic: bool):
        self.model, self.episodes, self.max_steps = model, episodes, max_steps
        self.stride, self.deterministic = stride, deterministic
        self.returns: list[float] = []
        self.steps = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        env: Any = self.model.get_env()
        player = with_masks(self.model, env)
        observation: Any = env.reset()
        state, starts = None, np.ones(1, dtype=bool)
        yield _picture(env)
        while len(self.returns) < self.episodes and self.steps < self.max_steps:
            action, state = player.predict(observation, state, starts, self.deterministic)
            observation, _, starts, infos = env.step(action)
            self.steps += 1
            # A wrapper may end an "episode" before the environment does: Atari's, with each life.
            if starts[0] and "episode" in infos[0]:
                self.returns.append(float(infos[0]["episode"]["r"]))
            # After the last episode the environment shows the first step of another one.
            if self.steps % self.stride == 0 and len(self.returns) < self.episodes:
                yield _picture(env)


def _picture(env: VecEnv) -> np.ndarray:
    try:
        picture = env.get_images()[0]
    except gym.error.DependencyNotInstalled as error:
        raise ValueError(f"The environment cannot be drawn: {error}") from error
    except Exception as error:  # MuJoCo passes on any error of its OpenGL library
        raise ValueError(
            f"The environment cannot be drawn ({type(error).__name__}: {error}). If it is a MuJoCo one and there is no "
            "display, set MUJOCO_GL=egl, or MUJOCO_GL=osmesa where there is no EGL"
        ) from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise ValueError(f"The environment does not draw pictures: render_mode={RENDER_MODE!r} gives {picture!r:.60}")
    return picture


def _write(path: Path, pictures: Iterator[np.ndarray], rate: float) -> None:
    """Write a GIF or an mp4.

    :param path: The file
    :param pictures: RGB arrays, shape (height, width, 3)
    :param rate: Pictures per second
    """
    options: dict[str, Any]
    if path.suffix == ".gif":
        fit, options = _shrunk, {"duration": 10 * max(2, round(100 / rate)), "loop": 0, "bits": 8}
    else:
        fit, options = _even, {"fps": rate, "macro_block_size": 2}
    writer: Any = imageio.get_writer(path, mode="I", **options)
    with writer:
        for picture in pictures:
            writer.append_data(fit(picture))


def _shrunk(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if width <= GIF_WIDTH:
        return picture
    size = (GIF_WIDTH, round(height * GIF_WIDTH / width))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _even(picture: np.ndarray) -> np.ndarray:
    """Without an odd last row or column: the codec halves the resolution of the colours."""
    height, width = (2 * (side // 2) for side in picture.shape[:2])
    return picture[:height, :width]
