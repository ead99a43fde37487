"""What a tuning study searches: the space of each algorithm, and spaces that users write themselves."""

import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sb3_ppo_variants.experiments.runs.registry import KNOWN
from sb3_ppo_variants.experiments.runs.settings import constructor_parameters, full_settings
from sb3_ppo_variants.experiments.search_space.dimensions import (
    BandRatio,
    Choice,
    Complement,
    Dimension,
    Integer,
    Real,
    Settings,
    dimension_from_json,
    is_number,
)

Space: TypeAlias = Mapping[str, Dimension]

SPACE_EXAMPLE = """
clip_range: {kind: real, low: 0.1, high: 0.3, log: true}
gae_lambda: {kind: complement, low: 0.9, high: 0.99}
n_epochs: {kind: integer, low: 3, high: 10}
batch_size: [32, 64, 128]
clip_range_high: {kind: band_ratio, low: 1.0, high: 2.0}
"""

# The range of each argument. They hold every default in use and the documented ranges (a test checks both).
RANGES: Mapping[str, Dimension] = {
    # ε; the paper tries 0.1, 0.2 and 0.3, short runs gain beyond it.
    "clip_range": Real(0.05, 0.6, log=True),
    # How much further up than down; 1 is the paper's symmetric band.
    "clip_range_high": BandRatio(0.5, 2.0),
    # β; the paper tries 0.3 to 10, short runs gain below it.
    "kl_coef": Real(0.1, 10.0, log=True),
    # d_targ, the paper's three, and a fixed coefficient.
    "adaptive_kl_target": Choice((None, 0.003, 0.01, 0.03)),
    # δ of TRPO. (PPO's argument of the same name stops early and is off by default: not in its space.)
    "target_kl": Real(0.002, 0.05, log=True),
    "cg_max_steps": Integer(5, 30),
    "cg_damping": Real(0.01, 0.5, log=True),
    "n_critic_updates": Integer(3, 30, log=True),
    # α of RollbackPPO; its paper uses 0.3.
    "rollback": Real(0.05, 1.0, log=True),
    # α and β of DiscoveredPPO; its paper has 2 and 0.6.
    "drift_alpha": Real(0.5, 8.0, log=True),
    "drift_beta": Real(0.15, 2.4, log=True),
    # τ of ScopicPPO; its paper has 4.
    "temperature": Real(1.0, 16.0, log=True),
    # K: the documented range, and twice as many.
    "n_epochs": Integer(3, 20, log=True),
    # λ and γ: from a horizon of 5 and 10 steps to one of 200 and 1000.
    "gae_lambda": Complement(0.8, 0.995),
    "gamma": Complement(0.9, 0.999),
    # c₁ and c₂. The paper's c₂ is 0 on MuJoCo and 0.01 on Atari, so the scale must reach 0.
    "vf_coef": Real(0.1, 1.5, log=True),
    "ent_coef": Real(0.0, 0.05),
    "learning_rate": Real(3e-5, 1e-2, log=True),
    # batch_size: divisors of the rollout, see batch_sizes().
}

# What is searched only if it is asked for by name.
ON_REQUEST: Mapping[str, Mapping[str, Dimension]] = {
    # δ; 0 is the clip itself.
    "clip_ppo": {"clip_softness": Real(0.0, 0.5)},
    # ScopicPPO's default β, 0.1, is below the range of KLPenaltyPPO's.
    "scopic_ppo": {"kl_coef": Real(0.01, 1.0, log=True)},
}

# The ranges of earlier releases: studies begun with them go on with them. What did best lay at ends that are wider now.
EARLIER_RANGES: Mapping[str, Dimension] = {
    "clip_range": Real(0.05, 0.4, log=True),
    "kl_coef": Real(0.3, 10.0, log=True),
    "n_epochs": Integer(3, 10),
    "learning_rate": Real(3e-5, 3e-3, log=True),
}

_SHARED = ("gae_lambda", "vf_coef", "ent_coef", "learning_rate", "batch_size", "gamma")

# What is searched by default, in the order in which reports show it. Any other class gets what its constructor takes.
SPACES: Mapping[str, tuple[str, ...]] = {
    "clip_ppo": ("clip_range", "clip_range_high", "n_epochs", *_SHARED),
    "kl_penalty_ppo": ("kl_coef", "adaptive_kl_target", "n_epochs", *_SHARED),
    "unclipped_ppo": ("n_epochs", *_SHARED),
    "reinforce": ("vf_coef", "ent_coef", "learning_rate", "gamma"),
    "paper_trpo": (
        *("target_kl", "cg_max_steps", "cg_damping", "n_critic_updates"),
        *("gae_lambda", "ent_coef", "learning_rate", "gamma"),
    ),
    "spo": ("clip_range", "n_epochs", *_SHARED),
    "rollback_ppo": ("clip_range", "rollback", "n_epochs", *_SHARED),
    "discovered_ppo": ("drift_alpha", "drift_beta", "n_epochs", *_SHARED),
    "scopic_ppo": ("temperature", "n_epochs", *_SHARED),
}


def batch_sizes(rollout: int, default: Any) -> Choice | None:
    """Batch sizes that divide a rollout: powers of two from 32 up to the rollout, eight at most, and the default.

    :param rollout: Rows of a rollout, n_steps · n_envs
    :param default: The batch size of trial 0; it is always among them, ``None`` is the whole rollout
    :return: The dimension; ``None`` when there is nothing to choose
    """
    powers = [2**i for i in range(5, 32) if 2**i <= rollout and rollout % 2**i == 0][:8]
    numbers = sorted({*powers, *([default] if is_number(default) else [])})
    values = (*numbers, *([None] if default is None else []))
    return Choice(values) if len(values) > 1 else None


def default_space(algorithm: str, settings: Settings, n_envs: int, only: Iterable[str] = ()) -> dict[str, Dimension]:
    """The space of an algorithm: what its constructor takes and trial 0 has inside the range.

    :param algorithm: Name of the algorithm
    :param settings: What trial 0 passes to the constructor
    :param n_envs: Environments stepped together, for the batch sizes
    :param only: The arguments that are asked for by name; none: all but those that have to be
    :return: Argument → dimension
    """
    wanted = set(only)
    on_request = {a: d for a, d in ON_REQUEST.get(algorithm, {}).items() if a in wanted}
    takes = constructor_parameters(algorithm)
    at_start = full_settings(algorithm, settings)
    space: dict[str, Dimension] = {}
    for argument in (*SPACES.get(algorithm, (*RANGES, "batch_size")), *on_request):
        if argument not in takes:
            continue
        dimension: Dimension | None = on_request.get(argument, RANGES.get(argument))
        if argument == "batch_size" and is_number(at_start.get("n_steps")):
            dimension = batch_sizes(at_start["n_steps"] * n_envs, at_start.get("batch_size"))
        if dimension is not None and dimension.contains(dimension.from_setting(at_start.get(argument), at_start)):
            space[argument] = dimension
    return space


def without_range(algorithm: str) -> list[str]:
    """The arguments of a class of the user's own that no known algorithm takes, so that no default space has them.

    :param algorithm: Name of the algorithm
    """
    known = {argument for name in KNOWN for argument in constructor_parameters(name)}
    return [argument for argument in constructor_parameters(algorithm) if argument not in known]


def finite_size(space: Space) -> int | None:
    """How many different settings a space holds; ``None`` for infinitely many.

    :param space: Argument → dimension
    """
    size = 1
    for dimension in space.values():
        if (count := dimension.count()) is None:
            return None
        size *= count
    return size


def values_of(space: Space, settings: Settings) -> dict[str, Any]:
    """The value of each dimension for given settings.

    :param space: Argument → dimension
    :param settings: All settings of the constructor
    """
    return {argument: d.from_setting(settings.get(argument), settings) for argument, d in space.items()}


def settings_of(space: Space, values: Settings, settings: Settings) -> dict[str, Any]:
    """What the constructor is given for a value of each dimension.

    :param space: Argument → dimension
    :param values: Argument → value
    :param settings: All settings of trial 0, for what a dimension refers to and is not searched itself
    """
    known = dict(settings) | {a: v for a, v in values.items() if not isinstance(space[a], BandRatio)}
    return {argument: d.setting(values[argument], known) for argument, d in space.items()}


def read_space(path: str | Path) -> dict[str, Dimension]:
    """A search space from a JSON, YAML or TOML file: argument → a list of values, or kind and ends.

    In YAML (JSON and TOML have the same form)::

        clip_range: {kind: real, low: 0.1, high: 0.3, log: true}
        gae_lambda: {kind: complement, low: 0.9, high: 0.99}        # 1 - gae_lambda on a logarithmic scale
        n_epochs: {kind: integer, low: 3, high: 10}
        batch_size: [32, 64, 128]
        clip_range_high: {kind: band_ratio, low: 1.0, high: 2.0}    # as a multiple of clip_range

    :param path: The file
    :return: Argument → dimension
    :raises ValueError: when there is no such file, it cannot be read, or an entry is no dimension
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"There is no space file {file}")
    found = _parse(file)
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{file} holds no space; one looks like this:{SPACE_EXAMPLE}")
    space = {}
    for argument, entry in found.items():
        try:
            space[str(argument)] = dimension_from_json(entry)
        except (TypeError, ValueError) as error:  # noqa: PERF203 (the error says which entry)
            raise ValueError(f"{argument} in {file}: {error}") from error
    return space


def _parse(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    kind = file.suffix.lower()
    try:
        if kind == ".json":
            return json.loads(text)
        if kind in (".yml", ".yaml"):
            return yaml.safe_load(text)
        if kind == ".toml":
            if importlib.util.find_spec("tomllib") is None:
                raise ValueError("TOML needs Python 3.11 or newer: write the space in JSON or YAML")
            import tomllib

            return tomllib.loads(text)
    except Exception as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    raise ValueError(f"A space file ends in .json, .yaml, .yml or .toml, got {file}")
