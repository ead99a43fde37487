"""A tuning study from Python, to copy and edit: ClipPPO on CartPole-v1 against its documented defaults.

    python tuning/tune.py

Interrupt it when you like; the same command goes on from there.
"""

from rich.console import Console

from sb3_ppo_variants.experiments import tune

STUDY = {
    "algorithm": "clip_ppo",  # or kl_penalty_ppo, …, or a class of your own
    "environments": ["CartPole-v1"],  # several are scored together
    "trials": 40,  # trial 0 is the documented defaults
    "timesteps": 50_000,  # of each run
    "seeds": 3,  # runs of a trial in each environment
    "sampler": "tpe",  # or random, to see what TPE is worth; or gp
    "only": ["clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef"],  # leave it out to search all
    "settings": {},  # the same in every trial, for example {"n_steps": 1024}
    "confirm": 3,  # the best so many are run again, with the defaults, …
    "test_seeds": 10,  # … on so many seeds that no trial has seen
    "out": "runs/tune-cartpole",
}


def main() -> None:
    """Run the study and say what it found."""
    console = Console()
    tuned = tune(**STUDY, console=console)
    if tuned.verdict is not None:
        console.print(tuned.verdict.words, markup=False)
    for path in tuned.files:
        console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    main()
