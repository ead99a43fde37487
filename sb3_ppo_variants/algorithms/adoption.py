"""Loading a file that another class has saved: which settings mean the same in both."""

import inspect
from typing import Any

from stable_baselines3 import PPO

#: Settings that carry one name in TRPO and in the others, but not one meaning.
_TRPO_ONLY_MEANINGS = {"target_kl", "learning_rate", "batch_size", "max_grad_norm"}


def settings_not_adopted(cls: type, saved_by: str) -> set[str]:
    """
    The settings that a class takes from its own defaults although a file of another class has them.

    Policy, optimiser, spaces, counters and every argument that means the same in both classes are adopted. The KL
    coefficient is not (it may have adapted to another purpose), nor is what the class has no argument for, nor, to and
    from TRPO, the settings that mean something else there.

    :param cls: The class that loads
    :param saved_by: The class that saved, ``"PPO"`` for SB3's
    :return: names of settings
    """
    family = family_members() | {"PPO": PPO}
    if saved_by not in family or saved_by == family_name(cls):
        return set()
    own, theirs = (set(inspect.signature(c).parameters) for c in (cls, family[saved_by]))
    adopted = (own & theirs) - {"kl_coef"}
    if "TRPO" in (saved_by, family_name(cls)):
        adopted -= _TRPO_ONLY_MEANINGS
    return (own | theirs) - adopted


def family_name(cls: type) -> str:
    """
    :param cls: A class of the family or a user's subclass of one
    :return: the name of the nearest class of the family
    """
    return next(base.__name__ for base in cls.__mro__ if base.__module__.startswith("sb3_ppo_variants."))


def family_members() -> dict[str, type]:
    """
    :return: the classes of the family by name
    """
    import sb3_ppo_variants.algorithms as algorithms

    return {name: getattr(algorithms, name) for name in algorithms.__all__}


def adopt(model: Any) -> None:
    """
    Put a model's own defaults back where SB3's ``load`` has written another class's settings over them.

    :param model: In ``load``, after the file's contents and the caller's overrides have been written into it
    """
    state = vars(model)
    constructed: dict[str, Any] = state.pop("_constructed", {})
    overridden = state.pop("_given_to_load", ())
    if constructed:
        # sb3-contrib's TRPO hands on a 0 that it never uses, where ours would scale every gradient of the critic by it.
        if "_saved_by" not in state and state.get("max_grad_norm") == 0 and "max_grad_norm" not in overridden:
            state["max_grad_norm"] = constructed["max_grad_norm"]
        # SB3's own files do not say who saved them; PPO's are known by their clip range.
        saved_by = state.get("_saved_by", "PPO" if "clip_range" in state else family_name(type(model)))
        for name in settings_not_adopted(type(model), saved_by) - set(overridden):
            if name in constructed:
                state[name] = constructed[name]
            else:
                state.pop(name, None)
    state["_saved_by"] = family_name(type(model))
