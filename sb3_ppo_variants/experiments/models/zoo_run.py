"""A run folder of rl_zoo3, read without rl_zoo3: which model is in it, and in what its environment was wrapped."""

import collections
import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_variants.experiments.models.vec_normalize_files import ZOO_STATISTICS

CONFIG, ARGUMENTS = "config.yml", "args.yml"
#: rl_zoo3 names a run <environment>_<number>.
NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d+)")


@dataclasses.dataclass(frozen=True)
class ZooRun:
    """A run of rl_zoo3.

    :param folder: ``<logs>/<algorithm>/<environment>_<number>``
    :param settings: The folder in it, named after the environment, with what rl_zoo3 has to know to play
    :param config: What the entry of the configuration said, with ``-params``
    :param arguments: The command line
    """

    folder: Path
    settings: Path
    config: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @property
    def model_path(self) -> Path:
        """The last model."""
        return self.folder / f"{self.settings.name}.zip"

    @property
    def environment(self) -> str:
        """Gymnasium id; the folder's name has a hyphen where an id has a slash."""
        return str(self.arguments.get("env", self.settings.name))

    @property
    def algorithm(self) -> str:
        """Zoo id."""
        return str(self.arguments.get("algo", self.folder.resolve().parent.name))

    @property
    def statistics(self) -> Path | None:
        """What ``VecNormalize`` saved; ``None`` where the environment was not normalised."""
        path = self.settings / ZOO_STATISTICS
        if not path.is_file() and self.config.get("normalize"):
            raise ValueError(
                f"{self.settings / CONFIG} says that the environment was normalised, and {path} is not there: "
                "without it the policy does not understand what it sees"
            )
        return path if path.is_file() else None

    @property
    def frame_stack(self) -> int:
        """Frames in an observation; 0: one, as it is."""
        return int(self.config.get("frame_stack") or 0)

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """What the environment's constructor was given; the command line takes the place of the configuration."""
        return dict(self.arguments.get("env_kwargs") or self.config.get("env_kwargs") or {})

    def wrapper(self, key: str = "env_wrapper") -> Callable[[Any], Any] | None:
        """What the environment was wrapped in.

        :param key: ``"env_wrapper"``, or ``"vec_env_wrapper"`` for the vectorised one
        """
        named = self.config.get(key) or []
        wrappers = [_wrapper(one) for one in (named if isinstance(named, list) else [named])]

        def wrap(env: Any) -> Any:
            for make, settings in wrappers:
                env = make(env, **settings)
            return env

        return wrap if wrappers else None

    def import_packages(self) -> None:
        """Import what ``--gym-packages`` named: packages that register environments."""
        for package in self.arguments.get("gym_packages") or []:
            importlib.import_module(package)


def zoo_run(folder: Path) -> ZooRun | None:
    """Read a run folder.

    :param folder: Any folder
    :return: The run; ``None`` when the folder is not one of rl_zoo3's
    """
    numbered = NUMBERED.fullmatch(folder.resolve().name)
    # A folder that was renamed is still known by the configuration within.
    candidates = [folder / numbered["name"]] if numbered else []
    candidates += sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    for settings in candidates:
        if (settings / CONFIG).is_file() or (settings / ZOO_STATISTICS).is_file():
            return ZooRun(folder, settings, _read(settings / CONFIG), _read(settings / ARGUMENTS))
    return None


class _Loader(yaml.SafeLoader):
    """YAML's safe loader and the one Python type that rl_zoo3 writes around it; anything else may run code."""


def _ordered_dict(loader: _Loader, node: Any) -> dict[Any, Any]:
    pairs: list[Any] = loader.construct_sequence(node, deep=True)
    return dict(map(tuple, pairs[0])) if pairs else {}


def _tuple(loader: _Loader, node: Any) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor(
    f"tag:yaml.org,2002:python/object/apply:collections.{collections.OrderedDict.__name__}", _ordered_dict
)
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def _read(path: Path) -> dict[str, Any]:
    """A file of rl_zoo3's; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} has what only rl_zoo3 can read: {error}; use 'ppo-variants zoo enjoy'") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not settings; use 'ppo-variants zoo enjoy'")
    return found


def _wrapper(named: str | Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """``package.module.Class``, or a mapping from it to its settings."""
    name, settings = next(iter(named.items())) if isinstance(named, Mapping) else (named, None)
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute), dict(settings or {})
