"""Checkpoints from which a killed training resumes, bit for bit as if it had never been interrupted.

Rerun the script to resume::

    env = make_vec_env("HalfCheetah-v5", n_envs=4, seed=0)
    model = ClipPPO("MlpPolicy", env, learning_rate="lin_3e-4", seed=0)
    checkpoints = ResumableCheckpointCallback("runs/cheetah", every=50_000, resume=True)
    model.learn(1_000_000, callback=[checkpoints, EvalCallback(...)])

If the folder holds no checkpoint, training starts at step 0. If it holds one, ``learn`` continues from there to the
total that was asked for the first time; schedules follow that total too. If the run had finished, ``learn`` returns the
finished model at once. The script has to make the model as it did the first time: other settings, another total, seed
or number of environments are refused. On the command line: ``ppo-variants train ... --checkpoint-every 50000
--resume``.

**Guarantee**: parameters, optimiser, KL coefficient, curves and log files end as those of an uninterrupted run, on the
same machine, with the same versions and the same number of threads (a warning names a difference). This holds for
on-policy algorithms: ours, SB3's PPO and A2C, sb3-contrib's TRPO.

**What a checkpoint holds.** It is written between two rollouts, when the update is done and the rollout buffer is
empty: policy and optimiser; the model's attributes (counters, settings that callbacks have changed, last observations,
windows of episodes); gSDE's noise; the random states of python, numpy, torch and CUDA; the attributes of
``VecNormalize`` and every other ``VecEnvWrapper``; each environment (``ResumableEnv``); the attributes of each
callback, and its environments (``EvalCallback``); the logger's pending values; the text of CSV, JSON and log files,
Monitor's included, and the length of TensorBoard's. Lines logged after the checkpoint are removed, because the resumed
run logs them again. Attributes that cannot be pickled, or that hold an environment, a model, a network or a logger,
stay as the script has made them; a warning names those of your callbacks and wrappers that may hold state, and plain
attributes of your policy's modules that change. Clocks leave out the time between the two processes. What was printed
stays printed.

**Environments** are kept by copying their attributes (and MuJoCo's data), or by replaying their actions since the last
reset. Which of the two works is checked on a second environment, in the steps before the first checkpoint. The callback
wraps the environments of a ``DummyVecEnv`` in ``ResumableEnv``; for environments in other processes write
``make_vec_env(..., vec_env_cls=SubprocVecEnv, wrapper_class=ResumableEnv)``. Pass ``wrapper_class=ResumableEnv`` too
for environments that have to be replayed (Box2D): the callback starts after the first reset, too late to record the
episode that is then under way. A checkpoint that needs the next episode is put off by at most ``every`` steps, with a
warning. An environment that can be neither copied nor replayed is named in a warning. A resume then begins a new
episode in every environment, and differs from the uninterrupted run from there on, though all other state is restored.
``BipedalWalker`` needs ``NewWorldEachEpisode``, in which ``ppo-variants`` wraps it.

**Protocol**: an environment, a wrapper, a ``VecEnv`` or a callback whose class has ``get_checkpoint_state()``, which
returns an object that can be pickled, and ``set_checkpoint_state(state)`` is kept by these methods instead. They are
checked too where a second environment can be made (``gymnasium.make``, or ``ResumableEnv(env, make=...)``).

**Security**: a checkpoint holds pickles, and opening one runs code by whoever wrote it. Resume only your own files.

Files are written under a temporary name, flushed to the disk, and renamed. The newest ``keep`` stay. A damaged one is
named in a warning and skipped.
"""

from sb3_ppo_variants.resume.box2d import NewWorldEachEpisode
from sb3_ppo_variants.resume.callback import ResumableCheckpointCallback
from sb3_ppo_variants.resume.resumable_env import ResumableEnv

__all__ = ["NewWorldEachEpisode", "ResumableCheckpointCallback", "ResumableEnv"]
