"""A tuning study in Python, to copy and edit: ClipPPO on CartPole-v1 against its documented defaults.

    python tuning/tune.py

``ppo-variants tune`` runs a study from the command line. Here the algorithm may be a class of your own, the space is
written as Python objects, and the trials and candidates come back as objects for an analysis of your own. Interrupt it
when you like, and rerun it to resume.
"""

from rich.console import Console

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments import tune
from sb3_ppo_variants.experiments.search_space.dimensions import Complement, Integer, Real
from sb3_ppo_variants.terminal import make_streams_safe

STUDY = {
    "algorithm": ClipPPO,  # or any class that worker processes can import, or a name such as "kl_penalty_ppo"
    "environments": ["CartPole-v1"],  # with several, a trial's score combines all of them
    "trials": 40,  # trial 0 is the documented defaults
    "timesteps": 50_000,  # of each run
    "seeds": 3,  # runs of a trial in each environment
    "sampler": "tpe",  # or "gp"; "random" shows what TPE gains
    "space": {  # the defaults must lie inside; leave "space" out to search everything that the algorithm has
        "clip_range": Real(0.05, 0.6, log=True),
        "gamma": Complement(0.9, 0.999),  # 1 - gamma on a logarithmic scale, likewise gae_lambda
        "gae_lambda": Complement(0.8, 0.995),
        "n_epochs": Integer(3, 20, log=True),
        "vf_coef": Real(0.1, 1.5, log=True),
        "ent_coef": Real(0.0, 0.05),
    },
    "settings": {},  # the same in every trial, for example {"n_steps": 1024}
    "confirm": 3,  # this many of the best settings are run again, with the defaults, …
    "test_seeds": 10,  # … on this many seeds that no trial has seen
    "out": "runs/tune-cartpole",
}


def main() -> None:
    """Run the study and print the returns on test seeds and the verdict."""
    console = Console()
    tuned = tune(**STUDY, console=console)
    for candidate in tuned.candidates:
        console.print(f"{candidate.name}: {dict(candidate.values)}", markup=False)
        for environment, returns in candidate.returns.items():
            console.print(f"  {environment}: {sorted(returns)}", markup=False)
    if tuned.verdict is not None:
        console.print(tuned.verdict.words, markup=False)
    for path in tuned.files:
        console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    make_streams_safe()  # whatever the encoding of the terminal or file
    main()
