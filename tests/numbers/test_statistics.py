"""Simulated coverage of intervals."""

import itertools

from tests.numbers.reading import EXPERIMENTS, RESULTS, says
from tests.pages import ROOT, tables


def test_the_coverage_of_intervals_is_the_simulated_one() -> None:
    table, shares = [], []
    for line in (ROOT / RESULTS / "statistics/coverage.txt").read_text(encoding="utf-8").splitlines():
        (table if line.startswith("|") else shares).append(line)
    starts = [i for i, line in enumerate(table) if line.startswith(("| returns |", "| 7 × 3 |", "| 5 against 5 |"))]
    assert len(starts) == 3
    for header, *lines in (table[start:end] for start, end in itertools.pairwise([*starts, len(table)])):
        shown = [row for row in tables(EXPERIMENTS, header)[0] if not row[0].startswith("-")]
        assert [f"| {' | '.join(row)} |" for row in shown] == lines
    three, five, ten, seven = (f"{float(line.split()[4]):g} %" for line in shares)
    says(EXPERIMENTS, f"excludes ½ in {three} (3 seeds against 3), {five} (5), {ten} (10) and {seven} (7 × 3)")
