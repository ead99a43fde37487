"""Closed-form gradients against automatic differentiation, for every head and objective, over shapes."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.constrained import ClosedFormConstrainedUpdate
from sb3_ppo_variants.backends.closed_form.network import WIDE
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate
from sb3_ppo_variants.backends.natural_step import FlatParameters, fisher_product_of
from sb3_ppo_variants.backends.settings import ConstrainedSettings, UpdateSettings
from sb3_ppo_variants.distributions import Bernoulli, head_and_parameters
from sb3_ppo_variants.objectives import (
    Objective,
    UnclippedSurrogate,
)
from sb3_ppo_variants.rollouts import Rows
from tests.backends.closed_form.networks import (
    ACTIONS,
    COMPILED_HEADS,
    OBJECTIVES,
    compiled,
    distribution_from,
    make_policy,
    make_rollout,
    needs_numba,
)


def autograd_gradient(
    policy: ActorCriticPolicy, rows: Rows, objective: Objective, old: tuple[th.Tensor, ...]
) -> np.ndarray:
    """∂(−J)/∂θ by torch, from the policy's own modules and the objective's values, in the policy's dtype."""
    dtype = next(policy.parameters()).dtype
    old = tuple(part.to(dtype) for part in old)
    features, actions, old_values, old_log_prob, advantages, returns = (
        th.from_numpy(np.asarray(array)).to(dtype)
        for array in (
            rows.observations,
            rows.actions,
            rows.old_values,
            rows.old_log_prob,
            rows.advantages,
            rows.returns,
        )
    )
    distribution = distribution_from(policy, policy.mlp_extractor.forward_actor(features), rows.action_masks)
    log_ratio = distribution.log_prob(actions) - old_log_prob
    loss = -objective.surrogate.value(log_ratio, advantages).mean()
    loss = loss - objective.ent_coef * distribution.entropy().mean()
    head, parameters = head_and_parameters(distribution)
    loss = loss + objective.kl_coef * head.kl(old, parameters).mean()
    if objective.value_loss is not None:
        values = policy.value_net(policy.mlp_extractor.forward_critic(features)).flatten()
        loss = loss + objective.vf_coef * objective.value_loss.value(values, old_values, returns).mean()
    bound = ordered_parameters(policy)
    gradients = th.autograd.grad(loss, bound, allow_unused=True)
    filled = [th.zeros_like(p) if g is None else g for p, g in zip(bound, gradients, strict=True)]
    return np.concatenate([g.numpy().ravel() for g in filled])


def ordered_parameters(policy: ActorCriticPolicy) -> list[th.nn.Parameter]:
    """The parameters in the closed form's layout: policy net, action net, log σ, value nets."""
    log_std = [policy.log_std] if hasattr(policy, "log_std") else []
    pi = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    return [*pi, *log_std, *policy.mlp_extractor.value_net.parameters(), *policy.value_net.parameters()]


def three_gradients(
    policy: ActorCriticPolicy, objective: Objective, n_rows: int, network_of: Any = ClosedFormActorCritic
) -> list[np.ndarray]:
    """By hand, by torch, and by torch in float64."""
    network = network_of(policy)
    rollout = make_rollout(network, n_rows)
    update = ClosedFormUpdate(network, rollout, UpdateSettings(objective, keep_old_policy=True))
    rows = rollout.take(np.arange(n_rows))
    # The penalty is zero, and so is its slope, at the old policy: move away from it.
    network.bound.flat += 0.05 * np.random.standard_normal(len(network.bound.flat)).astype(network.dtype)
    network.bound.gradient[:] = 0
    evaluation = update.evaluate(rows)
    network.backward(evaluation.evaluated, update.slopes(evaluation))
    old = tuple(th.from_numpy(part) for part in update.old)
    ours = network.bound.gradient.copy()
    return [ours, *(autograd_gradient(p, rows, objective, old) for p in (policy, copy.deepcopy(policy).double()))]


#: Relative to the gradient's norm.
TOLERANCES = {th.float64: 1e-10, th.float32: 1e-5}
#: Below and above the width from which torch multiplies the matrices, and each of them alone.
SHAPES: dict[str, Any] = {
    "narrow": {"pi": [16, 8], "vf": [8]},
    "wide": {"pi": [WIDE + 2, 64], "vf": [64, WIDE]},
    "wide critic": {"pi": [16], "vf": [WIDE]},
}


@pytest.mark.parametrize("head", ACTIONS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gradient_of_every_head_and_objective(head: str, objective: str, shape: str, dtype: th.dtype) -> None:
    th.manual_seed(0)
    np.random.seed(0)
    policy = make_policy(head, 5, SHAPES[shape], th.nn.Tanh, dtype)
    ours, torchs, _ = three_gradients(policy, OBJECTIVES[objective], n_rows=64)
    assert np.linalg.norm(torchs) > 1e-2
    assert np.linalg.norm(ours - torchs) <= TOLERANCES[dtype] * np.linalg.norm(torchs)


@needs_numba
@pytest.mark.parametrize("head", COMPILED_HEADS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", [th.nn.Tanh, th.nn.ReLU])
def test_compiled_gradient_of_every_head_and_objective(head: str, objective: str, shape: str, activation: Any) -> None:
    th.manual_seed(0)
    np.random.seed(0)
    policy = make_policy(head, 5, SHAPES[shape], activation, th.float32)
    ours, torchs, _ = three_gradients(policy, OBJECTIVES[objective], 64, compiled)
    assert np.linalg.norm(torchs) > 1e-2
    assert np.linalg.norm(ours - torchs) <= TOLERANCES[th.float32] * np.linalg.norm(torchs)


def assert_as_exact_as_torch(ours: np.ndarray, torchs: np.ndarray, exact: np.ndarray, dtype: th.dtype) -> None:
    # One row through wide layers, or all rows clipped: large terms cancel, and torch loses digits in float32 as well.
    allowed = TOLERANCES[dtype] * max(np.linalg.norm(exact), 0.1) + 3 * np.linalg.norm(torchs - exact)
    assert np.linalg.norm(ours - exact) <= allowed


widths = st.lists(st.integers(1, 12) | st.integers(WIDE - 1, WIDE + 1), max_size=3)
over_shapes = given(
    head=st.sampled_from(sorted(ACTIONS)),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    activation=st.sampled_from([th.nn.Tanh, th.nn.ReLU, th.nn.Sigmoid, th.nn.ELU]),
    pi=widths,
    vf=widths,
    n_features=st.integers(1, 6),
    n_rows=st.integers(1, 80),
    dtype=st.sampled_from(list(TOLERANCES)),
    seed=st.integers(0, 2**16),
)


@settings(deadline=None, max_examples=100, derandomize=True, database=None)
@over_shapes
def test_gradient_over_shapes(head, objective, activation, pi, vf, n_features, n_rows, dtype, seed) -> None:
    th.manual_seed(seed)
    np.random.seed(seed)
    policy = make_policy(head, n_features, {"pi": pi, "vf": vf}, activation, dtype)
    ours, torchs, exact = three_gradients(policy, OBJECTIVES[objective], n_rows)
    assert_as_exact_as_torch(ours, torchs, exact, dtype)


@pytest.mark.long
@settings(deadline=None, max_examples=100)
@over_shapes
def test_gradient_over_other_shapes_each_time(**case: Any) -> None:
    test_gradient_over_shapes.hypothesis.inner_test(**case)


@needs_numba
@settings(deadline=None, max_examples=50)
@given(
    head=st.sampled_from(COMPILED_HEADS),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    activation=st.sampled_from([th.nn.Tanh, th.nn.ReLU]),
    pi=widths,
    vf=widths,
    n_features=st.integers(1, 6),
    n_rows=st.integers(1, 80),
    seed=st.integers(0, 2**16),
)
def test_compiled_gradient_over_shapes(head, objective, activation, pi, vf, n_features, n_rows, seed) -> None:
    th.manual_seed(seed)
    np.random.seed(seed)
    policy = make_policy(head, n_features, {"pi": pi, "vf": vf}, activation, th.float32)
    ours, torchs, exact = three_gradients(policy, OBJECTIVES[objective], n_rows, compiled)
    assert_as_exact_as_torch(ours, torchs, exact, th.float32)


@pytest.mark.parametrize("head", ACTIONS)
@pytest.mark.parametrize("every", [1, 3])
def test_fisher_product_is_the_second_derivative_of_the_kl(head: str, every: int) -> None:
    th.manual_seed(1)
    np.random.seed(1)
    policy = make_policy(head, 5, {"pi": [16, 8], "vf": [8]}, th.nn.Tanh, th.float64)
    network = ClosedFormActorCritic(policy)
    update = ClosedFormConstrainedUpdate(
        network, make_rollout(network, 30), ConstrainedSettings(True, 0.0, "old_new", "sum")
    )
    features = th.from_numpy(update.rows.observations[::every].copy())
    masks = None if update.rows.action_masks is None else update.rows.action_masks[::every]
    distribution = distribution_from(policy, policy.mlp_extractor.forward_actor(features), masks)
    family, parameters = head_and_parameters(distribution)
    kl = family.kl(tuple(part.detach() for part in parameters), parameters).mean()
    n_actor = sum(1 for _ in policy.mlp_extractor.policy_net.parameters()) + 2 + hasattr(policy, "log_std")
    product = fisher_product_of(kl, FlatParameters(ordered_parameters(policy)[:n_actor]))
    for _ in range(3):
        vector = th.randn(len(update.gradient), dtype=th.float64)
        np.testing.assert_allclose(update.fisher_product(every)(vector), product(vector), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", ACTIONS)
@pytest.mark.parametrize("ent_coef", [0.0, 0.1])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gradient_of_the_constrained_steps_surrogate(head: str, ent_coef: float, dtype: th.dtype) -> None:
    th.manual_seed(3)
    np.random.seed(3)
    policy = make_policy(head, 5, {"pi": [16, 8], "vf": [8]}, th.nn.Tanh, dtype)
    network = ClosedFormActorCritic(policy)
    update = ClosedFormConstrainedUpdate(
        network, make_rollout(network, 30), ConstrainedSettings(True, ent_coef, "old_new", "sum")
    )
    loss = Objective(UnclippedSurrogate(), None, ent_coef=ent_coef)
    torchs = autograd_gradient(policy, update.rows, loss, tuple(th.from_numpy(part) for part in update.old))
    torchs = -torchs[network.actor_span]
    assert np.linalg.norm(update.gradient.numpy() - torchs) <= TOLERANCES[dtype] * np.linalg.norm(torchs)


@pytest.mark.parametrize("head", ACTIONS)
def test_slopes_of_the_heads_against_autograd(head: str) -> None:
    th.manual_seed(2)
    policy = make_policy(head, 5, [8], th.nn.Tanh, th.float64)
    network = ClosedFormActorCritic(policy)
    rollout = make_rollout(network, 7).take(np.arange(7))
    output = network.pi.forward(rollout.observations)[-1].copy()
    raw = th.from_numpy(output).requires_grad_()
    log_std = None if network.log_std is None else th.from_numpy(np.tile(network.log_std, (7, 1))).requires_grad_()
    inputs = [raw] if log_std is None else [raw, log_std]
    parameters = network.head_parameters(output, rollout.action_masks)
    if log_std is not None:
        distribution = policy.action_dist.proba_distribution(raw, log_std)
    else:
        distribution = policy.action_dist.proba_distribution(raw)
        if rollout.action_masks is not None:
            distribution.apply_masking(rollout.action_masks)
    for value, (found, slopes) in (
        (
            distribution.log_prob(th.from_numpy(rollout.actions)),
            network.head.log_prob_and_slope(parameters, rollout.actions),
        ),
        (distribution.entropy(), (network.head.entropy(parameters), network.head.entropy_slope(parameters))),
    ):
        np.testing.assert_allclose(found, value.detach(), rtol=1e-12)
        gradients = th.autograd.grad(value.sum(), inputs, allow_unused=True, retain_graph=True)
        for ours, torchs in zip(slopes, gradients, strict=True):
            expected = np.zeros_like(output) if torchs is None else torchs
            np.testing.assert_allclose(np.broadcast_to(ours, output.shape), expected, atol=1e-12)


def test_fisher_of_bernoulli_by_autograd_where_logits_are_zero() -> None:
    """The Hessian of the KL is p(1 − p) = ¼ there too: a kink in the formula of log σ would make it 0."""
    logits = th.zeros(1, 2, dtype=th.float64, requires_grad=True)
    head = Bernoulli()
    hessian = th.autograd.functional.hessian(lambda new: head.kl((logits.detach(),), (new,)).sum(), logits)
    np.testing.assert_allclose(hessian.reshape(2, 2), np.diag([0.25, 0.25]), atol=1e-12)
