"""A reference policy and a critic that learns first: for every algorithm, in both backends, in files."""

import copy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_variants import REINFORCE, SPO, TRPO, ClipPPO, KLPenaltyPPO
from sb3_ppo_variants.files import with_digest
from sb3_ppo_variants.policies import ReferencePolicy
from tests.algorithms.models import ALGORITHMS, FAMILY, NEWER, ForeignPolicy, OwnBuffer, OwnPolicy, make, parameters_of
from tests.algorithms.test_memory import with_memory
from tests.parity.comparing import assert_same_tensors, make_env

BACKENDS = ("closed_form", "autograd")
#: Those whose updates differ in more than the surrogate.
DIFFERENT = (ClipPPO, REINFORCE, TRPO)


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


def logged(model: Any) -> dict[str, float]:
    return model.logger.name_to_value


def another(**settings: Any) -> Any:
    """A model whose policy is far enough from that of the others to be seen."""
    model = make(ClipPPO, **{"seed": 9} | settings)
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.3 * th.randn_like(parameter))
    return model


def trained(model: Any, updates: int = 2) -> np.ndarray:
    return parameters_of(model.learn(updates * model.n_steps * model.n_envs))


# ---- The objective ----


@pytest.mark.parametrize(
    ("algorithm", "backend"),
    [*((algorithm, "closed_form") for algorithm in FAMILY), *((algorithm, "autograd") for algorithm in DIFFERENT)],
)
def test_a_coefficient_of_zero_changes_nothing(algorithm: type, backend: str) -> None:
    setting: dict[str, Any] = {"env": {"n_envs": 2}, "update_backend": backend, "normalize_advantage": "rollout"}
    plain = trained(make(algorithm, **setting))
    measured = make(algorithm, reference_policy=make(ClipPPO, seed=9), **setting)
    np.testing.assert_array_equal(plain, trained(measured))
    assert logged(measured)["train/reference_kl"] > 0
    assert logged(measured)["train/reference_kl_coef"] == 0


DIRECTIONS = ("ref_new", "new_ref")
KINDS: dict[str, dict[str, Any]] = {
    "box": {"env": {"n_envs": 2}},
    "beta": {"policy": "BetaMlpPolicy"},
    "discrete": {"env": {"actions": "discrete"}},
    "multi_discrete": {"env": {"actions": "multi_discrete"}},
    "multi_binary": {"env": {"actions": "multi_binary", "n_envs": 2}},
    "masks": {"env": {"actions": "multi_binary", "allowed": 0.5, "n_envs": 2}, "use_masking": True},
}


@pytest.mark.parametrize(
    ("algorithm", "kind", "direction"),
    [
        *((algorithm, "box", "ref_new") for algorithm in NEWER),
        *((algorithm, "box", direction) for algorithm in ALGORITHMS for direction in DIRECTIONS),
        *((ClipPPO, kind, direction) for kind in KINDS if kind != "box" for direction in DIRECTIONS),
        *((TRPO, kind, "new_ref") for kind in KINDS if kind != "box"),
    ],
)
def test_backends_agree_and_the_reference_counts(algorithm: type, kind: str, direction: str) -> None:
    found = {}
    for backend, coef in (*((backend, 2.0) for backend in BACKENDS), ("closed_form", 0.0)):
        model = make(
            algorithm, update_backend=backend, reference_policy=another(**KINDS[kind]), reference_kl_coef=coef,
            reference_kl_direction=direction, **KINDS[kind],
        )  # fmt: skip
        found[backend, coef] = trained(model, 1), logged(model)
    (closed, log), (auto, auto_log) = found["closed_form", 2.0], found["autograd", 2.0]
    tolerance = 2e-5 if algorithm is TRPO else 1e-6
    np.testing.assert_allclose(closed, auto, rtol=0, atol=tolerance)
    assert np.abs(closed - found["closed_form", 0.0][0]).max() > 10 * tolerance
    for key in ("reference_kl", "reference_kl_start", "loss"):
        if f"train/{key}" in auto_log:
            np.testing.assert_allclose(log[f"train/{key}"], auto_log[f"train/{key}"], rtol=1e-3, atol=1e-6)


def test_the_kl_at_the_start_is_torchs() -> None:
    reference = another()
    model = make(ClipPPO, reference_policy=reference.policy, reference_kl_coef=0.1)
    theirs, ours = copy.deepcopy(reference.policy), copy.deepcopy(model.policy)
    model.learn(64)
    observations = th.as_tensor(model.rollout_buffer.observations.reshape(64, -1))
    with th.no_grad():
        p, q = (policy.get_distribution(observations).distribution for policy in (theirs, ours))
        expected = th.distributions.kl_divergence(p, q).sum(-1).mean()
    assert logged(model)["train/reference_kl_start"] == pytest.approx(float(expected), rel=1e-5)
    # Once: the logger of another learn does not show it again.
    model.learn(64, reset_num_timesteps=False)
    assert "train/reference_kl_start" not in logged(model)
    itself = make(ClipPPO, reference_policy=make(ClipPPO))
    itself.learn(64)
    assert logged(itself)["train/reference_kl_start"] == pytest.approx(0, abs=1e-9)


class Arms(gym.Env):
    """Three arms with known rewards; an episode is one pull."""

    rewards = (0.0, 0.5, 1.0)
    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), self.rewards[action], True, False, {}


def optimum(q: np.ndarray, coef: float, direction: str) -> np.ndarray:
    """Of E[R] − c·KL: p = c·q/(λ − R) with Σp = 1, or p ∝ q·exp(R/c)."""
    rewards = np.array(Arms.rewards)
    if direction == "new_ref":
        p = q * np.exp(rewards / coef)
        return p / p.sum()
    low, high = rewards.max(), rewards.max() + coef
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (coef * q / (middle - rewards)).sum() > 1 else (low, middle)
    return coef * q / (high - rewards)


@pytest.mark.parametrize("direction", ["ref_new", "new_ref"])
def test_a_bandit_finds_its_optimum(direction: str) -> None:
    def arms(**extra: Any) -> REINFORCE:
        return REINFORCE(
            "MlpPolicy", DummyVecEnv([Arms] * 64), n_steps=8, normalize_advantage=False, learning_rate="lin_0.05",
            max_grad_norm=None, seed=1, policy_kwargs={"net_arch": []}, **extra,
        )  # fmt: skip

    def probabilities(policy: Any) -> np.ndarray:
        return policy.get_distribution(th.ones(1, 1)).distribution.probs.detach().numpy()[0].astype(float)

    reference = arms()
    with th.no_grad():
        reference.policy.action_net.bias.copy_(th.log(th.tensor([0.6, 0.3, 0.1])))
    model = arms(reference_policy=reference, reference_kl_coef=0.4, reference_kl_direction=direction)
    model.learn(512 * 80)
    expected = optimum(probabilities(reference.policy), 0.4, direction)
    np.testing.assert_allclose(probabilities(model.policy), expected, atol=0.02)


def test_a_stronger_reference_keeps_the_policy_nearer(algorithm: type) -> None:
    kls = []
    for coef in (0.0, 50.0):
        reference = make(algorithm)
        model = make(algorithm, learning_rate=3e-3, reference_policy=reference, reference_kl_coef=coef)
        trained(model, 6)
        kls.append(logged(model)["train/reference_kl"])
    assert kls[1] < 0.5 * kls[0]


def test_the_coefficient_follows_a_target_or_a_schedule(algorithm: type) -> None:
    model = make(
        algorithm, reference_policy=make(ClipPPO, seed=9), reference_kl_coef=1.0, adaptive_reference_kl_target=10.0
    )
    trained(model, 3)
    assert logged(model)["train/reference_kl_coef"] == 0.25
    assert model.reference_kl_coef == 0.125
    model = make(algorithm, reference_policy=make(ClipPPO, seed=9), reference_kl_coef="lin_1.0")
    trained(model, 2)
    assert logged(model)["train/reference_kl_coef"] == pytest.approx(0.0, abs=1e-9)  # at the end of the last rollout


# ---- Memory and masks ----


def test_a_reference_with_memory_carries_states_of_its_own() -> None:
    reference = with_memory(env={"n_envs": 2}, seed=9)
    with th.no_grad():
        for parameter in reference.policy.parameters():
            parameter.add_(0.5 * th.randn_like(parameter))
    for policy in ("MlpLstmPolicy", "MlpPolicy"):
        settings: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 3}
        model = ClipPPO(policy, make_env(n_envs=2), reference_policy=reference, reference_kl_coef=1.0, **settings)
        seen: list[Any] = []
        frozen = model.reference_policy
        ask = frozen.parameters_at
        frozen.parameters_at = lambda *given, ask=ask, seen=seen: (seen.append((given, ask(*given))), seen[-1][1])[1]
        model.learn(16 * 2 * 3)
        # Step by step, from the first step of the training to the last.
        states = tuple(th.zeros(1, 2, 8) for _ in range(2))
        for (observations, starts, _), (mean, _) in seen:
            rows = (part.reshape(2, 16, *part.shape[1:]).swapaxes(0, 1) for part in (observations, starts, mean))
            for observation, start, expected in zip(*rows, strict=True):
                with th.no_grad():
                    distribution, states = frozen.policy.get_distribution(observation, states, start)
                np.testing.assert_allclose(distribution.distribution.mean, expected, atol=1e-6)
        assert len(seen) == 3


class StopAt(BaseCallback):
    def _on_step(self) -> bool:
        return self.num_timesteps < 16 + 10


@pytest.mark.parametrize("env", [{"n_envs": 2}, {"observations": "dict"}], ids=["vector", "dict"])
def test_states_move_on_over_a_rollout_that_is_ended_early(env: dict[str, Any]) -> None:
    """The reference is the policy itself, which hardly learns: they part if one of them forgets."""
    policy = "MultiInputLstmPolicy" if "observations" in env else "MlpLstmPolicy"
    settings: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "learning_rate": 1e-12, "seed": 3, "n_epochs": 1}
    same = ClipPPO(policy, make_env(**env), **settings)
    model = ClipPPO(policy, make_env(**env), reference_policy=same, reference_kl_coef=1.0, **settings)
    model.learn(160, StopAt())
    assert not model.rollout_buffer.full
    model.learn(16, reset_num_timesteps=False)
    assert abs(logged(model)["train/reference_kl"]) < 1e-10


def test_states_move_on_over_rollouts_that_are_not_learnt_from() -> None:
    reference = with_memory(seed=9)
    model: Any = REINFORCE(
        "MlpPolicy", make_env(), n_steps=2, baseline=False, seed=3, reference_policy=reference, reference_kl_coef=1.0
    )
    model.learn(2)
    assert "train/entropy_loss" not in logged(model)  # no episode has ended
    assert model.reference_policy.states is not None


def test_memory_of_policy_and_reference_and_masks() -> None:
    env = {"actions": "discrete", "allowed": 0.5, "n_envs": 2}
    reference = with_memory(env=env, use_masking=True, seed=9)
    model = with_memory(SPO, env=env, use_masking=True, sequence_length=8, reference_policy=reference)
    model.reference_kl_coef = 1.0
    assert np.isfinite(trained(model)).all()
    assert logged(model)["train/reference_kl"] < 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", ["ref_new", "new_ref"])
def test_a_reference_without_masks_is_masked_too(backend: str, direction: str) -> None:
    env = {"actions": "discrete", "allowed": 0.5}
    reference = make(ClipPPO, env={"actions": "discrete"}, seed=9)
    model = make(
        ClipPPO, env=env, use_masking=True, update_backend=backend, reference_policy=reference, reference_kl_coef=1.0,
        reference_kl_direction=direction,
    )  # fmt: skip
    trained(model)
    assert 0 < logged(model)["train/reference_kl"] < 1


# ---- The copy ----


def test_the_reference_is_a_frozen_copy(algorithm: type) -> None:
    model = make(algorithm, learning_rate=3e-3)
    model.learn(64)  # whatever the last update has left in the policy does not hinder the copy
    model.reference_policy = model.policy  # an alias, until it is needed
    model.reference_kl_coef = 0.1
    before = parameters_of(model)
    trained(model)
    frozen = model.reference_policy
    assert isinstance(frozen, ReferencePolicy)
    np.testing.assert_array_equal(th.nn.utils.parameters_to_vector(frozen.policy.parameters()).numpy(), before)
    assert not any(parameter.requires_grad for parameter in frozen.policy.parameters())
    assert np.abs(parameters_of(model) - before).max() > 0
    assert len(list(model.policy.parameters())) == len(list(make(algorithm).policy.parameters()))
    assert model.get_parameters().keys() == make(algorithm).get_parameters().keys()


@pytest.mark.parametrize("kwargs", [{"use_sde": True}, {"policy": OwnPolicy}, {"policy": "BetaMlpPolicy"}])
def test_other_policies_can_be_references(kwargs: dict[str, Any]) -> None:
    model = make(ClipPPO, reference_policy=make(ClipPPO, seed=9, **kwargs), reference_kl_coef=1.0, **kwargs)
    assert copy.deepcopy(model.reference_policy).digest == model.reference_policy.digest
    assert np.isfinite(trained(model)).all()


def test_models_of_sb3_and_paths_are_taken(tmp_path) -> None:
    sb3 = PPO("MlpPolicy", make_env(), n_steps=64, batch_size=32, seed=9)
    ours = make(TRPO, seed=9)
    sb3.save(tmp_path / "sb3.zip")
    ours.save(tmp_path / "ours.zip")
    safe = ours.save_safe(tmp_path / "ours")
    ours.save_safe(tmp_path / "only_safe")
    given = (
        (sb3, tmp_path / "sb3.zip", tmp_path / "sb3", with_digest(tmp_path / "sb3")),
        (ours, str(tmp_path / "ours.zip"), safe, with_digest(tmp_path / "ours.zip"), tmp_path / "only_safe"),
    )
    for group in given:
        digests = {make(ClipPPO, reference_policy=one, reference_kl_coef=0.1).reference_policy.digest for one in group}
        assert len(digests) == 1
    named = with_digest(tmp_path / "ours.zip")
    sb3.save(tmp_path / "ours.zip")
    with pytest.raises(ValueError, match=r"^reference_policy=.*has changed: its SHA-256 is"):
        make(ClipPPO, reference_policy=named, reference_kl_coef=0.1)


@pytest.mark.parametrize("safe", [False, True])
def test_a_reference_from_a_file_does_not_touch_the_models_draws(safe: bool, tmp_path) -> None:
    model = another()
    model.save_safe(tmp_path / "file") if safe else model.save(tmp_path / "file")
    weights = [
        trained(make(ClipPPO, reference_policy=reference, reference_kl_coef=0.1, seed=seed))
        for seed in (1, 2)
        for reference in (model, tmp_path / "file")
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[2], weights[3])
    assert (weights[0] != weights[2]).any()


@pytest.mark.parametrize(
    ("make_reference", "settings", "message"),
    [
        (lambda: make(ClipPPO, env={"actions": "discrete"}), {}, "reference_policy has the action_space Discrete"),
        (lambda: make(ClipPPO, env={"observations": "discrete"}), {}, "has the observation_space Discrete"),
        (lambda: make(ClipPPO, "BetaMlpPolicy"), {}, "has a BetaDistribution, and this model a DiagGaussian"),
        (lambda: make(ClipPPO, ForeignPolicy), {}, "has a Foreign, and this model a DiagGaussian"),
        (lambda: make(ClipPPO), {"policy": ForeignPolicy}, "has a DiagGaussianDistribution, and this model a Foreign"),
        (lambda: make(ClipPPO), {"rollout_buffer_class": OwnBuffer}, "with a OwnBuffer, which draws minibatches"),
        (lambda: DQN("MlpPolicy", make_env(actions="discrete")), {"env": {"actions": "discrete"}}, "actor-critic"),
        (
            lambda: make(ClipPPO),
            {"adaptive_reference_kl_target": 0.1},
            "reference_kl_coef=0 would be adapted from 1e-10 on",
        ),
        (
            lambda: make(ClipPPO),
            {"adaptive_reference_kl_target": 0.1, "reference_kl_coef": "lin_1"},
            "is a schedule while adaptive_reference_kl_target=0.1",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make_reference: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(ClipPPO, reference_policy=make_reference(), **settings)


def test_what_is_no_usable_reference_is_refused(tmp_path) -> None:
    weights = make(ClipPPO).policy
    th.save(weights.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"^reference_policy='.*weights.pt' holds no model .*: pass a file that save"):
        make(ClipPPO, reference_policy=str(tmp_path / "weights.pt"))
    with th.no_grad():
        weights.action_net.bias[0] = np.nan
    with pytest.raises(ValueError, match=r"reference_policy has NaN or Inf in action_net.bias: .* Pass an earlier"):
        make(ClipPPO, reference_policy=weights)
    model = make(ClipPPO)
    model.reference_policy = 42
    with pytest.raises(TypeError, match=r"reference_policy=42 is an int: pass a model, a policy, or a file's path"):
        model.learn(64)


def test_a_coefficient_assigned_without_a_reference_is_refused() -> None:
    model = make(ClipPPO)
    model.reference_kl_coef = 0.1
    with pytest.raises(ValueError, match="without a reference_policy"):
        model.learn(64)


def test_statistics_that_move_on_are_warned_of() -> None:
    reference = make(ClipPPO, env={"normalize": True})
    model = make(ClipPPO, env={"normalize": True}, reference_policy=reference, reference_kl_coef=0.1)
    with pytest.warns(UserWarning, match="env.training = False") as caught:
        model.learn(64)
    assert caught[0].filename == __file__
    env = model.get_env()
    assert isinstance(env, VecNormalize)
    env.training = False
    model.learn(64)
    # What the warning recommends, where the inner one still moves.
    both = VecNormalize(VecNormalize(make_env(), norm_reward=False), norm_obs=False)
    model = ClipPPO("MlpPolicy", both, n_steps=64, reference_policy=make(ClipPPO), reference_kl_coef=0.1)
    with pytest.warns(UserWarning, match="env.training = False"):
        model.learn(64)


# ---- Files ----


def test_zips_go_both_ways(algorithm: type, tmp_path) -> None:
    reference = make(ClipPPO, seed=9)
    model = make(algorithm, reference_policy=reference, reference_kl_coef=0.3, critic_warmup=1)
    trained(model)
    model.save(tmp_path / "with")
    make(algorithm).save(tmp_path / "without")
    loaded = algorithm.load(tmp_path / "with", make_env())  # type: ignore[attr-defined]
    assert loaded.reference_policy.digest == model.reference_policy.digest
    assert (loaded.reference_kl_coef, loaded.critic_warmup, loaded._n_warmup_updates) == (0.3, 1, 1)
    theirs = PPO.load(tmp_path / "with", make_env())
    assert_same_tensors(theirs.get_parameters(), model.get_parameters(), "parameters")
    plain = algorithm.load(tmp_path / "without", make_env())  # type: ignore[attr-defined]
    plain.set_parameters(model.get_parameters())
    model.set_parameters(plain.get_parameters())
    plain.set_parameters(tmp_path / "with")
    model.set_parameters(tmp_path / "without")
    given = algorithm.load(  # type: ignore[attr-defined]
        tmp_path / "without", make_env(), reference_policy=reference, reference_kl_coef=0.2
    )
    trained(given)
    assert logged(given)["train/reference_kl_coef"] == 0.2
    other = (KLPenaltyPPO if algorithm is not KLPenaltyPPO else ClipPPO).load(tmp_path / "with", make_env())
    assert other.reference_policy.digest == model.reference_policy.digest


SAFE: dict[str, dict[str, Any]] = KINDS | {
    "gsde": {"use_sde": True, "policy_kwargs": {"squash_output": True}},
    "dict": {"policy": "MultiInputPolicy", "env": {"observations": "dict"}},
    "layers": {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [4, 4]}, "activation_fn": th.nn.ELU}},
}


@pytest.mark.parametrize("kind", [*SAFE, "memory", "memory and masks"])
def test_safe_files_bring_it_back(kind: str, tmp_path) -> None:
    settings = SAFE.get(kind, {})
    build = partial(make, ClipPPO)
    if kind not in SAFE:
        build = partial(
            with_memory, policy_kwargs={"n_lstm_layers": 2, "shared_lstm": True, "enable_critic_lstm": False}
        )
        settings = KINDS["masks"] if "masks" in kind else {}
    reference = build(**settings)
    model = build(reference_policy=reference, reference_kl_coef=0.3, critic_warmup=1, **settings | {"seed": 4})
    trained(model)
    model.save(tmp_path / "zip")
    safe = model.save_safe(tmp_path / "safe")
    after = []
    for load, file in ((ClipPPO.load_safe, safe), (ClipPPO.load, tmp_path / "zip")):
        loaded = load(file, make_env(**settings.get("env", {})))
        theirs = loaded.reference_policy.policy
        assert_same_tensors(theirs.state_dict(), model.reference_policy.policy.state_dict(), "reference")
        assert (loaded.reference_kl_coef, loaded.critic_warmup, loaded._n_warmup_updates) == (0.3, 1, 1)
        loaded.set_random_seed(0)
        after.append(trained(loaded, 1))
    np.testing.assert_array_equal(*after)


def test_a_files_reference_goes_on_and_a_given_one_begins_anew(tmp_path) -> None:
    model = make(ClipPPO, reference_policy=with_memory(seed=9), reference_kl_coef=0.1)
    model.learn(64)
    frozen = model.reference_policy
    model.save(tmp_path / "zip")
    safe = model.save_safe(tmp_path / "safe")
    for loaded in (ClipPPO.load(tmp_path / "zip", make_env()), ClipPPO.load_safe(safe, make_env())):
        assert loaded.reference_policy.kl_at_start == frozen.kl_at_start
        loaded.learn(64, reset_num_timesteps=False)
        assert "train/reference_kl_start" not in logged(loaded)
    states = ClipPPO.load(tmp_path / "zip").reference_policy.states
    assert all(map(th.equal, states, frozen.states))
    for other in (
        make(ClipPPO, reference_policy=frozen),
        ClipPPO.load(tmp_path / "zip", make_env(), reference_policy=frozen),
    ):
        assert (other.reference_policy.kl_at_start, other.reference_policy.states) == (None, None)
        assert other.reference_policy.digest == frozen.digest


def test_a_reference_moves_with_its_states() -> None:
    frozen = ReferencePolicy(with_memory().policy)
    frozen.states = (th.zeros(1, 1, 8), th.zeros(1, 1, 8))
    assert frozen.to("meta") is frozen
    assert {tensor.device.type for tensor in (*frozen.policy.parameters(), *frozen.states)} == {"meta"}


def test_a_reference_of_a_class_of_ones_own_is_left_out_of_safe_files(tmp_path) -> None:
    reference = make(ClipPPO, OwnPolicy)
    model = make(ClipPPO, reference_policy=reference, reference_kl_coef=0.1)
    with pytest.raises(ValueError, match=r"OwnPolicy, a class of your own.*exclude=\[\"reference_policy\"\]"):
        model.save_safe(tmp_path / "safe")
    file = model.save_safe(tmp_path / "safe", exclude=["reference_policy"])
    with pytest.raises(ValueError, match=r"reference_policy was left out of the file: pass reference_policy="):
        ClipPPO.load_safe(file)
    loaded = ClipPPO.load_safe(file, make_env(), reference_policy=reference)
    assert loaded.reference_policy.digest == model.reference_policy.digest


class OwnExtractor(FlattenExtractor):
    pass


def test_code_in_a_reference_is_named_with_its_own_remedy(tmp_path) -> None:
    kwargs = {"features_extractor_class": OwnExtractor}
    model = make(ClipPPO, policy_kwargs=kwargs, reference_policy=make(ClipPPO, policy_kwargs=kwargs))
    with pytest.raises(
        ValueError,
        match=r"^reference_policy was made with policy_kwargs: <class .*OwnExtractor.*exclude=..reference_policy",
    ):
        model.save_safe(tmp_path / "safe", exclude=["policy_kwargs"])
    model.save_safe(tmp_path / "safe", exclude=["policy_kwargs", "reference_policy"])


def test_an_assigned_reference_is_saved(tmp_path) -> None:
    model, reference = make(ClipPPO, reference_policy=make(ClipPPO)), make(ClipPPO, seed=7)
    model.reference_policy = reference
    file = model.save_safe(tmp_path / "safe")
    saved = ClipPPO.load_safe(file).reference_policy.policy.state_dict()
    assert_same_tensors(saved, reference.policy.state_dict(), "reference")


# ---- The critic's warm-up ----


def actor_state(model: Any) -> dict[str, Any]:
    names = [name for name, _ in model.policy.named_parameters() if "value" not in name and "critic" not in name]
    parameters = dict(model.policy.named_parameters())
    moments = {name: model.policy.optimizer.state.get(parameters[name], {}) for name in names}
    return copy.deepcopy({"weights": {name: parameters[name].detach() for name in names}, "moments": moments})


WARMED_UP: dict[str, dict[str, Any]] = {
    "closed_form": {"update_backend": "closed_form"},
    "autograd": {"update_backend": "autograd", "n_steps": 32},
    "shared extractor": {"env": {"observations": "image", "actions": "discrete"}, "policy": "CnnPolicy", "n_steps": 16},
    "two rates": {"learning_rate_vf": 1e-2},
}


@pytest.mark.filterwarnings("ignore:batch_size=32 is larger")
@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [*((each, "closed_form") for each in FAMILY), *((each, kind) for each in DIFFERENT for kind in [*WARMED_UP][1:])],
)
def test_only_the_critic_moves_at_first(algorithm: type, kind: str) -> None:
    model = make(algorithm, critic_warmup=2, **WARMED_UP[kind])
    trained(model, 1)
    model.critic_warmup = 0
    trained(model, 1)  # now Adam has a state
    model.critic_warmup = 3
    before, critic = actor_state(model), copy.deepcopy(model.policy.value_net.state_dict())
    trained(model, 2)
    assert_same_tensors(actor_state(model), before, "actor")
    assert not th.equal(model.policy.value_net.weight, critic["weight"])
    assert logged(model)["train/critic_warmup"] == 3
    assert logged(model)["train/value_loss"] > 0
    trained(model, 1)
    assert not th.equal(actor_state(model)["weights"]["action_net.weight"], before["weights"]["action_net.weight"])


def test_a_fresh_policys_adam_stays_empty(algorithm: type) -> None:
    model = make(algorithm, critic_warmup=5)
    trained(model, 2)
    assert not any(actor_state(model)["moments"].values())


def test_a_second_learn_does_not_warm_up_again(algorithm: type) -> None:
    model = make(algorithm, critic_warmup=1)
    for updates in (1, 2):
        trained(model, updates)
    assert model._n_warmup_updates == 1
    assert "train/critic_warmup" not in logged(model)


def test_a_loaded_model_warms_up_again_where_it_is_told_to(algorithm: type, tmp_path) -> None:
    model = make(algorithm, critic_warmup=1)
    trained(model, 2)
    zipped, safe = tmp_path / "model.zip", model.save_safe(tmp_path / "model")
    model.save(zipped)
    for load, path in ((algorithm.load, zipped), (algorithm.load_safe, safe)):
        assert load(path)._n_warmup_updates == 1
        again = load(path, env=model.get_env(), critic_warmup=1)
        before = actor_state(again)
        trained(again, 1)
        assert_same_tensors(actor_state(again), before, "actor")
        assert logged(again)["train/critic_warmup"] == 1


@pytest.mark.parametrize("settings", [{"critic_warmup": 1}, {"learning_rate_vf": 1e-3}], ids=str)
def test_the_policy_can_be_copied(algorithm: type, settings: dict[str, Any]) -> None:
    model = make(algorithm, **settings)
    copy.deepcopy(model.policy)
    model.learn(64, lambda state, _: copy.deepcopy(state["self"].policy) is not None)


class Normalised(BaseFeaturesExtractor):
    """Running statistics that the policy and the critic share."""

    def __init__(self, space: spaces.Box):
        super().__init__(space, space.shape[0])
        self.layer = th.nn.BatchNorm1d(space.shape[0])

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layer(observations)


@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO])
def test_running_statistics_stay_during_the_warm_up(algorithm: type) -> None:
    model = make(algorithm, critic_warmup=2, policy_kwargs={"features_extractor_class": Normalised})
    before = copy.deepcopy(model.policy.features_extractor.state_dict())
    trained(model, 2)
    assert_same_tensors(model.policy.features_extractor.state_dict(), before, "shared layers")
    trained(model, 1)
    assert not th.equal(model.policy.features_extractor.layer.running_mean, before["layer.running_mean"])


def test_memory_is_warmed_up_too() -> None:
    model = with_memory(critic_warmup=2)
    before = actor_state(model)
    trained(model, 2)
    assert_same_tensors(actor_state(model), before, "actor")
    assert logged(model)["train/value_loss"] > 0


NO_BASELINE = "critic_warmup=2 with baseline=False"


def test_no_critic_no_warm_up(tmp_path) -> None:
    with pytest.raises(ValueError, match=NO_BASELINE):
        make(REINFORCE, baseline=False, critic_warmup=2)
    with pytest.raises(ValueError, match=r"learning_rate_vf=0\.001 with baseline=False"):
        make(REINFORCE, baseline=False, learning_rate_vf=1e-3)
    with pytest.raises(ValueError, match="critic_warmup=2 with n_critic_updates=0"):
        make(TRPO, n_critic_updates=0, critic_warmup=2)
    model = make(REINFORCE, critic_warmup=2)
    model.save(tmp_path / "zip")
    safe = model.save_safe(tmp_path / "safe")
    with pytest.raises(ValueError, match=NO_BASELINE):
        REINFORCE.load(tmp_path / "zip", make_env(), baseline=False)
    with pytest.raises(ValueError, match=NO_BASELINE):
        REINFORCE.load_safe(safe, make_env(), baseline=False)
    model.baseline = False
    before = parameters_of(model)
    with pytest.raises(ValueError, match=NO_BASELINE):
        model.learn(64)
    np.testing.assert_array_equal(parameters_of(model), before)
    model = make(TRPO, critic_warmup=2)
    model.n_critic_updates = 0
    with pytest.raises(ValueError, match="critic_warmup=2 with n_critic_updates=0"):
        model.learn(64)
