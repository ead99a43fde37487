"""Training speed against the peers: on one core (:mod:`.one_core`), and with rollout workers (:mod:`.all_cores`)."""

from sb3_ppo_variants.experiments.speed.all_cores import WorkersMeasurement, speed_of_workers, workers_tables
from sb3_ppo_variants.experiments.speed.one_core import (
    WARM_UP_ROUNDS,
    Measurement,
    Ratio,
    as_json,
    measure,
    speed,
    speed_table,
)
from sb3_ppo_variants.experiments.speed.timed_model import PARTS

__all__ = [
    "PARTS",
    "WARM_UP_ROUNDS",
    "Measurement",
    "Ratio",
    "WorkersMeasurement",
    "as_json",
    "measure",
    "speed",
    "speed_of_workers",
    "speed_table",
    "workers_tables",
]
