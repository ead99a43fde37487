"""Speed measurements as tables."""

import statistics

from rich.table import Table

from sb3_ppo_variants.experiments.speed import Measurement

PARTS = ("environment", "acting", "bookkeeping", "gae", "update")


def speed_table(measurement: Measurement) -> Table:
    """Medians over the rounds, in microseconds per environment step.

    :param measurement: The measurement of one configuration
    """
    plural = "s" if measurement.n_envs > 1 else ""
    title = f"{measurement.environment}, {measurement.n_envs} env{plural}, width {measurement.width}"
    caption = (
        f"µs per environment step, medians of {len(measurement.floor)} interleaved rounds, one thread; "
        f"the environments alone with random actions: {statistics.median(measurement.floor):.0f}"
    )
    table = Table(title=title, caption=caption)
    table.add_column("")
    for name in ("steps/s", "total", *PARTS):
        table.add_column(name, justify="right")
    table.add_column("times the peer's speed (range)")
    for name, split in measurement.splits.items():
        total = statistics.median(split.totals())
        parts = [f"{statistics.median(getattr(split, part)):.1f}" for part in PARTS]
        ratios = [r for r in measurement.ratios if r.ours == name]
        beside = ", ".join(f"{r.median:.2f} × {r.peer} ({r.low:.2f} to {r.high:.2f})" for r in ratios)
        table.add_row(name, f"{1e6 / total:.0f}", f"{total:.0f}", *parts, beside)
    return table
