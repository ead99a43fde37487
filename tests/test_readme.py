"""The README's table of defaults is the one in the code. What else it says is tested in ``test_pages.py``."""

from pathlib import Path

from sb3_ppo_variants.defaults import DOCUMENTED

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_documented_defaults_are_in_the_table() -> None:
    for documented in DOCUMENTED:
        assert f"| {documented.symbol} | `{documented.argument}` | {documented.default} |" in README
