"""``ppo-variants worker``, which earlier versions had."""

from sb3_ppo_variants.cli.console import clear_errors


def worker() -> None:
    """Say what replaces this command."""
    with clear_errors():
        raise ValueError(
            "There are no workers that join a ledger any more: the command hands its runs out itself. On each machine "
            "start dask worker tcp://HOST:8786, then give compare or tune --executor dask:tcp://HOST:8786; on SLURM, "
            "give --executor submitit:slurm"
        )
