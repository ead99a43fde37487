"""Record a trained agent: a GIF, which needs nothing further, or an mp4."""

import dataclasses
import importlib
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.experiments.models.evaluation import SEED, find_model
from sb3_ppo_variants.experiments.models.saved_models import load_model
from sb3_ppo_variants.experiments.models.trained_environment import trained_environment
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.files import atomic

FORMATS = (".gif", ".mp4")
DRAWN = "rgb_array"
USUAL_RATE = 30.0  # pictures a second where an environment does not say
# Viewers show a GIF's pictures for whole hundredths of a second, and take less than two for a mistake.
MOST_PER_SECOND = {".gif": 30.0, ".mp4": 60.0}
GIF_WIDTH = 480  # pixels; wider pictures are made smaller


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recorded agent.

    :param path: The file
    :param algorithm: The agent's algorithm
    :param environment: Where it was recorded
    :param returns: Return of each episode that ended
    :param steps: Environment steps recorded
    """

    path: Path
    algorithm: str
    environment: str
    returns: list[float]
    steps: int


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
) -> Recording:
    """Play episodes with a trained model and keep the pictures, at the environment's own speed.

    The environment is wrapped and normalised as it was when the model was trained; see :func:`.evaluation.evaluate`,
    also on whose models to play.

    :param path: A run folder of ours or of rl_zoo3, a model zip, or a file of ``save_safe``
    :param out: The file, ``.gif`` or ``.mp4`` (which needs the ``video`` extra); by default ``agent.gif`` beside the
        model
    :param environment: Gymnasium id, by default the one that it was trained on
    :param algorithm: Its algorithm, by default the one that it was trained with
    :param episodes: How many episodes
    :param max_steps: Steps after which the recording ends in any case
    :param seed: Seed of the environment and of the actions
    :param deterministic: Take the likeliest action instead of drawing one
    :return: What was recorded
    """
    for name, value in (("episodes", episodes), ("max_steps", max_steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    model_path, environment, name = find_model(path, environment, algorithm)
    target = Path(out) if out is not None else model_path.parent / "agent.gif"
    if target.suffix not in FORMATS:
        raise ValueError(f"A recording is a {' or '.join(FORMATS)} file, got {str(target)!r}")
    if target.suffix == ".mp4":
        _video_writer()  # before an episode is played for nothing
    check_environment(environment)
    env = trained_environment(model_path, environment, seed, render_mode=DRAWN)
    try:
        model = load_model(name, model_path, env)
        model.set_random_seed(seed)
        given: Any = env.metadata.get("render_fps")
        rate = float(given or USUAL_RATE)
        stride = math.ceil(rate / MOST_PER_SECOND[target.suffix])
        show = Show(model, episodes, max_steps, stride, deterministic)
        with atomic(target) as temporary:
            write = _write_gif if target.suffix == ".gif" else _write_mp4
            write(temporary, iter(show), rate / stride)
    finally:
        env.close()
    return Recording(target, name, environment, show.returns, show.steps)


class Show:
    """The pictures of an agent at work; iterate once.

    :param model: The agent, with its environment
    :param episodes: How many episodes
    :param max_steps: Steps after which it ends in any case
    :param stride: Steps from one picture to the next
    :param deterministic: Take the likeliest action instead of drawing one
    """

    def __init__(self, model: BaseAlgorithm, episodes: int, max_steps: int, stride: int, deterministic: bool):
        self.model, self.episodes, self.max_steps = model, episodes, max_steps
        self.stride, self.deterministic = stride, deterministic
        self.returns: list[float] = []
        self.steps = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        env = self.model.get_env()
        if env is None:
            raise ValueError("The model has no environment to show: load it with one, or call set_env()")
        observation: Any = env.reset()
        yield _picture(env)
        while len(self.returns) < self.episodes and self.steps < self.max_steps:
            action, _ = self.model.predict(observation, deterministic=self.deterministic)
            observation, _, dones, infos = env.step(action)
            self.steps += 1
            # Wrappers end an "episode" earlier than the environment: Atari's, with each life.
            if dones[0] and "episode" in infos[0]:
                self.returns.append(float(infos[0]["episode"]["r"]))
            # After the last episode, the environment shows the beginning of another.
            if self.steps % self.stride == 0 and len(self.returns) < self.episodes:
                yield _picture(env)


def _picture(env: VecEnv) -> np.ndarray:
    try:
        picture = env.get_images()[0]
    except gym.error.DependencyNotInstalled as error:
        raise ValueError(f"The environment cannot be drawn: {error}") from error
    except Exception as error:  # MuJoCo raises what its OpenGL library happens to raise
        raise ValueError(
            f"The environment cannot be drawn ({error}). If it is a MuJoCo one and there is no display, set "
            "MUJOCO_GL=egl, or MUJOCO_GL=osmesa where there is no EGL"
        ) from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise ValueError(f"The environment does not draw pictures: render_mode={DRAWN!r} gives {picture!r:.60}")
    return picture


def _write_gif(path: Path, pictures: Iterator[np.ndarray], rate: float) -> None:
    images = (_for_gif(picture) for picture in pictures)
    first = next(images)
    milliseconds = 10 * max(2, round(100 / rate))
    first.save(path, save_all=True, append_images=images, duration=milliseconds, loop=0)


def _for_gif(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    if image.width > GIF_WIDTH:
        image = image.resize((GIF_WIDTH, round(image.height * GIF_WIDTH / image.width)), Image.Resampling.BILINEAR)
    return image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _video_writer() -> Any:
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "An mp4 needs imageio-ffmpeg, which is not installed: pip install 'sb3_ppo_variants[video]', or record "
            "a .gif"
        ) from error


def _write_mp4(path: Path, pictures: Iterator[np.ndarray], rate: float) -> None:
    first = next(pictures)
    height, width = (2 * (side // 2) for side in first.shape[:2])  # the codec halves the colours' resolution
    writer = _video_writer().write_frames(str(path), (width, height), fps=rate, macro_block_size=2)
    writer.send(None)
    try:
        for picture in chain([first], pictures):
            writer.send(np.ascontiguousarray(picture[:height, :width]))
    finally:
        writer.close()
