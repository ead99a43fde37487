"""The Monte-Carlo policy gradient."""

from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from typing_extensions import Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import SharedArguments
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.checks import Check, choice
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.objectives import LogLikelihood, Surrogate, ValueLoss
from sb3_ppo_variants.rollouts import finished_episodes, returns_to_go


class REINFORCE(OnPolicyVariant, family_name="REINFORCE"):
    """
    Takes one step per rollout on E[log π(a|s)·A] − c₁·E[(V − G)²] + c₂·E[entropy] and discards the rollout.

    G is the return-to-go; A = G − V(s) with a baseline, else G. What restrains the step: there is only one per rollout,
    on data from the current policy, so no ratio is needed. Source: Williams 1992, "Simple statistical
    gradient-following algorithms"; Sutton & Barto 2018, sections 13.3 and 13.4. Deviations from them: the factor γᵗ
    before each term is left out, as is usual; the step is Adam's, with the gradient's norm limited, and policy and
    critic share it.

    With a baseline, V stands for the missing rewards of the unfinished episode at the end of a rollout. Without one,
    the steps of this episode are left out of the loss, and an episode that a time limit cut off counts as finished:
    episodes that are long relative to ``n_steps`` then contribute less than short ones.
    Advantages are normalised over the rollout by default (``normalize_advantage``), which without a critic amounts to a
    mean baseline.

    :param ent_coef: c₂ ≥ 0, weight of the entropy bonus, a coefficient; 0 by default, as the algorithm has no
        entropy term
    :param baseline: Whether to learn V and subtract it; ``vf_coef`` and ``bootstrap_truncated`` have no effect
        without it
    """

    checks: ClassVar[dict[str, Check]] = OnPolicyVariant.checks | {"baseline": choice(True, False)}

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        gamma: float = defaults.GAMMA.default,
        ent_coef: Coefficient = 0.0,
        baseline: bool = True,
        **kwargs: Unpack[SharedArguments],
    ):
        self.baseline = baseline
        # Which rows have their whole return, by flattened row; all of them with a baseline.
        self._finished: np.ndarray | None = None
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            gamma=gamma,
            gae_lambda=1.0,
            ent_coef=ent_coef,
            **kwargs,
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.learning_rate_vf is not None and not self.baseline:
            raise ValueError(
                f"learning_rate_vf={self.learning_rate_vf!r} with baseline=False, where there is no critic: pass None, "
                "or baseline=True."
            )

    def _check_critic_warmup(self) -> None:
        super()._check_critic_warmup()
        if not self.baseline:
            raise ValueError(
                f"critic_warmup={self.critic_warmup} with baseline=False, where there is no critic: pass 0, or "
                "baseline=True."
            )

    def _surrogate(self) -> Surrogate:
        return LogLikelihood()

    def _value_loss(self) -> ValueLoss | None:
        return super()._value_loss() if self.baseline else None

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_finished"]

    def _bootstraps(self) -> bool:
        return super()._bootstraps() and self.baseline

    def complete_rollout(self, rollout_buffer: RolloutBuffer) -> None:
        """
        Without a baseline, returns and advantages are the returns-to-go.

        :param rollout_buffer: The rollout
        """
        self._finished = None
        if not self.baseline and self._rollout_fault is None:
            dones: Any = self._last_episode_starts
            returns = returns_to_go(rollout_buffer.rewards, rollout_buffer.episode_starts, dones, self.gamma)
            rollout_buffer.returns = returns
            rollout_buffer.advantages = returns.copy()
            finished = finished_episodes(rollout_buffer.episode_starts, dones)
            self._finished = rollout_buffer.swap_and_flatten(finished[..., None]).ravel()

    def train(self) -> None:
        """One step on the whole rollout; none if no episode ended in it and there is no baseline."""
        if self._finished is not None and not self._finished.any():
            say(
                self.logger,
                "warn",
                f"No episode ended within n_steps={self.n_steps}, so there is no return to learn from and this update "
                "is skipped: raise n_steps, or pass baseline=True.",
            )
            self._pass_over_rollout(self._current_backend())
            return
        super().train()

    def _kept_rows(self) -> np.ndarray | None:
        return self._finished
