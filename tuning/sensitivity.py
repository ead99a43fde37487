"""The return over ε, K, λ, c₁ and c₂, one at a time around the documented defaults: a picture and a CSV.

    python tuning/sensitivity.py

Interrupt it when you like, and rerun it to resume.
"""

from rich.console import Console

from sb3_ppo_variants.experiments import sensitivity
from sb3_ppo_variants.terminal import make_streams_safe

STUDY = {
    "algorithm": "clip_ppo",
    "environments": ["CartPole-v1"],  # one picture and one CSV per environment
    "parameters": ["clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef"],
    "points": {},  # your own values: {"clip_range": [0.1, 0.2, 0.3]}; the default is always added
    "timesteps": 50_000,  # of each run
    "seeds": 5,  # runs of each point
    "out": "runs/sensitivity-cartpole",
}


def main() -> None:
    """Run the study and print where the results are."""
    console = Console()
    found = sensitivity(**STUDY, console=console)
    for record in found.failed:
        console.print(f"FAILED {record.run.label()}: {record.reason}", markup=False)
    for path in found.files:
        console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    make_streams_safe()  # whatever the encoding of the terminal or file
    main()
