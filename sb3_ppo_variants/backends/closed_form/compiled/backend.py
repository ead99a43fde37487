"""The closed form's backend with compiled kernels."""

import importlib.metadata
import importlib.util
from functools import cache
from typing import ClassVar

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor_critic import activation_of
from sb3_ppo_variants.backends.closed_form.backend import ClosedFormBackend
from sb3_ppo_variants.backends.closed_form.network import ACTIVATIONS
from sb3_ppo_variants.distributions import Categorical, Gaussian, head_of
from sb3_ppo_variants.rollouts import Actor
from sb3_ppo_variants.rollouts.memory import Memory

_HEADS = (Gaussian, Categorical)
_ACTIVATIONS = (ACTIVATIONS[th.nn.Tanh], ACTIVATIONS[th.nn.ReLU])


#: What kernels are made by and call. Only runs with kernels depend on them.
KERNEL_PACKAGES = ("numba", "scipy")


def kernel_versions(active_backend: str | None) -> dict[str, str]:
    """
    :param active_backend: A model's; ``None`` for an algorithm that has none
    :return: the versions of ``KERNEL_PACKAGES``; empty if the model has no kernels
    """
    packages = KERNEL_PACKAGES if active_backend == CompiledBackend.name else ()
    return {name: importlib.metadata.version(name) for name in packages}


@cache
def why_not_installed() -> str | None:
    """
    :return: the reason why nothing can be compiled in this process; ``None`` if it can
    """
    # Not by importing it, which takes half a second.
    return (
        None if importlib.util.find_spec("numba") else "numba is not installed (pip install 'sb3_ppo_variants[fast]')"
    )


class CompiledBackend(ClosedFormBackend):
    """
    ``ClosedFormBackend`` whose minibatches and acting are compiled; what has no kernel runs in numpy.

    :param policy: A policy for which ``why_not`` returns ``None``
    """

    name: ClassVar[str] = "compiled"

    def __init__(self, policy: ActorCriticPolicy):
        # Here, since it imports numba.
        from sb3_ppo_variants.backends.closed_form.compiled.actor_critic import CompiledActorCritic

        self.network: CompiledActorCritic = CompiledActorCritic(policy)

    @staticmethod
    def why_not(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> str | None:
        reason = ClosedFormBackend.why_not(policy, buffer) or why_not_installed()
        if reason is not None:
            return reason
        if not isinstance(head_of(policy.action_dist), _HEADS):
            return f"no kernel is compiled for a {type(policy.action_dist).__name__}"
        if activation_of(policy) not in _ACTIVATIONS:
            return "kernels are compiled for tanh and ReLU only"
        if next(policy.parameters()).dtype != th.float32:
            return "kernels are compiled for float32 only"
        return None

    def actor(self, memory: Memory | None = None) -> Actor:
        from sb3_ppo_variants.backends.closed_form.compiled.actor import CompiledActor

        return CompiledActor(self.network)
