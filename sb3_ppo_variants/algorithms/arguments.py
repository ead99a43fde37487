"""The arguments that classes pass on to the shared constructor, for editors and type checkers.

Names and types only: defaults and meanings are those of ``OnPolicyVariant``.
"""

from typing import Any, Literal

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from typing_extensions import TypedDict

from sb3_ppo_variants.algorithms.nonfinite import NonFiniteUpdate
from sb3_ppo_variants.algorithms.schedules import Coefficient
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage

UpdateBackend = Literal["auto", "autograd", "closed_form"]


class RolloutArguments(TypedDict, total=False):
    """What every algorithm passes on."""

    normalize_advantage: NormalizeAdvantage
    use_sde: bool
    sde_sample_freq: int
    rollout_buffer_class: type[RolloutBuffer] | None
    rollout_buffer_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: th.device | str
    _init_setup_model: bool
    learning_rate_vf: Coefficient | None
    bootstrap_truncated: bool
    update_backend: UpdateBackend
    nonfinite_update: NonFiniteUpdate


class SharedArguments(RolloutArguments, total=False):
    """What the algorithms that follow one gradient pass on too."""

    max_grad_norm: float | None
    measure_kl: bool | None


class ObjectiveArguments(SharedArguments, total=False):
    """The weights beside the surrogate, and the early stop."""

    ent_coef: Coefficient
    vf_coef: Coefficient
    target_kl: float | None
    clip_range_vf_mode: Literal["sb3", "max"]


class SurrogateArguments(ObjectiveArguments, total=False):
    """What the algorithms of K epochs on an importance-sampled surrogate have in common."""

    batch_size: int | None
    n_epochs: int
    gamma: float
    gae_lambda: float
    clip_range_vf: Coefficient | None
