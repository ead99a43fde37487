"""K epochs of minibatch steps on an importance-sampled surrogate: what the PPOs share."""

from typing import Any, ClassVar, Literal

from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import FloatSchedule
from typing_extensions import Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import SharedArguments
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.coefficient_checks import coefficient
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.checks import Check, choice, integer, number, optional
from sb3_ppo_variants.objectives import ClippedSquaredError, MaxSquaredError, SquaredError, ValueLoss


class SurrogatePPO(OnPolicyVariant, family_name="SurrogatePPO"):
    """
    Uses each rollout for K epochs of gradient steps on minibatches, whose samples are weighted by r = π/π_old.

    Maximises E[L(r, A)] − β·E[KL(old‖new)] − c₁·E[(V − V_target)²] + c₂·E[entropy]; the subclass says what L is
    (``_surrogate``), and β is ``kl_coef`` where it has one, else 0. Source: Schulman et al. 2017, arXiv:1707.06347,
    Algorithm 1 and equation 9. Deviations from it are SB3's, listed in the subclasses.

    :param batch_size: Rows of a minibatch, ≥ 2 if advantages are normalised in it; ``None``: the whole rollout, so
        that each epoch is one step, as in Spinning Up's code
    :param n_epochs: K ≥ 1, passes over the rollout
    :param clip_range_vf: c > 0, how far the critic's values may move in an update, in units of the return; ``None``:
        unlimited
    :param clip_range_vf_mode: ``"sb3"``: the loss of the clipped value; ``"max"``: the larger of the clipped and the
        plain loss, as in OpenAI Baselines' ppo2; no effect without ``clip_range_vf``
    :param ent_coef: c₂ ≥ 0; the documented 0.01, where SB3's ``PPO`` has 0
    :param target_kl: End the update, with all its epochs, before the step of a minibatch whose approximate KL exceeds
        1.5 times this (SB3's rule); ``None``: never
    """

    coefficients: ClassVar[tuple[str, ...]] = (*OnPolicyVariant.coefficients, "clip_range_vf")
    checks: ClassVar[dict[str, Check]] = OnPolicyVariant.checks | {
        "learning_rate": coefficient(
            above=0, at_most=1, hint="Adam's usual range is 1e-5 to 1e-2.", may_follow_kl=True
        ),
        "n_epochs": integer(at_least=1),
        "clip_range_vf": optional(coefficient(above=0, hint="Pass None to switch value clipping off.")),
        "clip_range_vf_mode": choice("sb3", "max"),
        "target_kl": optional(
            number(above=0, infinite=True, hint="Typical values are 0.003 to 0.05; None switches it off.")
        ),
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        batch_size: int | None = 64,
        n_epochs: int = defaults.N_EPOCHS.default,
        gamma: float = defaults.GAMMA.default,
        gae_lambda: float = defaults.GAE_LAMBDA.default,
        *,
        clip_range_vf: Coefficient | None = None,
        clip_range_vf_mode: Literal["sb3", "max"] = "sb3",
        ent_coef: Coefficient = defaults.ENT_COEF.default,
        target_kl: float | None = None,
        **kwargs: Unpack[SharedArguments],
    ):
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.clip_range_vf: Any = clip_range_vf
        self.clip_range_vf_mode = clip_range_vf_mode
        self.target_kl = target_kl
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            **kwargs,
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        # As in SB3's PPO, for scripts that call model.clip_range_vf(progress).
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)

    def _value_loss(self) -> ValueLoss:
        if self.clip_range_vf is None:
            return SquaredError()
        form = MaxSquaredError if self.clip_range_vf_mode == "max" else ClippedSquaredError
        return form(self.current("clip_range_vf"))

    def _log_common(self) -> None:
        super()._log_common()
        if self.clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", self.current("clip_range_vf"))
