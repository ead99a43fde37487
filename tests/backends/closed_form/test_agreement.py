"""Whole trainings by the two backends: the same random numbers, the same parameters to rounding."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib.common.maskable.utils import get_action_masks

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.backends.closed_form.network import WIDE
from tests.algorithms.models import make, parameters_of
from tests.backends.closed_form.networks import needs_numba


def masked(actions: str, **env: Any) -> dict[str, Any]:
    return {"actions": actions, "allowed": 0.5, **env}


CASES: dict[str, tuple[type, dict[str, Any], dict[str, Any]]] = {
    "clip, box": (ClipPPO, {}, {}),
    "clip, discrete": (ClipPPO, {"actions": "discrete"}, {}),
    "clip, multi discrete": (ClipPPO, {"actions": "multi_discrete"}, {}),
    "clip, multi binary": (ClipPPO, {"actions": "multi_binary"}, {}),
    "clip, discrete observations": (ClipPPO, {"observations": "discrete", "n_envs": 2}, {}),
    "clip, small images in an MLP": (ClipPPO, {"observations": "image"}, {}),
    "clip, several envs, normalised": (ClipPPO, {"n_envs": 3, "normalize": True}, {}),
    "clip, every option": (
        ClipPPO,
        {},
        {
            # Not down to zero: there the band's edge lies on r = 1, and rounding decides which side a sample is on.
            "clip_range": lambda progress: 0.1 + 0.1 * progress,
            "clip_range_high": 0.3,
            "dual_clip": 2.0,
            "kl_coef": 0.5,
            "clip_range_vf": 0.1,
            "clip_range_vf_mode": "max",
            "learning_rate_vf": 2e-3,
            "ent_coef": "lin_0.05",
            "bootstrap_truncated": False,
        },
    ),
    "clip, SB3 value clipping": (ClipPPO, {}, {"clip_range_vf": 0.05}),
    "clip, early stop": (ClipPPO, {}, {"target_kl": 1e-4, "learning_rate": 1e-2}),
    "clip, whole batch": (ClipPPO, {}, {"batch_size": None, "normalize_advantage": "rollout", "max_grad_norm": None}),
    "clip, short last minibatch": (ClipPPO, {}, {"batch_size": 28}),
    "clip, last minibatch of one row": (ClipPPO, {}, {"batch_size": 21}),
    "clip, advantages as they are": (ClipPPO, {}, {"normalize_advantage": False}),
    "clip, weight decay": (ClipPPO, {}, {"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.01}}}),
    "clip, betas and eps": (ClipPPO, {}, {"policy_kwargs": {"optimizer_kwargs": {"betas": (0.8, 0.99), "eps": 1e-3}}}),
    "clip, ReLU and other widths": (
        ClipPPO,
        {},
        {"policy_kwargs": {"net_arch": {"pi": [32, 16, 8], "vf": []}, "activation_fn": th.nn.ReLU}},
    ),
    "clip, no hidden layer": (ClipPPO, {}, {"policy_kwargs": {"net_arch": []}}),
    "clip, separate extractors": (ClipPPO, {}, {"policy_kwargs": {"share_features_extractor": False}}),
    "penalty, adaptive": (KLPenaltyPPO, {}, {}),
    "penalty, discrete, fixed": (KLPenaltyPPO, {"actions": "discrete"}, {"adaptive_kl_target": None, "kl_coef": 3.0}),
    "unclipped": (UnclippedPPO, {"actions": "multi_binary"}, {}),
    "reinforce": (REINFORCE, {}, {"ent_coef": 0.01}),
    "reinforce, no baseline": (REINFORCE, {"n_envs": 2}, {"baseline": False}),
    "trpo": (TRPO, {}, {}),
    "trpo, discrete": (TRPO, {"actions": "discrete"}, {}),
    "trpo, multi discrete, thinned": (TRPO, {"actions": "multi_discrete"}, {"sub_sampling_factor": 3}),
    "trpo, contrib's conventions": (TRPO, {"actions": "multi_binary"}, TRPO.CONTRIB_CONVENTIONS),
    "trpo, natural gradient, entropy": (TRPO, {}, {"line_search": False, "ent_coef": 0.1, "max_grad_norm": 0.5}),
    "trpo, critic's own rate": (TRPO, {}, {"learning_rate_vf": 5e-3, "batch_size": None}),
    "clip, masks, every option": (
        ClipPPO,
        masked("multi_binary", n_envs=3, normalize=True),
        {"use_masking": True, "dual_clip": 2.0, "kl_coef": 0.5, "clip_range_vf": 0.1, "learning_rate_vf": 2e-3}
        | {"ent_coef": "lin_0.05", "bootstrap_truncated": False, "batch_size": 28},
    ),
    "clip, masks, early stop": (
        ClipPPO,
        masked("multi_discrete", observations="discrete"),
        {"use_masking": True, "target_kl": 1e-4, "learning_rate": 1e-2},
    ),
    "penalty, masks, adaptive": (KLPenaltyPPO, masked("discrete"), {"use_masking": True, "adaptive_kl_target": 1e-4}),
    "trpo, masks, contrib's conventions, thinned": (
        TRPO,
        masked("multi_discrete"),
        {"use_masking": True, "sub_sampling_factor": 3, **TRPO.CONTRIB_CONVENTIONS},
    ),
}


ALGORITHMS: dict[str, tuple[type, dict[str, Any]]] = {
    "ClipPPO": (ClipPPO, {"ent_coef": 0.01}),
    "KLPenaltyPPO": (KLPenaltyPPO, {}),
    "UnclippedPPO": (UnclippedPPO, {"ent_coef": 0.01}),
    "REINFORCE": (REINFORCE, {}),
    "REINFORCE without baseline": (REINFORCE, {"baseline": False}),
    "TRPO": (TRPO, {}),
    "TRPO with entropy": (TRPO, {"ent_coef": 0.01, "sub_sampling_factor": 2}),
}
HEADS = ["box", "discrete", "multi_discrete", "multi_binary"]


def compiled_cases(*cases: str, marks: Sequence[pytest.MarkDecorator] = ()) -> list[Any]:
    """These cases for the compiled backend."""
    return [pytest.param("compiled", case, marks=[needs_numba, *marks]) for case in cases]


def closed_form_cases(cases: Iterable[str]) -> list[tuple[str, str]]:
    return [("closed_form", case) for case in cases]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("closed_form", "actions"), [*closed_form_cases(HEADS), *compiled_cases("box", "discrete")])
@pytest.mark.parametrize("width", [32, WIDE])
def test_backends_agree_after_a_whole_train(algorithm: str, closed_form: str, actions: str, width: int) -> None:
    """Every algorithm with every head, where torch multiplies the matrices and where numpy does."""
    which, extra = ALGORITHMS[algorithm]
    env, layers = {"actions": actions, "n_envs": 2}, {"net_arch": [width, width]}
    closed, autograd = (
        make(which, env=env, update_backend=backend, policy_kwargs=layers, **extra).learn(128)
        for backend in (closed_form, "autograd")
    )
    before = make(which, env=env, policy_kwargs=layers, **extra)
    assert [closed.active_backend, autograd.active_backend] == [closed_form, "autograd"]
    assert np.abs(parameters_of(closed) - parameters_of(before)).max() > 1e-4
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_backends_agree_with_beta_policies(algorithm: str) -> None:
    which, extra = ALGORITHMS[algorithm]
    settings = {"env": {"n_envs": 2}, "policy_kwargs": {"net_arch": [32]}} | extra
    closed, autograd = (
        make(which, "BetaMlpPolicy", update_backend=backend, **settings).learn(256)
        for backend in ("closed_form", "autograd")
    )
    before = parameters_of(make(which, "BetaMlpPolicy", **settings))
    assert [closed.active_backend, autograd.active_backend] == ["closed_form", "autograd"]
    assert np.abs(parameters_of(closed) - before).max() > 1e-4
    np.testing.assert_allclose(closed.rollout_buffer.actions, autograd.rollout_buffer.actions, atol=1e-5)
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("closed_form", "actions"), [*closed_form_cases(HEADS[1:]), *compiled_cases("discrete")])
def test_backends_agree_with_masks(algorithm: str, closed_form: str, actions: str) -> None:
    which, extra = ALGORITHMS[algorithm]
    settings = {
        "env": masked(actions, n_envs=2),
        "use_masking": True,
        "n_steps": 32,
        "policy_kwargs": {"net_arch": [32]},
    } | extra
    closed, autograd = (
        make(which, update_backend=backend, **settings).learn(64) for backend in (closed_form, "autograd")
    )
    for model in (closed, autograd):
        assert model.rollout_buffer.action_masks.mean() < 0.9
        assert sum(model.get_env().get_attr("n_invalid")) == 0
    before = parameters_of(make(which, **settings))
    assert [closed.active_backend, autograd.active_backend] == [closed_form, "autograd"]
    assert np.abs(parameters_of(closed) - before).max() > 1e-4
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=1e-5, atol=1e-5)


COMPILED_CASES = [case for case, (_, env, _) in CASES.items() if env.get("actions", "box") in ("box", "discrete")]
SHORT_COMPILED = ("clip, every option", "penalty, masks, adaptive", "reinforce", "trpo, discrete")


def every_case() -> list[Any]:
    rest = [case for case in COMPILED_CASES if case not in SHORT_COMPILED]
    compiled = [*compiled_cases(*SHORT_COMPILED), *compiled_cases(*rest, marks=[pytest.mark.long])]
    return [*closed_form_cases(CASES), *compiled]


def test_nothing_depends_on_what_numpy_does_about_underflow() -> None:
    """SB3 computes in torch, which has no such errors."""
    with np.errstate(all="raise"):
        make(ClipPPO, env=masked("discrete"), use_masking=True, learning_rate=3e-2).learn(256)


@pytest.mark.parametrize(("closed_form", "case"), every_case())
@pytest.mark.filterwarnings("ignore:batch_size")
def test_backends_agree_over_two_updates(closed_form: str, case: str) -> None:
    algorithm, env, extra = CASES[case]
    models = []
    for backend in (closed_form, "autograd"):
        model = make(algorithm, env=env, update_backend=backend, measure_kl=True, **extra)
        assert model.active_backend == backend
        models.append(model.learn(2 * 64 * model.n_envs))
    closed, autograd = models
    # Rounding is amplified a little by the trust region's square roots and by Adam's division.
    tolerance = 1e-4 if algorithm is TRPO else 1e-5
    np.testing.assert_allclose(parameters_of(closed), parameters_of(autograd), rtol=tolerance, atol=tolerance)
    ours, theirs = closed.logger.name_to_value, autograd.logger.name_to_value
    assert ours.keys() == theirs.keys()
    for key in ours:
        if not key.startswith("time/"):
            np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-3, atol=2e-5, err_msg=key)


@pytest.mark.parametrize(
    ("closed_form", "actions"),
    [
        *closed_form_cases([*HEADS, *(f"masked {head}" for head in HEADS[1:])]),
        *compiled_cases("box", "discrete", "masked discrete"),
    ],
)
@pytest.mark.parametrize("n_envs", [1, 3, 20])
def test_acting_draws_what_the_policy_would_draw(closed_form: str, actions: str, n_envs: int) -> None:
    """``policy.forward`` and the closed form from the same generator state."""
    from sb3_ppo_variants.rollouts import PolicyActor

    use_masking, name = actions.startswith("masked"), actions.rpartition(" ")[2]
    env = masked(name, n_envs=n_envs) if use_masking else {"actions": name, "n_envs": n_envs}
    model = make(ClipPPO, env=env, use_masking=use_masking, update_backend=closed_form).learn(64)
    observations, masks = model._last_obs, get_action_masks(model.env) if use_masking else None
    for seed in range(5):
        acted = []
        for actor in (model.make_actor(model.rollout_buffer), PolicyActor(model.policy)):
            th.manual_seed(seed)
            acted.append(actor.act(observations, action_masks=masks))
        closed, torchs = acted
        assert closed.actions.dtype == torchs.actions.dtype
        assert closed.values.shape == torchs.values.shape
        assert closed.log_probs.shape == torchs.log_probs.shape
        np.testing.assert_allclose(closed.actions, torchs.actions, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(closed.values, torchs.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(closed.log_probs, torchs.log_probs, rtol=1e-4, atol=1e-5)
        assert th.equal(closed.obs_tensor, torchs.obs_tensor)
