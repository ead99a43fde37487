"""NaN and Inf pass through the kernels as they pass through numpy: nothing is hidden by the compiler's flags."""

from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate
from sb3_ppo_variants.backends.settings import UpdateSettings
from tests.backends.closed_form.networks import (
    COMPILED_HEADS,
    OBJECTIVES,
    compiled,
    make_policy,
    make_rollout,
    needs_numba,
)

pytestmark = needs_numba
#: Where ``seen`` has the gradient.
GRADIENT = -3
BAD = [np.nan, np.inf, -1e30]


def seen(network_of: Any, head: str, activation: Any, where: str, value: float, n_rows: int) -> list[np.ndarray]:
    """Every number that a minibatch makes, after one number in it has become bad, and whether a step was taken."""
    th.manual_seed(0)
    np.random.seed(0)
    policy = make_policy(head, 5, [16, 8], activation, th.float32)
    network = network_of(policy)
    rollout = make_rollout(network, n_rows)
    update = ClosedFormUpdate(network, rollout, UpdateSettings(OBJECTIVES["clip, entropy"], max_grad_norm=0.5))
    rows = rollout.take(np.arange(n_rows))
    if where == "parameter":
        network.bound.flat[7] = value
    elif where == "last parameter":
        network.bound.flat[-1] = value
    else:
        getattr(rows, where).flat[n_rows // 2] = value
    with np.errstate(all="ignore"):
        evaluation = update.evaluate(rows)
        made = evaluation.evaluated
        forward = [made.log_prob, made.entropy, *made.parameters, *made.slopes, made.vf[-1]]
        kept = [np.array(array) for array in forward]
        update.network.backward(evaluation.evaluated, update.slopes(evaluation))
        gradient = network.bound.gradient.copy()
        before = network.bound.flat.copy()
        stepped = update.step(evaluation)
        if not stepped:
            np.testing.assert_array_equal(network.bound.flat, before)
            assert all(float(network.policy.optimizer.state[p]["step"]) == 0 for p in policy.parameters())
    return [*kept, gradient, np.array(stepped), network.bound.flat.copy()]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    "where", ["observations", "parameter", "last parameter", "old_log_prob", "advantages", "returns"]
)
@pytest.mark.parametrize("activation", [th.nn.Tanh, th.nn.ReLU])
@pytest.mark.parametrize("head", COMPILED_HEADS)
def test_the_same_numbers_are_not_finite(head: str, activation: Any, where: str, value: float) -> None:
    ours, numpys = (
        seen(network_of, head, activation, where, value, 40) for network_of in (compiled, ClosedFormActorCritic)
    )
    # Of a gradient only what is finite: in a sum of products, Inf and NaN depend on the order.
    np.testing.assert_array_equal(np.isfinite(ours.pop(GRADIENT)), np.isfinite(numpys.pop(GRADIENT)))
    for mine, theirs in zip(ours, numpys, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        np.testing.assert_array_equal(np.isposinf(mine), np.isposinf(theirs))
        np.testing.assert_array_equal(np.isneginf(mine), np.isneginf(theirs))


def test_tanh_is_within_its_error_and_lets_nan_pass() -> None:
    from sb3_ppo_variants.backends.closed_form.compiled.loading import kernels

    x = np.concatenate([np.linspace(-12, 12, 100001), [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 3e38]])
    x = x.astype(np.float32)
    # A network of one hidden unit and one output, both with weight 1 and bias 0: the hidden unit's output is tanh x.
    passed, spare = np.empty(2 * len(x), np.float32), np.empty(1, np.float32)
    parameters = np.array([1, 0, 1, 0], np.float32)
    kernels.forward(parameters, np.array([0, 1, 1, 1]), x[:, None].copy(), passed, spare, kernels.TANH)
    np.testing.assert_allclose(passed[: len(x)], np.tanh(x.astype(np.float64)), rtol=3e-6, atol=3e-7)
