import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments import evaluate, train
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.masked_environments import Packing
from sb3_ppo_variants.experiments.runs.run import Run, train_run
from tests.forms import long
from tests.resume.runs import rows

SMALL = {"n_steps": 128, "n_epochs": 2}
PACKING = "sb3_ppo_variants/Packing-v0"


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
    train("clip_ppo", "Pendulum-v1", overwrite=True, **options)
    assert not (tmp_path / "vecnormalize.pkl").exists()


@pytest.mark.long
def test_a_training_with_rollout_workers_is_extended_by_any_number_of_them(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_envs": 2, "settings": {"n_steps": 64, "batch_size": 64}, "checkpoint_every": 128}
    whole = train("clip_ppo", timesteps=512, rollout_workers=2, out=tmp_path / "whole", **options)
    train("clip_ppo", timesteps=256, rollout_workers=1, out=tmp_path / "it", **options)
    with pytest.raises(ValueError, match=r"is of a run with workers_collect=True; this one has False"):
        train("clip_ppo", timesteps=512, out=tmp_path / "it", resume=True, **options)
    extended = train("clip_ppo", timesteps=512, rollout_workers=2, out=tmp_path / "it", resume=True, **options)
    assert extended.resumed_at == 256
    for name, parameters in whole.model.policy.state_dict().items():
        assert parameters.equal(extended.model.policy.state_dict()[name])
    assert json.loads((tmp_path / "it" / "run.json").read_text())["run"]["vec_env"] == "WorkerVecEnv"
    assert evaluate(tmp_path / "it", episodes=1).mean > 0


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
    with pytest.raises(ValueError, match="episodes=0 is out of range: it must be >= 1"):
        evaluate(trained, episodes=0)


def test_wrong_training_input() -> None:
    with pytest.raises(ValueError, match="takes no argument 'clip_rnage'"):
        train("clip_ppo", settings={"clip_rnage": 0.1})
    with pytest.raises(ValueError, match="Cannot make the environment"):
        train("clip_ppo", "CartPol-v1")


# ---- One folder, several runs ----


def small(out: Path | None = None, **options: Any) -> Any:
    return train("clip_ppo", **{"timesteps": 128, "settings": SMALL, "out": out, **options})


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    first = small(tmp_path / "a")
    before = (tmp_path / "a/model.zip").read_bytes()
    with pytest.raises(ValueError, match=r"a holds another run \(with seed=0; this one has 5\).*--overwrite"):
        small(tmp_path / "a", seed=5)
    assert (tmp_path / "a/model.zip").read_bytes() == before
    again = small(tmp_path / "a")  # the same run
    assert again.resumed_at == again.result.steps == first.result.steps
    assert again.result == first.result
    assert (tmp_path / "a/model.zip").read_bytes() == before
    np.testing.assert_array_equal(*(m.policy.parameters_to_vector() for m in (first.model, again.model)))
    with pytest.raises(ValueError, match=r"a.model\.zip is in .*a, which overwrite replaces: give another folder"):
        small(tmp_path / "a", start_from=tmp_path / "a", overwrite=True, checkpoint_every=128)
    with pytest.raises(ValueError, match="gamma"):
        small(tmp_path / "a", settings={"gamma": 2.0}, overwrite=True, checkpoint_every=128)
    assert (tmp_path / "a/model.zip").read_bytes() == before
    assert small(tmp_path / "a", seed=5, overwrite=True).resumed_at is None
    assert json.loads((tmp_path / "a/run.json").read_text())["run"]["seed"] == 5


@pytest.mark.parametrize("name", ["ledger.db", "progress.csv", "0.monitor.csv", "vecnormalize.pkl", "model.zip"])
def test_files_of_something_else_are_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ValueError, match=f"holds the files of something else .{name}"):
        small(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "precious"}


def test_a_run_that_left_no_model_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run.json").write_text(json.dumps({"run": {"seed": 77}}))
    (tmp_path / "progress.csv").write_text("a,b\n")
    assert small(tmp_path).resumed_at is None
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_default_folder_is_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = "runs/clip_ppo-CartPole-v1-seed0"
    other = {"settings": {**SMALL, "gamma": 0.9}}
    outs = [small(**options).out for options in ({}, other, {"timesteps": 256}, other, {})]
    assert outs == [Path(base), Path(f"{base}_2"), Path(f"{base}_3"), Path(f"{base}_2"), Path(base)]


def test_the_home_folder_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert small(Path("~/x")).out == tmp_path / "x"
    assert evaluate("~/x", episodes=1).environment == "CartPole-v1"


# ---- Extend, start from a model, evaluate on the way ----


def test_a_finished_run_is_extended_as_sb3_does_it(tmp_path: Path) -> None:
    settings = {"n_steps": 64, "n_epochs": 2}
    options: dict[str, Any] = {"settings": settings, "seed": 3}
    for normalize in (None, "both"):
        out = tmp_path / str(normalize)
        first = train("sb3:ppo", "Pendulum-v1", timesteps=256, normalize=normalize, out=out, **options)
        shutil.copytree(out, tmp_path / f"kept-{normalize}")
        log = (out / "progress.csv").read_text()
        # An extension that was killed has left lines.
        killed = [line.replace("256", "320") for line in log.splitlines()[-1:]]
        (out / "progress.csv").write_text("\n".join([*log.splitlines(), *killed, ""]))
        more = train("sb3:ppo", "Pendulum-v1", timesteps=512, normalize=normalize, out=out, resume=True, **options)
        assert (more.resumed_at, more.result.steps) == (256, 512)
        # SB3's own way to go on.
        env: Any = make_environment("Pendulum-v1", 1, 3)
        if normalize:
            env = VecNormalize.load(str(tmp_path / f"kept-{normalize}/vecnormalize.pkl"), env)
        oracle = PPO.load(tmp_path / f"kept-{normalize}/model.zip", env=env, device="cpu")
        oracle.learn(256, reset_num_timesteps=False)
        np.testing.assert_array_equal(*(m.policy.parameters_to_vector() for m in (oracle, more.model)))
        assert (out / "progress.csv").read_text().startswith(log)
        assert len((out / "progress.csv").read_text().splitlines()) == 1 + 512 // 64
        steps = [point.timesteps for point in more.result.curve]
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (64, 512)
        assert more.result.curve[:4] == first.result.curve
        assert json.loads((out / "run.json").read_text())["run"]["timesteps"] == 512
        assert train("sb3:ppo", "Pendulum-v1", timesteps=512, normalize=normalize, out=out, **options).resumed_at == 512


def test_a_log_that_was_cut_short_is_followed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"settings": {"n_steps": 64, "n_epochs": 1}, "out": tmp_path}
    train("sb3:ppo", "Pendulum-v1", timesteps=64, **options)
    log = tmp_path / "progress.csv"
    whole = log.read_text()
    header = whole.index("\n") + 1
    shutil.copytree(tmp_path, tmp_path / "kept")
    for end in (0, 9, header - 1, header, (header + len(whole)) // 2, len(whole) - 1):
        for file in (tmp_path / "kept").iterdir():
            shutil.copy(file, tmp_path)
        log.write_text(whole[:end])
        train("sb3:ppo", "Pendulum-v1", timesteps=128, resume=True, **options)
        assert [row["time/total_timesteps"] for row in rows(log)] == ["128"]


def test_an_extension_of_another_run_is_refused(tmp_path: Path) -> None:
    small(tmp_path)
    with pytest.raises(ValueError, match="with seed=0; this one has 1"):
        small(tmp_path, timesteps=256, seed=1, resume=True)
    with pytest.raises(ValueError, match=r"with timesteps=128; this one has 256, up to which --resume extends it\)"):
        small(tmp_path, timesteps=256)
    with pytest.raises(ValueError, match="with timesteps=128; this one has 64"):
        small(tmp_path, timesteps=64, resume=True)
    with pytest.raises(ValueError, match="give one of the two"):
        small(tmp_path, resume=True, overwrite=True)


@pytest.mark.parametrize("points", [500, 5])
def test_a_run_with_checkpoints_is_extended_as_if_it_had_been_that_long(
    points: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.CURVE_POINTS", points)
    settings = {"n_steps": 64, "n_epochs": 2}
    whole = small(tmp_path / "whole", settings=settings, timesteps=512)
    options: dict[str, Any] = {"settings": settings, "checkpoint_every": 64}
    small(tmp_path / "parts", timesteps=256, **options)
    more = small(tmp_path / "parts", timesteps=512, resume=True, **options)
    assert more.resumed_at == 256
    assert more.result.steps == 512
    np.testing.assert_array_equal(*(m.policy.parameters_to_vector() for m in (whole.model, more.model)))
    assert rows(tmp_path / "parts/progress.csv") == rows(tmp_path / "whole/progress.csv")
    assert more.result.final_return == whole.result.final_return
    assert [point[::2] for point in more.result.curve] == [point[::2] for point in whole.result.curve]
    with pytest.raises(ValueError, match="resume needs checkpoint_every"):
        small(tmp_path / "parts", settings=settings, timesteps=1024, resume=True)


def test_a_finished_run_with_a_schedule_is_not_extended(tmp_path: Path) -> None:
    options: dict[str, Any] = {"settings": {"n_steps": 64, "learning_rate": "lin_1e-3"}, "checkpoint_every": 64}
    small(tmp_path, **options)
    before = (tmp_path / "model.zip").read_bytes()
    with pytest.raises(ValueError, match="finished run with learning_rate as schedule over its timesteps"):
        small(tmp_path, timesteps=256, resume=True, **options)
    assert (tmp_path / "model.zip").read_bytes() == before


def test_an_interrupted_run_of_the_same_command_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)

    def stop(steps: int, mean_return: float) -> None:
        if steps >= 200:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"settings": {"n_steps": 64, "n_epochs": 1}, "timesteps": 320, "checkpoint_every": 64}
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, report=stop, **options)
    assert small(tmp_path, **options).resumed_at == 192


def test_training_starts_from_a_model(trained: Path, tmp_path: Path) -> None:
    started = small(tmp_path / "b", start_from=trained, seed=4, settings={"n_epochs": 1})
    env = make_environment("CartPole-v1", 1, 4)
    oracle = ClipPPO.load(trained / "model.zip", env=env, device="cpu", n_epochs=1, seed=4)
    oracle.learn(128)
    assert oracle.n_steps == SMALL["n_steps"]
    np.testing.assert_array_equal(*(m.policy.parameters_to_vector() for m in (oracle, started.model)))
    kept = json.loads((tmp_path / "b/run.json").read_text())
    assert kept["from"] == str(trained / "model.zip")
    assert started.result.steps == 128
    with pytest.raises(ValueError, match=r"another run .with from="):
        small(tmp_path / "b", seed=4, settings={"n_epochs": 1})
    with pytest.raises(ValueError, match="There is no model at"):
        small(tmp_path / "c", start_from=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="the file has a policy of the class ActorCriticPolicy"):
        small(tmp_path / "c", start_from=trained, settings={"policy": "MlpLstmPolicy"})
    peers = {"timesteps": 64, "settings": {"n_steps": 64, "policy": "MlpPolicy"}}
    peer = train("sb3:ppo", out=tmp_path / "peer", **peers)
    assert train("sb3:ppo", out=tmp_path / "same", start_from=peer.out, **peers).result.steps == 64
    with pytest.raises(ValueError, match="the file has a policy of the class ActorCriticPolicy"):
        train("sb3:ppo", out=tmp_path / "c", start_from=peer.out, settings={"policy": "CnnPolicy"})
    assert not list((tmp_path / "c").iterdir())  # nothing was trained


def test_a_training_is_not_finished_if_it_started_from_what_the_file_held_before(tmp_path: Path) -> None:
    small(tmp_path / "base", seed=1)
    first = small(tmp_path / "b", start_from=tmp_path / "base")
    assert small(tmp_path / "b", start_from=tmp_path / "base").resumed_at == first.result.steps
    small(tmp_path / "base", seed=2, overwrite=True)
    with pytest.raises(ValueError, match=r"another run .with from_sha256="):
        small(tmp_path / "b", start_from=tmp_path / "base")
    # What goes on has left its start behind, and keeps saying what that was.
    kept = json.loads((tmp_path / "b/run.json").read_text())["from_sha256"]
    again = small(tmp_path / "b", start_from=tmp_path / "base", resume=True)
    assert again.resumed_at == first.result.steps
    longer = small(tmp_path / "b", start_from=tmp_path / "base", resume=True, timesteps=256)
    assert longer.result.steps == 256
    assert json.loads((tmp_path / "b/run.json").read_text())["from_sha256"] == kept
    # A file of an earlier version does not say what it was.
    kept = json.loads((tmp_path / "b/run.json").read_text())
    del kept["from_sha256"]
    (tmp_path / "b/run.json").write_text(json.dumps(kept))
    assert small(tmp_path / "b", start_from=tmp_path / "base", timesteps=256).resumed_at == 256


def test_a_training_that_starts_from_a_masked_model_is_evaluated_with_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = []
    step = Packing.step

    def noted(self: Packing, action: int) -> Any:
        valid.append(bool(self.action_masks()[action]))
        return step(self, action)

    monkeypatch.setattr(Packing, "step", noted)
    options: dict[str, Any] = {"timesteps": 128, "eval_every": 64, "eval_episodes": 2}
    train("clip_ppo", PACKING, settings={**SMALL, "use_masking": True}, out=tmp_path / "a", **options)
    train("clip_ppo", PACKING, settings=SMALL, start_from=tmp_path / "a", out=tmp_path / "b", **options)
    assert len(valid) > 256
    assert all(valid)


def test_training_starts_from_a_model_with_its_normalisation(tmp_path: Path) -> None:
    options: dict[str, Any] = {"timesteps": 128, "settings": SMALL}
    first = train("clip_ppo", "Pendulum-v1", normalize="both", out=tmp_path / "a", **options)
    second = train("kl_penalty_ppo", "Pendulum-v1", start_from=tmp_path / "a", out=tmp_path / "b", **options)
    before, after = (trained.model.get_vec_normalize_env() for trained in (first, second))
    assert after is not None
    assert before is not None
    assert after.obs_rms.count == pytest.approx(before.obs_rms.count + 129)  # type: ignore[union-attr]
    assert after.norm_reward
    assert evaluate(tmp_path / "b", episodes=1).normalization.endswith("b/vecnormalize.pkl")
    kept = json.loads((tmp_path / "b/run.json").read_text())["run"]["normalize"]
    assert kept.items() >= {"norm_obs": True, "norm_reward": True, "clip_obs": 10.0, "gamma": 0.99}.items()
    for normalize, said in (("observations", "norm_reward=False"), ({"clip_obs": 5.0}, r"clip_obs=5\.0")):
        with pytest.raises(ValueError, match=rf"vecnormalize\.pkl, .* they do not have {said}\. Leave normalize"):
            train(
                "clip_ppo", "Pendulum-v1", start_from=tmp_path / "a", out=tmp_path / "c", normalize=normalize, **options
            )
    assert not (tmp_path / "c").exists()
    again = train("clip_ppo", "Pendulum-v1", start_from=tmp_path / "a", out=tmp_path / "d", normalize="both", **options)
    assert again.model.get_vec_normalize_env() is not None


@pytest.mark.parametrize("normalize", [None, "both"])
def test_evaluations_on_the_way_are_sb3s_and_change_nothing(normalize: str | None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"timesteps": 512, "settings": SMALL, "n_envs": 2, "normalize": normalize}
    alone = train("clip_ppo", "Pendulum-v1", out=tmp_path / "alone", **options)
    found = train("clip_ppo", "Pendulum-v1", out=tmp_path / "a", eval_every=256, eval_episodes=2, **options)
    np.testing.assert_array_equal(*(m.policy.parameters_to_vector() for m in (alone.model, found.model)))
    with np.load(tmp_path / "a/evaluations.npz") as kept:
        assert kept["timesteps"].tolist() == [256, 512]
        means = kept["results"].mean(axis=1)
    assert found.best == (means.max(), [256, 512][means.argmax()])
    assert (tmp_path / "a/best/vecnormalize.pkl").exists() == (normalize is not None)
    # The best model scores in evaluate what it scored on the way: by its own statistics.
    env: Any = make_environment("Pendulum-v1", 1, 10_000)
    model = ClipPPO.load(tmp_path / "a/best/best_model", device="cpu")
    if normalize:
        env = VecNormalize.load(str(tmp_path / "a/best/vecnormalize.pkl"), env)
        env.training, env.norm_reward = False, False
    expected, _ = evaluate_policy(model, env, 3, return_episode_rewards=True)
    assert evaluate(tmp_path / "a/best", episodes=3).returns == pytest.approx(expected)
    if not normalize:
        with np.load(tmp_path / "a/evaluations.npz") as kept:  # as an extension leaves it that was killed
            np.savez(tmp_path / "a/evaluations", **{n: np.concatenate([a, a[-1:] + 100]) for n, a in kept.items()})
        more = train(
            "clip_ppo", "Pendulum-v1", out=tmp_path / "a", eval_every=256, eval_episodes=2, resume=True,
            **{**options, "timesteps": 1024},
        )  # fmt: skip
        with np.load(tmp_path / "a/evaluations.npz") as kept:
            assert kept["timesteps"].tolist() == [256, 512, 768, 1024]
            assert more.best is not None
            assert more.best[0] == kept["results"].mean(axis=1).max() >= found.best[0]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small(tmp_path / "a", tensorboard=tmp_path / "tb")
    small(tmp_path / "a", tensorboard=tmp_path / "tb", seed=2, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == ["a_1", "a_2"]
    assert (tmp_path / "a/progress.csv").is_file()


# ---- Find the model and its statistics ----


def test_a_model_is_found_by_what_people_call_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate(trained, episodes=2)
    assert evaluate(trained / "model", episodes=2) == expected
    (tmp_path / "best").mkdir()
    shutil.copy(trained / "model.zip", tmp_path / "best/best_model.zip")
    shutil.copy(trained / "run.json", tmp_path / "run.json")
    for path in (tmp_path / "best", tmp_path / "best/best_model", tmp_path / "best/best_model.zip"):
        assert evaluate(path, episodes=2) == expected
    shutil.copy(trained / "model.zip", tmp_path / "only.v1.zip")
    assert evaluate(tmp_path, episodes=2) == expected
    assert evaluate(tmp_path / "only.v1", episodes=2) == expected
    shutil.copy(trained / "model.zip", tmp_path / "other.zip")
    monkeypatch.chdir(trained)
    assert evaluate(".", episodes=2) == expected
    with pytest.raises(ValueError, match=r"It holds only\.v1\.zip, other\.zip: give one of them"):
        evaluate(tmp_path)


def test_a_description_that_cannot_be_read_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.zip", tmp_path / "model.zip")
    for text in ('{"run": {"algo', "[]", "{}"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError, match=r"run\.json does not describe a run"):
            evaluate(tmp_path)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClipPPO, VecNormalize]:
    env = VecNormalize(make_vec_env("Pendulum-v1", seed=1), clip_obs=2.0)
    return ClipPPO("MlpPolicy", env, n_steps=256, seed=1).learn(512), env


def scored(model: ClipPPO, env: VecNormalize | None) -> list[float]:
    played: Any = make_environment("Pendulum-v1", 1, 5)
    if env is not None:
        played = VecNormalize(played, norm_reward=False, training=False, clip_obs=2.0)
        played.obs_rms = env.obs_rms
    returns: Any = evaluate_policy(model, played, 1, return_episode_rewards=True)
    return returns[0]


@pytest.mark.parametrize(
    ("model_path", "statistics"),
    [
        ("logs/best/best_model.zip", "logs/vecnormalize.pkl"),
        long("logs/best/best_model.zip", "logs/vec_normalize.pkl"),
        long("logs/best/best_model.zip", "logs/best/vecnormalize.pkl"),
        ("logs/checkpoints/rl_model_512_steps.zip", "logs/vecnormalize.pkl"),
        ("logs/ppo.zip", "logs/ppo_VecNormalize.pkl"),
        long("best_model.zip", "../vecnormalize.pkl"),
    ],
)
def test_statistics_are_found_where_people_leave_them(
    model_path: str, statistics: str, normalised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "work"
    here.mkdir()
    monkeypatch.chdir(here)
    model, env = normalised
    Path(model_path).parent.mkdir(parents=True, exist_ok=True)
    model.save(model_path)
    Path(statistics).parent.mkdir(parents=True, exist_ok=True)
    env.save(statistics)
    found = evaluate(model_path, "Pendulum-v1", "clip_ppo", episodes=1, seed=5)
    assert found.returns == pytest.approx(scored(model, env))
    assert "observations normalised by" in found.normalization
    assert Path(statistics).name in found.normalization
    without = evaluate(model_path, "Pendulum-v1", "clip_ppo", episodes=1, seed=5, normalization="none")
    assert without.returns == pytest.approx(scored(model, None))
    assert without.normalization == "observations not normalised"


def test_statistics_that_are_not_clearly_the_models_are_named_and_not_used(normalised: Any, tmp_path: Path) -> None:
    model, env = normalised
    (tmp_path / "models").mkdir()
    model.save(tmp_path / "models/final.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    found = evaluate(tmp_path / "models/final", "Pendulum-v1", "clip_ppo", episodes=1, seed=5)
    assert found.returns == pytest.approx(scored(model, None))
    assert found.normalization.startswith(f"observations not normalised ({tmp_path}/vecnormalize.pkl: --normalization")
    given = evaluate(
        tmp_path / "models/final", "Pendulum-v1", "clip_ppo", episodes=1, seed=5,
        normalization=tmp_path / "vecnormalize.pkl",
    )  # fmt: skip
    assert given.returns == pytest.approx(scored(model, env))


def test_statistics_that_are_missing_or_wrong_are_errors(normalised: Any, tmp_path: Path) -> None:
    model, env = normalised
    model.save(tmp_path / "model.zip")
    told = {"algorithm": "clip_ppo", "environment": "Pendulum-v1", "normalize": {"norm_obs": True}}
    (tmp_path / "run.json").write_text(json.dumps({"run": told}))
    with pytest.raises(ValueError, match=r"trained in a normalised environment, but no vecnormalize\.pkl lies beside"):
        evaluate(tmp_path)
    with pytest.raises(ValueError, match=r"There is no file .*nowhere"):
        evaluate(tmp_path, normalization=tmp_path / "nowhere")
    (tmp_path / "vecnormalize.pkl").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"vecnormalize\.pkl does not hold the statistics of a VecNormalize"):
        evaluate(tmp_path)
    safe = model.save_safe(tmp_path / "m.safetensors")
    (tmp_path / "vecnormalize.pkl").unlink()
    with pytest.raises(ValueError, match=r"m\.safetensors was trained in a normalised environment, but no vecnormal"):
        evaluate(safe)
    assert evaluate(safe, episodes=1, seed=5, normalization="none").returns == pytest.approx(scored(model, None))
    env.save(str(tmp_path / "vecnormalize.pkl"))
    given = evaluate(safe, episodes=1, seed=5, normalization=tmp_path / "vecnormalize.pkl")
    assert given.returns == pytest.approx(scored(model, env))


def test_an_environment_that_never_ends(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"An episode has not ended within 5 steps: .*TimeLimit"):
        evaluate(trained, episodes=1, max_steps=5)


def test_evaluations_in_an_environment_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.models.training_evaluations.LONGEST_EPISODE", 5)
    with pytest.raises(ValueError, match=r"has not ended within 5 steps: .*train without --eval-every"):
        small(tmp_path, eval_every=64)


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
    found = evaluate(path, "Pendulum-v1", "clip_ppo", episodes=1, seed=5)
    assert (found.algorithm, found.environment) == ("clip_ppo", "Pendulum-v1")
    normalized = VecNormalize(make_environment("Pendulum-v1", 1, 5), norm_reward=False, training=False, clip_obs=2.0)
    normalized.obs_rms = env.obs_rms
    expected, _ = evaluate_policy(model, normalized, 1, return_episode_rewards=True)
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
