"""The runs of this folder: the five documented defaults and the own settings of the penalty and of TRPO.

    python zoo_configs/results/sensitivity/commands.py

Writes to folders of runs/; interrupted, it goes on where it stopped.
"""

from rich.console import Console

from sb3_ppo_variants.experiments import sensitivity

ENVIRONMENTS = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "InvertedPendulum-v5")
STUDIES = {
    "clip_ppo": ("clip_ppo", ("clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef"), {}),
    "adaptive_kl": ("kl_penalty_ppo", ("adaptive_kl_target", "kl_tolerance", "kl_coef"), {}),
    "fixed_kl": ("kl_penalty_ppo", ("kl_coef",), {"adaptive_kl_target": None}),
    "trpo": ("paper_trpo", ("target_kl", "cg_damping", "cg_max_steps"), {}),
}

if __name__ == "__main__":
    for name, (algorithm, parameters, settings) in STUDIES.items():
        sensitivity(
            algorithm,
            ENVIRONMENTS,
            parameters=parameters,
            settings=settings,
            timesteps=50_000,
            seeds=5,
            out=f"runs/sensitivity/{name}",
            console=Console(),
        )
