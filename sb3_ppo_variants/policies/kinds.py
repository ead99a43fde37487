"""What a policy class can do, asked in one place."""

from typing import Any

from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from sb3_ppo_variants.policies.maskable_recurrent import MaskableRecurrentActorCriticPolicy


def takes_masks(policy_class: Any) -> bool:
    """
    :param policy_class: A policy class, or anything else
    :return: whether its methods take ``action_masks``
    """
    return _is(policy_class, MaskableActorCriticPolicy | MaskableRecurrentActorCriticPolicy)


def is_recurrent(policy_class: Any) -> bool:
    """
    :param policy_class: A policy class, or anything else
    :return: whether its methods take ``lstm_states`` and ``episode_starts``
    """
    return _is(policy_class, RecurrentActorCriticPolicy)


def _is(policy_class: Any, kinds: Any) -> bool:
    # What makes a policy may be a function.
    return isinstance(policy_class, type) and issubclass(policy_class, kinds)
