"""huggingface_sb3 with our classes. The page's own code is run by ``test_pages.py``."""

from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from sb3_ppo_variants import ClipPPO

NEEDED = "huggingface_sb3 is not installed: pip install 'sb3_ppo_variants[zoo]'"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the imports of huggingface_sb3 and moviepy
def test_package_to_hub_and_load_from_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_sb3 = pytest.importorskip("huggingface_sb3", reason=NEEDED)
    from tests.hub import hub_in_folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    hub_in_folder(monkeypatch, tmp_path / "hub")
    env = make_vec_env("CartPole-v1", env_kwargs={"render_mode": "rgb_array"})
    model = ClipPPO("MlpPolicy", env, n_steps=64, seed=0).learn(64)
    huggingface_sb3.package_to_hub(
        model, "mine", "ClipPPO", "CartPole-v1", env, "me/mine", n_eval_episodes=1, video_length=2
    )
    uploaded = {path.name for path in (tmp_path / "hub/me/mine").iterdir()}
    assert {"README.md", "config.json", "mine.zip", "results.json"} <= uploaded

    again = ClipPPO.load(huggingface_sb3.load_from_hub("me/mine", "mine.zip"))
    np.testing.assert_array_equal(again.policy.parameters_to_vector(), model.policy.parameters_to_vector())
