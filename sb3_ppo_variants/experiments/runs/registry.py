"""Names of algorithms and the classes behind them.

Ours are named by their zoo id (``clip_ppo``), peers by their library (``sb3:ppo``, ``contrib:trpo``), a user's own
class by ``package.module:Class``. Ledgers keep these names, and any process can find the class again.
"""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import sb3_contrib
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

OURS = {
    "clip_ppo": "sb3_ppo_variants:ClipPPO",
    "kl_penalty_ppo": "sb3_ppo_variants:KLPenaltyPPO",
    "unclipped_ppo": "sb3_ppo_variants:UnclippedPPO",
    "reinforce": "sb3_ppo_variants:REINFORCE",
    "paper_trpo": "sb3_ppo_variants:TRPO",
    "spo": "sb3_ppo_variants:SPO",
    "rollback_ppo": "sb3_ppo_variants:RollbackPPO",
    "discovered_ppo": "sb3_ppo_variants:DiscoveredPPO",
    "scopic_ppo": "sb3_ppo_variants:ScopicPPO",
}
PEERS = {
    "sb3:ppo": "stable_baselines3:PPO",
    "sb3:a2c": "stable_baselines3:A2C",
    "contrib:trpo": "sb3_contrib:TRPO",
    "contrib:maskable_ppo": "sb3_contrib:MaskablePPO",
    "contrib:recurrent_ppo": "sb3_contrib:RecurrentPPO",
}
KNOWN = OURS | PEERS
REFERENCE = "sb3:ppo"
DEFAULT_ALGORITHMS = ("clip_ppo", "kl_penalty_ppo", "unclipped_ppo", "reinforce", "paper_trpo", REFERENCE)

FORMS = f"{', '.join(KNOWN)}, or your own class as package.module:Class"
#: What people call algorithms elsewhere, in small letters, and their names here.
ELSEWHERE = {
    "ppo": ("clip_ppo", "sb3:ppo"),
    "ppoclip": ("clip_ppo",),
    "klppo": ("kl_penalty_ppo",),
    "ppokl": ("kl_penalty_ppo",),
    "ppopenalty": ("kl_penalty_ppo",),
    "ppoklpenalty": ("kl_penalty_ppo",),
    "vpg": ("reinforce",),
    "policygradient": ("reinforce",),
    "trpo": ("paper_trpo", "contrib:trpo"),
    "ppomask": ("clip_ppo", "contrib:maskable_ppo"),
    "ppolstm": ("clip_ppo", "contrib:recurrent_ppo"),
    "pporb": ("rollback_ppo",),
    "p3o": ("scopic_ppo",),
}


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the most similar known name.

    :param received: The name that the user gave
    :param known: The known names
    :return: A sentence to append to an error message; empty if no known name is similar
    """
    near = difflib.get_close_matches(received, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def suggested_algorithm(received: str) -> str:
    """The name here of an algorithm that is called by its class, its name in rl_zoo3 or in papers, or misspelt.

    :param received: The name that the user gave
    :return: A sentence to append to an error message; empty if no name is similar
    """
    called = _letters(re.split(r"[:.]", received)[-1])
    names = ELSEWHERE.get(called) or tuple(
        name for name, target in KNOWN.items() if called in (_letters(name), _letters(target.partition(":")[2]))
    )
    if len(names) > 1:
        ours, peer = names
        library = "SB3" if peer.startswith("sb3") else "sb3-contrib"
        return f" {ours!r} is ours, {peer!r} is {library}'s (rl_zoo3's {called!r})."
    if names:
        return f" Did you mean {names[0]!r}?"
    library_modules: tuple[Any, ...] = (stable_baselines3, sb3_contrib)
    for module in library_modules:
        classes = {_letters(class_name): class_name for class_name in module.__all__}
        if found := classes.get(called):
            return f" Did you mean '{module.__name__}:{found}'?"
    return did_you_mean(received, KNOWN)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def import_user_module(name: str) -> ModuleType:
    """Import a module that a user has named: an installed one, or one in the current folder.

    :param name: Its full name
    """
    # A script has its own folder in the path instead of the current one.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return importlib.import_module(name)


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The class of a name.

    :param name: A zoo id, a peer's name, or ``package.module:Class``
    :return: A subclass of SB3's ``BaseAlgorithm``
    :raises ValueError: if there is no such class; the message lists the known names and the most similar one
    """
    target = KNOWN.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not (module_name and colon and class_name) or (module_name in ("sb3", "contrib")):
        raise ValueError(f"Unknown algorithm {name!r}: known are {FORMS}.{suggested_algorithm(name)}")
    try:
        found = getattr(import_user_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Cannot find the algorithm {name!r} ({type(error).__name__}: {error}): known are {FORMS}; "
            f"the module must be importable from here.{suggested_algorithm(name)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseAlgorithm)):
        raise ValueError(f"{name!r} is {found!r}, not a subclass of stable_baselines3's BaseAlgorithm")
    return found


def algorithm_name(algorithm: str | type[BaseAlgorithm]) -> str:
    """The name under which a ledger keeps an algorithm.

    :param algorithm: A name, which is checked, or a class that other processes can import
    :return: The name
    :raises ValueError: if worker processes cannot import the class
    :raises TypeError: if it is neither a name nor a subclass of ``BaseAlgorithm``
    """
    if isinstance(algorithm, str):
        algorithm_class(algorithm)
        return algorithm
    if not (isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm)):
        raise TypeError(f"An algorithm is a name ({FORMS}) or a subclass of BaseAlgorithm, got {algorithm!r}")
    for name in KNOWN:
        if algorithm_class(name) is algorithm:
            return name
    name = f"{algorithm.__module__}:{algorithm.__qualname__}"
    if algorithm.__module__ == "__main__" or "." in algorithm.__qualname__:
        raise ValueError(
            f"Worker processes cannot import {name!r}: define the class at the top level of a module "
            f"and import it from there"
        )
    return algorithm_name(name)
