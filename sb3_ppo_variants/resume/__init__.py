"""Checkpoints from which a killed training goes on, bit for bit as if it had never been interrupted.

The same script, run again, resumes::

    env = make_vec_env("HalfCheetah-v5", n_envs=4, seed=0)
    model = ClipPPO("MlpPolicy", env, learning_rate="lin_3e-4", seed=0)
    checkpoints = ResumableCheckpointCallback("runs/cheetah", every=50_000, resume=True)
    model.learn(1_000_000, callback=[checkpoints, EvalCallback(...)])

Without a checkpoint in the folder it begins at the beginning; with one, ``learn`` goes on from there to the total that
was asked for the first time (schedules too); if the run was finished, ``learn`` returns the finished model at once. The
model has to be made as it was made the first time; another setting, total, seed or number of environments is refused.
On the command line: ``ppo-variants train ... --checkpoint-every 50000 --resume``.

**The promise**: on the same machine, with the same versions and the same number of threads (a difference is said),
parameters, optimiser, KL coefficient, curves and log files end as they would have. For on-policy algorithms: ours,
SB3's PPO and A2C, sb3-contrib's TRPO.

**What is kept**, between two rollouts, when the update is done and the rollout buffer empty: policy and optimiser; the
model's attributes (counters, settings that callbacks have changed, last observations, windows of episodes); gSDE's
noise; the random states of python, numpy, torch and CUDA; ``VecNormalize``'s statistics and every other
``VecEnvWrapper``'s attributes; each environment (``ResumableEnv``); each callback's attributes, and its environments
(``EvalCallback``); what the logger has pending; the text of CSV, JSON and log files, Monitor's too, and the length of
TensorBoard's: rows written after the checkpoint are taken back, so none comes twice. Attributes that cannot be pickled,
or hold an environment, a model, a network or a logger, stay as the script has made them. Clocks go on, without the time
in between. What has been printed stays printed.

**Environments** are kept by copying their attributes (and MuJoCo's data), or by replaying their actions since the last
reset; which of the two is right is checked in the steps before the first checkpoint, on a second environment. In a
``DummyVecEnv`` they are put into ``ResumableEnv``s by the callback; for other processes say
``make_vec_env(..., vec_env_cls=SubprocVecEnv, wrapper_class=ResumableEnv)``. So too where environments have to be
replayed (Box2D): the callback comes after the first reset, and cannot keep the episode that is under way then. A
checkpoint that has to wait for the next one is put off, for ``every`` steps at most, and this is said. An environment
that can be neither copied nor replayed is named in a warning; a resume then begins a new episode in every environment,
and the run is another one from there (the statistics, the model and all else are as they were). ``BipedalWalker`` needs
``NewWorldEachEpisode``, which ``ppo-variants`` gives it.

**The protocol**: an environment, a wrapper, a ``VecEnv`` or a callback whose class has ``get_checkpoint_state()``
(returning something that can be pickled) and ``set_checkpoint_state(state)`` is kept by these instead. Where a second
environment can be made (``gymnasium.make``, or ``ResumableEnv(env, make=...)``), it is checked too.

**Trust**: a checkpoint holds pickles, and opening one runs code of whoever wrote it. Resume your own files only.

Files are written beside, brought to the disk, and renamed; the newest ``keep`` stay. A damaged one is named and passed
over.
"""

from sb3_ppo_variants.resume.box2d import NewWorldEachEpisode
from sb3_ppo_variants.resume.callback import ResumableCheckpointCallback
from sb3_ppo_variants.resume.resumable_env import ResumableEnv

__all__ = ["NewWorldEachEpisode", "ResumableCheckpointCallback", "ResumableEnv"]
