"""What is not finite in an update: searched in detail only once a gradient's norm or a loss has failed."""

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.nonfinite.rollout import is_finite, place_in_rollout


def update_fault(
    policy: ActorCriticPolicy, buffer: RolloutBuffer, num_timesteps: int, where: str, loss: float | None = None
) -> NonFiniteError:
    """
    :param policy: Its parameters hold the gradient that is not finite
    :param buffer: The rollout that it came from
    :param num_timesteps: Steps taken so far
    :param where: Which step of the optimiser, for the message
    :param loss: The loss, if it is known
    :return: the error that names the loss, or the parameters with a bad gradient, and the likely cause
    """
    bad = [name for name, p in policy.named_parameters() if p.grad is not None and not bool(th.isfinite(p.grad).all())]
    if loss is not None and not np.isfinite(loss):
        what, subject = "loss", f"loss is {loss}"
    elif bad:
        listed = ", ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
        what, subject = "gradient", f"gradient is not finite for {listed}"
    else:
        what, subject = "gradient", "gradient's norm is not finite"
    env_index, cause = _likely_cause(buffer)
    return NonFiniteError(
        f"The {subject} in {where} of the update at num_timesteps={num_timesteps}. {cause} This step was not taken: "
        'parameters and optimiser state are as before it. nonfinite_update="skip" leaves such steps out and counts '
        "them.",
        what,
        env_index,
        num_timesteps,
    )


def _likely_cause(buffer: RolloutBuffer) -> tuple[int | None, str]:
    """Number of the environment concerned, and a sentence."""
    observations = getattr(buffer, "observations", None)  # a buffer of one's own may keep them elsewhere
    parts = observations.items() if isinstance(observations, dict) else [("", observations)]
    columns = {f"observation {key!r}" if key else "observation": array for key, array in parts}
    columns |= {"log-probability": buffer.log_probs, "advantage": buffer.advantages, "return": buffer.returns}
    for name, array in columns.items():
        if isinstance(array, np.ndarray) and not is_finite(array):
            rows = _rows(array, buffer)
            step, env_index = place_in_rollout(int(np.flatnonzero(~np.isfinite(rows).all(1))[0]), buffer)
            return env_index, f"Environment {env_index}'s {name} at step {step} of the rollout (from 0) is not finite."
    returns = np.abs(_rows(np.asarray(buffer.returns), buffer)).max(1)
    step, env_index = place_in_rollout(int(returns.argmax()), buffer)
    return env_index, (
        f"The rollout's numbers are finite; the largest return, {returns.max():.3g}, is environment {env_index}'s at "
        f"step {step} of the rollout (from 0). Check the scale of the rewards (VecNormalize), learning_rate, log_std "
        "and, without clipping, at ratios that overflow."
    )


def _rows(array: np.ndarray, buffer: RolloutBuffer) -> np.ndarray:
    return array.reshape(buffer.buffer_size * buffer.n_envs, -1)
