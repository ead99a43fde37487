"""What to say about an argument that a class does not take: whose it is, what to use instead, or how it is spelt."""

import difflib
import inspect
from collections.abc import Collection, Mapping

from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy

#: What restrains the step of one class or another.
_RESTRAINTS = (
    "clip_range clip_range_high dual_clip clip_softness kl_coef adaptive_kl_target kl_tolerance kl_coef_factor "
    "rollback drift_alpha drift_beta temperature cg_max_steps cg_damping cg_start line_search "
    "line_search_shrinking_factor line_search_max_iter sub_sampling_factor kl_direction kl_reduction"
)
_ONE_STEP = "it makes one step per rollout, on all rows"
#: Class → what restrains its steps, for those that look for another class's restraint.
_RESTRAINED_BY: Mapping[str, str] = {
    "ClipPPO": "clip_range restrains its steps, and kl_coef adds a penalty that does not adapt",
    "KLPenaltyPPO": "kl_coef and adaptive_kl_target restrain its steps",
    "UnclippedPPO": "nothing restrains its steps, but target_kl can end an update",
    "SPO": "clip_range restrains its steps",
    "RollbackPPO": "clip_range and rollback restrain its steps",
    "DiscoveredPPO": "drift_alpha and drift_beta restrain its steps",
    "ScopicPPO": "temperature and kl_coef restrain its steps; kl_coef does not adapt",
    "REINFORCE": _ONE_STEP,
    "TRPO": "target_kl bounds its steps",
}
_NO_VALUE_CLIPPING = dict.fromkeys(("clip_range_vf", "clip_range_vf_mode"), "its value loss is not clipped")
#: Class → other arguments that it does not take → what it has in their place.
_INSTEAD: Mapping[str, Mapping[str, str]] = {
    "REINFORCE": {
        **dict.fromkeys(("n_epochs", "batch_size", "target_kl", "n_critic_updates"), _ONE_STEP),
        "gae_lambda": "its advantages are returns minus the baseline, as with gae_lambda=1",
        **_NO_VALUE_CLIPPING,
    },
    "TRPO": {
        "n_epochs": "n_critic_updates is the number of epochs of its critic; its policy makes one step per rollout",
        **_NO_VALUE_CLIPPING,
        "vf_coef": "its critic is trained separately, with learning_rate",
        "measure_kl": "it always measures the KL",
    },
}
_OPTIMIZER = "policy_kwargs=dict(optimizer_class=…) chooses its optimizer"


#: Argument of ours → its names in CleanRL, RLlib, rsl_rl, Spinning Up and papers.
_ELSEWHERE: Mapping[str, str] = {
    "learning_rate": "lr step_size",
    "clip_range": "clip clip_coef clip_param clip_ratio clip_eps eps_clip eps epsilon",
    "gae_lambda": "lam lambda_ lmbda gae_lam",
    "ent_coef": "entropy_coef entropy_coeff beta_entropy",
    "vf_coef": "value_coef value_loss_coef value_coeff vf_loss_coeff critic_coef",
    "n_epochs": "update_epochs epochs num_epochs num_sgd_iter num_learning_epochs train_iters",
    "n_steps": "num_steps num_steps_per_env rollout_length rollout_steps horizon steps_per_epoch",
    "batch_size": "minibatch_size sgd_minibatch_size mini_batch_size",
    "max_grad_norm": "grad_clip clip_grad gradient_clip grad_norm_clip",
    "normalize_advantage": "norm_adv normalize_advantages advantage_normalization",
    "target_kl": "max_kl delta kl_target",
    "kl_coef": "beta kl_coeff",
    "adaptive_kl_target": "desired_kl d_targ",
}
_OTHERWISE: Mapping[str, str] = {
    **dict.fromkeys(
        ("n_envs", "num_envs"), "environments are made first: env=make_vec_env('CartPole-v1', n_envs=4), say."
    ),
    **dict.fromkeys(
        ("n_minibatches", "num_minibatches", "num_mini_batches"),
        "batch_size is the number of rows in a minibatch, not that of minibatches.",
    ),
    **dict.fromkeys(
        ("hidden_sizes", "hidden_layers", "hidden_dims"),
        "the sizes of layers are policy_kwargs=dict(net_arch=[64, 64]).",
    ),
}
#: What policies are made with; the environment's spaces and the schedule come from the algorithm.
_OF_POLICIES = {*inspect.signature(ActorCriticPolicy).parameters} - {
    *("observation_space", "action_space", "lr_schedule", "use_sde")
}


def argument_hint(cls: type, name: str, known: Collection[str], family: Mapping[str, type]) -> str:
    """A sentence about an argument that a class does not take; empty if there is nothing to say.

    :param cls: The class
    :param name: The argument
    :param known: The arguments that it takes
    :param family: Name → class of this package's algorithms
    """
    others = {argument for other in (*family.values(), A2C) for argument in inspect.signature(other).parameters}
    if name in others:
        return _whose(cls, name, family)
    if name in _OF_POLICIES:
        return f"policies are made with it: policy_kwargs=dict({name}=…)."
    if name in _OTHERWISE:
        return _OTHERWISE[name]
    ours = next((argument for argument, names in _ELSEWHERE.items() if name in names.split()), None)
    if ours is not None:
        return f"here it is {ours!r}." if ours in known else f"here it is {ours!r}. {_whose(cls, ours, family, 'That')}"
    near = difflib.get_close_matches(name, [*known, *sorted(others.difference(known))], n=1)
    if not near:
        return ""
    meant = f"did you mean {near[0]!r}?"
    return meant if near[0] in known else f"{meant} {_whose(cls, near[0], family, 'That')}"


def policy_hint(name: str, known: Collection[str]) -> str:
    """
    :param name: A name that no policy has
    :param known: The names that policies have
    :return: a sentence about it
    """
    if "beta" in name.lower() and "lstm" in name.lower():
        reason = "Beta policies have no memory. "
    else:
        near = difflib.get_close_matches(name, known, n=1)
        reason = f"did you mean {near[0]!r}? " if near else ""
    return f"{reason}The names are {', '.join(known)}."


def _whose(cls: type, name: str, family: Mapping[str, type], subject: str = "that") -> str:
    bases = {base for owner in family.values() for base in owner.__mro__[1:]}
    concrete = {other: owner for other, owner in family.items() if owner not in bases}
    owners = [other for other, owner in concrete.items() if name in inspect.signature(owner).parameters]
    written = f"{', '.join(owners[:-1])} and {owners[-1]}" if len(owners) > 1 else (owners or ["SB3's A2C"])[0]
    instead = _instead(getattr(cls, "family_name", cls.__name__), name) if owners else _OPTIMIZER
    return f"{subject} is an argument of {written}" + (f"; {instead}." if instead else ".")


def _instead(class_name: str, name: str) -> str:
    if name in _RESTRAINTS.split():
        return _RESTRAINED_BY.get(class_name, "")
    no_other = {"n_critic_updates": "n_epochs is its number of epochs"} if class_name in _RESTRAINED_BY else {}
    return _INSTEAD.get(class_name, no_other).get(name, "")
