"""What the README says in numbers is what is in the code and in the measured results, and the pages of the algorithms
repeat it. What else the pages say is tested in ``test_pages.py``."""

from pathlib import Path

import pytest

from sb3_ppo_variants.defaults import DOCUMENTED
from tests.pages import ROOT, prose, tables

README = Path("README.md")
COMPARISON = "| algorithm | final return | 95 % | P(better than sb3:ppo) | 95 % | steps/s | n |"
LEARNING = "| algorithm | scores of the five seeds |"
PAGES = {
    "clip_ppo": ("clip_ppo", "`ClipPPO`"),
    "kl_penalty_ppo": ("kl_penalty_ppo", "`KLPenaltyPPO`"),
    "unclipped_ppo": ("unclipped_ppo", "`UnclippedPPO`"),
    "reinforce": ("reinforce", "`REINFORCE`"),
    "trpo": ("paper_trpo", "`TRPO`"),
}


def test_the_documented_defaults_are_in_the_table() -> None:
    text = prose(README)
    for documented in DOCUMENTED:
        assert f"| {documented.symbol} | `{documented.argument}` | {documented.default} |" in text


def rows(page: Path, header: str) -> dict[str, list[str]]:
    """First cell → row, of the only table with a header."""
    (table,) = tables(page, header)
    return {row[0]: row for row in table if not row[0].startswith("-")}


def test_the_comparison_is_the_measured_one() -> None:
    measured = (ROOT / "zoo_configs/results/cartpole/table.md").read_text(encoding="utf-8")
    for row in rows(README, COMPARISON).values():
        assert f"| {' | '.join(row)} |" in measured


@pytest.mark.parametrize("page", PAGES)
def test_an_algorithms_page_has_its_results(page: str) -> None:
    path = Path(f"sb3_ppo_variants/algorithms/{page}.md")
    zoo_id, name = PAGES[page]
    found, everything = rows(path, COMPARISON), rows(README, COMPARISON)
    assert found == {key: everything[key] for key in (zoo_id, "sb3:ppo")}
    assert rows(path, LEARNING) == {name: rows(README, LEARNING)[name]}
