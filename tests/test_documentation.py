"""What the site, the README and the citation say of the package. The site itself is built by ``.ci/run``."""

import re
from pathlib import Path

import pytest
import yaml

import sb3_ppo_variants
from sb3_ppo_variants import checkpoints, experiments
from tests.command_reference import PAGE, reference
from tests.pages import ROOT, tables


def pyproject(table: str) -> str:
    """A table of pyproject.toml, as text (Python 3.10 has no reader)."""
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition(f"[{table}]\n")[2].partition("\n[")[0]


def test_the_readme_lists_every_extra() -> None:
    (rows,) = tables(Path("README.md"), "| extra | for |")
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(
        re.findall(r"^([\w-]+) = \[", pyproject("project.optional-dependencies"), re.MULTILINE)
    )


@pytest.mark.parametrize("module", [sb3_ppo_variants, checkpoints, experiments])
def test_the_reference_has_every_public_name(module: object) -> None:
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / ".sphinx/api").glob("*.rst"))
    documented = re.findall(r"^\.\. auto(?:class|function|exception):: (?:[\w.]+\.)?(\w+)$", reference, re.MULTILINE)
    assert set(module.__all__) - {"__version__"} <= set(documented)


def test_the_page_of_the_command_is_that_of_the_command() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == reference(), "rerun python -m tests.command_reference"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format demands
    assert citation["version"] == sb3_ppo_variants.__version__
    assert f'version = "{citation["version"]}"' in pyproject("project")
    assert f'license = "{citation["license"]}"' in pyproject("project")
