"""Experiments: compare algorithms, tune, train and evaluate one. Everything is imported when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.comparison import Comparison, compare
    from sb3_ppo_variants.experiments.evaluation import Evaluation, evaluate
    from sb3_ppo_variants.experiments.run import Result, Run, train_run
    from sb3_ppo_variants.experiments.sensitivity_study import Sensitivity, sensitivity
    from sb3_ppo_variants.experiments.training import train
    from sb3_ppo_variants.experiments.tuning import Tuned, tune
    from sb3_ppo_variants.experiments.workers import Interrupted

__all__ = [
    "Comparison",
    "Evaluation",
    "Interrupted",
    "Result",
    "Run",
    "Sensitivity",
    "Tuned",
    "compare",
    "evaluate",
    "sensitivity",
    "train",
    "train_run",
    "tune",
]

# No module here is called like a function that it holds: importing the module would put it in the function's place.
_ROOMS = {
    "Comparison": "comparison",
    "compare": "comparison",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "Interrupted": "workers",
    "Result": "run",
    "Run": "run",
    "train_run": "run",
    "train": "training",
    "Sensitivity": "sensitivity_study",
    "sensitivity": "sensitivity_study",
    "Tuned": "tuning",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
