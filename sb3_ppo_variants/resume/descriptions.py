"""Settings as JSON values that are equal in two processes if the settings are."""

import hashlib
import inspect
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from sb3_ppo_variants.objectives import KLAdaptiveRate
from sb3_ppo_variants.policies import ReferencePolicy


def described(value: Any) -> Any:
    """
    :param value: Anything
    :return: as JSON values; for code and other objects their names, which are the same in every process
    """
    if isinstance(value, KLAdaptiveRate):
        return described(asdict(value))
    if isinstance(value, ReferencePolicy):
        return f"<reference policy, sha256 {value.digest[:16]}>"
    if isinstance(value, dict):
        return {str(key): described(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.generic):
        return described(value.item())
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        contents = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"<{value.dtype} array of shape {value.shape}, sha256 {contents[:16]}>"
    if isinstance(value, float) and math.isnan(value):
        return "nan"  # equal to itself, unlike the number
    return value if isinstance(value, bool | int | float | str | None) else f"<{type(value).__name__}>"
