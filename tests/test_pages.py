"""What the pages say can be done, and their links lead somewhere. How: ``README.md`` beside this file."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from typer.testing import CliRunner
from typing_extensions import Unpack

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.checks import number
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.cli import app
from sb3_ppo_variants.objectives import Surrogate
from tests.experiments.fakes import coordinate_here
from tests.pages import ROOT, anchors, blocks, commands, commands_in_prose, links, pages, tables

PAGES = pages()
every_page = pytest.mark.parametrize("page", PAGES, ids=str)

# ---- Python ----

#: The largest budgets that a page's code is given.
LEARN = 256
BUDGETS = {"timesteps": 512, "total_timesteps": LEARN, "trials": 2, "seeds": 1, "episodes": 1, "confirm": 0}

#: What a block that is a skeleton leaves out.
SKELETONS: dict[str, dict[str, Any]] = {
    "CONTRIBUTING.md": {
        "dataclass": dataclass,
        "Array": Array,
        "SurrogatePPO": SurrogatePPO,
        "SurrogateArguments": SurrogateArguments,
        "Surrogate": Surrogate,
        "Unpack": Unpack,
        "number": number,
    }
}


def shortened(code: str) -> str:
    """Python code with its budgets cut."""

    def cut(largest: int, given: str) -> str:
        return str(min(largest, int(given.replace("_", ""))))

    code = re.sub(r"\.learn\(([\d_]+)", lambda m: f".learn({cut(LEARN, m[1])}", code)
    for name, largest in BUDGETS.items():
        code = re.sub(rf"\b{name}=([\d_]+)", lambda m, n=name, x=largest: f"{n}={cut(x, m[1])}", code)  # type: ignore[misc]
    return code


@pytest.fixture
def small_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of their own: rollouts of at most ``LEARN`` steps, of any on-policy algorithm, and studies without
    worker processes (starting them takes seconds, and test_workers.py does that)."""
    construct = OnPolicyAlgorithm.__init__

    def construct_small(self: OnPolicyAlgorithm, *args: Any, n_steps: int, **kwargs: Any) -> None:
        construct(self, *args, n_steps=min(n_steps, LEARN), **kwargs)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OnPolicyAlgorithm, "__init__", construct_small)
    for module in ("tuning", "many_runs"):
        monkeypatch.setattr(f"sb3_ppo_variants.experiments.{module}.coordinate", coordinate_here)


@every_page
@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.usefixtures("small_runs")
def test_python_runs(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"} | SKELETONS.get(str(page), {})
    for block in blocks(page):
        if block.language == "python" and block.quoted is None:
            exec(compile(shortened(block.text), str(page), "exec"), names)


@every_page
def test_quotations_stand_in_their_files(page: Path) -> None:
    for block in blocks(page):
        if block.quoted is not None:
            lines = [line.strip() for line in block.quoted.read_text(encoding="utf-8").splitlines()]
            quoted = [line.strip() for line in block.text.splitlines()]
            places = (lines[start : start + len(quoted)] for start in range(len(lines)))
            assert quoted in places, f"{block.quoted.name} does not have: {block.text}"


# ---- Commands ----

#: Options that make a command short; they take the place of those given.
SHORT = {
    "compare": {"--timesteps": "512", "--seeds": "1"},
    "tune": {"--timesteps": "512", "--seeds": "1", "--trials": "2", "--confirm": "0"},
    "train": {"--timesteps": "512"},
    "evaluate": {"--episodes": "1"},
    "record": {"--max-steps": "5"},
    "plot": {},
    "figures": {},
}
#: They take long even so, or need another process, and have tests of their own.
PARSED_ONLY = {"speed", "worker", "zoo"}
#: Said to a shell or to a tool of development: nothing of ours to check.
NOT_OURS = {"source", "cd", "git", "ruff", "mypy", "python3"}


def parse(words: list[str]) -> None:
    """Let the command line say whether it knows a command with all its options."""
    group: Any = typer.main.get_command(app)
    name, *arguments = words
    assert name in group.commands, f"there is no command {name!r}"
    # A name without options is a mention.
    if arguments:
        group.commands[name].make_context(name, arguments)


def short(words: list[str]) -> list[str]:
    """A command with its budgets cut."""
    name, *arguments = words
    options = SHORT[name]
    kept = [
        word
        for index, word in enumerate(arguments)
        if word not in options and (index == 0 or arguments[index - 1] not in options)
    ]
    return [name, *kept, *(word for pair in options.items() for word in pair)]


def check(words: list[str]) -> None:
    program, *arguments = words
    if program == "ppo-variants":
        parse(arguments)
        if arguments[0] not in PARSED_ONLY:
            result = CliRunner().invoke(app, short(arguments))
            assert result.exit_code == 0, f"{' '.join(words)}: {result.output} {result.stderr} {result.exception!r}"
    elif program == "pip":
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"there is no extra {extra!r}"
    elif program in ("pytest", "python"):
        files = [word.partition("::")[0] for word in arguments if "/" in word or word.endswith(".py")]
        assert all((ROOT / file).exists() for file in files if not file.startswith("your_")), words
    else:
        assert program in NOT_OURS, f"no check for {' '.join(words)}"


@every_page
@pytest.mark.usefixtures("small_runs")
def test_commands_run(page: Path) -> None:
    for block in blocks(page):
        if block.language == "bash":
            for words in commands(block.text):
                check(words)


@every_page
def test_commands_within_the_text_are_known(page: Path) -> None:
    for words in commands_in_prose(page):
        parse(words[1:])


# ---- Links ----


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target.relative_to(ROOT)), f"{link}: no such heading"


# ---- Tables of arguments ----

HEADER = "| argument | default | range | meaning |"
FOLDER = Path("sb3_ppo_variants/algorithms")
OWN_TABLES: dict[type[OnPolicyVariant], tuple[str, type[OnPolicyVariant]]] = {
    ClipPPO: ("clip_ppo.md", SurrogatePPO),
    KLPenaltyPPO: ("kl_penalty_ppo.md", SurrogatePPO),
    UnclippedPPO: ("unclipped_ppo.md", SurrogatePPO),
    REINFORCE: ("reinforce.md", OnPolicyVariant),
    TRPO: ("trpo.md", OnPolicyVariant),
}


def defaults_of(cls: type) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(cls).parameters.items() if not name.startswith("_")}


def own_arguments(cls: type, parent: type) -> set[str]:
    """Those that the parent does not have, or has with another default."""
    theirs = defaults_of(parent)
    return {name for name, default in defaults_of(cls).items() if name not in theirs or theirs[name] != default}


def check_range(cls: type[OnPolicyVariant], name: str, said: str) -> None:
    """A range that is written as a bound or as choices is the one that the constructor checks."""
    rule = cls.checks.get(name)
    inside: list[Any] = []
    outside: list[Any] = []
    if bound := re.fullmatch(r"([>≥]) (-?\d+)", said):
        limit = int(bound[2])
        inside, outside = ([limit + 1], [limit]) if bound[1] == ">" else ([limit], [limit - 1])
        # A whole number where one is wanted; a step size of 1 is still one.
        inside = inside if name not in ("learning_rate", "learning_rate_vf") else [1]
    elif said == "0 to 1":
        inside, outside = [0, 1], [-0.01, 1.01]
    elif said == "0 < x < 1":
        inside, outside = [0.5], [0, 1]
    elif said:
        inside, outside = [ast.literal_eval(choice.strip("`")) for choice in said.split(", ")], ["another"]
    assert rule is not None or not inside, f"{name} has a range that is not checked"
    for value in inside:
        rule(name, value)  # type: ignore[misc]
    for value in outside:
        with pytest.raises((ValueError, TypeError)):
            rule(name, value)  # type: ignore[misc]


def check_table(rows: list[list[str]], cls: type[OnPolicyVariant]) -> set[str]:
    defaults = defaults_of(cls)
    for argument, default, said, _ in rows:
        name = argument.strip("`")
        expected = defaults[name]
        assert default.strip("`") == ("" if expected is inspect.Parameter.empty else repr(expected)), name
        check_range(cls, name, said)
    return {row[0].strip("`") for row in rows}


@pytest.mark.parametrize("cls", OWN_TABLES, ids=lambda cls: cls.__name__)
def test_a_page_has_its_classs_own_arguments(cls: type[OnPolicyVariant]) -> None:
    page, parent = OWN_TABLES[cls]
    names = [check_table(rows, cls) for rows in tables(FOLDER / page, HEADER)]
    assert own_arguments(cls, parent) <= set().union(*names)


def test_the_shared_arguments() -> None:
    of_all, of_ppos = tables(FOLDER / "README.md", HEADER)
    assert check_table(of_all, OnPolicyVariant) == set(defaults_of(OnPolicyVariant))
    assert check_table(of_ppos, SurrogatePPO) >= own_arguments(SurrogatePPO, OnPolicyVariant)
