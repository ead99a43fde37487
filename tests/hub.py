"""The Hugging Face Hub as a folder: huggingface_hub's functions with their own signatures, without a network."""

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import huggingface_hub
import pytest
from huggingface_hub import HfApi, RepoUrl
from stable_baselines3 import PPO


def hub_in_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """
    Until the test ends, uploads and downloads are copies to and from a folder.

    :param folder: Repositories are folders in it; the one of SB3's ``PPO`` that the page loads is put there
    """

    def create_repo(_: HfApi, repo_id: str, **__: Any) -> RepoUrl:
        (folder / repo_id).mkdir(parents=True, exist_ok=True)
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(_: HfApi, *, repo_id: str, folder_path: str | Path, **__: Any) -> None:
        shutil.copytree(folder_path, folder / repo_id, dirs_exist_ok=True)

    def download(repo_id: str, filename: str, **_: Any) -> str:
        return str((folder / repo_id / filename).resolve(strict=True))

    for owner, name, replacement in (
        (HfApi, "create_repo", create_repo),
        (HfApi, "upload_folder", upload_folder),
        (huggingface_hub, "hf_hub_download", download),
    ):
        monkeypatch.setattr(owner, name, create_autospec(getattr(owner, name), side_effect=replacement))
    (folder / "sb3/ppo-CartPole-v1").mkdir(parents=True)
    PPO("MlpPolicy", "CartPole-v1").save(folder / "sb3/ppo-CartPole-v1/ppo-CartPole-v1")
