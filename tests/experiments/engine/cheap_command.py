"""A command with cheap runs or trials, to be killed: ``python -m tests.experiments.engine.cheap_command …``."""

import sys
from pathlib import Path

from sb3_ppo_variants.experiments.engine import coordinator
from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.executors import LocalExecutor
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import open_store
from tests.experiments import fakes
from tests.experiments.tuning.fake_trials import cheap, cheap_plan, do_trials

STUDY = "chaos"
#: Of the trials.
PLAN = cheap_plan(timesteps=300, sampler="tpe")


def main(kind: str, folder: Path, storage: str, count: int) -> None:
    """Do so many runs, or trials of two runs each, in two processes."""
    coordinator.MAX_RETRIES = 1000  # all kills may hit the same run
    function = fakes.quick if kind == "runs" else cheap
    executor = LocalExecutor(2, folder / "workers.log", function)
    if kind == "runs":
        runs = [fakes.make_run("run", 0.3, folder / "log", seed) for seed in range(count)]
        with open_store(storage_url(storage, folder), STUDY) as store:
            do_runs(runs, store, lambda: executor, folder)
    else:
        do_trials(folder, PLAN, count, executor, storage=storage)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
