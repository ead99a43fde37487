"""The callback's own part: files, logs, other callbacks, and what it refuses or says."""

import contextlib
import io
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch as th
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TransformObservation
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.checkpoints import ResumableCheckpointCallback
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.resume.callback_states import CallbackState, capture_callbacks, restore_callbacks
from sb3_ppo_variants.resume.files import checkpoint_paths, read_checkpoint, write_checkpoint
from sb3_ppo_variants.resume.layers import capture_layer
from sb3_ppo_variants.resume.pickles import loads
from tests.resume.environments import Endless, Noisy
from tests.resume.runs import (
    ALGORITHMS,
    CLOCKS,
    EVERY,
    Curve,
    InterruptAt,
    Interrupted,
    assert_equal,
    envs,
    model,
    rows,
    train,
)


def test_a_schedule_that_draws_draws_the_same_with_checkpoints(tmp_path: Path) -> None:
    def trained(*callbacks: BaseCallback) -> np.ndarray:
        learner = MAKE(CARTPOLE(), learning_rate=lambda _: 1e-3 * np.random.random())
        return learner.learn(128, callback=list(callbacks)).policy.parameters_to_vector()

    checkpoints = ResumableCheckpointCallback(tmp_path, 64)
    np.testing.assert_array_equal(trained(checkpoints), trained())


class Masked(FlattenExtractor):
    """A user's features extractor with a buffer that is infinite on purpose."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space)
        self.register_buffer("mask", th.full((3, 3), -np.inf).triu(1))


MAKE = ALGORITHMS["ClipPPO"]
CARTPOLE = partial(envs, "CartPole-v1")


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        found.Reload()
        return {
            # Sorted: files begun within one second, as processes never are, may be read in another order.
            tag: sorted((event.step, event.value) for event in found.Scalars(tag))
            for tag in found.Tags()["scalars"]
            if tag not in CLOCKS
        }


def logged(folder: Path, interrupt_at: int, resume: bool) -> None:
    """As a user's script does it: a monitor file per environment, CSV and TensorBoard."""
    env = CARTPOLE(monitor_dir=str(folder / "monitors"))
    model = MAKE(env)
    model.set_logger(configure(str(folder / "log"), ["csv", "tensorboard", "json"]))
    InterruptAt.at = interrupt_at
    try:
        model.learn(640, callback=[ResumableCheckpointCallback(folder / "kept", 75, resume=resume), InterruptAt()])
    except Interrupted:
        pass
    finally:
        model.logger.close()
        env.close()


def test_logs_have_no_row_twice_and_no_gap(tmp_path: Path) -> None:
    logged(tmp_path / "undisturbed", 0, resume=False)
    for at in (170, 180, 420, 0):
        logged(tmp_path / "resumed", at, resume=True)
    expected, found = tmp_path / "undisturbed", tmp_path / "resumed"
    assert len(rows(expected / "log/progress.csv")) == 20
    assert rows(found / "log/progress.csv") == rows(expected / "log/progress.csv")
    assert len((found / "log/progress.json").read_text().splitlines()) == 20
    for name in ("0.monitor.csv", "1.monitor.csv"):
        assert len(rows(expected / "monitors" / name)) > 5
        assert rows(found / "monitors" / name) == rows(expected / "monitors" / name)
    assert events(found / "log") == events(expected / "log")
    assert len(events(found / "log")["rollout/ep_rew_mean"]) == 19  # no episode ends in the first rollout


def test_tensorboard_folder_of_sb3(tmp_path: Path) -> None:
    """SB3 counts the folder's name up at every start."""
    for folder, interruptions in (("undisturbed", (0,)), ("resumed", (200, 500, 0))):
        make_model = partial(MAKE, tensorboard_log=str(tmp_path / folder))
        for at in interruptions:
            train(make_model, CARTPOLE, tmp_path / folder / "kept", 640, at, resume=True)
    assert sorted(path.name for path in (tmp_path / "resumed").iterdir()) == ["ClipPPO_1", "kept"]
    assert events(tmp_path / "resumed/ClipPPO_1") == events(tmp_path / "undisturbed/ClipPPO_1")


def test_the_events_of_another_run_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    def make_model(env: Any) -> Any:
        model = MAKE(env)
        model.set_logger(configure(str(tmp_path / "shared"), ["tensorboard"]))
        return model

    train(make_model, CARTPOLE, tmp_path / "kept", 640, 200, resume=True)
    ours = set((tmp_path / "shared").iterdir())
    make_model(CARTPOLE()).learn(64).logger.close()
    (theirs,) = set((tmp_path / "shared").iterdir()) - ours
    before = theirs.read_bytes()
    for at in (500, 0):
        train(make_model, CARTPOLE, tmp_path / "kept", 640, at, resume=True)
    assert theirs.read_bytes() == before


def test_a_logger_that_is_used_again_loses_nothing(tmp_path: Path) -> None:
    logger = configure(str(tmp_path / "log"), ["tensorboard"])

    def make_model(env: Any) -> Any:
        model = MAKE(env)
        model.set_logger(logger)
        return model

    for at in (300, 0):
        InterruptAt.at = at
        callbacks = [ResumableCheckpointCallback(tmp_path / "kept", 64, resume=True), InterruptAt()]
        with contextlib.suppress(Interrupted):
            make_model(CARTPOLE()).learn(640, callback=callbacks)
    logger.close()
    steps = [step for step, _ in events(tmp_path / "log")["train/loss"]]
    assert steps == list(range(64, 641, 32))


def test_numpys_numbers_are_as_good_as_pythons(tmp_path: Path) -> None:
    kwargs = {"net_arch": [8], "optimizer_kwargs": {"weight_decay": np.float64(1e-4)}}
    make_model = partial(MAKE, policy_kwargs=kwargs)
    total: Any = np.int64(256)
    train(make_model, CARTPOLE, tmp_path / "resumed", total, 150)
    resumed = train(make_model, CARTPOLE, tmp_path / "resumed", total, resume=True)
    assert_equal(resumed, train(make_model, CARTPOLE, tmp_path / "undisturbed", total))


def test_log_interval(tmp_path: Path) -> None:
    def run(folder: str, at: int) -> None:
        def make_model(env: Any) -> Any:
            model = MAKE(env)
            model.set_logger(configure(str(tmp_path / folder), ["csv"]))
            return model

        train(make_model, CARTPOLE, tmp_path / folder / "kept", 640, at, resume=True, log_interval=3)

    run("undisturbed", 0)
    for at in (230, 500, 0):
        run("resumed", at)
    found = rows(tmp_path / "resumed/progress.csv")
    assert found == rows(tmp_path / "undisturbed/progress.csv")
    assert [row["time/iterations"] for row in found] == ["3", "6", "9", "12", "15", "18"]


def test_a_log_interval_does_not_keep_checkpoints_from_being_written(tmp_path: Path) -> None:
    undisturbed = train(MAKE, CARTPOLE, tmp_path / "undisturbed", 320, log_interval=100)
    for at in (130, 250):
        train(MAKE, CARTPOLE, tmp_path / "resumed", 320, at, resume=True, log_interval=100)
    # Due at 75 and put off by as much, for a log that is never written; the next is due at 225.
    assert [path.name[10:17] for path in checkpoint_paths(tmp_path / "undisturbed")] == ["0000160", "0000320"]
    assert_equal(undisturbed, train(MAKE, CARTPOLE, tmp_path / "resumed", 320, resume=True, log_interval=100))


def test_one_callback_and_one_folder_for_two_trainings(tmp_path: Path) -> None:
    checkpoints = ResumableCheckpointCallback(tmp_path / "once", 64)
    learner = MAKE(CARTPOLE()).learn(128, checkpoints)
    with pytest.raises(ValueError, match=r"or another folder \(each learn\(\) needs its own\)"):
        learner.learn(128, checkpoints, reset_num_timesteps=False)
    checkpoints = ResumableCheckpointCallback(tmp_path / "again", 64, resume=True)
    train(MAKE, CARTPOLE, tmp_path / "again", 320, interrupt_at=200)
    InterruptAt.at = 0
    MAKE(CARTPOLE()).learn(320, [Curve(), checkpoints, InterruptAt()])
    kept = checkpoint_paths(tmp_path / "again")
    # It is asked again, and not taken for resumed: the finished run is not trained anew over its own checkpoints.
    again = MAKE(CARTPOLE())
    again.learn(320, [Curve(), checkpoints, InterruptAt()])
    assert again._n_updates > 0
    assert checkpoints.resumed_at == 320
    assert checkpoint_paths(tmp_path / "again") == kept


def test_later_files_that_cannot_be_read_do_not_cost_the_new_ones(tmp_path: Path) -> None:
    train(MAKE, CARTPOLE, tmp_path, 320, interrupt_at=170)
    unreadable = tmp_path / "step-000000000320.checkpoint"
    unreadable.write_bytes(b"cut off")
    learner, checkpoints = MAKE(CARTPOLE()), ResumableCheckpointCallback(tmp_path, EVERY, keep=1, resume=True)
    InterruptAt.at = 300
    with pytest.warns(UserWarning, match="Passed over"), pytest.raises(Interrupted):
        learner.learn(320, [Curve(), checkpoints, InterruptAt()])
    assert [path.name[10:17] for path in checkpoint_paths(tmp_path)] == ["0000256", "0000320"]


def test_evaluation_during_training(tmp_path: Path) -> None:
    def run(folder: str, at: int) -> tuple[Any, ...]:
        # Its environment is seeded, which is due at its first reset only: at 120 steps, before every resume.
        evaluation = EvalCallback(envs("CartPole-v1", 1), n_eval_episodes=2, eval_freq=60, verbose=0)
        ended = train(MAKE, CARTPOLE, tmp_path / folder, 320, at, resume=True, more=(evaluation,))
        return ended, evaluation.evaluations_results, evaluation.best_mean_reward, evaluation.n_calls

    undisturbed = run("undisturbed", 0)
    for at in (170, 250):
        run("resumed", at)
    assert_equal(undisturbed, run("resumed", 0))


def test_a_damaged_newest_is_named_and_passed_over(tmp_path: Path) -> None:
    undisturbed = train(MAKE, CARTPOLE, tmp_path / "undisturbed", 320)
    folder = tmp_path / "resumed"
    train(MAKE, CARTPOLE, folder, 320, interrupt_at=300)
    newest = checkpoint_paths(folder)[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.warns(UserWarning, match=f"Passed over: .*{newest.name} is damaged"):
        resumed = train(MAKE, CARTPOLE, folder, 320, resume=True)
    assert_equal(undisturbed, resumed)
    for path in checkpoint_paths(folder):
        path.write_bytes(b"")
    with (
        pytest.raises(ValueError, match=r"No checkpoint in .* is readable; remove them"),
        pytest.warns(UserWarning, match="Passed over"),
    ):
        train(MAKE, CARTPOLE, folder, 320, resume=True)


class Spoil(BaseCallback):
    """Writes a NaN into the policy, as a callback or another class's update may."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps == 256:
            with th.no_grad():
                self.model.policy.value_net.bias[0] = np.nan


@pytest.mark.parametrize(
    "make_model", [partial(MAKE, nonfinite_update="skip"), partial(model, PPO, batch_size=32, n_epochs=1)]
)
def test_parameters_that_are_not_finite_are_not_kept(make_model: Any, tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match=r"No checkpoint is written: the policy's .* is not finite") as said,
        contextlib.suppress(ValueError),  # torch's own, in PPO's next rollout
    ):
        train(make_model, CARTPOLE, tmp_path, 320, more=(Spoil(),))
    assert len([w for w in said if "No checkpoint" in str(w.message)]) == 1
    newest = checkpoint_paths(tmp_path)[-1]
    assert newest.name == "step-000000000160.checkpoint"
    tensors = th.load(io.BytesIO(loads(read_checkpoint(newest).snapshot).tensors), weights_only=True)
    assert all(bool(th.isfinite(tensor).all()) for tensor in tensors["policy"].values())


def test_what_is_no_difference(tmp_path: Path) -> None:
    """Objects of which nothing is the same in two processes but their class; a renderer; a schedule with a NaN."""
    settings = {"learning_rate": lambda p: 3e-4 if p > 0.2 else float("nan"), "rollout_buffer_kwargs": {}}
    make_model = partial(MAKE, **settings, policy_kwargs={"net_arch": [8], "optimizer_kwargs": {"eps": 1e-6}})
    train(make_model, partial(CARTPOLE, env_kwargs={"render_mode": "rgb_array"}), tmp_path, 320, interrupt_at=200)
    with pytest.raises(NonFiniteError, match="learning_rate=nan"):  # that of the undisturbed run too
        train(make_model, partial(CARTPOLE, env_kwargs={"render_mode": None}), tmp_path, 320, resume=True)


def test_a_progress_bar_is_no_difference() -> None:
    def of_learn(progress_bar: bool) -> BaseCallback:
        return model._init_callback(CallbackList([Curve(), InterruptAt()]), progress_bar)

    model = MAKE(CARTPOLE())
    for before in (True, False):
        states = capture_callbacks(of_learn(before))
        assert restore_callbacks(of_learn(not before), states) == []
        with pytest.raises(ValueError, match="made with the callbacks CallbackList, Curve, InterruptAt; learn"):
            restore_callbacks(model._init_callback(Curve(), before), states)
    with_bar = of_learn(True)  # an earlier version kept the bar too
    bar = CallbackState(capture_layer(with_bar.callbacks[1]), {})
    states = [CallbackState(capture_layer(with_bar), {}), states[0], bar, *states[1:]]
    assert [restore_callbacks(of_learn(shown), states) for shown in (True, False)] == [[], []]


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_another_run_is_refused(tmp_path: Path) -> None:
    train(MAKE, CARTPOLE, tmp_path, 320, interrupt_at=200)
    shorter = partial(CARTPOLE, env_kwargs={"max_episode_steps": 100})
    rescaled = partial(CARTPOLE, wrapper_class=lambda env: TransformObservation(env, abs, None))
    with pytest.raises(ValueError, match=r"of an earlier run .* pass resume=True"):
        train(MAKE, CARTPOLE, tmp_path, 320)
    for make_model, make_env, total, difference in (
        (MAKE, CARTPOLE, 640, "total_timesteps=320; this one has 640"),
        (partial(MAKE, clip_range=0.1), CARTPOLE, 320, r"clip_range=\[0.2, 0.1, 0.0\]; this one has \[0.1, 0.1, 0.1\]"),
        (partial(MAKE, seed=2), CARTPOLE, 320, "seed=1; this one has 2"),
        (MAKE, partial(CARTPOLE, n_envs=3), 320, "n_envs=2; this one has 3"),
        (ALGORITHMS["TRPO"], CARTPOLE, 320, "class='ClipPPO'; this one has 'TRPO'"),
        (MAKE, shorter, 320, r"environment\[0\]\[time limit\]=\[500\]; this one has \[100\]"),
        (MAKE, partial(envs, "Acrobot-v1"), 320, r"action_space='Discrete\(2\)'; this one has 'Discrete\(3\)'"),
        (MAKE, partial(envs, "CartPole-v0"), 320, r"environment\[0\]\[id\]='CartPole-v1'; this one has 'CartPole-v0'"),
        (MAKE, rescaled, 320, r"environment\[0\]\[classes\]=\['Monitor', .*; this one has \['TransformObservation'"),
        (partial(MAKE, policy_kwargs={"net_arch": [9]}), CARTPOLE, 320, r"policy_kwargs\[net_arch\]=\[8\].* \[9\]"),
        (
            partial(MAKE, policy_kwargs={"net_arch": [8], "activation_fn": th.nn.ReLU}),
            CARTPOLE,
            320,
            r"policy_kwargs\[activation_fn\]=None; this one has 'torch.*ReLU'",
        ),
        (
            partial(MAKE, learning_rate=lambda p: LinearSchedule(3e-4, 0.0, 1.0)(p) if p != 0.25 else 0.0),
            CARTPOLE,
            320,
            r"schedules\[learning_rate\]\[0.25\]=7.49.*e-05; this one has 0.0",
        ),
    ):
        with pytest.raises(ValueError, match=difference):
            train(make_model, make_env, tmp_path, total, resume=True)


class Hard(CartPoleEnv):
    """An environment without a specification, as classes of one's own are."""

    def __init__(self, difficulty: int = 1):
        super().__init__()
        self.difficulty = difficulty


class MyPPO(PPO):
    """A user's class, which passes everything on."""

    def __init__(self, *args: Any, own: int = 1, **kwargs: Any):
        self.own = own
        super().__init__(*args, **kwargs)


def test_other_arguments_of_ones_own_classes_are_refused(tmp_path: Path) -> None:
    mine, hard = partial(model, MyPPO, batch_size=16), partial(envs, Hard)
    train(mine, hard, tmp_path, 320, interrupt_at=200)
    for make_model, difference in (
        (partial(mine, gamma=0.9), "gamma=0.99; this one has 0.9"),
        (partial(mine, own=2), "own=1; this one has 2"),
    ):
        with pytest.raises(ValueError, match=difference):
            train(make_model, hard, tmp_path, 320, resume=True)
    harder = partial(hard, env_kwargs={"difficulty": 2})
    with pytest.warns(
        UserWarning, match=r"restored .* though this run differs: environment\[0\]\[difficulty\] 1 then, 2"
    ):
        assert train(mine, harder, tmp_path, 320, interrupt_at=210, resume=True) is None
    assert train(mine, hard, tmp_path, 320, resume=True) is not None


def test_what_an_earlier_version_did_not_describe_is_not_compared(tmp_path: Path) -> None:
    mine, hard = partial(model, MyPPO, batch_size=16), partial(envs, Hard)
    train(mine, hard, tmp_path, 320, interrupt_at=200)
    _, about, snapshot = read_checkpoint(checkpoint_paths(tmp_path)[-1])
    for one in about["run"]["environment"].values():
        del one["attributes"]
    for name in ("gamma", "own", "clip_range"):
        del about["run"][name]
    del about["run"]["schedules"]["clip_range"]
    write_checkpoint(tmp_path, about["steps"], {k: v for k, v in about.items() if k != "format"}, snapshot)
    assert train(mine, hard, tmp_path, 320, resume=True) is not None


class Child(MyPPO):
    """A user's class of a user's class, with a function that is no schedule."""

    def __init__(self, *args: Any, reward_of: Any = None, **kwargs: Any):
        self.reward_of = reward_of
        super().__init__(*args, **kwargs)


def test_a_function_that_is_no_schedule(tmp_path: Path) -> None:
    child = partial(model, Child, batch_size=16, reward_of=lambda state, action: 0.0)
    train(child, CARTPOLE, tmp_path, 320, interrupt_at=200)
    assert train(child, CARTPOLE, tmp_path, 320, resume=True) is not None


def test_a_finished_run_is_not_made_longer(tmp_path: Path) -> None:
    make_model = partial(MAKE, learning_rate=3e-4, clip_range=0.2)
    train(make_model, CARTPOLE, tmp_path, 320)
    with pytest.raises(ValueError, match="total_timesteps=320; this one has 640"):
        train(make_model, CARTPOLE, tmp_path, 640, resume=True)


def test_other_software_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(MAKE, CARTPOLE, tmp_path, 320, interrupt_at=200)
    monkeypatch.setattr("sb3_ppo_variants.resume.callback.surroundings", lambda model: {"torch": "another"})
    with pytest.warns(UserWarning, match=r"Resumed with other software, .* torch .* then, another now"):
        assert train(MAKE, CARTPOLE, tmp_path, 320, resume=True) is not None


class Elapsed(BaseCallback):
    """The clocks of the logger and of the monitors at the end of a training."""

    seconds: ClassVar[list[float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        starts = self.training_env.get_attr("t_start")
        Elapsed.seconds = [(time.time_ns() - self.model.start_time) / 1e9, *(time.time() - start for start in starts)]


def test_clocks_leave_out_the_time_between_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(MAKE, CARTPOLE, tmp_path, 320, interrupt_at=200, more=(Elapsed(),))
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + 1000)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + 1000 * 10**9)
    train(MAKE, CARTPOLE, tmp_path, 320, resume=True, more=(Elapsed(),))
    assert len(Elapsed.seconds) == 3
    assert all(0 < seconds < 500 for seconds in Elapsed.seconds)


def test_an_environment_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    make_env = partial(envs, Noisy)
    with pytest.warns(UserWarning, match="hold no state of environment 0, 1: .* begin a new episode"):
        train(MAKE, make_env, tmp_path, 320, interrupt_at=200)
    with (
        pytest.warns(UserWarning, match="Not restored: environment 0, 1: "),
        pytest.warns(UserWarning, match="hold no state"),
    ):
        ended = train(MAKE, make_env, tmp_path, 320, resume=True)
    assert ended is not None
    assert ended["counters"][0] == 320  # no step less, none more


def test_waiting_for_an_episode_that_does_not_begin(tmp_path: Path) -> None:
    make_env = partial(envs, Endless)
    with (
        pytest.warns(UserWarning, match="due and put off, for environment 0, 1: .* after 75 more steps") as said,
        pytest.warns(UserWarning, match="hold no state of environment 0, 1: "),
    ):
        train(MAKE, make_env, tmp_path, 640, interrupt_at=300)
    assert len([w for w in said if "put off" in str(w.message)]) == 1
    # Due at 96, written 75 steps later; the next one when it is due.
    assert [path.name[10:17] for path in checkpoint_paths(tmp_path)] == ["0000192", "0000256"]
    with (
        pytest.warns(UserWarning, match="Not restored: environment 0, 1: "),
        pytest.warns(UserWarning, match="hold no state"),
    ):
        ended = train(MAKE, make_env, tmp_path, 640, resume=True)
    assert ended is not None
    assert ended["counters"][0] == 640


def test_processes_need_the_wrapper(tmp_path: Path) -> None:
    make_env = partial(envs, "CartPole-v1", 1, vec_env_cls=SubprocVecEnv)
    with pytest.warns(UserWarning, match="make it by make_vec_env.*wrapper_class=ResumableEnv"):
        train(MAKE, make_env, tmp_path, 32)


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("keep", 0), ("every", 2.5), ("keep", True)])
def test_arguments(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name}={value}"):
        ResumableCheckpointCallback(tmp_path, **{"every": 1, name: value})


def test_off_policy(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, device="cpu")
    with pytest.raises(ValueError, match="SAC keeps a replay buffer"):
        model.learn(1, callback=ResumableCheckpointCallback(tmp_path, 1))


def test_it_changes_nothing(tmp_path: Path) -> None:
    plain = ClipPPO("MlpPolicy", make_vec_env("CartPole-v1", 2, seed=3), n_steps=32, batch_size=32, seed=1).learn(320)
    env = make_vec_env("CartPole-v1", 2, seed=3)
    kept = ClipPPO("MlpPolicy", env, n_steps=32, batch_size=32, seed=1)
    kept.learn(320, callback=ResumableCheckpointCallback(tmp_path, 64))
    for one, other in zip(plain.policy.parameters(), kept.policy.parameters(), strict=True):
        assert bool((one == other).all())


def test_buffers_may_be_infinite(tmp_path: Path) -> None:
    made = ClipPPO("MlpPolicy", CARTPOLE(), n_steps=64, policy_kwargs={"features_extractor_class": Masked})
    made.learn(256, ResumableCheckpointCallback(tmp_path, every=64))
    assert checkpoint_paths(tmp_path)
