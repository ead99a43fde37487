"""Do the winners of short runs win in longer ones? The studies' winners and the documented defaults in 200,000 steps.

    python zoo_configs/results/tuning/longer.py

Five times the studies' budget, on seeds that no study has seen. Writes to folders of runs/tuning/longer; interrupted,
it goes on where it stopped.
"""

import json
from pathlib import Path

from rich.console import Console

from sb3_ppo_variants.experiments import compare
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from sb3_ppo_variants.experiments.tuning.verdict import judge

HERE = Path(__file__).parent

if __name__ == "__main__":
    for algorithm in ("clip_ppo", "kl_penalty_ppo"):
        study = json.loads((HERE / f"{algorithm}-tpe" / "study.json").read_text(encoding="utf-8"))
        candidates = [Candidate(**candidate) for candidate in study["candidates"]]
        winner = judge(StudyPlan.from_json(study["plan"]), candidates).winner
        compare(
            ["Pendulum-v1", "HalfCheetah-v5"],
            [algorithm, f"tuned={algorithm}"],
            settings={"tuned": next(c.settings for c in candidates if c.name == winner)},
            timesteps=200_000,
            seeds=range(200, 210),
            out=f"runs/tuning/longer/{algorithm}",
            console=Console(),
        )
