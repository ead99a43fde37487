import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments import evaluate, train
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.run import Run, train_run

SMALL = {"n_steps": 128, "n_epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("clip_ppo", timesteps=512, seed=1, settings=SMALL, out=tmp_path_factory.mktemp("run") / "it").out


def test_a_normalised_training_is_evaluated_in_what_it_has_seen(tmp_path: Path) -> None:
    options: dict[str, Any] = {"timesteps": 256, "settings": {"n_steps": 128, "n_epochs": 1}, "out": tmp_path}
    trained = train("clip_ppo", "Pendulum-v1", normalize="both", **options)
    kept = VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), make_vec_env("Pendulum-v1"))
    normalizer = trained.model.get_vec_normalize_env()
    assert normalizer is not None
    assert kept.norm_obs
    assert kept.norm_reward
    np.testing.assert_array_equal(kept.obs_rms.mean, normalizer.obs_rms.mean)  # type: ignore[union-attr]
    run = json.loads((tmp_path / "run.json").read_text())["run"]
    assert run["normalize"] == {"norm_obs": True, "norm_reward": True}
    assert evaluate(tmp_path, episodes=1).mean < -100  # of the reward as it is
    train("clip_ppo", "Pendulum-v1", **options)
    assert not (tmp_path / "vecnormalize.pkl").exists()


def test_train_leaves_a_run_folder(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"model.zip", "run.json", "curve.csv", "progress.csv"}
    kept = json.loads((trained / "run.json").read_text())
    run = Run(**kept["run"])
    assert (run.algorithm, run.seed, run.settings) == ("clip_ppo", 1, SMALL)
    assert kept["result"]["final_return"] == train_run(run).final_return
    assert len((trained / "curve.csv").read_text().splitlines()) == 1 + 512 / 128


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("sb3:ppo", timesteps=64, settings={"n_steps": 64}).out == Path("runs/sb3-ppo-CartPole-v1-seed0")
    assert (tmp_path / "runs/sb3-ppo-CartPole-v1-seed0/model.zip").is_file()


def test_evaluate(trained: Path) -> None:
    found = evaluate(trained, episodes=3)
    assert (found.algorithm, found.environment) == ("clip_ppo", "CartPole-v1")
    assert len(found.returns) == 3
    assert found.returns == [float(n) for n in found.lengths]  # CartPole pays 1 a step
    assert found.mean == sum(found.returns) / 3
    assert evaluate(trained / "model.zip", episodes=3) == found
    drawn = evaluate(trained, episodes=3, deterministic=False)
    assert drawn == evaluate(trained, episodes=3, deterministic=False)
    assert drawn != evaluate(trained, episodes=3, deterministic=False, seed=1)


def test_model_zip_alone_needs_to_be_explained(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes((trained / "model.zip").read_bytes())
    with pytest.raises(ValueError, match="give --env and --algo"):
        evaluate(tmp_path / "m.zip")
    with pytest.raises(ValueError, match="give --algo"):
        evaluate(tmp_path / "m.zip", "CartPole-v1")
    assert evaluate(tmp_path / "m.zip", "CartPole-v1", "clip_ppo", episodes=3) == evaluate(trained, episodes=3)


def test_a_file_of_the_safe_format(trained: Path, tmp_path: Path) -> None:
    """It says itself which algorithm it is of, and nothing beside it is unpickled."""
    safe = tmp_path / "model.safetensors"
    ClipPPO.load(trained / "model.zip").save_safe(safe)
    assert evaluate(safe, "CartPole-v1", episodes=3) == evaluate(trained, episodes=3)
    with pytest.raises(ValueError, match="give --env"):
        evaluate(safe)
    (tmp_path / "run.json").write_text((trained / "run.json").read_text())
    assert evaluate(safe, episodes=3) == evaluate(trained, episodes=3)
    with pytest.raises(ValueError, match="in the safe format, which sb3:ppo does not read"):
        evaluate(safe, "CartPole-v1", "sb3:ppo")
    # What lies beside it may be anybody's too: no import path in it is followed.
    foreign = {"environment": "tests.experiments.mine:Line", "algorithm": "tests.experiments.mine:MyPPO"}
    (tmp_path / "run.json").write_text(json.dumps({"run": foreign}))
    with pytest.raises(ValueError, match="give --env"):
        evaluate(safe)
    (tmp_path / "vecnormalize.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ValueError, match="a pickle, which can run code, and so are not loaded"):
        evaluate(safe, "CartPole-v1")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(safe.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        evaluate(damaged, "CartPole-v1")


def test_wrong_models(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no model at"):
        evaluate(tmp_path)
    (tmp_path / "model.zip").write_text("garbage")
    with pytest.raises(ValueError, match=r"is not a model: neither a zip as .*, nor a \.safetensors"):
        evaluate(tmp_path)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        evaluate(trained, "Acrobot-v1")
    with pytest.raises(ValueError, match="episodes must be a positive integer, got 0"):
        evaluate(trained, episodes=0)


def test_wrong_training_input() -> None:
    with pytest.raises(ValueError, match="takes no argument 'clip_rnage'"):
        train("clip_ppo", settings={"clip_rnage": 0.1})
    with pytest.raises(ValueError, match="Cannot make the environment"):
        train("clip_ppo", "CartPol-v1")


STATISTICS = {
    "ours": "vecnormalize.pkl",
    "SB3's documentation": "vec_normalize.pkl",
    "rl_zoo3": "Pendulum-v1/vecnormalize.pkl",
    "SB3's checkpoints": "rl_model_vecnormalize_1024_steps.pkl",
}


@pytest.mark.parametrize("layout", STATISTICS)
def test_a_model_that_was_trained_on_normalised_observations(layout: str, tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env("Pendulum-v1", seed=1), clip_obs=2.0)
    model = ClipPPO("MlpPolicy", env, n_steps=256, seed=1).learn(1024)
    folder = tmp_path / "clip_ppo/Pendulum-v1_1"
    (folder / "Pendulum-v1").mkdir(parents=True)
    path = folder / ("rl_model_1024_steps.zip" if layout == "SB3's checkpoints" else "Pendulum-v1.zip")
    model.save(path)
    env.save(str(folder / STATISTICS[layout]))
    found = evaluate(path, "Pendulum-v1", "clip_ppo", episodes=2, seed=5)
    assert (found.algorithm, found.environment) == ("clip_ppo", "Pendulum-v1")
    normalized = VecNormalize(make_environment("Pendulum-v1", 1, 5), norm_reward=False, training=False, clip_obs=2.0)
    normalized.obs_rms = env.obs_rms
    expected, _ = evaluate_policy(model, normalized, 2, return_episode_rewards=True)
    assert found.returns == pytest.approx(expected)


def test_statistics_of_other_observations(tmp_path: Path) -> None:
    ClipPPO("MlpPolicy", "CartPole-v1").save(tmp_path / "model.zip")
    VecNormalize(make_vec_env("Pendulum-v1")).save(str(tmp_path / "vecnormalize.pkl"))
    with pytest.raises(ValueError, match=r"vecnormalize\.pkl are of other observations"):
        evaluate(tmp_path, "CartPole-v1", "clip_ppo")


def test_a_zoo_folder_is_read_without_running_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "clip_ppo/CartPole-v1_1"
    (folder / "CartPole-v1").mkdir(parents=True)
    ClipPPO("MlpPolicy", "CartPole-v1").save(folder / "CartPole-v1.zip")
    marker = tmp_path / "ran"
    (folder / "CartPole-v1/config.yml").write_text(f"x: !!python/object/apply:os.mkdir [{marker}]\n")
    with pytest.raises(ValueError, match=r"(?s)what only rl_zoo3 can read.*'ppo-variants zoo enjoy'"):
        evaluate(folder)
    assert not marker.exists()
