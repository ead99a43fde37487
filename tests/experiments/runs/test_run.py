import dataclasses
import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from sb3_ppo_variants.experiments.runs.environments import vec_env_name
from sb3_ppo_variants.experiments.runs.run import (
    Result,
    Run,
    check_by_building,
    fit,
    notes_on_workers,
    policy_name,
    train_run,
)

SMALL: dict[str, Any] = {"n_steps": 128, "n_epochs": 2}


class Endless(gymnasium.Env[Any, Any]):
    """No episode ever ends."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), 0.0, False, False, {}


gymnasium.register("SB3PPOVariantsTestEndless-v0", Endless)


@pytest.mark.parametrize("algorithm", ["sb3:ppo", "clip_ppo"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_same_inputs_same_outputs(algorithm: str, n_envs: int) -> None:
    run = Run(algorithm, "CartPole-v1", 3, 500, n_envs, SMALL)
    first, second = train_run(run), train_run(run)
    assert first.final_return == second.final_return
    strip = [[(p.timesteps, p.mean_return, p.mean_length) for p in r.curve] for r in (first, second)]
    assert strip[0] == strip[1]
    other = train_run(Run(algorithm, "CartPole-v1", 4, 500, n_envs, SMALL))
    assert other.final_return != first.final_return


def test_result_is_what_the_monitor_saw() -> None:
    model, result = fit(Run("sb3:ppo", "CartPole-v1", 0, 4000, 2, SMALL))
    monitors = [e.get_wrapper_attr("get_episode_rewards")() for e in model.get_env().envs]  # type: ignore[union-attr]
    assert result.episodes == sum(map(len, monitors)) > 100
    assert result.final_return == np.mean([e["r"] for e in list(model.ep_info_buffer or [])[-100:]])
    assert len(model.ep_info_buffer or []) == 100
    assert result.steps == 4096  # 16 rollouts of 2 · 128
    assert [p.timesteps for p in result.curve] == list(range(256, 4097, 256))
    assert result.curve[-1].mean_return == result.final_return
    assert result.steps_per_second == pytest.approx(4096 / result.seconds)
    assert "torch" in result.versions


def test_curve_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.CURVE_POINTS", 50)
    _, result = fit(Run("sb3:a2c", "CartPole-v1", 0, 300))
    steps = [p.timesteps for p in result.curve]
    assert 25 < len(steps) <= 50  # of 60 rollouts
    assert steps[-1] == 300
    assert steps == sorted(set(steps))


def test_report_can_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    seen = []

    def report(steps: int, mean_return: float) -> None:
        seen.append((steps, mean_return))
        if steps == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Run("sb3:ppo", "CartPole-v1", 0, 1000, 1, SMALL), report)
    assert [s for s, _ in seen] == list(range(1, 61))
    assert math.isnan(seen[0][1])
    assert seen[-1][1] > 0


def test_no_episode_is_an_error_that_says_so() -> None:
    run = Run("sb3:ppo", "SB3PPOVariantsTestEndless-v0", 0, 100, 1, SMALL)
    with pytest.raises(ValueError, match=r"No episode of SB3PPO.* finished within 128 timesteps.*train for more"):
        train_run(run)
    assert fit(run)[1].final_return is None


def test_score_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    diverged = Result(math.nan, 3, 128, 1.0, [], {})
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.fit", lambda *_: (None, diverged))
    with pytest.raises(ValueError, match=r"The final return on CartPole-v1 is nan: .* training diverged"):
        train_run(Run("sb3:ppo", "CartPole-v1", 0, 128))


def test_key_is_the_whole_description() -> None:
    run = Run("sb3:ppo", "CartPole-v1", 0, 256, 1, {"n_steps": 128, "ent_coef": 0.0})
    same = Run("sb3:ppo", "CartPole-v1", 0, 256, 1, {"ent_coef": 0.0, "n_steps": 128})
    assert run.key() == same.key()
    assert Run(**run.description()).key() == run.key()
    # numpy's integers, as of np.arange, are integers
    assert dataclasses.replace(run, seed=np.int64(0), timesteps=np.int32(256)).key() == run.key()
    others = [Run("sb3:ppo", "CartPole-v1", 1, 256), Run("sb3:ppo", "CartPole-v1", 0, 257), Run("sb3:a2c", "E", 0, 256)]
    assert len({r.key() for r in [run, *others]}) == 4


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 2**32}, {"timesteps": 0}, {"n_envs": 0}])
def test_wrong_values_are_rejected(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* is out of range: it must be >="):
        Run(**{"algorithm": "sb3:ppo", "environment": "CartPole-v1", "seed": 0, "timesteps": 1, **wrong})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"timesteps=1000\.0 is a float: pass a whole number"):
        Run("sb3:ppo", "CartPole-v1", 0, 1e3)  # type: ignore[arg-type]


def test_the_identity_says_that_workers_collect_but_not_how_many() -> None:
    run = Run("clip_ppo", "CartPole-v1", 0, 64, vec_env=vec_env_name(2))
    assert '"vec_env":"WorkerVecEnv"' in run.key()
    assert run == dataclasses.replace(run, vec_env=vec_env_name(8))
    assert "vec_env" not in dataclasses.replace(run, vec_env=vec_env_name(None)).key()
    with pytest.raises(ValueError, match=r"vec_env is 'SubprocVecEnv': give 'WorkerVecEnv', or None for DummyVecEnv"):
        dataclasses.replace(run, vec_env="SubprocVecEnv")
    with pytest.raises(ValueError, match=r"rollout_workers=0 is out of range: it must be >= 1\. Leave it out"):
        vec_env_name(0)
    with pytest.raises(TypeError, match=r"rollout_workers=1\.5 is a float: pass a whole number"):
        vec_env_name(1.5)  # type: ignore[arg-type]


def test_a_note_says_why_workers_only_step_the_environments() -> None:
    settings = {"policy": "tests.experiments.mine:OwnForward"}
    own = Run("clip_ppo", "CartPole-v1", 0, 64, settings=settings, name="own", vec_env="WorkerVecEnv")
    others = [
        dataclasses.replace(own, settings={}, name=None),
        dataclasses.replace(own, algorithm="sb3:ppo", name="SB3's"),
        dataclasses.replace(own, vec_env=None, name="ordinary"),
    ]
    assert notes_on_workers([own, *others, dataclasses.replace(own, seed=1)]) == [
        "own: rollout workers step the environments and do not collect on their own: the OwnForward has a forward() of "
        "its own"
    ]


def test_building_finds_wrong_settings_and_lets_unfit_spaces_pass() -> None:
    check_by_building(Run("stable_baselines3:DQN", "Pendulum-v1", 0, 64, 1, {}))  # that fails its runs, later
    with pytest.raises(ValueError, match="does not take the settings"):
        check_by_building(Run("stable_baselines3:DQN", "CartPole-v1", 0, 64, 1, {"nothing": 1}))
    # SB3 refuses these by assertion, as it refuses spaces; torch has an error of its own for a size.
    for settings, said in (
        ({"learning_rate": "lin_3e-4"}, "learning rate schedule must be a float or a callable, not lin_3e-4"),
        ({"batch_size": 1}, "`batch_size` must be greater than 1"),
        ({"policy_kwargs": {"net_arch": [-1]}}, "negative dimension"),
        ({"batch_size": 0}, ""),
    ):
        with pytest.raises(ValueError, match=f"sb3:ppo does not take the settings .*{said}"):
            check_by_building(Run("sb3:ppo", "CartPole-v1", 0, 64, 1, settings))
    check_by_building(Run("stable_baselines3:DQN", "Pendulum-v1", 0, 64, 1, {"learning_rate": "lin_3e-4"}))


def test_policy_follows_the_observation_space() -> None:
    image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert policy_name(spaces.Box(-1, 1, (3,))) == "MlpPolicy"
    assert policy_name(image) == "CnnPolicy"
    assert policy_name(spaces.Dict({"a": image})) == "MultiInputPolicy"


def test_a_run_ends_by_the_clock() -> None:
    # The clock is the run's own: an hour's budget changes nothing, a tenth of a second ends it early.
    timed = fit(Run("sb3:ppo", "CartPole-v1", 0, 600, 1, SMALL, wall_time=3600.0))[1]
    plain = fit(Run("sb3:ppo", "CartPole-v1", 0, 600, 1, SMALL))[1]
    assert timed.steps == plain.steps
    assert timed.curve[-1].mean_return == plain.curve[-1].mean_return
    rollouts = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
    short = fit(Run("sb3:ppo", "CartPole-v1", 0, 10**9, 1, rollouts, wall_time=0.3))[1]
    assert 0 < short.steps < 10**6
    assert short.curve[-1].seconds >= 0.3
    assert len(short.curve) > 1  # a stride of a billion steps would have given one point
    assert Run("sb3:ppo", "CartPole-v1", 0, 1).key() != Run("sb3:ppo", "CartPole-v1", 0, 1, wall_time=1.0).key()
