"""Policies with memory: their buffers, their states between rollouts, and how sequences are cut."""

from typing import Any

from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.policies import is_recurrent
from sb3_ppo_variants.rollouts.buffers import buffer_class_for
from sb3_ppo_variants.rollouts.memory import Memory


class MemoryChoice(OnPolicyAlgorithm):
    """
    An on-policy algorithm whose policy may be one of sb3-contrib's recurrent ones.

    Memory changes how a policy acts and how rows are evaluated, in sequences, and nothing else: every algorithm takes
    such a policy.
    """

    use_masking: bool
    sequence_length: int | None = None
    refresh_states: bool = True
    #: What a recurrent policy remembers of the environments; ``None``: the policy has no memory.
    memory: Memory | None = None

    @property
    def _last_lstm_states(self) -> Any:
        """sb3-contrib's name for the states before the next step; ``None`` without memory."""
        return None if self.memory is None else self.memory.states

    @_last_lstm_states.setter
    def _last_lstm_states(self, states: Any) -> None:
        if self.memory is not None:
            self.memory.states = states

    def _setup_model(self) -> None:
        if not is_recurrent(self.policy_class):
            if self.sequence_length is not None:
                raise ValueError(
                    f"sequence_length={self.sequence_length} is for policies with memory, and "
                    f'{self.policy_class.__name__} has none: pass "MlpLstmPolicy", or leave it out.'
                )
            self.memory = None
            super()._setup_model()
            if is_recurrent(type(self.policy)):
                raise ValueError(
                    f"{self.policy_class} makes a policy with memory, whose buffer has to be known before: pass the "
                    f"class, {type(self.policy).__name__}, and its arguments as policy_kwargs."
                )
            return
        # SB3 makes the buffer before the policy, whose layers this one's shape depends on.
        given, kwargs = self.rollout_buffer_class, self.rollout_buffer_kwargs
        self.rollout_buffer_class, self.rollout_buffer_kwargs = None, {}
        super()._setup_model()
        self.rollout_buffer_class, self.rollout_buffer_kwargs = given, kwargs
        self._make_buffer()
        self.memory = Memory(self.policy, self.n_envs)  # type: ignore[arg-type]

    def _make_buffer(self) -> None:
        known: Any = buffer_class_for(self.observation_space, is_recurrent=True, takes_masks=self.use_masking)
        made: Any = self.rollout_buffer_class or known
        if isinstance(made, type) and not issubclass(made, RecurrentRolloutBuffer | RecurrentDictRolloutBuffer):
            raise ValueError(
                f"A policy with memory needs a rollout buffer that keeps its states; {made.__name__} does not: derive "
                f"it from {known.__module__}.{known.__name__}, or pass rollout_buffer_class=None."
            )
        lstm: Any = self.policy.lstm_actor
        self.rollout_buffer = made(
            self.n_steps,
            self.observation_space,
            self.action_space,
            (self.n_steps, lstm.num_layers, self.n_envs, lstm.hidden_size),
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            **self.rollout_buffer_kwargs,
        )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "memory"]
