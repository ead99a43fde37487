"""Beta policies: actions within the bounds of the Box, deterministic actions, and what they refuse."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants import TRPO, ClipPPO
from sb3_ppo_variants.distributions import Beta, BetaDistribution
from sb3_ppo_variants.distributions.beta import concentrations, sample_beta
from sb3_ppo_variants.policies import BetaActorCriticPolicy
from tests.algorithms.models import make
from tests.environments import RandomWalk

OBSERVATIONS = spaces.Box(-1, 1, (4,))
HUGE = np.finfo(np.float32).max
LOPSIDED = spaces.Box(np.float32([[-3.0, 0.0]]), np.float32([[1.0, 10.0]]))


class Lopsided(RandomWalk):
    """Actions of shape (1, 2) with other bounds than [−1, 1]; keeps those that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = LOPSIDED
        self.taken: list[np.ndarray] = []

    def step(self, action: np.ndarray) -> Any:
        self.taken.append(np.array(action))
        return super().step(action[0])


def policy_for(space: spaces.Space, **arguments: Any) -> BetaActorCriticPolicy:
    return BetaActorCriticPolicy(OBSERVATIONS, space, lambda _: 1e-3, **arguments)


@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_samples_are_torchs(dtype: th.dtype) -> None:
    outputs = (4 * th.randn(500, 6, generator=th.Generator().manual_seed(0))).to(dtype)
    th.manual_seed(1)
    ours = sample_beta(outputs)
    th.manual_seed(1)
    theirs = th.distributions.Beta(*concentrations(outputs)).sample()
    assert ours.dtype == dtype
    assert th.equal(ours, 2 * theirs.clamp(1e-6, 1 - 1e-6) - 1)


@pytest.mark.parametrize("backend", ["closed_form", "autograd"])
def test_the_environment_gets_actions_within_its_bounds(backend: str) -> None:
    env = Lopsided()
    model = ClipPPO("BetaMlpPolicy", DummyVecEnv([lambda: env]), n_steps=64, seed=0, update_backend=backend).learn(64)
    taken, stored = np.stack(env.taken), model.rollout_buffer.actions.reshape(-1, 1, 2)
    assert (np.abs(stored) < 1).all()
    np.testing.assert_allclose(taken, LOPSIDED.low + (stored + 1) / 2 * (LOPSIDED.high - LOPSIDED.low), rtol=1e-5)
    assert (np.ptp(taken, 0) > 0.5 * (LOPSIDED.high - LOPSIDED.low)).all()
    # As the policy that collected the rollout gives it for the stored actions.
    buffer, collector = model.rollout_buffer, ClipPPO("BetaMlpPolicy", DummyVecEnv([lambda: env]), n_steps=64, seed=0)
    with th.no_grad():
        log_prob = collector.policy.evaluate_actions(th.as_tensor(buffer.observations), th.as_tensor(buffer.actions))[1]
    np.testing.assert_allclose(buffer.log_probs.ravel(), log_prob, atol=1e-5)


@pytest.mark.parametrize("choice", ["mean", "mode"])
def test_the_deterministic_action(choice: Any) -> None:
    policy = policy_for(LOPSIDED, deterministic_action=choice)
    observation = np.ones(4, np.float32)
    alpha, beta = (c.detach().numpy() for c in concentrations(policy.get_distribution(th.ones(1, 4)).outputs))
    fraction = alpha / (alpha + beta) if choice == "mean" else (alpha - 1) / (alpha + beta - 2)
    expected = LOPSIDED.low + fraction * (LOPSIDED.high - LOPSIDED.low)
    np.testing.assert_allclose(policy.predict(observation, deterministic=True)[0], expected, rtol=1e-5)
    assert LOPSIDED.contains(policy.predict(observation)[0])


def test_the_mode_is_defined_where_alpha_and_beta_are_one() -> None:
    flat = BetaDistribution(1, "mode").proba_distribution(th.tensor([[-40.0, -40.0], [-40.0, -41.0]]))
    # (α − 1)/(α + β − 2) = 1/2, and 1/(1 + 1/e) = 0.731059: 2x − 1 = 0.462117
    np.testing.assert_allclose(flat.mode(), [[0.0], [0.462117]], atol=1e-6)


def test_a_policy_file_keeps_the_deterministic_action(tmp_path) -> None:
    policy_for(LOPSIDED, deterministic_action="mode").save(tmp_path / "policy")
    assert BetaActorCriticPolicy.load(tmp_path / "policy").action_dist.deterministic_action == "mode"


def test_the_bounds_are_finite_numbers() -> None:
    outputs = th.tensor([[30.0, -50.0, -50.0, 30.0]] * 3, requires_grad=True)
    actions = th.tensor([[-1.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
    log_prob = BetaDistribution(2).proba_distribution(outputs).log_prob(actions)
    (gradient,) = th.autograd.grad(log_prob.sum(), outputs)
    assert th.isfinite(log_prob).all()
    assert th.isfinite(gradient).all()
    with th.no_grad():
        assert (sample_beta(th.tensor([[60.0, -60.0]]).repeat(1000, 1) * 1e4).abs() < 1).all()


def test_log_prob_by_hand() -> None:
    # Outputs log(e − 1) = 0.541325: α = β = 2, density 6x(1 − x)/2 on [−1, 1]; at a = 0, x = ½: log 0.75 = −0.287682
    parameters = (np.full((1, 2), np.log(np.e - 1)),)
    np.testing.assert_allclose(Beta().log_prob(parameters, np.zeros((1, 1))), [-0.287682], atol=1e-6)
    # Entropy of Beta(2, 2), −0.125093, plus log 2
    np.testing.assert_allclose(Beta().entropy(parameters), [0.568054], atol=1e-6)


def test_small_kls_of_large_concentrations_are_not_negative() -> None:
    rng = np.random.default_rng(0)
    old = rng.uniform(100, 200, (1000, 2)).astype(np.float32)
    new = (old + rng.uniform(-0.01, 0.01, old.shape)).astype(np.float32)
    assert Beta().kl((old,), (new,)).min() > -1e-12


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (spaces.Discrete(3), {}, "Beta policies are for Box actions"),
        (spaces.Box(-np.inf, np.inf, (2,)), {}, "need finite bounds"),
        (spaces.Box(np.float32([-1, 0]), np.float32([1, 0])), {}, "low < high in every dimension"),
        (spaces.Box(-1, 1, (0,)), {}, "need finite bounds"),
        (spaces.Box(-HUGE, HUGE, (2,)), {}, "a finite width"),
        (spaces.Box(0, 5, (2,), np.int64), {}, "floating-point actions"),
        (LOPSIDED, {"use_sde": True}, "gSDE needs a normal distribution"),
        (LOPSIDED, {"deterministic_action": "median"}, '"mean" or "mode"'),
    ],
)
def test_refusals(space: spaces.Space, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_for(space, **arguments)


def test_no_masks() -> None:
    with pytest.raises(ValueError, match="masks are for Discrete actions"):
        make(ClipPPO, "BetaMlpPolicy", use_masking=True)


@pytest.mark.parametrize("deterministic", [False, True])
def test_outputs_that_are_not_finite_are_not_acted_on(deterministic: bool) -> None:
    distribution = BetaDistribution(1).proba_distribution(th.tensor([[0.0, th.nan]]))
    with pytest.raises(ValueError, match="must be finite"):
        distribution.get_actions(deterministic)
    assert distribution.log_prob(th.zeros(1, 1)).isnan().all()


@pytest.mark.parametrize(
    ("policy", "observations"),
    [("BetaCnnPolicy", "image"), ("BetaMultiInputPolicy", "dict"), ("BetaMlpPolicy", "vector")],
)
def test_every_kind_of_observation(policy: str, observations: str, tmp_path) -> None:
    env = {"observations": observations}
    model = make(TRPO, policy, env, update_backend="autograd", policy_kwargs={"deterministic_action": "mode"}).learn(64)
    model.save(tmp_path / "model")
    observation = model.env.reset()
    actions = [m.predict(observation, deterministic=True)[0] for m in (model, TRPO.load(tmp_path / "model"))]
    np.testing.assert_array_equal(*actions)
