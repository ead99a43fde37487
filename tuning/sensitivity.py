"""The return over ε, K, λ, c₁ and c₂, one at a time around the documented defaults: a picture and a CSV.

    python tuning/sensitivity.py

Interrupt it when you like; the same command goes on from there.
"""

from rich.console import Console

from sb3_ppo_variants.experiments import sensitivity

STUDY = {
    "algorithm": "clip_ppo",
    "environments": ["CartPole-v1"],  # a picture and a CSV each
    "parameters": ["clip_range", "n_epochs", "gae_lambda", "vf_coef", "ent_coef"],
    "points": {},  # values of your own: {"clip_range": [0.1, 0.2, 0.3]}; the default is always among them
    "timesteps": 50_000,  # of each run
    "seeds": 5,  # runs of each point
    "out": "runs/sensitivity-cartpole",
}


def main() -> None:
    """Run the study and say where the results are."""
    console = Console()
    found = sensitivity(**STUDY, console=console)
    for row in found.failed:
        console.print(f"FAILED {row.run.label()}: {row.reason}", markup=False)
    for path in found.files:
        console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    main()
