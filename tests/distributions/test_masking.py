"""Masked heads against sb3-contrib's distributions with autograd, over random logits and masks, in float64."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sb3_contrib.common.maskable.distributions import (
    MaskableBernoulliDistribution,
    MaskableCategoricalDistribution,
    MaskableDistribution,
    MaskableMultiCategoricalDistribution,
)
from torch import distributions as td

from sb3_ppo_variants.distributions import (
    Categorical,
    Head,
    MultiCategorical,
    head_and_parameters,
    head_of,
    masked_logits,
)
from tests.backends.closed_form.networks import draw_masks

#: By name: the distribution as sb3-contrib makes it, and how many actions each of its choices has.
KINDS: dict[str, tuple[MaskableDistribution, tuple[int, ...]]] = {
    "categorical": (MaskableCategoricalDistribution(4), (4,)),
    "multi-categorical": (MaskableMultiCategoricalDistribution([3, 2]), (3, 2)),
    "bernoulli": (MaskableBernoulliDistribution(2), (2, 2)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
quickly = settings(max_examples=30, deadline=None, derandomize=True, database=None)


class Drawn(NamedTuple):
    """
    :param masks: shape (B, ΣD)
    :param old: The old policy's logits, as the network makes them, same shape
    :param new: The new policy's
    """

    masks: np.ndarray
    old: np.ndarray
    new: np.ndarray


@st.composite
def drawn(draw: Any, kind: str) -> Drawn:
    sizes, n_rows = KINDS[kind][1], draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    logits = hnp.arrays(np.float64, (n_rows, sum(sizes)), elements=st.floats(-8, 8))
    return Drawn(draw_masks(sizes, n_rows, rng), draw(logits), draw(logits))


def theirs(kind: str, logits: th.Tensor, masks: np.ndarray) -> MaskableDistribution:
    distribution = KINDS[kind][0].proba_distribution(action_logits=logits)
    distribution.apply_masking(masks)
    return distribution


def ours(kind: str, logits: np.ndarray, masks: np.ndarray) -> tuple[Head, tuple[np.ndarray]]:
    """The head, and the parameters as the closed form gives them to it."""
    sizes = KINDS[kind][1]
    blocks = th.from_numpy(masked_logits(logits, masks)).split(sizes, -1)
    head = Categorical() if len(sizes) == 1 else MultiCategorical(sizes)
    return head, (th.cat([block.log_softmax(-1) for block in blocks], -1).numpy(),)


def allowed_actions(kind: str, masks: np.ndarray) -> th.Tensor:
    sizes = KINDS[kind][1]
    actions = [block.float().argmax(-1) for block in th.from_numpy(masks).split(sizes, -1)]
    return actions[0] if len(sizes) == 1 else th.stack(actions, -1)


def gradient(value: th.Tensor, logits: th.Tensor) -> np.ndarray:
    (found,) = th.autograd.grad(value.sum(), logits, retain_graph=True)
    return found.numpy()


@every_kind
@given(st.data())
@quickly
def test_log_prob_entropy_and_slopes_are_theirs(kind: str, data: Any) -> None:
    masks, _, logits = data.draw(drawn(kind))
    leaf = th.tensor(logits, requires_grad=True)
    distribution = theirs(kind, leaf, masks)
    head, parameters = ours(kind, logits, masks)
    assert head_of(distribution) == head
    actions = allowed_actions(kind, masks)
    log_prob, (slope,) = head.log_prob_and_slope(parameters, actions.numpy())
    entropy, (entropy_slope,) = head.entropy(parameters), head.entropy_slope(parameters)
    for found, found_slope, value in (
        (log_prob, slope, distribution.log_prob(actions)),
        (entropy, entropy_slope, distribution.entropy()),
    ):
        np.testing.assert_allclose(found, value.detach().numpy(), rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(found_slope, gradient(value, leaf), rtol=1e-7, atol=1e-12)
        assert not found_slope[~masks].any()


@every_kind
@given(st.data())
@quickly
def test_kl_and_its_slope_are_theirs(kind: str, data: Any) -> None:
    """Of the allowed actions alone, by torch; and what the autograd backend has."""
    masks, old, new = data.draw(drawn(kind))
    leaf = th.tensor(new, requires_grad=True)
    head, (found_head, (new_parameters,)) = ours(kind, new, masks)[0], head_and_parameters(theirs(kind, leaf, masks))
    assert found_head == head
    # -inf, where they have -1e8: torch's own formula then leaves these actions out.
    blocks = [
        th.where(th.from_numpy(masks), logits, -th.inf).split(KINDS[kind][1], -1) for logits in (th.tensor(old), leaf)
    ]
    pairs = zip(*blocks, strict=True)
    expected = sum(td.kl_divergence(td.Categorical(logits=p), td.Categorical(logits=q)) for p, q in pairs)
    parameters = [ours(kind, logits, masks)[1] for logits in (old, new)]
    by_autograd = head.kl(tuple(map(th.from_numpy, parameters[0])), (new_parameters,))
    for found in (head.kl(*parameters), by_autograd.detach().numpy()):
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-6, atol=1e-7)
    (slope,) = head.kl_slope(*parameters)
    np.testing.assert_allclose(slope, gradient(by_autograd, leaf), rtol=1e-6, atol=1e-7)
    assert not slope[~masks].any()


@every_kind
@given(st.data())
@quickly
def test_the_fisher_product_is_the_kls_second_derivative(kind: str, data: Any) -> None:
    masks, _, logits = data.draw(drawn(kind))
    leaf = th.tensor(logits, requires_grad=True)
    head, (new,) = head_and_parameters(theirs(kind, leaf, masks))
    (slope,) = th.autograd.grad(head.kl((new.detach(),), (new,)).sum(), leaf, create_graph=True)
    tangent = np.random.default_rng(len(logits)).normal(size=logits.shape)
    (product,) = head.fisher_product(ours(kind, logits, masks)[1], (tangent,))
    np.testing.assert_allclose(product, gradient(slope * th.from_numpy(tangent), leaf), rtol=1e-7, atol=1e-9)
    assert not product[~masks].any()


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_actions_have_no_probability_at_all(kind: str, dtype: type) -> None:
    sizes = KINDS[kind][1]
    rng = np.random.default_rng(0)
    masks = draw_masks(sizes, 100, rng)
    logits = (30 * rng.normal(size=masks.shape)).astype(dtype)
    masked = masked_logits(logits, masks)
    assert masked.dtype == dtype
    _, (log_p,) = ours(kind, logits, masks)
    assert not np.exp(log_p)[~masks].any()
    np.testing.assert_allclose(np.exp(log_p).sum(-1), len(sizes), rtol=1e-5)


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_masks_and_with_true_ones_nothing_changes(kind: str, dtype: type) -> None:
    logits = np.random.default_rng(1).normal(size=(5, sum(KINDS[kind][1]))).astype(dtype)
    assert masked_logits(logits, None) is logits
    for array in (logits, th.from_numpy(logits)):
        found = masked_logits(array, array == array)
        assert type(found) is type(array)
        np.testing.assert_array_equal(np.asarray(found), logits)


def test_by_hand() -> None:
    # Logits 0 and 1 of four: p = (1, e)/(1 + e) = (0.268941, 0.731059)
    logits, masks = np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[True, True, False, False]])
    head, parameters = ours("categorical", logits, masks)
    log_prob, (slope,) = head.log_prob_and_slope(parameters, np.array([1]))
    np.testing.assert_allclose(log_prob, [-0.313262], rtol=1e-5)
    # −0.268941·log 0.268941 − 0.731059·log 0.731059 = 0.353188 + 0.229013
    np.testing.assert_allclose(head.entropy(parameters), [0.582203], rtol=1e-5)
    # onehot − p, and 0 at the masked actions
    np.testing.assert_allclose(slope, [[-0.268941, 0.268941, 0, 0]], atol=1e-6)
