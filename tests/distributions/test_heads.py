"""The contract that every closed-form head keeps: KL and its slope against torch, sampling and hand arithmetic."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import distributions as td

from sb3_ppo_variants.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Gaussian,
    Head,
    MultiCategorical,
    reference_kl,
    reference_kl_slope,
)

SIZES = (3, 2)


class Case(NamedTuple):
    """
    :param head: What is tested
    :param widths: Columns of each parameter
    :param ranges: Between which values each parameter is drawn
    :param independent: The same family as torch distributions, whose log-probabilities and KLs add up over a row
    :param averaged_dims: Over how many dimensions sb3-contrib averages
    :param normalized: From the network's outputs to the parameters that all functions but the KL want
    """

    head: Head
    widths: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...]
    independent: Callable[..., list[td.Distribution]]
    averaged_dims: int
    normalized: Callable[..., tuple[th.Tensor, ...]] = lambda *outputs: outputs


def log_softmax_of_blocks(logits: th.Tensor) -> tuple[th.Tensor]:
    return (th.cat([block.log_softmax(-1) for block in logits.split(SIZES, -1)], -1),)


class StretchedBeta(td.TransformedDistribution):
    """On [−1, 1], with the entropy that torch leaves out."""

    def __init__(self, outputs: th.Tensor):
        alpha, beta = (1 + th.nn.functional.softplus(outputs)).chunk(2, -1)
        super().__init__(td.Independent(td.Beta(alpha, beta), 1), [td.AffineTransform(-1.0, 2.0)])

    def entropy(self) -> th.Tensor:
        return self.base_dist.entropy() + self.base_dist.event_shape.numel() * np.log(2)


def choices(logits: th.Tensor) -> list[td.Distribution]:
    return [td.Categorical(logits=block) for block in logits.split(SIZES, -1)]


# To add a head, add one line here: every test below that takes ``case`` then holds it to the contract.
HEADS = (
    Case(Gaussian(), (3, 3), ((-3, 3), (-2, 1)), lambda m, s: [td.Independent(td.Normal(m, s.exp()), 1)], 3),
    Case(
        Categorical(),
        (4,),
        ((-8, 8),),
        lambda logits: [td.Categorical(logits=logits)],
        1,
        lambda logits: (logits.log_softmax(-1),),
    ),
    Case(MultiCategorical(SIZES), (5,), ((-8, 8),), choices, 1, log_softmax_of_blocks),
    Case(Beta(), (6,), ((-4, 12),), lambda outputs: [StretchedBeta(outputs)], 3),
    Case(Bernoulli(), (3,), ((-8, 8),), lambda logits: [td.Independent(td.Bernoulli(logits=logits), 1)], 3),
)
every_head = pytest.mark.parametrize("case", HEADS, ids=lambda case: type(case.head).__name__)
quickly = settings(max_examples=40, deadline=None, derandomize=True, database=None)

Parameters = tuple[np.ndarray, ...]


def parameters_of(case: Case) -> st.SearchStrategy[tuple[Parameters, Parameters]]:
    """Old and new parameters of one to four rows."""

    def rows(n: int) -> st.SearchStrategy[Parameters]:
        columns = zip(case.widths, case.ranges, strict=True)
        return st.tuples(
            *(hnp.arrays(np.float64, (n, width), elements=st.floats(*bounds)) for width, bounds in columns)
        )

    return st.integers(1, 4).flatmap(lambda n: st.tuples(rows(n), rows(n)))


def random_parameters(case: Case, rng: np.random.Generator, n: int) -> Parameters:
    return tuple(rng.uniform(*bounds, (n, width)) for width, bounds in zip(case.widths, case.ranges, strict=True))


def tensors(parameters: Parameters, requires_grad: bool = False) -> tuple[th.Tensor, ...]:
    return tuple(th.tensor(parameter, requires_grad=requires_grad) for parameter in parameters)


def torch_kl(case: Case, old: tuple[th.Tensor, ...], new: tuple[th.Tensor, ...]) -> th.Tensor:
    pairs = zip(case.independent(*old), case.independent(*new), strict=True)
    return sum(td.kl_divergence(p, q) for p, q in pairs)


@every_head
@given(st.data())
@quickly
def test_kl_is_torchs(case: Case, data: Any) -> None:
    old, new = data.draw(parameters_of(case))
    kl = case.head.kl(old, new)
    assert kl.shape == (len(old[0]),)
    # Where the two nearly coincide, torch's own formula leaves rounding noise of the size of its terms.
    np.testing.assert_allclose(kl, torch_kl(case, tensors(old), tensors(new)).numpy(), rtol=1e-11, atol=1e-11)


@every_head
@given(st.data())
@quickly
def test_slope_is_the_derivative_of_kl(case: Case, data: Any) -> None:
    old, new = data.draw(parameters_of(case))
    slopes = case.head.kl_slope(old, new)
    # Once through our own formula, once through torch's.
    for kl in (case.head.kl, lambda old, new: torch_kl(case, old, new)):
        leaves = tensors(new, requires_grad=True)
        gradients = th.autograd.grad(kl(tensors(old), leaves).sum(), leaves)
        for slope, gradient in zip(slopes, gradients, strict=True):
            np.testing.assert_allclose(slope, gradient.numpy(), rtol=1e-10, atol=1e-12)


@every_head
@given(st.data())
@quickly
def test_a_reference_in_either_direction_is_torchs(case: Case, data: Any) -> None:
    reference, new = data.draw(parameters_of(case))
    normalized = tuple(part.numpy() for part in case.normalized(*tensors(new)))
    for direction in ("ref_new", "new_ref"):
        leaves = tensors(new, requires_grad=True)
        pair = (tensors(reference), leaves) if direction == "ref_new" else (leaves, tensors(reference))
        kl = torch_kl(case, *pair)
        found = reference_kl(case.head, reference, normalized, direction)
        np.testing.assert_allclose(found, kl.detach().numpy(), rtol=1e-10, atol=1e-10)
        slopes = reference_kl_slope(case.head, reference, normalized, direction)
        for slope, gradient in zip(slopes, th.autograd.grad(kl.sum(), leaves), strict=True):
            np.testing.assert_allclose(slope, gradient.numpy(), rtol=1e-9, atol=1e-10)


@every_head
@given(st.data())
@quickly
def test_numpy_and_torch_agree(case: Case, data: Any) -> None:
    old, new = data.draw(parameters_of(case))
    kl = case.head.kl(tensors(old), tensors(new))
    assert isinstance(kl, th.Tensor)
    np.testing.assert_allclose(case.head.kl(old, new), kl.numpy(), rtol=1e-12, atol=1e-14)
    slopes = case.head.kl_slope(old, new), case.head.kl_slope(tensors(old), tensors(new))
    for ours, theirs in zip(*slopes, strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)


@every_head
@given(st.data())
@quickly
def test_a_distribution_is_exactly_itself(case: Case, data: Any) -> None:
    old, _ = data.draw(parameters_of(case))
    for dtype in (np.float64, np.float32):
        same = tuple(parameter.astype(dtype) for parameter in old)
        for kind in (same, tensors(same)):
            assert not np.asarray(case.head.kl(kind, kind)).any()
            for slope in case.head.kl_slope(kind, kind):
                assert not np.asarray(slope).any()


@every_head
@pytest.mark.parametrize("seed", range(5))
def test_kl_is_the_mean_log_ratio_of_samples_of_the_old(case: Case, seed: int) -> None:
    # E_old[log π_old − log π]: this direction, these nats, this sum over dimensions.
    rng, n = np.random.default_rng(seed), 40_000
    old, new = random_parameters(case, rng, 1), random_parameters(case, rng, 1)
    th.manual_seed(seed)
    log_ratio = th.zeros(n, dtype=th.float64)
    for p, q in zip(case.independent(*tensors(old)), case.independent(*tensors(new)), strict=True):
        actions = p.sample((n,))
        log_ratio += (p.log_prob(actions) - q.log_prob(actions)).squeeze(-1)
    # Five standard errors: wrong once in two million; a floor, because a sure choice has none.
    tolerance = 5 * log_ratio.std().item() / n**0.5 + 1e-6
    assert abs(log_ratio.mean().item() - case.head.kl(old, new).item()) < tolerance


def sampled_actions(case: Case, parameters: tuple[th.Tensor, ...]) -> tuple[th.Tensor, th.Tensor]:
    """Actions as the head wants them, and what torch says of their log-probability."""
    families = case.independent(*parameters)
    actions = [family.sample() for family in families]
    log_prob = sum(family.log_prob(action) for family, action in zip(families, actions, strict=True))
    return actions[0] if len(actions) == 1 else th.stack(actions, -1), log_prob


def in_both_kinds(parameters: tuple[th.Tensor, ...]) -> list[tuple[Any, ...]]:
    """The parameters as numpy arrays and as tensors."""
    plain = tuple(parameter.detach() for parameter in parameters)
    return [tuple(parameter.numpy() for parameter in plain), plain]


@every_head
@given(st.data(), st.integers(0, 1000))
@quickly
def test_log_prob_and_its_slope_are_torchs(case: Case, data: Any, seed: int) -> None:
    outputs = tensors(data.draw(parameters_of(case))[0], requires_grad=True)
    th.manual_seed(seed)
    actions, log_prob = sampled_actions(case, outputs)
    gradients = th.autograd.grad(log_prob.sum(), outputs)
    for parameters in in_both_kinds(case.normalized(*outputs)):
        taken = actions.numpy() if isinstance(parameters[0], np.ndarray) else actions
        ours = case.head.log_prob(parameters, taken)
        assert type(ours) is type(parameters[0])
        np.testing.assert_allclose(np.asarray(ours), log_prob.detach().numpy(), rtol=1e-12, atol=1e-12)
        for slope, gradient in zip(case.head.log_prob_and_slope(parameters, taken)[1], gradients, strict=True):
            np.testing.assert_allclose(np.asarray(slope), gradient.numpy(), rtol=1e-11, atol=1e-12)


@every_head
@given(st.data())
@quickly
def test_entropy_and_its_slope_are_torchs(case: Case, data: Any) -> None:
    outputs = tensors(data.draw(parameters_of(case))[0], requires_grad=True)
    entropy = sum(family.entropy() for family in case.independent(*outputs))
    gradients = th.autograd.grad(entropy.sum(), outputs, allow_unused=True)
    for parameters in in_both_kinds(case.normalized(*outputs)):
        ours = case.head.entropy(parameters)
        assert type(ours) is type(parameters[0])
        np.testing.assert_allclose(np.asarray(ours), entropy.detach().numpy(), rtol=1e-12, atol=1e-12)
        for slope, gradient, output in zip(case.head.entropy_slope(parameters), gradients, outputs, strict=True):
            expected = th.zeros_like(output) if gradient is None else gradient  # a Gaussian's mean has no part in it
            np.testing.assert_allclose(np.asarray(slope), expected.numpy(), rtol=1e-10, atol=1e-12)


@every_head
@given(st.data())
@quickly
def test_the_fisher_product_is_the_kls_second_derivative(case: Case, data: Any) -> None:
    old, _ = data.draw(parameters_of(case))
    rng = np.random.default_rng(len(old[0]))
    tangent = tuple(th.from_numpy(rng.normal(size=parameter.shape)) for parameter in old)
    outputs = tensors(old, requires_grad=True)
    # Twice through torch's own KL at old = new: d/dθ (∂KL/∂θ · t).
    slopes = th.autograd.grad(torch_kl(case, tensors(old), outputs).sum(), outputs, create_graph=True)
    along = sum((slope * part).sum() for slope, part in zip(slopes, tangent, strict=True))
    products = th.autograd.grad(along, outputs)
    for parameters, direction in zip(in_both_kinds(case.normalized(*outputs)), in_both_kinds(tangent), strict=True):
        for ours, product in zip(case.head.fisher_product(parameters, direction), products, strict=True):
            np.testing.assert_allclose(np.asarray(ours), product.numpy(), rtol=1e-9, atol=1e-11)


@given(st.data())
@quickly
def test_a_gaussians_log_std_may_be_shared_by_all_rows(data: Any) -> None:
    # As SB3's policies have it: one log σ per action dimension, shape (A,).
    n = data.draw(st.integers(1, 4))
    elements = st.floats(-2, 1)
    means, old_means = (data.draw(hnp.arrays(np.float64, (n, 3), elements=elements)) for _ in range(2))
    log_std, old_log_std = (data.draw(hnp.arrays(np.float64, (3,), elements=elements)) for _ in range(2))
    head, rows = Gaussian(), np.ones((n, 1))
    shared, spread = (means, log_std), (means, rows * log_std)
    old, old_spread = (old_means, old_log_std), (old_means, rows * old_log_std)
    pairs = [
        (head.log_prob(shared, old_means), head.log_prob(spread, old_means)),
        (head.entropy(shared), head.entropy(spread)),
        (head.kl(old, shared), head.kl(old_spread, spread)),
        *zip(head.log_prob_and_slope(shared, old_means)[1], head.log_prob_and_slope(spread, old_means)[1], strict=True),
        *zip(head.entropy_slope(shared), head.entropy_slope(spread), strict=True),
        *zip(head.kl_slope(old, shared), head.kl_slope(old_spread, spread), strict=True),
        *zip(head.fisher_product(shared, spread), head.fisher_product(spread, spread), strict=True),
    ]
    for ours, expected in pairs:
        # A slope that is the same in all rows may come once.
        np.testing.assert_allclose(np.broadcast_to(ours, expected.shape), expected, rtol=1e-13, atol=1e-14)


@every_head
@given(st.data())
@quickly
def test_rows_do_not_mix(case: Case, data: Any) -> None:
    old, new = data.draw(parameters_of(case))
    whole = case.head.kl(old, new)
    for i in range(len(old[0])):
        one = case.head.kl(tuple(p[i : i + 1] for p in old), tuple(p[i : i + 1] for p in new))
        np.testing.assert_allclose(one, whole[i : i + 1], rtol=1e-13, atol=1e-15)


@every_head
def test_the_dtype_is_kept(case: Case) -> None:
    rng = np.random.default_rng(0)
    old, new = (tuple(p.astype(np.float32) for p in random_parameters(case, rng, 3)) for _ in range(2))
    assert case.head.kl(old, new).dtype == np.float32
    assert case.head.kl(tensors(old), tensors(new)).dtype == th.float32
    for before, slope in zip(new, case.head.kl_slope(old, new), strict=True):
        assert slope.dtype == np.float32
        assert slope.shape == before.shape


@every_head
def test_averaged_dims(case: Case) -> None:
    assert case.head.averaged_dims(random_parameters(case, np.random.default_rng(0), 7)) == case.averaged_dims


class TestByHand:
    def test_gaussian(self) -> None:
        # N(0, 1) to N(1, 2): log 2 + (1 + 1²)/(2·4) − ½ = 0.693147 + 0.25 − 0.5 = 0.443147
        # and N(0, 1) to N(0, 1/e): −1 + (1 + 0)·e²/2 − ½ = 3.694528 − 1.5 = 2.194528; the sum is 2.637675
        old = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0]])
        new = np.array([[1.0, 0.0]]), np.array([[np.log(2), -1.0]])
        np.testing.assert_allclose(Gaussian().kl(old, new), [2.637675], atol=1e-6)
        mean_slope, log_std_slope = Gaussian().kl_slope(old, new)
        # (1 − 0)/4 and 0;  1 − (1 + 1)/4 = 0.5 and 1 − e² = −6.389056
        np.testing.assert_allclose(mean_slope, [[0.25, 0.0]], atol=1e-15)
        np.testing.assert_allclose(log_std_slope, [[0.5, -6.389056]], atol=1e-6)

    def test_categorical(self) -> None:
        # (½, ½) to (¼, ¾): ½·log(½/¼) + ½·log(½/¾) = ½·0.693147 − ½·0.405465 = 0.143841
        old, new = (np.log([[0.5, 0.5]]),), (np.log([[0.25, 0.75]]),)
        np.testing.assert_allclose(Categorical().kl(old, new), [0.143841], atol=1e-6)
        # (¼, ¾) to (½, ½): ¼·log ½ + ¾·log 1.5 = −0.173287 + 0.304099 = 0.130812: the other direction differs
        np.testing.assert_allclose(Categorical().kl(new, old), [0.130812], atol=1e-6)
        np.testing.assert_allclose(Categorical().kl_slope(old, new)[0], [[-0.25, 0.25]], atol=1e-15)

    def test_multi_categorical(self) -> None:
        # Both pairs of test_categorical side by side: 0.143841 + 0.130812
        old, new = (np.log([[0.5, 0.5, 0.25, 0.75]]),), (np.log([[0.25, 0.75, 0.5, 0.5]]),)
        head = MultiCategorical((2, 2))
        np.testing.assert_allclose(head.kl(old, new), [0.274653], atol=1e-6)
        np.testing.assert_allclose(head.kl_slope(old, new)[0], [[-0.25, 0.25, 0.25, -0.25]], atol=1e-15)

    def test_bernoulli(self) -> None:
        # p = ½ to ¼, whose logit is log(¼/¾) = −log 3: 0.143841 as above; and the same pair reversed, 0.130812
        old, new = (np.array([[0.0, -np.log(3)]]),), (np.array([[-np.log(3), 0.0]]),)
        np.testing.assert_allclose(Bernoulli().kl(old, new), [0.274653], atol=1e-6)
        np.testing.assert_allclose(Bernoulli().kl_slope(old, new)[0], [[-0.25, 0.25]], atol=1e-15)

    def test_log_prob_and_entropy(self) -> None:
        # N(1, 2) at 3: −½·1² − log 2 − ½·log 2π = −0.5 − 0.693147 − 0.918939; entropy log 2 + ½·log 2πe = 2.112086
        gaussian = np.array([[1.0]]), np.array([[np.log(2)]])
        np.testing.assert_allclose(Gaussian().log_prob(gaussian, np.array([[3.0]])), [-2.112086], atol=1e-6)
        np.testing.assert_allclose(Gaussian().entropy(gaussian), [2.112086], atol=1e-6)
        # (¼, ¾): log ¾ = −0.287682; entropy ¼·1.386294 + ¾·0.287682 = 0.562335
        choice = (np.log([[0.25, 0.75]]),)
        np.testing.assert_allclose(Categorical().log_prob(choice, np.array([1])), [-0.287682], atol=1e-6)
        np.testing.assert_allclose(Categorical().entropy(choice), [0.562335], atol=1e-6)
        # onehot − p = (−¼, ¼)
        _, (slope,) = Categorical().log_prob_and_slope(choice, np.array([1]))
        np.testing.assert_allclose(slope, [[-0.25, 0.25]], atol=1e-15)
        # p = ¼ with a = 0 is the same choice: log ¾
        coin = (np.array([[-np.log(3)]]),)
        np.testing.assert_allclose(Bernoulli().log_prob(coin, np.array([[0.0]])), [-0.287682], atol=1e-6)
        np.testing.assert_allclose(Bernoulli().entropy(coin), [0.562335], atol=1e-6)

    def test_fisher_product(self) -> None:
        # σ = 2: diag(1/4, 2) times (1, 1)
        gaussian, ones = (np.zeros((1, 1)), np.array([[np.log(2)]])), (np.ones((1, 1)), np.ones((1, 1)))
        for product, expected in zip(Gaussian().fisher_product(gaussian, ones), (0.25, 2.0), strict=True):
            np.testing.assert_allclose(product, [[expected]], rtol=1e-14)
        # (¼, ¾), t = (1, 0): p·(t − ¼) = (¼·¾, −¾·¼) = (0.1875, −0.1875)
        choice, tangent = (np.log([[0.25, 0.75]]),), (np.array([[1.0, 0.0]]),)
        np.testing.assert_allclose(Categorical().fisher_product(choice, tangent)[0], [[0.1875, -0.1875]], rtol=1e-14)


class TestSmallSteps:
    """One update's KL is tiny: float32 must still tell it from zero, and never call it negative."""

    @pytest.mark.parametrize("kind", [lambda a: a, th.from_numpy], ids=["numpy", "torch"])
    def test_gaussian_is_never_negative(self, kind: Callable[[np.ndarray], Any]) -> None:
        rng = np.random.default_rng(0)
        shape = (20_000, 2)
        step = 10 ** rng.uniform(-12, 0, shape)
        old = tuple(kind(rng.uniform(-1, 1, shape).astype(np.float32)) for _ in range(2))
        new = tuple(p + kind((step * rng.choice([-1, 1], shape)).astype(np.float32)) for p in old)
        assert np.asarray(Gaussian().kl(old, new)).min() >= 0

    @pytest.mark.parametrize("kind", [lambda a: a, th.from_numpy], ids=["numpy", "torch"])
    @pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
    def test_gaussian_keeps_its_digits(self, kind: Callable[[np.ndarray], Any], step: float) -> None:
        # Down to KL = 1e-8, where the textbook form in float32 is noise of 1e-7.
        old = np.float32([[0.1, -0.4]]), np.float32([[-0.5, 0.2]])
        new = tuple((p + np.float32(step)).astype(np.float32) for p in old)
        exact = torch_kl(HEADS[0], *(tuple(th.tensor(p).double() for p in pair) for pair in (old, new))).item()
        ours = Gaussian().kl(tuple(map(kind, old)), tuple(map(kind, new))).item()
        assert ours == pytest.approx(exact, rel=5e-3)

    @every_head
    def test_to_second_order_it_is_half_the_fisher_form(self, case: Case) -> None:
        # KL(θ‖θ + h·d) = ½h²·dᵀF d + O(h³), F from the scores: E[(d·∇ log π)²], exact by KL's own second difference.
        rng = np.random.default_rng(2)
        old = random_parameters(case, rng, 1)
        direction = [rng.normal(size=p.shape) for p in old]

        def at(h: float) -> float:
            return case.head.kl(old, tuple(p + h * d for p, d in zip(old, direction, strict=True))).item()

        assert at(2e-3) / at(1e-3) == pytest.approx(4, rel=2e-2)


class TestImpossibleChoices:
    """Logits of −inf: what action masks leave behind."""

    @pytest.mark.parametrize("kind", [lambda a: a, th.from_numpy], ids=["numpy", "torch"])
    def test_masked_in_both_counts_for_nothing(self, kind: Callable[[np.ndarray], Any]) -> None:
        old, new = np.array([[0.3, -np.inf, -1.0]]), np.array([[1.0, -np.inf, 0.5]])
        with np.errstate(invalid="ignore"):
            masked = Categorical().kl((kind(old),), (kind(new),))
        np.testing.assert_allclose(masked, Categorical().kl((old[:, [0, 2]],), (new[:, [0, 2]],)), rtol=1e-14)
        slope = np.asarray(Categorical().kl_slope((kind(old),), (kind(new),))[0])
        assert slope[0, 1] == 0.0
        assert np.isfinite(slope).all()

    def test_masked_in_the_old_only(self) -> None:
        # (½, 0, ½) to (¼, ½, ¼): ½·log 2 + ½·log 2 = log 2
        old, new = np.array([[0.0, -np.inf, 0.0]]), np.log([[0.25, 0.5, 0.25]])
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(Categorical().kl((old,), (new,)), [np.log(2)], rtol=1e-14)
        # p − p_old = (¼ − ½, ½ − 0, ¼ − ½)
        np.testing.assert_allclose(Categorical().kl_slope((old,), (new,))[0], [[-0.25, 0.5, -0.25]], atol=1e-15)

    def test_numpy_does_not_warn(self) -> None:
        masked = np.array([[0.3, -np.inf, -1.0]])
        Categorical().kl((masked,), (np.array([[1.0, -np.inf, 0.5]]),))
        Categorical().kl((masked,), (np.array([[1.0, 0.0, 0.5]]),))

    def test_ruled_out_by_the_new_is_infinitely_far(self) -> None:
        old, new = np.zeros((1, 2)), np.array([[0.0, -np.inf]])
        assert Categorical().kl((old,), (new,)).item() == np.inf

    def test_gradients_stay_numbers(self) -> None:
        old = th.tensor([[0.3, -th.inf, -1.0]], dtype=th.float64)
        leaf = th.tensor([[1.0, 0.2, 0.5]], dtype=th.float64, requires_grad=True)
        mask = th.tensor([[False, True, False]])
        for new in (leaf, leaf.masked_fill(mask, -th.inf)):
            (gradient,) = th.autograd.grad(Categorical().kl((old,), (new,)).sum(), leaf)
            expected = new.detach().softmax(-1) - old.softmax(-1)
            th.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)

    def test_in_one_block_of_several(self) -> None:
        old = np.array([[0.0, -np.inf, 0.0, 0.0, 1.0]])
        new = np.array([[1.0, -np.inf, 0.5, 0.3, 0.1]])
        with np.errstate(invalid="ignore"):
            kl = MultiCategorical((3, 2)).kl((old,), (new,))
        kept = MultiCategorical((2, 2)).kl((old[:, [0, 2, 3, 4]],), (new[:, [0, 2, 3, 4]],))
        np.testing.assert_allclose(kl, kept, rtol=1e-14)


@given(st.floats(-50, 50))
@quickly
def test_logits_mean_the_same_when_all_are_shifted(shift: float) -> None:
    old, new = np.array([[0.3, -1.0, 2.0]]), np.array([[1.0, 0.5, -0.2]])
    shifted = Categorical().kl((old + shift,), (new - shift,))
    np.testing.assert_allclose(shifted, Categorical().kl((old,), (new,)), rtol=1e-12)


@pytest.mark.parametrize("head", [Bernoulli(), Beta()], ids=["Bernoulli", "Beta"])
def test_far_outputs_have_second_derivatives(head: Head) -> None:
    """TRPO takes them: e^89 overflows in float32, e^1000 in float64."""
    for dtype, size in ((th.float32, 89.0), (th.float32, 200.0), (th.float64, 1000.0)):
        outputs = th.tensor([[size, -size, 0.5, -0.5]], dtype=dtype, requires_grad=True)
        kl = head.kl((outputs.detach(),), (outputs,)).sum()
        (slope,) = th.autograd.grad(kl, outputs, create_graph=True)
        tangent = th.ones_like(outputs)
        (product,) = th.autograd.grad(slope @ tangent[0], outputs)
        (wanted,) = head.fisher_product((outputs.detach(),), (tangent,))
        np.testing.assert_allclose(product.detach(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [np.array, th.tensor])
def test_far_logits_do_not_overflow(kind: Any) -> None:
    # Bernoulli: p_old = 1 against p = e^−500: KL = 1·(0 − (−500)). Categorical: the same two-way choice.
    assert Bernoulli().kl((kind([[1000.0]]),), (kind([[-500.0]]),)).item() == pytest.approx(500, rel=1e-6)
    assert Categorical().kl((kind([[1000.0, 0.0]]),), (kind([[0.0, 500.0]]),)).item() == pytest.approx(500, rel=1e-6)
