"""What all algorithms share: the constructor, the minibatch loop, and the log."""

import warnings
from collections.abc import Collection
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import Self, Unpack

from sb3_ppo_variants import defaults
from sb3_ppo_variants.algorithms.arguments import SB3Arguments, UpdateBackend, reject_unknown_arguments
from sb3_ppo_variants.algorithms.backend import BackendChoice
from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.loading import LoadableAlgorithm
from sb3_ppo_variants.algorithms.masking import MaskingChoice
from sb3_ppo_variants.algorithms.memory import MemoryChoice
from sb3_ppo_variants.algorithms.nonfinite import NonFiniteChoice, NonFiniteUpdate
from sb3_ppo_variants.algorithms.reference import ReferenceChoice
from sb3_ppo_variants.backends import (
    Backend,
    CriticSettings,
    SequenceSettings,
    Update,
    UpdateSettings,
    critic_only_parameters,
    separate_critic_rate,
)
from sb3_ppo_variants.checks import plain_number
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.objectives import Objective, ReferenceKLDirection, SquaredError, Surrogate, ValueLoss
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage
from sb3_ppo_variants.policies import (
    BetaActorCriticCnnPolicy,
    BetaActorCriticPolicy,
    BetaMultiInputActorCriticPolicy,
    ReferencePolicy,
)
from sb3_ppo_variants.rollouts import RolloutRequest
from sb3_ppo_variants.rollouts.originals import replaced_method
from sb3_ppo_variants.rollouts.reference import move_states_on
from sb3_ppo_variants.workers.collecting import collect_rollouts


def _n_constructors(cls: type) -> int:
    """How many constructors, each called by the one before, lead from a call of the class to ``OnPolicyVariant``'s."""
    return sum("__init__" in vars(base) for base in cls.__mro__[: cls.__mro__.index(OnPolicyVariant) + 1])


class UnboundedActionsError(ValueError, AssertionError):
    """A Box without finite bounds; also an ``AssertionError``, so code that catches SB3's keeps working."""


class OnPolicyVariant(
    ReferenceChoice,
    LoadableAlgorithm,
    BackendChoice,
    NonFiniteChoice,
    MaskingChoice,
    MemoryChoice,
    family_name="OnPolicyVariant",
):
    """
    Base of all algorithms. A subclass defines what restrains the step (``_surrogate`` and its coefficients) and
    passes all other arguments on.

    A coefficient may be a number, an SB3 schedule (a function of the remaining progress, 1 to 0) or a string
    ``"lin_x"`` (linear from x to 0). It may be assigned on the model between updates.

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, with memory ``"MlpLstmPolicy"``,
        ``"CnnLstmPolicy"``, ``"MultiInputLstmPolicy"``, with Beta instead of normal distributions ``"BetaMlpPolicy"``,
        ``"BetaCnnPolicy"``, ``"BetaMultiInputPolicy"``, or a class of SB3's or sb3-contrib's actor-critic policies
    :param env: A gymnasium environment, a vectorised one, or an id
    :param learning_rate: Adam's step size, > 0 and at most 1; a coefficient. In the PPOs also ``"kl_x"``, or a
        ``KLAdaptiveRate``: it follows the KL, with target x in nats
    :param n_steps: T, steps per environment and update; the rollout has N = T × (number of environments) rows
    :param gamma: γ in [0, 1], the discount
    :param gae_lambda: λ in [0, 1] of GAE (arXiv:1506.02438, equation 16): 0 is the one-step error, 1
        Monte-Carlo minus V
    :param normalize_advantage: ``True``: per minibatch (SB3); ``"rollout"``: over the whole rollout; ``False``: not
    :param ent_coef: c₂ ≥ 0, weight of the entropy bonus; a coefficient. Where the entropy has no closed form (squashed
        gSDE), its gradient is estimated from the actions taken, see :func:`.entropy_advantage`
    :param vf_coef: c₁ ≥ 0, weight of the value loss (V − V_target)², without a ½; a coefficient
    :param max_grad_norm: Gradients with a larger L2 norm are scaled down to it, > 0; ``None``: never
    :param use_sde: Generalised state-dependent exploration (Box actions only)
    :param sde_sample_freq: Draw a new gSDE noise matrix every this many steps; −1: once per rollout
    :param use_masking: Before each step, ask the environments which actions are valid, by their method
        ``action_masks()``, and give the others zero probability (arXiv:2006.14171). For Discrete, MultiDiscrete and
        MultiBinary actions; policies are then sb3-contrib's maskable ones, and passing such a class implies it
    :param sequence_length: L, for a policy with memory: rollouts are cut at the ends of episodes and every L rows into
        the sequences that it is trained on; ``batch_size``, a multiple of L, counts rows. 8 to 32 is fast. ``None``:
        sb3-contrib's minibatches, with sequences as long as they come, and its numbers
    :param refresh_states: With ``sequence_length``: before each epoch but the first, recompute the states with which
        sequences begin; otherwise keep those with which the rollout was collected
    :param reference_policy: The policy to stay near: a model of ours or SB3's, a policy, or the path of a saved model.
        It is copied and frozen, and saved with the model
    :param reference_kl_coef: c ≥ 0, weight of the KL to the reference policy, subtracted from the objective; a
        coefficient. 0 only measures it
    :param reference_kl_direction: ``"ref_new"``: KL(ref‖π), which keeps π probable where the reference is;
        ``"new_ref"``: KL(π‖ref), as in RLHF
    :param adaptive_reference_kl_target: In nats, > 0: after each update c is halved if the KL to the reference over the
        rollout is below target/1.5 and doubled if it is above 1.5·target; ``None``: c stays fixed, or follows its
        schedule
    :param critic_warmup: For this many updates at the start, train only the parameters that the critic alone uses, on
        the value loss without ``vf_coef``. The count is saved with the model; another ``learn`` does not restart it,
        ``load(path, critic_warmup=n)`` does
    :param rollout_buffer_class: ``None``: SB3's, by observation space; with masks or memory sb3-contrib's
    :param rollout_buffer_kwargs: Passed to the buffer
    :param stats_window_size: Episodes over which ``rollout/ep_rew_mean`` averages
    :param tensorboard_log: Folder for TensorBoard; ``None``: no TensorBoard
    :param policy_kwargs: Passed to the policy
    :param verbose: 0 silent, 1 information, 2 debug
    :param seed: Seed of all random generators; ``None``: unseeded
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
    :param _init_setup_model: Whether to build the networks now (SB3's ``load`` does it later)
    :param learning_rate_vf: Step size of the parameters that only the critic uses, a coefficient; ``None``:
        ``learning_rate``, in one parameter group, as SB3's files have it
    :param bootstrap_truncated: Add γ·V(terminal observation) to the last reward of an episode that a time limit cut
        off, as SB3 does; ``False``: a time limit is a terminal state, as in the PPO paper's code
    :param measure_kl: Measure KL(old‖new) over the whole rollout after each update, in closed form where the policy's
        distribution has one, else by Schulman's k3 estimate, and log it as ``train/kl``; ``None``: where the algorithm
        needs it, and in closed form, where it is cheap
    :param update_backend: ``"closed_form"``: gradients by hand in numpy, for SB3's MLP policy on the CPU;
        ``"compiled"``: the same with compiled kernels, which need numba (``pip install 'sb3_ppo_variants[fast]'``);
        ``"autograd"``: torch, for every policy; ``"auto"``: the closed form in numpy where it can run
    :param nonfinite_update: What to do about a NaN or Inf in an observation, action, reward, loss or gradient.
        ``"raise"``: stop with a ``NonFiniteError`` before it is learnt from. ``"skip"``: leave out that minibatch or
        update and count it in ``train/nonfinite_updates``; an observation that the policy cannot act on still stops
        the training
    :raises TypeError: an argument of the wrong type, or one that the class does not have
    :raises ValueError: an argument out of its range
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **PPO.policy_aliases,
        **RecurrentPPO.policy_aliases,
        "BetaMlpPolicy": BetaActorCriticPolicy,
        "BetaCnnPolicy": BetaActorCriticCnnPolicy,
        "BetaMultiInputPolicy": BetaMultiInputActorCriticPolicy,
    }

    #: How a rollout is used. A subclass that takes one of these as an argument stores it before it passes the rest on.
    n_epochs: int = 1
    batch_size: int | None = None
    target_kl: Any = None
    kl_coef: Coefficient = 0.0
    critic_warmup: int = 0
    #: How many updates of the critic's warm-up are done.
    _n_warmup_updates: int = 0

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: Coefficient = 3e-4,
        n_steps: int = 2048,
        *,
        gamma: float = defaults.GAMMA.default,
        gae_lambda: float = defaults.GAE_LAMBDA.default,
        normalize_advantage: NormalizeAdvantage = True,
        ent_coef: Coefficient = 0.0,
        vf_coef: Coefficient = defaults.VF_COEF.default,
        max_grad_norm: float | None = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_masking: bool = False,
        sequence_length: int | None = None,
        refresh_states: bool = True,
        reference_policy: BaseAlgorithm | BasePolicy | ReferencePolicy | str | PathLike[str] | None = None,
        reference_kl_coef: Coefficient = 0.0,
        reference_kl_direction: ReferenceKLDirection = "ref_new",
        adaptive_reference_kl_target: float | None = None,
        critic_warmup: int = 0,
        verbose: int = 0,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        learning_rate_vf: Coefficient | None = None,
        bootstrap_truncated: bool = True,
        measure_kl: bool | None = None,
        update_backend: UpdateBackend = "auto",
        nonfinite_update: NonFiniteUpdate = "raise",
        **kwargs: Unpack[SB3Arguments],
    ):
        if unknown := sorted(kwargs.keys() - SB3Arguments.__annotations__.keys()):
            reject_unknown_arguments(type(self), unknown)
            raise TypeError(f"{type(self).__name__} passes on {', '.join(unknown)}, which its parent does not take.")
        # SB3 uses them at once. All other arguments are checked once they are stored.
        self.checks["verbose"]("verbose", plain_number(verbose))
        self.checks["use_masking"]("use_masking", use_masking)
        self.use_masking = use_masking
        self.sequence_length = sequence_length
        self.refresh_states = refresh_states
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,  # type: ignore[arg-type]  # "lin_x" is parsed below
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,  # type: ignore[arg-type]
            vf_coef=vf_coef,  # type: ignore[arg-type]
            max_grad_norm=max_grad_norm,  # type: ignore[arg-type]
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            verbose=verbose,
            device=device,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
            **kwargs,
        )
        if isinstance(policy, str) and env is not None:
            self._check_policy_name(policy)
        self.reference_policy = reference_policy
        self.reference_kl_coef = reference_kl_coef
        self.reference_kl_direction = reference_kl_direction
        self.adaptive_reference_kl_target = adaptive_reference_kl_target
        self.critic_warmup = critic_warmup
        self.normalize_advantage = normalize_advantage
        self.learning_rate_vf = learning_rate_vf
        self.bootstrap_truncated = bootstrap_truncated
        self.measure_kl = measure_kl
        self.update_backend = update_backend
        self.nonfinite_update = nonfinite_update
        self._parse_coefficients()
        # Without an environment the model is about to be loaded; settings from a file are not checked.
        if env is not None:
            self._check_settings()
            short_minibatch = self._short_minibatch()
            if short_minibatch is not None:
                warnings.warn(short_minibatch, stacklevel=1 + _n_constructors(type(self)))
        self._device_is_free = device == "auto"
        if _init_setup_model:
            self._setup_model()
            if update_backend in ("closed_form", "compiled"):
                # Now, not at the first rollout: raises if it cannot run.
                self._allowed_backend()

    # ---- Settings ----

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        wrapped = OnPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        space = wrapped.action_space
        # SB3 asserts it next, without a remedy.
        if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise UnboundedActionsError(
                f"The action space is {space}: continuous actions need finite bounds, to which samples are clipped or "
                "scaled. Declare such a Box in the environment, or in a gymnasium.ActionWrapper around it."
            )
        return wrapped

    def _check_policy_name(self, policy: str) -> None:
        """Refuse a policy for arrays where observations are dictionaries. SB3 does so for two of the names."""
        for_dicts = policy.replace("Mlp", "MultiInput").replace("Cnn", "MultiInput")
        if isinstance(self.observation_space, spaces.Dict) and policy != for_dicts and for_dicts in self.policy_aliases:
            raise ValueError(f'policy="{policy}" cannot read Dict observations: pass "{for_dicts}".')

    def _setup_model(self) -> None:
        given = vars(self).get("_given_to_load", frozenset())
        if "critic_warmup" in given:
            self._n_warmup_updates = 0
        super()._setup_model()
        if given & {"n_steps", "batch_size", "sequence_length", "normalize_advantage"}:
            self._check_minibatches()
        if self.learning_rate_vf is not None:
            separate_critic_rate(self.policy, self.current("learning_rate_vf"))
        if self._n_warmup_updates < self.critic_warmup:
            self._check_critic_warmup()
        self._bind_backend()

    def _check_critic_warmup(self) -> None:
        """Refuse a warm-up that has nothing to fit. Subclasses add their own rules."""
        if not critic_only_parameters(self.policy):
            raise ValueError(
                f"critic_warmup={self.critic_warmup}, but the policy has no parameter that only its critic uses: pass "
                "0."
            )

    # ---- The rollout ----

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """
        :param env: The environments to step
        :param callback: Told of every step
        :param rollout_buffer: Filled with ``n_rollout_steps`` steps per environment, and their advantages
        :param n_rollout_steps: T
        :return: ``False`` if the callback ended the training
        """
        self._rollout_fault = None  # there may be one of a rollout that a callback ended
        if not self.use_masking and self.memory is None and replaced_method(OnPolicyAlgorithm, ("collect_rollouts",)):
            is_full = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
            if is_full:
                self.complete_rollout(rollout_buffer)
        else:
            request = RolloutRequest(self, env, callback, rollout_buffer, n_rollout_steps, self._bootstraps())
            is_full = collect_rollouts(request)
        if not is_full and isinstance(self.reference_policy, ReferencePolicy):
            move_states_on(self.reference_policy, rollout_buffer)
        return is_full

    def complete_rollout(self, rollout_buffer: RolloutBuffer) -> None:
        """
        What the algorithm computes from a whole rollout, before callbacks see its end (after that, where SB3's
        ``collect_rollouts`` has been replaced).

        :param rollout_buffer: The rollout
        """

    def _bootstraps(self) -> bool:
        """Whether V stands for the rewards that a time limit has cut off."""
        return self.bootstrap_truncated

    # ---- The update ----

    def _surrogate(self) -> Surrogate:
        """The policy's objective, with the coefficients of this update."""
        raise NotImplementedError

    def _value_loss(self) -> ValueLoss | None:
        """The critic's loss, with the coefficients of this update; ``None``: no critic."""
        return SquaredError()

    def _objective(self) -> Objective:
        return Objective(
            surrogate=self._surrogate(),
            value_loss=self._value_loss(),
            ent_coef=self.current("ent_coef"),
            vf_coef=self.current("vf_coef"),
            kl_coef=self.current("kl_coef"),
            reference_kl_coef=self.current("reference_kl_coef"),
            reference_kl_direction=self.reference_kl_direction,
        )

    def _sequence_settings(self) -> SequenceSettings:
        return SequenceSettings(self.sequence_length, self.refresh_states)

    def _wants_kl(self, backend: Backend) -> bool:
        """Whether the exact KL over the rollout is measured after this update."""
        if self._rate_follows_kl("update"):
            return True
        if self.measure_kl is not None:
            return self.measure_kl
        return self.current("kl_coef") > 0 or backend.measures_kl_cheaply

    def _react_to(self, kl: float) -> None:
        """Called with the KL measured after an update that has moved the policy, for what adapts to it."""
        if self._rate_follows_kl("update"):
            self._adapt_learning_rate(kl)

    def _kept_rows(self) -> np.ndarray | None:
        """Which rows of the flattened rollout take part in the update; ``None``: all."""
        return None

    def train(self) -> None:
        """Improve the policy on the rollout in the buffer: K epochs of minibatch steps on one objective."""
        if self._leaves_out_rollout():
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        backend = self._current_backend()
        if self._n_warmup_updates < self.critic_warmup:
            self._warm_up_critic(backend, self.n_epochs)
            return
        wants_kl = self._wants_kl(backend)
        with backend.context():
            settings = UpdateSettings(
                objective=self._objective(),
                normalize_advantage=self.normalize_advantage,
                max_grad_norm=self.max_grad_norm,
                keep_old_policy=wants_kl,
                kept_rows=self._kept_rows(),
                sequences=self._sequence_settings(),
                minibatch_kl=self._rate_follows_kl("minibatch"),
            )
            update = backend.update(self.rollout_buffer, settings)
            reference = self._reference_parameters(backend)
            if update.objective.reference_kl_coef > 0:
                update.keep_near(reference)
            has_moved = self._run_epochs(update)
            kl = update.measured_kl() if wants_kl else None
            self._log_update(update, kl)
            self._follow_reference_kl(backend, reference)
        # If all steps were refused, less restraint is the last thing needed.
        if kl is not None and has_moved:
            self._react_to(kl)

    def _fit_critic(
        self,
        backend: Backend,
        n_epochs: int,
        frozen: Collection[th.nn.Parameter],
        value_loss: ValueLoss,
        evaluation_mode: bool = False,
    ) -> list[float]:
        """The loss of each minibatch; see ``CriticSettings``."""
        settings = CriticSettings(
            value_loss=value_loss,
            batch_size=self.batch_size,
            n_epochs=n_epochs,
            max_grad_norm=self.max_grad_norm,
            frozen=frozen,
            sequences=self._sequence_settings(),
            evaluation_mode=evaluation_mode,
        )
        return backend.fit_critic(self.rollout_buffer, settings, self._refuse_step)

    def _warm_up_critic(self, backend: Backend, n_epochs: int) -> None:
        """An update that leaves the policy, and its share of the optimiser's state, as they are."""
        self._check_critic_warmup()  # again: what it depends on may have been assigned
        value_loss = self._value_loss()
        if value_loss is None:
            raise ValueError(f"critic_warmup={self.critic_warmup} of an algorithm without a value loss: pass 0.")
        critic = {id(parameter) for parameter in critic_only_parameters(self.policy)}
        frozen = [parameter for parameter in self.policy.parameters() if id(parameter) not in critic]
        with backend.context():
            self._pass_over_rollout(backend)
            losses = self._fit_critic(backend, n_epochs, frozen, value_loss, evaluation_mode=True)
        self._n_warmup_updates += 1
        self._n_updates += self.n_epochs
        self._log_nonfinite()
        self.logger.record("train/critic_warmup", self._n_warmup_updates)
        if losses:
            self.logger.record("train/value_loss", sum(losses) / len(losses))
        self._log_common()

    def _run_epochs(self, update: Update) -> bool:
        """Whether any step was taken."""
        follows_kl, has_moved = self._rate_follows_kl("minibatch"), False
        for epoch in range(self.n_epochs):
            for number, minibatch in enumerate(update.epoch(self.batch_size)):
                evaluation = update.evaluate(minibatch)
                if self.target_kl is not None and self._is_too_far(evaluation.approx_kl):
                    # The epoch that is cut short counts.
                    self._n_updates += 1
                    return has_moved
                # Before the first step the KL is zero, up to rounding.
                if follows_kl and has_moved:
                    self._adapt_learning_rate(evaluation.kl)
                    self._set_learning_rates([self.policy.optimizer])
                if update.step(evaluation):
                    has_moved = True
                else:
                    self._refuse_step(f"minibatch {number} of epoch {epoch} (both from 0)", evaluation.known_loss)
            self._n_updates += 1
        return has_moved

    def _is_too_far(self, approx_kl: Any) -> bool:
        """SB3's early stop: tested before the step, on one minibatch's estimate, against 1.5·target_kl."""
        if not approx_kl > 1.5 * self.target_kl:
            return False
        say(
            self.logger,
            "info",
            f"Update stopped early: approximate KL {approx_kl:.4g} exceeds 1.5 * target_kl = "
            f"{1.5 * self.target_kl:.4g}",
        )
        return True

    # ---- The log ----

    def _log_update(self, update: Update, kl: float | None) -> None:
        """
        Log an update: the statistics (see ``UpdateStatistics`` for each key), ``kl``, the mean KL(old‖new) over
        the rollout after the update in nats, and ``kl_coef``, the coefficient that this update used.
        """
        self._log_nonfinite()
        for key, value in update.statistics().summary().items():
            self.logger.record(f"train/{key}", value)
        if kl is not None:
            self.logger.record("train/kl", kl)
        if update.objective.kl_coef > 0:
            self.logger.record("train/kl_coef", update.objective.kl_coef)
        self._log_common()

    def _log_common(self) -> None:
        if self._value_loss() is not None:
            values, returns = self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten()
            self.logger.record("train/explained_variance", explained_variance(values, returns))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", th.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    # ---- SB3's interface ----

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        use_masking: bool | None = None,
    ) -> Self:
        """
        Train for at least ``total_timesteps`` environment steps (whole rollouts are collected).

        :param total_timesteps: Steps, over all environments together
        :param callback: One callback, a list of them, or a function
        :param log_interval: Updates between two dumps of the log
        :param tb_log_name: The run's name for TensorBoard; ``None``: the class's name
        :param reset_num_timesteps: ``False`` continues the count and trains ``total_timesteps`` *more*
        :param progress_bar: Show one
        :param use_masking: ``False`` trains a model with masks without asking for them; ``None``: as it was made
        :return: the model
        :raises ValueError: masks are asked for, and the model was made without
        """
        self._choose_masking(use_masking)
        name = type(self).__name__ if tb_log_name is None else tb_log_name
        return super().learn(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar)
