"""The seeds of a tuning study: those that score the trials, and those that confirm the candidates.

Environment i of a run gets the run's seed + i (:func:`.environments.make_environment`). The seeds are :data:`SPACING`
apart, so no two runs share the seed of an environment, with at most that many environments per run.
"""

from sb3_ppo_variants.checks import integer

SPACING = 1000
FIRST_TEST_SEED = SPACING * SPACING


def tuning_seeds(count: int) -> list[int]:
    """Seeds of a trial's runs in each environment: 0, 1000, 2000, …

    :param count: Number of seeds, 1 to 1000
    """
    return [SPACING * i for i in range(_checked("seeds", count, 1))]


def test_seeds(count: int) -> list[int]:
    """Seeds of a candidate's runs in each environment: 1000000, 1001000, … None of them is a tuning seed.

    :param count: Number of seeds, 0 to 1000
    """
    return [FIRST_TEST_SEED + SPACING * i for i in range(_checked("test_seeds", count, 0))]


def is_test_seed(seed: int) -> bool:
    """Whether a seed is one of :func:`test_seeds`."""
    return seed >= FIRST_TEST_SEED


def is_tuning_seed(seed: int) -> bool:
    """Whether a seed can be one of :func:`tuning_seeds`."""
    return seed < FIRST_TEST_SEED


def check_n_envs(n_envs: int) -> None:
    """Raise an error if two environments of a study would get the same seed.

    :param n_envs: Number of environments stepped together in a run
    """
    _checked("n_envs", n_envs, 1)


def _checked(name: str, count: int, least: int) -> int:
    integer(least, hint="Above, two runs would share a seed.", at_most=SPACING)(name, count)
    return count
