"""The natural gradient: conjugate gradient on Fisher products, and a backtracking line search inside KL ≤ δ."""

from collections.abc import Callable
from typing import TypeAlias

import torch as th

#: v ↦ M·v for a symmetric matrix M, shape (P,) to (P,).
Product: TypeAlias = Callable[[th.Tensor], th.Tensor]
#: A gradient whose squared norm is less is scaled up: conjugate gradients divide by squares of its entries.
SMALLEST_SQUARE = 1e-30


def conjugate_gradient(
    product: Product,
    b: th.Tensor,
    start: th.Tensor,
    max_steps: int,
    residual_tolerance: float = 1e-10,
) -> th.Tensor:
    """
    Solve F·x = b for symmetric positive definite F, given only as v ↦ F·v.

    Source: Hestenes & Stiefel 1952; TRPO paper (arXiv:1502.05477), appendix C.

    :param product: v ↦ F·v, shape (P,) to (P,)
    :param b: right-hand side, shape (P,)
    :param start: the first guess, shape (P,)
    :param max_steps: at most this many products after the first
    :param residual_tolerance: stop once |b − F·x|² is below it, or below |b|²/10⁶ where that is less: a gradient that
        is small as a whole still has a direction (sb3-contrib's fixed 1e-10 solves a small b no better than to 1e-5,
        and what it returns is then largely its starting noise)
    :return: x, shape (P,); the last finite iterate if the numbers break down
    """
    tolerance = min(residual_tolerance, 1e-6 * float(b.dot(b)))
    x = start.clone()
    residual = b - product(x)
    direction = residual.clone()
    squared = residual.dot(residual)
    for _ in range(max_steps):
        if squared < tolerance:
            break
        image = product(direction)
        curvature = direction.dot(image)
        # Rounding can leave a direction without curvature; continuing would divide by zero.
        if not (th.isfinite(curvature) and curvature > 0):
            break
        alpha = squared / curvature
        x = x + alpha * direction
        residual = residual - alpha * image
        previous, squared = squared, residual.dot(residual)
        direction = residual + (squared / previous) * direction
    return x


def line_search(accept: Callable[[float], bool], shrinking_factor: float, max_iter: int) -> tuple[float | None, int]:
    """
    Try step fractions 1, s, s², … and keep the first that is accepted.

    :param accept: whether the step, scaled by the fraction, is good
    :param shrinking_factor: s in (0, 1)
    :param max_iter: tries at most
    :return: the accepted fraction (``None`` if there is none) and the number of tries
    """
    fraction = 1.0
    for tries in range(1, max_iter + 1):
        if accept(fraction):
            return fraction, tries
        fraction *= shrinking_factor
    return None, max_iter


class FlatParameters:
    """
    Some of a module's parameters, read and written as one vector.

    :param parameters: The parameters, in order; P entries in all
    """

    def __init__(self, parameters: list[th.nn.Parameter]):
        self.parameters = parameters
        self._sizes = [parameter.numel() for parameter in parameters]

    def read(self) -> th.Tensor:
        """
        :return: a copy, shape (P,)
        """
        return th.cat([parameter.detach().reshape(-1) for parameter in self.parameters])

    def write(self, vector: th.Tensor) -> None:
        """
        :param vector: new entries, shape (P,), written in place
        """
        with th.no_grad():
            for parameter, part in zip(self.parameters, vector.split(self._sizes), strict=True):
                parameter.copy_(part.view_as(parameter))

    def gradient(self, scalar: th.Tensor, create_graph: bool = False) -> th.Tensor:
        """
        :param scalar: What to differentiate
        :param create_graph: Whether the gradient is to be differentiated again
        :return: ∂ scalar / ∂ parameters, shape (P,); zero where it does not depend on one
        """
        # Other gradients are taken of the same graph.
        gradients = th.autograd.grad(
            scalar, self.parameters, create_graph=create_graph, retain_graph=True, allow_unused=True
        )
        return th.cat(
            [
                (th.zeros_like(p) if gradient is None else gradient).reshape(-1)
                for p, gradient in zip(self.parameters, gradients, strict=True)
            ]
        )


def fisher_product_of(kl: th.Tensor, parameters: FlatParameters) -> Product:
    """
    The Fisher matrix is the Hessian of the mean KL at the old policy, where the KL and its gradient are zero; its
    product with a vector is taken by differentiating twice.

    :param kl: Mean KL at the old policy, a scalar with its autograd history
    :param parameters: The policy's parameters
    :return: v ↦ F·v, shape (P,) to (P,)
    """
    kl_gradient = parameters.gradient(kl, create_graph=True)
    return lambda vector: parameters.gradient(kl_gradient.dot(vector))


def largest_step(
    fisher_product: Product, gradient: th.Tensor, start: th.Tensor, delta: float, cg_max_steps: int, cg_damping: float
) -> th.Tensor | None:
    """
    The natural-gradient step x = (F + damping·I)⁻¹g, scaled so that ½·xᵀ(F + damping·I)x = δ.

    Source: TRPO paper (arXiv:1502.05477), appendix C.

    :param fisher_product: v ↦ F·v
    :param gradient: g, the objective's gradient, shape (P,)
    :param start: first guess of x, shape (P,)
    :param delta: δ in nats
    :param cg_max_steps: conjugate-gradient steps at most
    :param cg_damping: Added to F's diagonal
    :return: the step, shape (P,); zero where there is no curvature in the gradient's direction; ``None`` where no
        finite step exists
    """

    def damped(vector: th.Tensor) -> th.Tensor:
        return fisher_product(vector) + cg_damping * vector

    # The step does not depend on the gradient's size, whose square must not underflow.
    if gradient.dot(gradient) < SMALLEST_SQUARE:
        gradient = gradient / gradient.abs().max()
    direction = conjugate_gradient(damped, gradient, start, cg_max_steps)
    curvature = direction.dot(damped(direction))
    if curvature == 0 and th.isfinite(gradient.dot(damped(gradient))):
        return th.zeros_like(direction)
    if not (th.isfinite(curvature) and curvature > 0):
        return None
    step = th.sqrt(2 * delta / curvature) * direction
    return step if bool(th.isfinite(step).all()) else None
