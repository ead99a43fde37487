"""How an objective becomes a change of parameters: one seam (``Backend``), and the backends behind it.

A new backend is a package of its own that implements ``Backend``, a line in ``BACKENDS`` and ``CHOICES``, and its name
in the types and messages of ``algorithms.arguments`` and ``algorithms.backend``.
"""

from sb3_ppo_variants.backends.autograd import AutogradBackend
from sb3_ppo_variants.backends.backend import Backend, Update
from sb3_ppo_variants.backends.closed_form import ClosedFormBackend
from sb3_ppo_variants.backends.closed_form.compiled import (
    KERNEL_PACKAGES,
    CompiledBackend,
    kernel_versions,
    why_not_installed,
)
from sb3_ppo_variants.backends.constrained import (
    ConstrainedUpdate,
    PolicyStep,
    natural_gradient_step,
    search_step,
    take_step,
)
from sb3_ppo_variants.backends.parameter_groups import (
    critic_only_parameters,
    distribution_at_zeros,
    separate_critic_rate,
)
from sb3_ppo_variants.backends.settings import (
    ConstrainedSettings,
    CriticSettings,
    SequenceSettings,
    UpdateSettings,
)

BACKENDS: dict[str, type[Backend]] = {kind.name: kind for kind in (CompiledBackend, ClosedFormBackend, AutogradBackend)}
#: ``update_backend`` → the backends that may run, of which it takes the first that can.
CHOICES: dict[str, tuple[str, ...]] = {
    "auto": ("closed_form", "autograd"),
    "compiled": ("compiled", "closed_form"),
    "closed_form": ("closed_form",),
    "autograd": ("autograd",),
}

__all__ = [
    "BACKENDS",
    "CHOICES",
    "KERNEL_PACKAGES",
    "AutogradBackend",
    "Backend",
    "ClosedFormBackend",
    "CompiledBackend",
    "ConstrainedSettings",
    "ConstrainedUpdate",
    "CriticSettings",
    "PolicyStep",
    "SequenceSettings",
    "Update",
    "UpdateSettings",
    "critic_only_parameters",
    "distribution_at_zeros",
    "kernel_versions",
    "natural_gradient_step",
    "search_step",
    "separate_critic_rate",
    "take_step",
    "why_not_installed",
]
