"""Whole rollouts collected by workers: what they hold, for any number of workers, and when they are not collected."""

import os
import threading
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, SquashedDiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor, VecNormalize

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, WorkerVecEnv
from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.rollouts.collection import may_change_the_policy
from sb3_ppo_variants.rollouts.masking import MaskError
from sb3_ppo_variants.workers import WorkerError
from tests.algorithms.models import ForeignPolicy, parameters_of
from tests.environments import MaskedWalk, RandomWalk
from tests.forms import long
from tests.workers.faulty import Failing
from tests.workers.models import N_ENVS, N_STEPS, SEED, environments, model_with_workers, stepped_again

ONE_ROLLOUT = N_STEPS * N_ENVS


def trained(n_workers: int, actions: str, rollouts: int = 3, observations: str = "vector", **settings: Any) -> Any:
    make = lambda: RandomWalk(observations, actions)  # noqa: E731
    with model_with_workers(make, n_workers, **settings) as model:
        model.learn(rollouts * ONE_ROLLOUT)
        assert model.env.unwrapped.collector is not None
    return model


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_parameters_do_not_depend_on_the_number_of_workers(actions: str, width: int) -> None:
    settings = {"policy_kwargs": {"net_arch": [width, width]}}
    one = trained(1, actions, **settings)
    for n_workers in (2, 3, 4):
        other = trained(n_workers, actions, **settings)
        np.testing.assert_array_equal(parameters_of(one), parameters_of(other))
        assert [e["r"] for e in one.ep_info_buffer] == [e["r"] for e in other.ep_info_buffer]


@pytest.mark.parametrize(
    ("actions", "observations", "settings"),
    [
        ("multi_discrete", "discrete", {}),
        long("multi_binary", "vector", {}),
        ("box", "vector", {"policy": "BetaMlpPolicy"}),
        ("box", "vector", {"policy_kwargs": {"net_arch": [32]}, "algorithm": TRPO, "n_epochs": None}),
        ("box", "vector", {"update_backend": "compiled"}),
        long("box", "vector", {"update_backend": "autograd"}),
        long("discrete", "vector", {"update_backend": "compiled"}),
        long("multi_binary", "vector", {"update_backend": "autograd"}),
        ("box", "image", {"policy": "CnnPolicy"}),
        ("discrete", "dict", {"policy": "MultiInputPolicy", "algorithm": KLPenaltyPPO}),
    ],
)
def test_nor_for_other_policies_and_algorithms(actions: str, observations: str, settings: dict[str, Any]) -> None:
    one, three = (trained(n, actions, 2, observations, **settings) for n in (1, 3))
    np.testing.assert_array_equal(parameters_of(one), parameters_of(three))


def flattened_back(buffer: Any, array: np.ndarray) -> np.ndarray:
    """An array of a buffer that an update has flattened, as (T, E, …) again."""
    if not buffer.generator_ready:
        return array
    return array.reshape(buffer.n_envs, buffer.buffer_size, *array.shape[1:]).swapaxes(0, 1)


@pytest.mark.parametrize("backend", ["closed_form", "compiled", "autograd"])
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_the_rollout_is_what_the_environments_give(actions: str, backend: str) -> None:
    make = lambda: RandomWalk("vector", actions)  # noqa: E731
    with model_with_workers(make, 3, n_epochs=1, learning_rate=1e-9, update_backend=backend) as model:
        model.learn(ONE_ROLLOUT)
    buffer, policy = model.rollout_buffer, model.policy
    kept = {name: flattened_back(buffer, getattr(buffer, name)) for name in ("observations", "actions")}
    for name in ("rewards", "values", "log_probs", "episode_starts"):
        array = getattr(buffer, name)
        kept[name] = flattened_back(buffer, array) if array.shape[0] != N_STEPS else array
        kept[name] = kept[name].reshape(N_STEPS, N_ENVS)
    taken = kept["actions"][..., 0] if actions == "discrete" else np.clip(kept["actions"], -1, 1)
    (observations,), *steps = stepped_again(make, taken)
    n_truncated, starts = 0, np.ones(N_ENVS)
    for step, (new_obs, rewards, dones, infos) in enumerate(steps):
        np.testing.assert_array_equal(kept["observations"][step], observations)
        np.testing.assert_array_equal(kept["episode_starts"][step], starts)
        for index in np.flatnonzero(dones):
            if infos[index]["TimeLimit.truncated"]:
                n_truncated += 1
                value = policy.predict_values(policy.obs_to_tensor(infos[index]["terminal_observation"])[0])
                rewards[index] += model.gamma * value.item()
        np.testing.assert_allclose(kept["rewards"][step], rewards, rtol=1e-5, atol=1e-6)
        observations, starts = new_obs, dones
    assert n_truncated > 3
    np.testing.assert_array_equal(model._last_obs, observations)
    np.testing.assert_array_equal(model._last_episode_starts, starts)
    with th.no_grad():
        rows = th.as_tensor(kept["observations"].reshape(ONE_ROLLOUT, -1))
        chosen = th.as_tensor(kept["actions"].reshape(ONE_ROLLOUT, -1))
        values, log_probs, _ = policy.evaluate_actions(rows, chosen.flatten() if actions == "discrete" else chosen)
    np.testing.assert_allclose(kept["values"].ravel(), values.numpy().ravel(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kept["log_probs"].ravel(), log_probs.numpy(), rtol=1e-4, atol=1e-5)
    # The actions are the policy's: standardised, they are standard normal.
    if actions == "box":
        with th.no_grad():
            normal = policy.get_distribution(rows).distribution
        scores = ((chosen - normal.mean) / normal.stddev).numpy()
        assert abs(scores.mean()) < 0.2
        assert 0.85 < scores.std() < 1.15


def test_masked_actions_are_allowed_ones() -> None:
    make = lambda: MaskedWalk("vector", "multi_discrete")  # noqa: E731
    models = []
    for n_workers in (1, 3):
        with model_with_workers(make, n_workers, use_masking=True) as model:
            model.learn(3 * ONE_ROLLOUT)
            assert model.env.unwrapped.collector is not None
            assert model.env.get_attr("n_invalid") == [0] * N_ENVS
        models.append(model)
    np.testing.assert_array_equal(*map(parameters_of, models))


def test_the_seed_decides_and_training_continues() -> None:
    def run(seed: int, parts: int) -> np.ndarray:
        with model_with_workers(seed=seed) as model:
            for part in range(parts):
                model.learn(4 * ONE_ROLLOUT // parts, reset_num_timesteps=part == 0)
        return parameters_of(model)

    np.testing.assert_array_equal(run(3, 1), run(3, 2))
    assert (run(3, 1) != run(4, 1)).any()


@pytest.mark.long
def test_it_learns() -> None:
    with model_with_workers("CartPole-v1", env={"n_envs": 8}, n_steps=64, batch_size=64, n_epochs=10) as model:
        model.learn(20_000)
    assert evaluate_policy(model, make_vec_env("CartPole-v1"), n_eval_episodes=10)[0] > 150


def test_an_episode_left_unfinished_is_left_out_by_reinforce_and_a_time_limit_is_an_end() -> None:
    with model_with_workers(algorithm=REINFORCE, baseline=False, batch_size=None, n_epochs=None) as model:
        model.learn(ONE_ROLLOUT)
        buffer, dones = model.rollout_buffer, model._last_episode_starts
    starts, rewards = buffer.episode_starts, buffer.rewards
    steps = stepped_again(RandomWalk, np.clip(flattened_back(buffer, buffer.actions), -1, 1))[1:]
    assert sum(info["TimeLimit.truncated"] for *_, infos in steps for info in infos) > 3
    np.testing.assert_allclose(rewards, [given for _, given, *_ in steps], rtol=1e-6)
    expected, returns = np.zeros((N_STEPS, N_ENVS), bool), np.zeros((N_STEPS, N_ENVS))
    for env in range(N_ENVS):
        ended, total = bool(dones[env]), 0.0
        for step in reversed(range(N_STEPS)):
            total = rewards[step, env] + model.gamma * total
            expected[step, env], returns[step, env] = ended, total
            if starts[step, env]:
                ended, total = True, 0.0
    assert not expected.all()
    np.testing.assert_array_equal(flattened_back(buffer, model._finished), expected)
    kept = flattened_back(buffer, buffer.returns).reshape(N_STEPS, N_ENVS)
    np.testing.assert_allclose(kept[expected], returns[expected], rtol=1e-5)


# ---- When something is wrong ----


@pytest.mark.parametrize("how", ["raise", "exit", "hang"])
def test_an_environment_that_fails_in_a_rollout_is_named(how: str) -> None:
    make = lambda: Failing(how, 50)  # noqa: E731
    with model_with_workers(make, 1, env={"timeout": 2.0 if how == "hang" else 60.0}) as model:
        with pytest.raises(WorkerError) as caught:
            model.learn(3 * ONE_ROLLOUT)
        assert (caught.value.worker, caught.value.env_index, caught.value.step) == (0, 0, 49)


def test_an_observation_that_is_not_finite_is_named() -> None:
    make = lambda: Failing("nan", 50)  # noqa: E731
    with (
        model_with_workers(make, 2) as model,
        pytest.raises(NonFiniteError, match=r"observation of environments? \d.* step 10 of the rollout") as caught,
    ):
        model.learn(3 * ONE_ROLLOUT)
    assert (caught.value.rollout_step, caught.value.num_timesteps) == (10, 50 * N_ENVS)


class Counts(gym.Env):
    """Observes how many steps it has made; episodes have 30."""

    observation_space = spaces.Box(0, 1e6, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.n_steps += 1
        return np.full(1, self.n_steps, np.float32), 0.0, self.n_steps == 30, False, {}


def watched(env: Any, method: str) -> Any:
    """The environments, one of whose methods is set on the object and declares that it only watches."""
    original = getattr(env, method)
    stopwatch = lambda *args: original(*args)  # noqa: E731
    stopwatch.only_watches = True  # type: ignore[attr-defined]
    setattr(env, method, stopwatch)
    return env


def test_a_stopwatch_and_a_subclass_that_steps_alike_leave_collecting_to_the_workers() -> None:
    class Named(WorkerVecEnv):
        def name(self) -> str:
            return "mine"

    env = make_vec_env(RandomWalk, N_ENVS, SEED, vec_env_cls=Named, vec_env_kwargs={"n_workers": 2})
    ClipPPO("MlpPolicy", watched(env, "step_wait"), n_steps=N_STEPS, batch_size=40, n_epochs=1).learn(ONE_ROLLOUT)
    assert env.collector is not None
    env.close()


def normalized_under_a_lock(env: VecEnv) -> VecNormalize:
    lock, wrapped = threading.Lock(), VecNormalize(env)
    step_wait = wrapped.step_wait

    def stopwatch() -> Any:
        with lock:
            return step_wait()

    stopwatch.only_watches = True  # type: ignore[attr-defined]
    wrapped.step_wait = stopwatch  # type: ignore[method-assign]
    return wrapped


def test_wrappers_that_may_be_what_cannot_be_sent_are_named() -> None:
    said = pytest.warns(UserWarning, match="the policy or VecNormalize cannot be sent to them")
    with model_with_workers(wrap=normalized_under_a_lock) as model, said:
        model.learn(2 * ONE_ROLLOUT)  # the first one makes VecNormalize's statistics


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("wrapper", [VecMonitor, VecNormalize])
def test_a_stopwatch_on_a_wrapper_leaves_collecting_to_the_workers(wrapper: Any) -> None:
    with model_with_workers(wrap=lambda env: watched(wrapper(env), "step_wait")) as model:
        model.learn(2 * ONE_ROLLOUT)  # the first one makes VecNormalize's statistics
        assert model.env.unwrapped.collector is not None


def test_a_stopwatch_hides_no_stepping_of_the_users_own() -> None:
    with model_with_workers() as model:
        env = watched(model.env, "step")
        step_wait = env.step_wait
        env.step_wait = lambda: step_wait()
        assert may_change_the_policy(env)
        with pytest.warns(UserWarning, match="may do something of its own at each step"):
            model.learn(ONE_ROLLOUT)


def test_a_policy_that_cannot_be_sent_is_tried_once_and_costs_no_file() -> None:
    with model_with_workers() as model:
        locked(model)
        with pytest.warns(UserWarning, match="cannot be sent"):
            model.learn(ONE_ROLLOUT)
        before = len(os.listdir("/proc/self/fd"))
        model.learn(3 * ONE_ROLLOUT, reset_num_timesteps=False)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_training_goes_on_after_a_rollout_that_could_not_be_used() -> None:
    with model_with_workers(Counts, wrap=lambda env: VecMonitor(env, info_keywords=("missing",))) as model:
        with pytest.raises(KeyError, match="missing"):
            model.learn(ONE_ROLLOUT)
        model.env.info_keywords = ()
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        buffer = model.rollout_buffer
        observed = flattened_back(buffer, buffer.observations)
    # New episodes from the first row on, and not the continuation of a rollout that is lost.
    np.testing.assert_array_equal(observed[..., 0], np.repeat(np.arange(N_STEPS)[:, None] % 30, N_ENVS, 1))


class BadMasks(MaskedWalk):
    def action_masks(self):
        return self.masks & (self._steps < 5)


class RaisingMasks(MaskedWalk):
    def action_masks(self):
        if self._steps == 5:
            raise ArithmeticError("no masks.")
        return self.masks


def test_a_bad_action_mask_is_the_same_error_as_in_one_process() -> None:
    messages = []
    for env in (make_vec_env(BadMasks, N_ENVS, SEED), environments(BadMasks, 1)):
        model = ClipPPO("MlpPolicy", env, n_steps=N_STEPS, batch_size=40, seed=SEED, use_masking=True)
        with pytest.raises(MaskError, match=r"mask of environment \d allows no action") as caught:
            model.learn(ONE_ROLLOUT)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_an_environment_that_fails_to_make_a_mask_is_named() -> None:
    with model_with_workers(RaisingMasks, use_masking=True) as model, pytest.raises(WorkerError) as caught:
        model.learn(ONE_ROLLOUT)
    assert caught.value.env_index is not None
    assert "after 5 steps: ArithmeticError: no masks. All workers" in str(caught.value)


class OwnWrapper(VecEnvWrapper):
    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        return self.venv.step_wait()


class OwnEvaluation(ActorCriticPolicy):
    def evaluate_actions(self, obs, actions):
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return values + 1, log_prob, entropy


def own_forward(model: Any) -> None:
    model.policy.forward = type(model.policy).forward.__get__(model.policy)


class Doubled(DiagGaussianDistribution):
    def sample(self):
        return 2 * super().sample()


def policy_with(kind: type[DiagGaussianDistribution]) -> type[ActorCriticPolicy]:
    class WithDistribution(ActorCriticPolicy):
        def _build(self, lr_schedule):
            self.action_dist = kind(int(np.prod(self.action_space.shape)))
            super()._build(lr_schedule)

    return WithDistribution


def own_sample(model: Any) -> None:
    distribution = model.policy.action_dist
    distribution.sample = lambda: 2 * distribution.distribution.sample()


def hooked(model: Any) -> None:
    model.policy.register_forward_hook(lambda _policy, _given, output: (output[0] * 0, *output[1:]))


def locked(model: Any) -> None:
    model.policy.lock = threading.Lock()


class ShiftsRewards(VecEnv):
    def step_wait(self):
        observations, rewards, dones, infos = super().step_wait()
        return observations, rewards + 5, dones, infos


class Shifting(ShiftsRewards, WorkerVecEnv):
    pass


class ShiftingInOneProcess(ShiftsRewards, DummyVecEnv):
    pass


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        ("gSDE", {"use_sde": True}),
        ("the policy has memory", {"policy": "MlpLstmPolicy"}),
        ("get_action_dist_from_latent", {"policy": ForeignPolicy}),
        ("evaluate_actions", {"policy": OwnEvaluation}),
        ("the OwnWrapper may do something at each step", {"wrap": OwnWrapper}),
        ("more than one VecNormalize", {"wrap": lambda env: VecNormalize(VecNormalize(env))}),
        ("forward", {"change": own_forward}),
        ("drawn from a Doubled", {"policy": policy_with(Doubled)}),
        ("drawn from a SquashedDiagGaussianDistribution", {"policy": policy_with(SquashedDiagGaussianDistribution)}),
        ("the DiagGaussianDistribution has a sample", {"change": own_sample}),
        ("the ActorCriticPolicy has forward hooks", {"change": hooked}),
        ("the policy cannot be sent to them .TypeError: cannot pickle", {"change": locked}),
        ("the Shifting may do something of its own at each step", {"inner": Shifting}),
    ],
)
def test_where_they_cannot_it_is_said_once_and_steps_are_as_ever(reason: str, settings: dict[str, Any]) -> None:
    wrap, inner_class = settings.pop("wrap", lambda env: env), settings.pop("inner", WorkerVecEnv)
    change = settings.pop("change", lambda model: None)
    settings = {"n_steps": N_STEPS, "batch_size": 40, "n_epochs": 1, "seed": 1, "policy": "MlpPolicy"} | settings
    inner = make_vec_env(RandomWalk, N_ENVS, SEED, vec_env_cls=inner_class, vec_env_kwargs={"n_workers": 2})
    ours = ClipPPO(env=wrap(inner), **settings)
    change(ours)
    with pytest.warns(UserWarning, match=f"do not collect on their own: .*{reason}"):
        ours.learn(ONE_ROLLOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.learn(ONE_ROLLOUT, reset_num_timesteps=False)
    inner.close()
    same = {WorkerVecEnv: DummyVecEnv, Shifting: ShiftingInOneProcess}[inner_class]
    theirs = ClipPPO(env=wrap(make_vec_env(RandomWalk, N_ENVS, SEED, vec_env_cls=same)), **settings)
    change(theirs)
    theirs.learn(2 * ONE_ROLLOUT)
    np.testing.assert_array_equal(parameters_of(ours), parameters_of(theirs))


def test_a_policy_changed_between_rollouts_is_handed_over_anew() -> None:
    with model_with_workers() as model:
        model.learn(ONE_ROLLOUT)
        model.policy.action_net.register_forward_hook(_Shift())
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        actions = flattened_back(model.rollout_buffer, model.rollout_buffer.actions)
    assert model.active_backend == "autograd"
    assert actions.mean() > 50


class Logarithm(FlattenExtractor):
    """Not defined at zero."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.log(super().forward(observations).abs())


def test_an_extractor_meets_only_observations_of_the_environments() -> None:
    settings = {"policy_kwargs": {"features_extractor_class": Logarithm}}
    np.testing.assert_array_equal(*(parameters_of(trained(n, "box", 2, **settings)) for n in (1, 3)))


class Continued(gym.Wrapper):
    """Episodes end inside, which only their infos tell; resets are counted."""

    n_resets = 0

    def reset(self, **keywords):
        observation, info = self.env.reset(**keywords)
        self.n_resets += 1
        return observation, info | {"n_resets": self.n_resets}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        if info["ends"] % 2 and (terminated or truncated):
            observation, _ = self.env.reset()
            terminated = truncated = False
        return observation, reward, terminated, truncated, info


class CountsEnds(gym.Wrapper):
    n_ends = 0

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.n_ends += terminated or truncated
        return observation, reward, terminated, truncated, info | {"ends": self.n_ends}


def test_episodes_and_resets_are_told_of_wherever_they_end() -> None:
    make = lambda: Continued(Monitor(CountsEnds(RandomWalk())))  # noqa: E731
    with model_with_workers(make, 2) as model:
        model.learn(ONE_ROLLOUT)
        buffer, reset_infos = model.rollout_buffer, model.env.unwrapped.reset_infos
    actions = flattened_back(buffer, buffer.actions)
    theirs = make_vec_env(make, N_ENVS, 5)
    theirs.reset()
    infos = [info for row in np.clip(actions, -1, 1) for info in theirs.step(row)[-1]]
    episodes = [info["episode"]["l"] for info in infos if "episode" in info]
    n_ends = sum(info["TimeLimit.truncated"] or "terminal_observation" in info for info in infos)
    assert [episode["l"] for episode in model.ep_info_buffer] == episodes
    assert n_ends < len(episodes)
    assert reset_infos == theirs.reset_infos
    assert max(info["n_resets"] for info in reset_infos) > 1


class Factors:
    """Refers to itself."""

    def __init__(self) -> None:
        self.one, self.itself = np.ones(1), self


class Scaled(FlattenExtractor):
    """Has numbers that are neither parameters nor saved."""

    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space)
        self.factor, self.factors = 1.0, Factors()
        self.offsets = np.zeros(1, np.float32)
        self.register_buffer("shift", th.zeros(1), persistent=False)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations) * self.factor * self.factors.one[0] + float(self.offsets[0]) + self.shift


def edit_factor(extractor: Any) -> None:
    extractor.factor = -50.0


def edit_array(extractor: Any) -> None:
    extractor.offsets[:] = 50


def edit_buffer(extractor: Any) -> None:
    extractor.shift += 50


def edit_object(extractor: Any) -> None:
    extractor.factors.one[:] = -50


@pytest.mark.parametrize("edit", [edit_factor, edit_array, edit_buffer, edit_object])
def test_what_is_not_saved_with_a_policy_reaches_the_workers_too(edit: Any) -> None:
    settings = {"policy_kwargs": {"features_extractor_class": Scaled}, "n_epochs": 1, "learning_rate": 1e-9}
    with model_with_workers(**settings) as model:
        model.learn(ONE_ROLLOUT)
        handed = model.env.collector._arrays
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        assert model.env.collector._arrays is handed
        edit(model.policy.features_extractor)
        model.policy.log_std.data -= 20
        model.learn(ONE_ROLLOUT, reset_num_timesteps=False)
        buffer = model.rollout_buffer
        with th.no_grad():
            means = model.policy.get_distribution(th.as_tensor(buffer.observations)).distribution.mean
    np.testing.assert_allclose(buffer.actions, means.numpy(), atol=1e-4)


class _Shift:
    """A hook that can be pickled."""

    def __call__(self, module: Any, given: Any, output: th.Tensor) -> th.Tensor:
        return output + 100
