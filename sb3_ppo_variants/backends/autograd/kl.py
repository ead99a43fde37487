"""KL(old‖new) of a policy in training, measured against what it was when it collected the rollout."""

from collections.abc import Callable, Iterable

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.evaluation import DistributionAtRows, distribution_at
from sb3_ppo_variants.backends.parameter_groups import evaluation_mode
from sb3_ppo_variants.distributions import Head, Parameters, reference_kl
from sb3_ppo_variants.objectives import ReferenceKLDirection, k3_estimate
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.acting import as_evaluated


def old_kl(distribution: DistributionAtRows, old_parameters: Parameters, log_ratio: th.Tensor) -> th.Tensor:
    """
    KL(old‖new) per row, in nats, summed over action dimensions.

    :param distribution: The policy's distribution now, at B observations
    :param old_parameters: The old policy's distributions there; empty where they have no closed form, or where the
        buffer hides which rows it has drawn
    :param log_ratio: log π − log π_old of the actions taken there, shape (B,)
    :return: the closed form, or without old parameters Schulman's k3 estimate, shape (B,), differentiable
    """
    if not old_parameters:
        return k3_estimate(log_ratio)
    head, parameters = _known(distribution)
    return head.kl(old_parameters, parameters)


def reference_kl_at(
    distribution: DistributionAtRows, reference_parameters: Parameters, direction: ReferenceKLDirection
) -> th.Tensor:
    """
    :param distribution: The policy's distribution now, at B observations
    :param reference_parameters: The reference policy's distributions there
    :param direction: ``"ref_new"``: KL(ref‖new); ``"new_ref"``: KL(new‖ref)
    :return: in nats, summed over action dimensions, shape (B,), differentiable
    """
    head, parameters = _known(distribution)
    return reference_kl(head, reference_parameters, parameters, direction)


def mean_reference_kl(
    policy: ActorCriticPolicy,
    reference_parameters: Parameters,
    rollout: Iterable[Rows],
    direction: ReferenceKLDirection,
) -> float:
    """
    :param policy: The policy now
    :param reference_parameters: The reference policy's distributions, N rows each
    :param rollout: All rows of the flattened rollout, in order
    :param direction: as in ``reference_kl_at``
    :return: the same averaged over the rollout, in nats
    """
    return _mean(
        policy,
        reference_parameters,
        rollout,
        lambda distribution, reference, _: reference_kl_at(distribution, reference, direction),
    )


def _known(distribution: DistributionAtRows) -> tuple[Head, Parameters]:
    found = distribution.head_and_parameters()
    if found is None:
        kind = type(distribution.distribution).__name__
        raise ValueError(f"The policy's distribution has become a {kind} in mid-update.")
    return found


def parameters_of(policy: ActorCriticPolicy, rollout: Iterable[Rows]) -> Parameters:
    """
    Note the old policy: called before the update's first step.

    :param policy: The policy that collected the rollout, unchanged since
    :param rollout: All rows of the flattened rollout, in order
    :return: its distributions' parameters, N rows each, as tensors of their own, because ``policy.action_dist`` is one
        object that every forward pass overwrites; empty where ``head_of`` knows no head
    """
    chunks: list[Parameters] = []
    # Acting was done in evaluation mode: the old policy has no dropout.
    with evaluation_mode(policy), th.no_grad():
        for rows in rollout:
            found = distribution_at(policy, rows).head_and_parameters()
            if found is None:
                break
            chunks.append(tuple(parameter.detach().clone() for parameter in found[1]))
    return tuple(th.cat(parts) for parts in zip(*chunks, strict=True))


def mean_old_kl(policy: ActorCriticPolicy, old_parameters: Parameters, rollout: Iterable[Rows]) -> float:
    """
    KL(old‖new) averaged over the whole rollout.

    :param policy: The policy now
    :param old_parameters: See ``parameters_of``
    :param rollout: All rows; in the order of the flattened rollout if there are old parameters
    :return: nats
    """

    def of_rows(distribution: DistributionAtRows, old: Parameters, rows: Rows) -> th.Tensor:
        log_prob = distribution.log_prob(as_evaluated(rows.actions, policy.action_space))
        return old_kl(distribution, old, log_prob - rows.old_log_prob)

    return _mean(policy, old_parameters, rollout, of_rows)


def _mean(
    policy: ActorCriticPolicy,
    others_parameters: Parameters,
    rollout: Iterable[Rows],
    of_rows: Callable[[DistributionAtRows, Parameters, Rows], th.Tensor],
) -> float:
    """Mean over a rollout of what a distribution, the other policy's parameters and the rows give, shape (B,)."""
    total, n_rows = 0.0, 0
    with evaluation_mode(policy), th.no_grad():
        for rows in rollout:
            others = tuple(parameter[n_rows : n_rows + len(rows)] for parameter in others_parameters)
            # In float64, which Apple's GPUs do not have.
            total += float(of_rows(distribution_at(policy, rows), others, rows).cpu().double().sum())
            n_rows += len(rows)
    return total / n_rows
