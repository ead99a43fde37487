"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_example_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # As it stands, but shorter.
    names: dict = {}
    exec(example.replace("50_000", "2_048"), names)
    assert names["action"].shape == (1,)
    assert (tmp_path / "cartpole.zip").exists()


def test_the_documented_defaults_are_in_the_table() -> None:
    from sb3_ppo_variants.defaults import DOCUMENTED

    for documented in DOCUMENTED:
        assert f"| {documented.symbol} | `{documented.argument}` | {documented.default} |" in README


def test_every_picture_is_there() -> None:
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / path).exists(), path
