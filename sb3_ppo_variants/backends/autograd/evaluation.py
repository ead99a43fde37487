"""A policy evaluated at rows: given what it takes beside observations, and its outputs cut back to the rows."""

from dataclasses import replace
from typing import Any

import torch as th
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.distributions import Head, Parameters, head_and_parameters
from sb3_ppo_variants.policies import BetaActorCriticPolicy, MaskableRecurrentActorCriticPolicy
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.acting import as_evaluated
from sb3_ppo_variants.rollouts.originals import has_own
from sb3_ppo_variants.rollouts.sequences import Sequences


class DistributionAtRows:
    """
    A policy's distribution at B rows, with its autograd history.

    :param distribution: The distribution at the rows, or, with memory, at their padded sequences
    :param sequences: How the rows follow one another; ``None``: no memory
    """

    def __init__(self, distribution: Distribution, sequences: Sequences | None):
        self.distribution = distribution
        self.sequences = sequences

    def _cut(self, padded: th.Tensor) -> th.Tensor:
        return padded if self.sequences is None else self.sequences.unpad(padded)

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: as ``evaluate_actions`` wants them
        :return: log π(a|s), shape (B,)
        """
        padded = actions if self.sequences is None else self.sequences.pad(actions)
        return self._cut(self.distribution.log_prob(padded))

    def entropy(self) -> th.Tensor | None:
        """
        :return: shape (B,); ``None`` where it has no closed form
        """
        entropy: th.Tensor | None = self.distribution.entropy()
        return None if entropy is None else self._cut(entropy)

    def head_and_parameters(self) -> tuple[Head, Parameters] | None:
        """
        :return: see ``distributions.head_and_parameters``
        """
        found = head_and_parameters(self.distribution)
        return None if found is None else (found[0], tuple(map(self._cut, found[1])))


def _given(rows: Rows, states: Any) -> dict[str, Any]:
    """What the policy's methods take beside observations and actions, by the names of their arguments."""
    masks = {} if rows.action_masks is None else {"action_masks": rows.action_masks}
    if rows.sequences is None:
        return masks
    # A mask of padding allows everything.
    masks = {name: rows.sequences.pad(mask, 1) for name, mask in masks.items()}
    starts = rows.sequences.pad(rows.sequences.episode_starts)
    return {"lstm_states": states, "episode_starts": starts, **masks}


def _padded(rows: Rows, what: Any) -> Any:
    return what if rows.sequences is None else rows.sequences.pad(what)


def evaluate_actions(policy: ActorCriticPolicy, rows: Rows) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
    """
    :param policy: The policy
    :param rows: B rows
    :return: V, log π(a|s) and the entropy, each of shape (B,); no entropy where it has no closed form
    """
    sequences, actions = rows.sequences, as_evaluated(rows.actions, policy.action_space)
    given = _given(rows, sequences and sequences.states)
    values, log_prob, entropy = policy.evaluate_actions(
        _padded(rows, rows.observations), _padded(rows, actions), **given
    )
    values = values.flatten()
    if sequences is None:
        return values, log_prob, entropy
    return sequences.unpad(values), sequences.unpad(log_prob), None if entropy is None else sequences.unpad(entropy)


def values_at(policy: ActorCriticPolicy, rows: Rows) -> th.Tensor:
    """
    :param policy: The policy
    :param rows: B rows
    :return: V, shape (B,)
    """
    if rows.sequences is None:
        return policy.predict_values(rows.observations).flatten()
    sequences, critic = rows.sequences, replace(rows, action_masks=None)
    values = policy.predict_values(_padded(rows, rows.observations), **_given(critic, sequences.states.vf))
    return sequences.unpad(values.flatten())


def distribution_at(policy: ActorCriticPolicy, rows: Rows) -> DistributionAtRows:
    """
    :param policy: The policy
    :param rows: B rows
    :return: its distribution there
    """
    sequences = rows.sequences
    given = _given(rows, sequences and sequences.states.pi)
    found: Any = policy.get_distribution(_padded(rows, rows.observations), **given)
    # A recurrent policy returns the states after the rows too.
    return DistributionAtRows(found if sequences is None else found[0], sequences)


#: What leaves the distribution in ``policy.action_dist``, and whose methods do.
_LEAVING = ("evaluate_actions", "_get_action_dist_from_latent")
_KNOWN = (
    ActorCriticPolicy,
    BetaActorCriticPolicy,
    MaskableActorCriticPolicy,
    RecurrentActorCriticPolicy,
    MaskableRecurrentActorCriticPolicy,
)


def distribution_after_evaluation(policy: ActorCriticPolicy, rows: Rows) -> DistributionAtRows:
    """
    The distribution at rows for which ``evaluate_actions`` has just been called.

    SB3's own methods, sb3-contrib's and ours leave it in ``policy.action_dist``; a policy that overrides them, in its
    class or on the object, may not, and is asked again.

    :param policy: The policy
    :param rows: The rows that were evaluated
    :return: the distribution
    """
    for known in () if has_own(policy, _LEAVING) else _KNOWN:
        if all(getattr(type(policy), name, None) is getattr(known, name) for name in _LEAVING):
            return DistributionAtRows(policy.action_dist, rows.sequences)
    return distribution_at(policy, rows)
