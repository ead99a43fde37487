"""The callback that writes checkpoints, and resumes from the newest."""

import warnings
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.files import remove_unfinished
from sb3_ppo_variants.loggers import say
from sb3_ppo_variants.nonfinite.rollout import nonfinite_parameter
from sb3_ppo_variants.resume.callback_states import all_callbacks, environments_of_callbacks
from sb3_ppo_variants.resume.environments import (
    VecEnvState,
    begin_check,
    capture_environments,
    make_resumable,
    wrappers_of,
)
from sb3_ppo_variants.resume.files import (
    Checkpoint,
    newest_checkpoint,
    refuse_earlier_run,
    remove_old,
    write_checkpoint,
)
from sb3_ppo_variants.resume.identity import (
    changed_attributes,
    check_same_run,
    describe,
    differences,
    refuse_schedules,
    surroundings,
)
from sb3_ppo_variants.resume.left_out import changed_parts, lost_attributes, policy_attributes
from sb3_ppo_variants.resume.snapshot import put_snapshot, take_snapshot


class ResumableCheckpointCallback(BaseCallback):
    """
    Writes checkpoints from which a training run can be resumed as if it had never been interrupted.

    The files of SB3's ``CheckpointCallback`` hold a model; these hold a whole training run: see the package's
    docstring. They are written between two rollouts, after the update, and never with parameters that are not finite.

    :param path: Folder for the checkpoints of this run alone
    :param every: Environment steps (over all environments together) from one checkpoint to the next. Each is written at
        the end of the first update at or after its step. Where an environment's state can be kept only once its next
        episode has begun, the checkpoint is put off by at most ``every`` steps, then written without that state.
        ``learn`` writes its log at every ``log_interval``-th update: a checkpoint waits for it too, for as long; one
        written without waiting resumes as exactly, but its log has rows at other updates
    :param keep: How many of the newest checkpoints to keep, ≥ 1
    :param resume: Resume from the newest readable checkpoint, if there is one. Call ``learn`` with the same arguments
        as the first time; it trains up to the total requested then
    :param verbose: SB3's verbosity
    :param extend: Whether a finished run is extended by a larger total; otherwise that is refused
    :raises ValueError: the folder holds checkpoints and ``resume`` is not set
    """

    reads_step_values = False
    model: OnPolicyAlgorithm

    def __init__(
        self, path: str | Path, every: int, keep: int = 3, resume: bool = False, verbose: int = 0, extend: bool = False
    ):
        super().__init__(verbose)
        for name, value in (("every", every), ("keep", keep)):
            integer(at_least=1)(name, value)
        self.path = Path(path)
        self.every, self.keep, self.resume, self.extend = every, keep, resume, extend
        #: The step from which this process has resumed; ``None``: it started from scratch.
        self.resumed_at: int | None = None
        self._found: Checkpoint | None = None
        self._run: dict[str, Any] = {}
        self._policy_at_start: dict[str, bytes] = {}
        self._iterations = self._iterations_before = 0
        self._log_interval = 1
        self._last = 0
        # The step at which a checkpoint was due but could not be written yet.
        self._waiting_since: int | None = None
        self._said: set[str] = set()

    # ---- SB3's interface ----

    def _init_callback(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm):
            raise ValueError(
                f"{type(self.model).__name__} keeps a replay buffer, which checkpoints do not hold: they are for "
                "on-policy algorithms. SB3's CheckpointCallback(save_replay_buffer=True) saves one."
            )
        if not self.resume:
            refuse_earlier_run(self.path)
        self.resumed_at = self._found = None  # by an earlier call of learn()
        remove_unfinished(self.path)
        make_resumable(self.training_env)

    def _on_training_start(self) -> None:
        for env in environments_of_callbacks(self._root()):
            make_resumable(env)
        if self.resume and self.resumed_at is None:
            self.check(self.model, self.model._total_timesteps)
        self._run = describe(self.model, self.model._total_timesteps)
        self._policy_at_start = policy_attributes(self.model.policy)
        self._iterations, self._iterations_before, self._last = 0, 0, self.model.num_timesteps
        self._log_interval = self.locals.get("log_interval") or 1
        if self._found is not None and self._found.about["finished"]:
            self._restore(self._found)

    def _on_rollout_start(self) -> None:
        # Here and not at the start of training, to undo what happens in between: environments are reset, gSDE's noise
        # is drawn, other callbacks start.
        if self._found is not None:
            self._restore(self._found)
        elif self._is_due(self.model.num_timesteps):
            self._write(finished=False)
        rollout = self.model.n_steps * self.training_env.num_envs
        if self._iterations == 0 or self._is_due(self.model.num_timesteps + rollout, self._iterations + 1):
            for env in (self.training_env, *environments_of_callbacks(self._root())):
                begin_check(env)

    def _on_rollout_end(self) -> None:
        self._iterations += 1

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        # Not finished if a callback has ended the training early: it will do so again after a resume.
        if self.model.num_timesteps >= self.model._total_timesteps and self.model.num_timesteps > self._last:
            self._write(finished=True)

    def check(self, model: OnPolicyAlgorithm, total_timesteps: int) -> None:
        """
        Find the newest readable checkpoint and check that it is of this run, before anything is touched. ``learn`` does
        so too, but only after loggers have emptied their files (which a resume fills again).

        :param model: The model that will be trained further; not trained yet
        :param total_timesteps: Argument of ``learn``
        :raises ValueError: the checkpoint is of another run, or of a finished one whose schedules more timesteps would
            change; or there are checkpoints and none is readable
        """
        self._found, faults = newest_checkpoint(self.path)
        for fault in faults:
            self._say(f"Passed over: {fault}")
        if self._found is not None:
            before, now = self._found.about["run"], describe(model, total_timesteps)
            if self.extend and self._found.about["finished"] and total_timesteps > before["total_timesteps"]:
                refuse_schedules(now, str(self._found.path))
                before = {**before, "total_timesteps": total_timesteps}
            check_same_run(before, now, str(self._found.path))
            if changed := changed_attributes(before, now):
                self._say(
                    f"The environments are restored as the checkpoint has them, though this run differs: {changed}."
                )
            if differing := differences(self._found.about["surroundings"], surroundings(model)):
                self._say(f"Resumed with other software, so the run may differ in the last bits: {differing}.")
        elif faults:
            raise ValueError(f"No checkpoint in {self.path} is readable; remove them to begin anew. {' '.join(faults)}")

    # ---- The protocol for callbacks: all other attributes belong to this process ----

    def get_checkpoint_state(self) -> tuple[int, int]:
        """
        :return: SB3's counters
        """
        return self.n_calls, self.num_timesteps

    def set_checkpoint_state(self, state: tuple[int, int]) -> None:
        """
        :param state: What ``get_checkpoint_state`` returned
        """
        self.n_calls, self.num_timesteps = state

    # ---- Pieces ----

    def _root(self) -> BaseCallback:
        return self.locals["callback"]

    def _is_due(self, steps: int, iterations: int | None = None) -> bool:
        # learn() counts iterations from 1 again: its log_interval stays in step only right after the log was written.
        own = (self._iterations if iterations is None else iterations) - self._iterations_before
        due = (self._last // self.every + 1) * self.every
        return steps >= due + (self.every if own % self._log_interval else 0)

    def _write(self, finished: bool) -> None:
        # Parameters only: a buffer (a mask, say) may be infinite on purpose.
        bad = nonfinite_parameter(self.model.policy)
        if bad is not None:
            # The last good one stays the newest.
            self._say(
                f"No checkpoint is written: the policy's {bad} is not finite. What is in {self.path} stays as it is."
            )
            return
        environments = capture_environments(self.training_env, unchecked=finished)
        if environments is None or self._puts_off(environments):
            # Still due at the end of the next update.
            return
        snapshot = take_snapshot(self.model, environments, self._root(), self._iterations)
        for lost in environments.lost():
            self._say(f"Checkpoints hold no state of {lost}. A resume will begin a new episode in every environment.")
        self._tell_left_out()
        steps = self.model.num_timesteps
        about = {"steps": int(steps), "iterations": self._iterations, "finished": finished, "run": self._run}
        written = write_checkpoint(self.path, steps, {**about, "surroundings": surroundings(self.model)}, snapshot)
        remove_old(self.path, self.keep, written)
        self._last = steps

    def _tell_left_out(self) -> None:
        things = (self.model, *all_callbacks(self._root()), *wrappers_of(self.training_env))
        for thing in things:
            for name in lost_attributes(thing, self.model):
                self._say(
                    f"Checkpoints do not hold {type(thing).__name__}.{name}, which cannot be pickled: a resume finds "
                    "it as the script makes it. The methods get_checkpoint_state and set_checkpoint_state can keep it."
                )
        for name in changed_parts(self._policy_at_start, policy_attributes(self.model.policy)):
            self._say(
                f"Checkpoints do not hold the policy's {name}, which has changed: a resume finds it as the script "
                "makes it. register_buffer keeps it, in saved models too."
            )

    def _puts_off(self, environments: VecEnvState) -> bool:
        """Whether to wait, for at most ``every`` steps, for environments to begin an episode that can be kept."""
        awaited = environments.awaited()
        if not awaited:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = self.model.num_timesteps
            self._say(
                f"A checkpoint is due and put off, for {'; '.join(awaited)}. It is written once the next episode has "
                f"begun there; after {self.every} more steps in any case."
            )
        return self.model.num_timesteps - self._waiting_since < self.every

    def _restore(self, found: Checkpoint) -> None:
        total = self.model._total_timesteps
        faults = put_snapshot(found.snapshot, self.model, self._root())
        self.model._total_timesteps = total  # more than in the snapshot where a finished run is extended
        self._tell_faults(faults)
        self._found = None
        self.resumed_at = self._last = found.about["steps"]
        self._iterations = self._iterations_before = found.about["iterations"]

    def _tell_faults(self, faults: list[str]) -> None:
        """
        :param faults: What could not be restored
        """
        for fault in faults:
            self._say(f"Not restored: {fault}")

    def _say(self, text: str) -> None:
        # Each text once: an environment whose state is lost stays lost.
        if text not in self._said:
            self._said.add(text)
            if hasattr(self, "model"):
                say(self.logger, "warn", text)
            warnings.warn(text, stacklevel=2)
