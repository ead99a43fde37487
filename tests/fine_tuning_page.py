"""Writes the measured tables into ``REFERENCE_POLICY.md``: ``python -m tests.fine_tuning_page``."""

import re

from tests.pages import ROOT
from tests.tuning_scripts import load

PAGE = ROOT / "sb3_ppo_variants" / "REFERENCE_POLICY.md"
RUNS = ROOT / "zoo_configs" / "results" / "reference" / "runs.csv"
_TABLES = re.compile(r"(?<=fine_tuning_page -->\n).*?(?=<!-- end of the tables -->)", re.DOTALL)


def expected() -> str:
    """The page with the tables of the committed runs; without them if there are none."""
    script = load("fine_tuning")
    tables = script.markdown(script.read_runs(RUNS))
    return _TABLES.sub(lambda _: tables and f"\n{tables}\n", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(expected(), encoding="utf-8")
