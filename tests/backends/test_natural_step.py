"""The natural gradient's pieces alone: known matrices, hand-made line searches, a Fisher matrix written out."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_ppo_variants.backends.natural_step import (
    FlatParameters,
    conjugate_gradient,
    fisher_product_of,
    largest_step,
    line_search,
)
from sb3_ppo_variants.distributions import Categorical, Gaussian


def test_conjugate_gradient_by_hand() -> None:
    # [[4, 1], [1, 3]] x = [1, 2]  =>  x = [3·1 − 1·2, −1·1 + 4·2] / 11 = [1/11, 7/11]
    matrix = th.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=th.float64)
    b = th.tensor([1.0, 2.0], dtype=th.float64)
    for start in (th.zeros(2, dtype=th.float64), th.tensor([2.0, 1.0], dtype=th.float64)):
        x = conjugate_gradient(lambda v: matrix @ v, b, start, max_steps=2, residual_tolerance=0.0)
        np.testing.assert_allclose(x, [1 / 11, 7 / 11], rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_conjugate_gradient_solves_any_positive_definite_system(size: int, seed: int) -> None:
    generator = th.Generator().manual_seed(seed)
    root = th.randn(size, size, generator=generator, dtype=th.float64)
    matrix = root @ root.T + th.eye(size, dtype=th.float64)
    b = th.randn(size, generator=generator, dtype=th.float64)
    x = conjugate_gradient(lambda v: matrix @ v, b, th.zeros_like(b), max_steps=5 * size, residual_tolerance=1e-22)
    np.testing.assert_allclose(x, th.linalg.solve(matrix, b), rtol=1e-6, atol=1e-8)


def test_conjugate_gradient_stops_where_there_is_no_curvature() -> None:
    b = th.ones(3)
    assert th.equal(conjugate_gradient(th.zeros_like, b, th.zeros(3), max_steps=5), th.zeros(3))
    assert th.equal(conjugate_gradient(lambda v: v * th.nan, b, th.zeros(3), max_steps=5), th.zeros(3))


@pytest.mark.parametrize(
    ("accepted_from", "expected"), [(1.0, (1.0, 1)), (0.6, (0.5, 2)), (0.25, (0.25, 3)), (0.1, (None, 3))]
)
def test_line_search(accepted_from: float, expected: tuple[float | None, int]) -> None:
    assert line_search(lambda fraction: fraction <= accepted_from, shrinking_factor=0.5, max_iter=3) == expected


@pytest.mark.parametrize("head", [Gaussian(), Categorical()])
def test_fisher_product_is_the_fisher_matrix_written_out(head) -> None:
    """F from FACTS of each family: Gaussian diag(1/σ², 2) for (μ, log σ), categorical diag(p) − p·pᵀ."""
    size = 3
    first = th.nn.Parameter(th.tensor([0.3, -0.2, 0.5], dtype=th.float64))
    second = th.nn.Parameter(th.tensor([-0.5, 0.1, 0.4], dtype=th.float64))
    if isinstance(head, Gaussian):
        parameters = [first, second]
        sigma = second.detach().exp()
        matrix = th.diag(th.cat([1 / sigma**2, th.full((size,), 2.0, dtype=th.float64)]))
        new = (first[None], second[None])
    else:
        parameters = [first]
        p = th.softmax(first.detach(), 0)
        matrix = th.diag(p) - th.outer(p, p)
        new = (first[None],)
    kl = head.kl(tuple(parameter.detach() for parameter in new), new).mean()
    product = fisher_product_of(kl, FlatParameters(parameters))
    damped = matrix + 0.1 * th.eye(len(matrix), dtype=th.float64)
    for column in th.eye(len(matrix), dtype=th.float64):
        np.testing.assert_allclose(product(column), matrix @ column, atol=1e-12)

    gradient = th.linspace(-1, 1, len(matrix), dtype=th.float64)
    step = largest_step(product, gradient, th.zeros_like(gradient), delta=0.01, cg_max_steps=20, cg_damping=0.1)
    direction = th.linalg.solve(damped, gradient)
    expected = direction * th.sqrt(2 * 0.01 / (direction @ damped @ direction))
    np.testing.assert_allclose(step, expected, rtol=1e-6)
    assert 0.5 * float(step @ damped @ step) == pytest.approx(0.01)


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9, 1e-17, 1e-21, 1e-30])
@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_the_largest_step_does_not_depend_on_the_size_of_the_gradient(scale: float, dtype: th.dtype) -> None:
    factor = th.randn(6, 6, dtype=dtype, generator=th.Generator().manual_seed(0))
    gradient = th.linspace(-1, 2, 6, dtype=dtype)

    def step(gradient: th.Tensor) -> th.Tensor | None:
        return largest_step(lambda v: factor @ factor.T @ v, gradient, th.zeros_like(gradient), 0.01, 15, 0.1)

    np.testing.assert_allclose(step(scale * gradient), step(gradient), rtol=0.02)


def test_without_curvature_there_is_no_step_and_without_numbers_none() -> None:
    def step(product, size: float) -> th.Tensor | None:
        return largest_step(product, th.full((4,), size), th.zeros(4), delta=0.01, cg_max_steps=10, cg_damping=0.0)

    np.testing.assert_array_equal(step(lambda v: 0 * v, 1.0), np.zeros(4))
    for faulty in (lambda v: v * th.nan, lambda v: v * 1e25):
        assert step(faulty, 1e12) is None


def test_flat_parameters_read_write_and_differentiate() -> None:
    layer = th.nn.Linear(2, 1)
    unused = th.nn.Parameter(th.ones(2))
    flat = FlatParameters([layer.weight, layer.bias, unused])
    flat.write(th.arange(5.0))
    np.testing.assert_array_equal(layer.weight.detach(), [[0.0, 1.0]])
    np.testing.assert_array_equal(flat.read(), [0.0, 1.0, 2.0, 3.0, 4.0])
    gradient = flat.gradient(layer(th.tensor([[5.0, 6.0]])).sum())
    np.testing.assert_array_equal(gradient, [5.0, 6.0, 1.0, 0.0, 0.0])
