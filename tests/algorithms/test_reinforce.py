"""REINFORCE: its one step is the textbook's gradient, over the rows that have a return."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ppo_variants import REINFORCE
from tests.algorithms.models import OwnBuffer, make, parameters_of
from tests.parity.comparing import make_env


class NoStep(th.optim.SGD):
    """Gradient descent with rate 1 that leaves the gradient to be read off the parameters' difference."""

    def __init__(self, parameters, lr, **kwargs):
        super().__init__(parameters, lr=lr)


def step_of(model: REINFORCE) -> tuple[np.ndarray, np.ndarray]:
    """The policy-gradient part of one update: (what the parameters moved by, what the textbook says)."""
    env = model.get_env()
    _, callback = model._setup_learn(64)
    model.collect_rollouts(env, callback, model.rollout_buffer, model.n_steps)
    buffer = model.rollout_buffer
    observations = th.as_tensor(buffer.observations).transpose(0, 1).reshape(-1, *buffer.obs_shape)
    actions = th.as_tensor(buffer.actions).transpose(0, 1).reshape(-1, buffer.action_dim)
    weights = th.as_tensor(by_hand_weights(model))
    keep = th.isfinite(weights)
    log_prob = model.policy.get_distribution(observations[keep]).log_prob(actions[keep])
    actor = [p for name, p in model.policy.named_parameters() if "value" not in name]
    gradient = th.autograd.grad((log_prob * weights[keep]).mean(), actor)
    expected = th.cat([part.reshape(-1) for part in gradient]).numpy()

    before = th.cat([p.detach().reshape(-1).clone() for p in actor])
    model.train()
    after = th.cat([p.detach().reshape(-1) for p in actor])
    return ((after - before) / model.lr_schedule(1.0)).numpy(), expected


def by_hand_weights(model: REINFORCE) -> np.ndarray:
    """Return-to-go minus baseline for each step, environment by environment; NaN where the return is not known."""
    buffer = model.rollout_buffer
    weights = np.full((buffer.n_envs, buffer.buffer_size), np.nan, dtype=np.float32)
    for env in range(buffer.n_envs):
        with th.no_grad():
            last_value = float(model.policy.predict_values(th.as_tensor(model._last_obs))[env, 0])
        ended = bool(model._last_episode_starts[env])
        following = 0.0 if ended else last_value
        known = model.baseline or ended
        for t in reversed(range(buffer.buffer_size)):
            following = buffer.rewards[t, env] + model.gamma * following
            if known:
                weights[env, t] = following - (buffer.values[t, env] if model.baseline else 0.0)
            if buffer.episode_starts[t, env]:
                following, known = 0.0, True
    return weights.ravel()


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_the_step_is_the_textbook_gradient(baseline: bool, n_envs: int) -> None:
    model = make(
        REINFORCE,
        env={"n_envs": n_envs},
        baseline=baseline,
        normalize_advantage=False,
        max_grad_norm=None,
        policy_kwargs={"optimizer_class": NoStep, "optimizer_kwargs": {}},
    )
    moved, expected = step_of(model)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-3)


def test_without_baseline_the_critic_is_left_alone_and_time_limits_are_ends() -> None:
    model = make(REINFORCE, baseline=False)
    critic = [p.detach().clone() for name, p in model.policy.named_parameters() if "value" in name]
    model.learn(128)
    after = [p for name, p in model.policy.named_parameters() if "value" in name]
    assert all(th.equal(a, b) for a, b in zip(critic, after, strict=True))
    log = model.logger.name_to_value
    assert "train/value_loss" not in log
    assert "train/explained_variance" not in log
    np.testing.assert_array_equal(model.rollout_buffer.returns, model.rollout_buffer.advantages)


class Rewards(BaseCallback):
    """The environment's own rewards, and how often a time limit ended an episode."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[np.ndarray] = []
        self.truncated = 0

    def _on_step(self) -> bool:
        self.rewards.append(self.locals["rewards"].copy())
        self.truncated += sum(info.get("TimeLimit.truncated", False) for info in self.locals["infos"])
        return True


@pytest.mark.parametrize("baseline", [True, False])
def test_a_time_limit_is_an_end_without_a_baseline(baseline: bool) -> None:
    seen = Rewards()
    model = make(REINFORCE, baseline=baseline, n_steps=128).learn(128, seen)
    assert seen.truncated > 0
    assert np.array_equal(model.rollout_buffer.rewards.ravel(), np.ravel(seen.rewards)) != baseline


def test_one_step_per_rollout() -> None:
    model = make(REINFORCE).learn(192)
    assert model._n_updates == 3
    steps = {int(state["step"]) for state in model.policy.optimizer.state.values()}
    assert steps == {3}


def test_a_rollout_without_an_end_is_skipped_with_a_word(capsys) -> None:
    model = REINFORCE("MlpPolicy", "CartPole-v1", n_steps=2, baseline=False, seed=0, verbose=1)
    before = parameters_of(model)
    model.learn(2)
    np.testing.assert_array_equal(parameters_of(model), before)
    assert "No episode ended within n_steps=2" in capsys.readouterr().out


class Draws(BaseCallback):
    """Looks at a minibatch at the end of each rollout, which flattens the buffer, and draws no number for it."""

    def _on_rollout_end(self) -> None:
        state = np.random.get_state()
        self.returns = next(self.model.rollout_buffer.get(4)).returns
        np.random.set_state(state)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("settings", [{}, {"update_backend": "autograd"}, {"policy": "MlpLstmPolicy"}])
def test_a_callback_may_look_at_the_rollout_before_the_update(settings) -> None:
    def learned(callback: BaseCallback | None) -> np.ndarray:
        return parameters_of(make(REINFORCE, env={"n_envs": 2}, baseline=False, **settings).learn(256, callback))

    np.testing.assert_array_equal(learned(None), learned(Draws()))


class Plain:
    """A logger that records and dumps, which is all that SB3 asks of one."""

    level = 0

    def record(self, key, value, exclude=None) -> None:
        pass

    record_mean = record

    def dump(self, step=0) -> None:
        pass


def test_a_logger_need_not_warn() -> None:
    model = REINFORCE("MlpPolicy", "CartPole-v1", n_steps=2, baseline=False, seed=0)
    model.set_logger(Plain())
    model.learn(2)


def test_a_buffer_that_hides_its_rows_is_refused_without_baseline() -> None:
    with pytest.raises(ValueError, match="OwnBuffer does not draw its minibatches through _get_samples"):
        make(REINFORCE, baseline=False, rollout_buffer_class=OwnBuffer).learn(64)


def test_continues_after_load(tmp_path) -> None:
    model = make(REINFORCE, baseline=False).learn(64)
    model.save(tmp_path / "model")
    loaded = REINFORCE.load(tmp_path / "model", env=make_env())
    assert loaded.baseline is False
    loaded.learn(64)
