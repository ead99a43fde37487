"""``ppo-variants zoo``: rl_zoo3's own scripts with our algorithms, from a folder outside the repository."""

import json
import re
import shutil
from pathlib import Path

import pytest

from sb3_ppo_variants import ClipPPO, KLPenaltyPPO
from sb3_ppo_variants.experiments import evaluate
from sb3_ppo_variants.experiments.models.recording import record
from tests.forked import python
from tests.zoo_process import needs_rl_zoo3, zoo, zoo_mistake

TINY = ["-n", "256", "--seed", "1", "--eval-freq", "128", "--eval-episodes", "2"]


def program(folder: Path, text: str) -> list:
    """Run a program that prints one line of JSON at the end."""
    done = python(folder, "-c", text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# ---- Nothing imports rl_zoo3 unless asked to ----


def test_nothing_else_imports_rl_zoo3(tmp_path: Path) -> None:
    text = (
        "import json, sys, pkgutil, importlib, sb3_ppo_variants\n"
        "names = [m.name for m in pkgutil.walk_packages(sb3_ppo_variants.__path__, 'sb3_ppo_variants.')]\n"
        "others = [n for n in names if n not in ('sb3_ppo_variants.zoo', 'sb3_ppo_variants.__main__')]\n"
        "assert len(others) > 50, others\n"
        "for name in others:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:  # another extra's\n"
        "        assert not error.name.startswith(('sb3_ppo', 'rl_zoo3')), error\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('rl_zoo3')]))"
    )
    assert program(tmp_path, text) == []


@needs_rl_zoo3
def test_only_register_changes_rl_zoo3_in_place_and_nothing_that_was_there(tmp_path: Path) -> None:
    text = (
        "import json, sb3_ppo_variants.algorithms, sb3_ppo_variants.experiments, sb3_ppo_variants.cli\n"
        "import rl_zoo3, rl_zoo3.exp_manager as e, rl_zoo3.utils as u, sb3_ppo_variants.zoo\n"
        "manager = e.ExperimentManager\n"
        "before = dict(u.ALGOS), dict(e.HYPERPARAMS_SAMPLER), dict(e.HYPERPARAMS_CONVERTER)\n"
        "assert len(before[0]) == 12 and not any('sb3_ppo' in c.__module__ for c in before[0].values())\n"
        "sb3_ppo_variants.zoo.register()\n"
        "after = e.ALGOS, e.HYPERPARAMS_SAMPLER, e.HYPERPARAMS_CONVERTER\n"
        "assert rl_zoo3.ALGOS is e.ALGOS is u.ALGOS and e.ExperimentManager is manager\n"
        "assert all(a[k] is b[k] for a, b in zip(after, before) for k in b)\n"
        "print(json.dumps([sorted(set(a) - set(b)) for a, b in zip(after, before)]))"
    )
    newer = ["spo", "rollback_ppo", "discovered_ppo", "scopic_ppo"]
    ours = sorted(["clip_ppo", "kl_penalty_ppo", "unclipped_ppo", "reinforce", "paper_trpo", *newer])
    assert program(tmp_path, text) == [ours, ours, ours]


def test_without_rl_zoo3_one_line_says_what_to_do(tmp_path: Path) -> None:
    text = (
        "import runpy, sys\nsys.modules['rl_zoo3'] = None\n"
        "runpy.run_module('sb3_ppo_variants', run_name='__main__', alter_sys=True)"
    )
    done = python(tmp_path, "-c", text, "zoo", "train")
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == "Error: The zoo needs rl_zoo3, which is not installed: pip install 'sb3_ppo_variants[zoo]'"
    )


# ---- The scripts ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    said = zoo(folder, "train", "--algo", "clip_ppo", "--env", "CartPole-v1", *TINY, "-params", "n_steps:64")
    assert "zoo_configs/clip_ppo.yml" in said
    return folder


@needs_rl_zoo3
def test_train_leaves_what_rl_zoo3_leaves(trained: Path) -> None:
    run = trained / "logs/clip_ppo/CartPole-v1_1"
    assert {path.name for path in run.iterdir()} >= {"CartPole-v1.zip", "0.monitor.csv", "evaluations.npz"}
    assert re.search(r"- n_steps\s+- 64", (run / "CartPole-v1/config.yml").read_text())
    # The model is ours, with the documented defaults.
    model = ClipPPO.load(run / "CartPole-v1.zip")
    assert [model.n_steps, model.ent_coef, model.clip_range(1), model.num_timesteps] == [64, 0.01, 0.2, 256]


@needs_rl_zoo3
def test_enjoy(trained: Path) -> None:
    said = zoo(trained, "enjoy", "--algo", "clip_ppo", "--env", "CartPole-v1", "-f", "logs", "--no-render", "-n", "600")
    found = re.search(r"(\d+) Episodes\s+Mean reward: ([\d.]+)", said)
    assert found, said
    returns = [float(value) for value in re.findall(r"Episode Reward: ([\d.]+)", said)]
    assert len(returns) == int(found[1]) > 0
    assert abs(sum(returns) / len(returns) - float(found[2])) < 0.01


@needs_rl_zoo3
def test_evaluate_and_record_play_as_enjoy_does(tmp_path: Path) -> None:
    """In the environment with its arguments and wrappers, normalised, stacked; given the run folder or the zip."""
    what = ["--algo", "clip_ppo", "--env", "Pendulum-v1"]
    wrapped = ["normalize:True", "frame_stack:2", "env_wrapper:['sb3_contrib.common.wrappers.TimeFeatureWrapper']"]
    small = ["-n", "512", "--eval-freq", "-1", "--seed", "1", "--env-kwargs", "g:3.0", "max_episode_steps:50"]
    zoo(tmp_path, "train", *what, *small, "-params", "n_steps:256", "n_envs:1", *wrapped)
    said = zoo(tmp_path, "enjoy", *what, "-f", "logs", "--no-render", "-n", "150", "--seed", "7")
    expected = [float(value) for value in re.findall(r"Episode Reward: (-[\d.]+)", said)]
    assert len(set(expected)) == 3  # sums of float32, with two decimals
    run = tmp_path / "logs/clip_ppo/Pendulum-v1_1"
    for path in (run, run / "Pendulum-v1.zip"):
        scored = evaluate(path, episodes=3, seed=7)
        assert (scored.algorithm, scored.environment) == ("clip_ppo", "Pendulum-v1")
        assert scored.returns == pytest.approx(expected, abs=0.02)
    assert record(run, tmp_path / "a.gif", seed=7).returns == pytest.approx(expected[:1], abs=0.02)
    (run / "Pendulum-v1/vecnormalize.pkl").unlink()
    with pytest.raises(ValueError, match=r"the environment was normalised, but .*vecnormalize\.pkl does not exist"):
        evaluate(run)


@needs_rl_zoo3
def test_record_video(trained: Path) -> None:
    pytest.importorskip("moviepy", reason="moviepy is not installed: pip install 'sb3_ppo_variants[zoo]'")
    zoo(trained, "record_video", "--algo", "clip_ppo", "--env", "CartPole-v1", "-f", "logs", "-n", "20")
    (video,) = (trained / "logs/clip_ppo/CartPole-v1_1/videos").glob("*.mp4")
    assert b"ftyp" in video.read_bytes()[:12]


@needs_rl_zoo3
def test_plots_without_a_display_and_with_a_broken_rliable(trained: Path) -> None:
    pytest.importorskip("seaborn", reason="seaborn is not installed: pip install 'sb3_ppo_variants[zoo]'")
    # The real rliable cannot be imported beside pandas 3.
    broken = trained / "broken/rliable"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise AttributeError('pandas 3')\n")
    what = ["-a", "clip_ppo", "-e", "CartPole-v1", "-f", "logs"]
    said = zoo(trained, "plots", *what, PYTHONPATH=str(broken.parent))
    assert "|CLIP_PPO|" in said
    assert "written: Results-CartPole-v1.png" in said
    assert (trained / "Results-CartPole-v1.png").read_bytes()[:4] == b"\x89PNG"


@needs_rl_zoo3
def test_what_plot_from_file_cannot_plot_is_one_line(trained: Path) -> None:
    pytest.importorskip("seaborn", reason="seaborn is not installed: pip install 'sb3_ppo_variants[zoo]'")
    # Two runs, of which the second is the first.
    for number in ("1", "2"):
        shutil.copytree(trained / "logs/clip_ppo/CartPole-v1_1", trained / f"twice/clip_ppo/CartPole-v1_{number}")
    text = """
import json, os, sys
from sb3_ppo_variants import zoo
os.environ["PATH"] = "no programs here"
sys.modules["rliable"] = None
for folder in ("logs", "twice"):
    zoo.run("all_plots", ["-a", "clip_ppo", "-e", "CartPole-v1", "-f", folder, "-o", folder])
said = []
for arguments in (["logs"], ["logs", "--rliable"], ["twice", "--rliable"], ["twice", "-latex"]):
    try:
        zoo.run("plot_from_file", ["-i", *arguments])
    except (ValueError, ImportError) as error:
        said.append(str(error))
print()
print(json.dumps(said))
"""
    one, one_rliable, rliable, latex = program(trained, text)
    assert one == one_rliable
    assert one.endswith("give all_plots two runs or more of each algorithm")
    assert "ppo-variants compare computes the same statistics" in rliable
    assert latex.startswith("-latex needs a working LaTeX")


@needs_rl_zoo3
def test_optimize_then_train_with_each_trial(tmp_path: Path) -> None:
    study = ["--study-name", "s", "--storage", "sqlite:///study.db"]
    what = ["--algo", "kl_penalty_ppo", "--env", "Pendulum-v1", "-n", "256", "--eval-episodes", "1", "--seed", "3"]
    said = zoo(tmp_path, "train", *what, *study, "-params", "n_steps:256", "-optimize", "--n-trials", "2")
    assert "Number of finished trials:  2" in said
    # Trial 0 too, which rl_zoo3 alone takes for none.
    text = f"""
import json, optuna
from sb3_ppo_variants import zoo
trials = optuna.load_study(study_name='s', storage='sqlite:///study.db').trials
for number in ("0", "1"):
    zoo.run("train", [*{what + study}, "--trial-id", number, "-f", "trial" + number, "-params", "n_steps:256"])
mistakes = []
for more in ([*{study}, "--trial-id", "7"], ["--trial-id", "0"]):
    try:
        zoo.run("train", [*{what}, *more])
    except ValueError as error:
        mistakes.append(str(error))
print()
print(json.dumps([[[t.params, zoo.convert('kl_penalty_ppo', t.params), t.user_attrs] for t in trials], mistakes]))
"""
    trials, mistakes = program(tmp_path, text)
    for number, (parameters, converted, shown) in enumerate(trials):
        # What the constructor was given in the trial is what --trial-id gives it again.
        assert converted == shown
        assert converted["gamma"] == 1 - parameters["1 - gamma"]
        assert 256 % converted["batch_size"] == 0
        model = KLPenaltyPPO.load(tmp_path / f"trial{number}/kl_penalty_ppo/Pendulum-v1_1/Pendulum-v1.zip")
        assert model.num_timesteps == 256
        assert model.learning_rate(1) == converted["learning_rate"]
        for name in ("gamma", "n_epochs", "batch_size", "adaptive_kl_target", "ent_coef"):
            assert getattr(model, name) == converted[name], name
    assert "There is no trial 7 in study 's'" in mistakes[0]
    assert "--trial-id 0 needs --storage and --study-name" in mistakes[1]


@needs_rl_zoo3
def test_mistakes_are_one_line(tmp_path: Path) -> None:
    enjoy = ["enjoy", "--algo", "clip_ppo", "--env", "CartPole-v1", "--exp-id", "3", "-f", "nowhere", "--no-render"]
    assert "nowhere/clip_ppo/CartPole-v1_3 folder was not found" in zoo_mistake(tmp_path, *enjoy)
    misspelt = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "--gym-packages", "no_such_package"]
    said = zoo_mistake(tmp_path, *misspelt)
    assert "No module named 'no_such_package'; install it, or mend the name if you have given it" in said
    text = """
import json
from sb3_ppo_variants import zoo
what = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "-n", "64", "-params", "clip_range:-0.2"]
said = []
for script, *arguments in (["trian"], ["push_to_hub"], what):
    try:
        zoo.run(script, arguments)
    except (ValueError, TypeError, ImportError) as error:
        said.append(str(error))
print()
print(json.dumps(said))
"""
    unknown, hub, bad = program(tmp_path, text)
    assert "Did you mean 'train'?" in unknown
    assert hub.startswith("rl_zoo3's push_to_hub does not run here")
    assert "clip_range" in bad


@needs_rl_zoo3
def test_samples_and_trials_agree(tmp_path: Path) -> None:
    """For every algorithm: what is sampled is what is converted, lies in the space, and builds the algorithm."""
    text = """
import json, optuna
from sb3_ppo_variants import zoo
from sb3_ppo_variants.experiments.runs.registry import OURS, algorithm_class
from sb3_ppo_variants.experiments.search_space.spaces import default_space, values_of

optuna.logging.disable_propagation()
optuna.logging.set_verbosity(optuna.logging.WARNING)
for algorithm in OURS:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = default_space(algorithm, {}, 1)
    for _ in range(20):
        trial = study.ask()
        chosen = zoo.sample(algorithm, trial, {}, 1)
        assert zoo.convert(algorithm, trial.params) == chosen, (chosen, trial.params)
        assert set(chosen) == set(space)
        assert all(space[a].contains(v) for a, v in values_of(space, chosen).items()), chosen
        algorithm_class(algorithm)("MlpPolicy", "CartPole-v1", **chosen)
# rl_zoo3 takes every string for a linear decay.
read = zoo.OurExperimentManager._preprocess_schedules({"learning_rate": "kl_0.01", "clip_range": "lin_0.2"})
assert (read["learning_rate"], read["clip_range"](0.5)) == ("kl_0.01", 0.1), read
assert zoo.OurExperimentManager._preprocess_schedules({"learning_rate": "lin_0.2"})["learning_rate"](0.5) == 0.1
# What the configuration fixes with a schedule stays; the multiple of a clip range goes with it.
chosen = zoo.sample("clip_ppo", optuna.create_study().ask(), {"clip_range": "lin_0.1", "n_steps": 128}, 2)
assert not {"clip_range", "clip_range_high"} & set(chosen), chosen
assert chosen["batch_size"] <= 256
try:
    zoo.convert("clip_ppo", {"one_minus_gamma": 0.01})
except ValueError as error:
    print(json.dumps([str(error)]))
"""
    (said,) = program(tmp_path, text)
    assert said.startswith("The trial has a parameter 'one_minus_gamma', which is not in the search space of clip_ppo")
