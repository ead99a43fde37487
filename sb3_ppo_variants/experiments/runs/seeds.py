"""The seeds of a tuning study: those that trials are scored on and those that its candidates are confirmed on.

Environment i of a run is seeded with the run's seed + i (:func:`.run.make_environment`), so the seeds lie
:data:`SPACING` apart: with at most that many environments a run, no two runs of a study share one.
"""

SPACING = 1000
FIRST_TEST_SEED = SPACING * SPACING


def tuning_seeds(count: int) -> list[int]:
    """Seeds of a trial's runs in each environment: 0, 1000, 2000, …

    :param count: How many, 1 to 1000
    """
    return [SPACING * i for i in range(_checked("seeds", count, 1))]


def test_seeds(count: int) -> list[int]:
    """Seeds of a candidate's runs in each environment: 1000000, 1001000, … None of them is a tuning seed.

    :param count: How many, 0 to 1000
    """
    return [FIRST_TEST_SEED + SPACING * i for i in range(_checked("test_seeds", count, 0))]


def check_n_envs(n_envs: int) -> None:
    """Raise unless the seeds of all environments differ.

    :param n_envs: Environments stepped together in a run
    """
    _checked("n_envs", n_envs, 1)


def _checked(name: str, count: int, least: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be an integer, got {count!r}")
    if not least <= count <= SPACING:
        raise ValueError(f"{name} must be {least} to {SPACING}, so that no two runs share a seed; got {count}")
    return count
