"""Tables on screens of several widths."""

import io

import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.reporting.tables import Table, significant

RESULTS = Table(
    "CartPole-v1, 50,000 timesteps",
    ["row", "final return", "95 %", "P(better than sb3:ppo)", "95 %", "steps/s", "n"],
    [
        ["clip_ppo", "123.4 (IQM)", "[100.1, 200.2]", "0.55", "[0.21, 0.93]", "12345", "5"],
        ["tests.experiments.mine:MyPPO", "98765 (mean)", "[-1234, 98766]", "0.45", "[0.07, 0.79]", "9876", "3 of 5"],
        ["sb3:ppo (our settings)", "321.0 (IQM)", "[300.3, 400.4]", "–", "–", "11111", "5"],
    ],
)
SETTINGS = Table(
    "Settings that differ",
    ["row", "settings"],
    [["most rows", ", ".join(f"argument_{i}=0.00{i}123" for i in range(9))], ["clip_ppo", "–"]],
)
WIDE = Table("Many columns", ["setting", *(f"variant_{i}" for i in range(12))], [["n_steps", *["2048.125"] * 12]])


def shown(table: Table, width: int, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    table.show(Console(file=file, width=width))
    file.seek(0)
    return file.read()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("table", [RESULTS, SETTINGS, WIDE], ids=lambda table: table.title)
def test_no_number_is_broken_and_none_is_lost(table: Table, width: int) -> None:
    text = shown(table, width)
    assert max(map(len, text.splitlines())) <= width
    for line in table.body:
        for cell in line[1:]:
            whole = [cell] if len(cell) < 30 else cell.split()
            assert all(part in text for part in whole)
    assert text.count("2048.125") == sum(line.count("2048.125") for line in table.body)


def test_an_interval_stays_beside_what_it_is_of() -> None:
    for width in (60, 80, 120):
        headers = [line.split() for line in shown(RESULTS, width).splitlines() if "95" in line]
        assert headers
        assert not any(words[1:2] == ["95"] for words in headers)
        assert all(words.count("95") == words.count("%") for words in headers)


def test_a_table_that_fits_is_one() -> None:
    assert "(continued)" not in shown(RESULTS, 140)
    assert shown(RESULTS, 60).count("(continued)") == 2
    assert shown(Table("Names", ["row"], [["a"]]), 60).split() == ["Names", "row", "─" * 5, "a"]


def test_the_narrowest_screens_break_names_first() -> None:
    for number in ("123.4", "98765", "0.55", "12345"):
        assert number in shown(RESULTS, 34)


def test_a_differences_trailing_zeros_count() -> None:
    assert [significant(x) for x in (0.03, 0.015, -0.004, 0.1, 0.0999)] == ["0.030", "0.015", "-0.0040", "0.10", "0.10"]
