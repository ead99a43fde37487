"""Experiments: compare algorithms, or tune, train and evaluate one. Everything is imported on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.comparison.comparison import Comparison, compare
    from sb3_ppo_variants.experiments.engine.coordinator import Interrupted
    from sb3_ppo_variants.experiments.models.evaluation import Evaluation, evaluate
    from sb3_ppo_variants.experiments.models.training import train
    from sb3_ppo_variants.experiments.runs.run import Result, Run, train_run
    from sb3_ppo_variants.experiments.sensitivity_analysis.study import Sensitivity, sensitivity
    from sb3_ppo_variants.experiments.tuning.study import Tuned, tune

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

# No module here has the name of a function that it holds: importing the module would replace the function.
_MODULES = {
    "comparison.comparison": ("Comparison", "compare"),
    "engine.coordinator": ("Interrupted",),
    "models.evaluation": ("Evaluation", "evaluate"),
    "models.training": ("train",),
    "runs.run": ("Result", "Run", "train_run"),
    "sensitivity_analysis.study": ("Sensitivity", "sensitivity"),
    "tuning.study": ("Tuned", "tune"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
