"""Run folders of rl_zoo3, read without rl_zoo3: the model, and how its environment was wrapped."""

import dataclasses
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_variants.experiments.runs.folders import VEC_NORMALIZE

CONFIG, ARGUMENTS = "config.yml", "args.yml"
#: rl_zoo3 names a run <environment>_<number>.
NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d+)")


@dataclasses.dataclass(frozen=True)
class ZooRun:
    """A run of rl_zoo3.

    :param folder: ``<logs>/<algorithm>/<environment>_<number>``
    :param settings: The folder in it, named after the environment, with the settings that rl_zoo3 needs to play
    :param config: The entry of the configuration, with ``-params``
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
        """Gymnasium id. The folder's name has hyphens in place of its slashes."""
        return str(self.arguments.get("env", self.settings.name))

    @property
    def algorithm(self) -> str:
        """Zoo id."""
        return str(self.arguments.get("algo", self.folder.resolve().parent.name))

    @property
    def statistics(self) -> Path | None:
        """The saved statistics of ``VecNormalize``; ``None`` if the environment was not normalised.

        :raises ValueError: if it was normalised and they are missing
        """
        path = self.settings / VEC_NORMALIZE
        if not path.is_file() and self.config.get("normalize"):
            raise ValueError(
                f"{self.settings / CONFIG} says that the environment was normalised, but {path} does not exist: "
                "without these statistics the policy gets other observations than in its training"
            )
        return path if path.is_file() else None

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment's constructor; the command line takes precedence over the configuration."""
        return dict(self.arguments.get("env_kwargs") or self.config.get("env_kwargs") or {})

    def wrap(self, env: Any, key: str = "env_wrapper") -> Any:
        """Put an environment into its wrappers, if there are any.

        :param env: The environment
        :param key: ``"env_wrapper"``, or ``"vec_env_wrapper"`` for wrappers of the vectorised environment
        """
        named = self.config.get(key) or []
        for one in named if isinstance(named, list) else [named]:
            # package.module.Class, or a mapping from it to its settings
            name, settings = next(iter(one.items())) if isinstance(one, Mapping) else (one, None)
            module, _, attribute = name.rpartition(".")
            env = getattr(importlib.import_module(module), attribute)(env, **(settings or {}))
        return env

    def import_packages(self) -> None:
        """Import the packages of ``--gym-packages``, which register environments."""
        for package in self.arguments.get("gym_packages") or []:
            importlib.import_module(package)


def zoo_run(folder: Path) -> ZooRun | None:
    """Read a run folder.

    :param folder: Any folder
    :return: The run; ``None`` if it is not a run folder of rl_zoo3
    """
    numbered = NUMBERED.fullmatch(folder.resolve().name)
    # A renamed folder is recognised by its configuration.
    candidates = [folder / numbered["name"]] if numbered else []
    candidates += sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    for settings in candidates:
        if (settings / CONFIG).is_file() or (settings / VEC_NORMALIZE).is_file():
            return ZooRun(folder, settings, _read(settings / CONFIG), _read(settings / ARGUMENTS))
    return None


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with the two Python types that rl_zoo3 writes; any other type may run code."""


def _ordered_dict(loader: _Loader, node: Any) -> dict[Any, Any]:
    pairs: list[Any] = loader.construct_sequence(node, deep=True)
    return dict(map(tuple, pairs[0])) if pairs else {}


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _ordered_dict)
_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def _read(path: Path) -> dict[str, Any]:
    """Read a file of rl_zoo3; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(
            f"{path} contains what only rl_zoo3 can read: {error}; use 'ppo-variants zoo enjoy'"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not settings; use 'ppo-variants zoo enjoy'")
    return found
