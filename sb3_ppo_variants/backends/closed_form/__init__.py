"""The update by hand: gradients of the standard MLP actor-critic in numpy, on the memory of its torch parameters."""

from sb3_ppo_variants.backends.closed_form.actor import ClosedFormActor
from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.constrained import ClosedFormConstrainedUpdate
from sb3_ppo_variants.backends.closed_form.critic import fit_critic_in_closed_form
from sb3_ppo_variants.backends.closed_form.eligibility import why_not_closed_form
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout, Rows, flat_rollout
from sb3_ppo_variants.backends.closed_form.threads import single_threaded
from sb3_ppo_variants.backends.closed_form.update import ClosedFormUpdate

__all__ = [
    "ClosedFormActor",
    "ClosedFormActorCritic",
    "ClosedFormConstrainedUpdate",
    "ClosedFormUpdate",
    "FlatRollout",
    "Rows",
    "fit_critic_in_closed_form",
    "flat_rollout",
    "single_threaded",
    "why_not_closed_form",
]
