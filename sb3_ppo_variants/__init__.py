"""PPO-Clip, KL-penalty PPO, newer trust regions, REINFORCE and TRPO for Stable-Baselines3."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ppo_variants.algorithms import (
        REINFORCE,
        SPO,
        TRPO,
        ClipPPO,
        DiscoveredPPO,
        KLAdaptiveRate,
        KLPenaltyPPO,
        RollbackPPO,
        ScopicPPO,
        UnclippedPPO,
    )
    from sb3_ppo_variants.workers import WorkerVecEnv

__version__ = "0.1.0"

__all__ = [
    "REINFORCE",
    "SPO",
    "TRPO",
    "ClipPPO",
    "DiscoveredPPO",
    "KLAdaptiveRate",
    "KLPenaltyPPO",
    "RollbackPPO",
    "ScopicPPO",
    "UnclippedPPO",
    "WorkerVecEnv",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Torch and SB3 take seconds to import; the command line's --help needs neither.
    if name in __all__:
        package = "workers" if name == "WorkerVecEnv" else "algorithms"
        return getattr(importlib.import_module(f"sb3_ppo_variants.{package}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
