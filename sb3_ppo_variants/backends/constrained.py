"""One policy step under a KL constraint: the largest natural-gradient step, taken whole or searched."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch as th

from sb3_ppo_variants.backends.natural_step import Product, largest_step, line_search


class PolicyEvaluation(NamedTuple):
    """
    A policy on the whole rollout.

    :param objective: E[r·A] + ent_coef·E[entropy] − reference_kl_coef·E[KL to the reference], a scalar
    :param constraint: mean KL between the old policy and this one, with the direction and reduction chosen, a scalar
    :param kl: mean KL(old‖new) in nats, summed over action dimensions, a scalar
    :param ratio: r = π/π_old, shape (N,)
    """

    objective: th.Tensor
    constraint: th.Tensor
    kl: th.Tensor
    ratio: th.Tensor

    def is_finite(self) -> bool:
        """Whether objective and constraint are finite numbers."""
        return bool(th.isfinite(self.objective) and th.isfinite(self.constraint))


class PolicyStep(NamedTuple):
    """
    The outcome of a step.

    :param evaluation: Of the policy that is now in force
    :param grad_norm: L2 norm of the objective's gradient before the step
    :param accepted: Whether the parameters have moved
    :param tries: Step lengths tried
    :param finite: Whether the numbers of the step were finite
    """

    evaluation: PolicyEvaluation
    grad_norm: float
    accepted: bool
    tries: int
    finite: bool


class ConstrainedUpdate(Protocol):
    """
    Maximise the objective of ``PolicyEvaluation`` subject to mean KL ≤ δ, near the policy that collected the rollout.

    A backend says how the policy is evaluated and differentiated; the functions below find the step.
    """

    #: The evaluation at the old policy.
    before: PolicyEvaluation
    #: The objective's gradient there, shape (P,).
    gradient: th.Tensor
    #: What the action distribution depends on and the step moves; P numbers together.
    parameters: list[th.nn.Parameter]

    def evaluate(self) -> PolicyEvaluation:
        """The policy's numbers at its present parameters."""

    def fisher_product(self, sub_sampling_factor: int) -> Product:
        """
        :param sub_sampling_factor: Use every n-th row
        :return: v ↦ F·v at the old policy
        """

    def read(self) -> th.Tensor:
        """A copy of the parameters as one vector, shape (P,)."""

    def write(self, vector: th.Tensor) -> None:
        """
        :param vector: The new parameters, shape (P,)
        """


def natural_gradient_step(
    update: ConstrainedUpdate,
    delta: float,
    cg_max_steps: int,
    cg_damping: float,
    sub_sampling_factor: int,
    cg_start: Literal["zero", "noise"],
) -> th.Tensor | None:
    """
    The step x in the natural gradient's direction with ½·xᵀ(F + damping·I)x = δ.

    :param update: The objective and its constraint
    :param delta: δ in nats
    :param cg_max_steps: Conjugate-gradient steps at most
    :param cg_damping: Added to the Fisher matrix's diagonal
    :param sub_sampling_factor: Use every n-th row for the Fisher product
    :param cg_start: Where the conjugate gradient starts; ``"noise"``: 1e-4 times a standard normal
    :return: x, shape (P,); zero where the gradient is, or there is no curvature; ``None`` where it is not finite
    """
    gradient = update.gradient
    start = 1e-4 * th.randn_like(gradient) if cg_start == "noise" else th.zeros_like(gradient)
    if not th.isfinite(gradient).all():
        return None
    if not gradient.any():
        return th.zeros_like(gradient)
    return largest_step(update.fisher_product(sub_sampling_factor), gradient, start, delta, cg_max_steps, cg_damping)


def take_step(update: ConstrainedUpdate, step: th.Tensor | None) -> PolicyStep:
    """
    Take the step whole, if it is finite: the natural policy gradient.

    :param update: The objective and its constraint
    :param step: The largest step; ``None``: there is none that is finite
    :return: the outcome
    """
    return _try_fractions(update, step, PolicyEvaluation.is_finite, shrinking_factor=0.5, max_iter=1)


def search_step(
    update: ConstrainedUpdate, step: th.Tensor | None, delta: float, shrinking_factor: float, max_iter: int
) -> PolicyStep:
    """
    Shorten the step until the KL is at most δ and the objective has improved; stay put if that does not happen.

    :param update: The objective and its constraint
    :param step: The largest step; ``None``: there is none that is finite
    :param delta: δ in nats
    :param shrinking_factor: In (0, 1)
    :param max_iter: Tries at most
    :return: the outcome
    """

    def accept(after: PolicyEvaluation) -> bool:
        # Not finite compares as false: such a step is shortened like any other bad one.
        return bool(after.constraint <= delta) and bool(after.objective > update.before.objective)

    return _try_fractions(update, step, accept, shrinking_factor, max_iter)


def _try_fractions(
    update: ConstrainedUpdate,
    step: th.Tensor | None,
    accept: Callable[[PolicyEvaluation], bool],
    shrinking_factor: float,
    max_iter: int,
) -> PolicyStep:
    grad_norm = float(update.gradient.norm())
    if step is None or not step.any():
        return PolicyStep(update.before, grad_norm, accepted=False, tries=0, finite=step is not None)
    origin = update.read()
    after = update.before

    def accept_fraction(fraction: float) -> bool:
        nonlocal after
        update.write(origin + fraction * step)
        with th.no_grad():
            after = update.evaluate()
        return accept(after)

    try:
        fraction, tries = line_search(accept_fraction, shrinking_factor, max_iter)
    except BaseException:  # Ctrl-C too: no step is kept that was not accepted
        update.write(origin)
        raise
    if fraction is None:
        update.write(origin)
        return PolicyStep(update.before, grad_norm, accepted=False, tries=tries, finite=after.is_finite())
    return PolicyStep(after, grad_norm, accepted=True, tries=tries, finite=True)
