"""Models that a training cannot start from."""

import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import yaml

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments import train
from sb3_ppo_variants.experiments.models.saved_models import load_model
from sb3_ppo_variants.experiments.runs.environments import make_environment


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    ClipPPO("MlpPolicy", "CartPole-v1", n_steps=64).save(folder / "model.zip")
    return folder


def small(out: Path, **changes: Any) -> Any:
    return train("clip_ppo", timesteps=64, settings={"n_epochs": 1}, out=out, **changes)


def test_a_model_of_rl_zoo3_that_saw_another_environment_is_not_trained_on(trained: Path, tmp_path: Path) -> None:
    """Laid out as rl_zoo3 does it; its arguments are a Python mapping in YAML."""
    for name, entry in (
        ("a", {"env_wrapper": ["gymnasium.wrappers.ClipAction"]}),
        ("b", {"frame_stack": 2}),
        ("c", {}),
    ):
        settings = tmp_path / name / "CartPole-v1"
        settings.mkdir(parents=True)
        shutil.copy(trained / "model.zip", tmp_path / name / "CartPole-v1.zip")
        (settings / "config.yml").write_text(yaml.dump(OrderedDict(entry)))
        (settings / "args.yml").write_text(yaml.dump(OrderedDict(algo="clip_ppo", env="CartPole-v1")))
        start = {"start_from": tmp_path / name / "CartPole-v1.zip"}
        if not entry:
            small(tmp_path / "out", **start)
            continue
        with pytest.raises(ValueError, match=f"was trained by rl_zoo3 with {next(iter(entry))}=.*does not apply"):
            small(tmp_path / "out", **start)


def test_a_file_that_is_no_model_is_named(trained: Path, tmp_path: Path) -> None:
    whole = (trained / "model.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a", "b")
    for name in ("cut.zip", "other.zip"):
        with pytest.raises(ValueError, match=f"{name}.* cannot be loaded as clip_ppo|{name} is"):
            small(tmp_path / "out", start_from=tmp_path / name)
    with pytest.raises(ValueError, match=r"model\.zip cannot be loaded as contrib:recurrent_ppo; is it damaged"):
        load_model("contrib:recurrent_ppo", trained / "model.zip", make_environment("CartPole-v1", 1, 0))
