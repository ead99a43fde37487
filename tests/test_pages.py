"""What the pages say can be done, and their links lead somewhere. How: ``README.md`` beside this file."""

import ast
import importlib
import inspect
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from typer.testing import CliRunner
from typing_extensions import Unpack

from sb3_ppo_variants import (
    REINFORCE,
    SPO,
    TRPO,
    ClipPPO,
    DiscoveredPPO,
    KLPenaltyPPO,
    RollbackPPO,
    ScopicPPO,
    UnclippedPPO,
)
from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.checks import number
from sb3_ppo_variants.cli import app
from sb3_ppo_variants.objectives import Surrogate
from tests.experiments.in_process import without_workers
from tests.forked import python
from tests.pages import PROGRAMS, ROOT, anchors, blocks, commands, commands_in_prose, links, pages, tables
from tests.zoo_process import needs_rl_zoo3, skip_without_rl_zoo3, zoo

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
    },
    # Its code is a script, since workers import it.
    "sb3_ppo_variants/WORKERS.md": {"__name__": "__main__"},
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
    """In a folder of their own: rollouts of at most ``LEARN`` steps, of any on-policy algorithm, and comparisons and
    studies without worker processes (starting them takes seconds, and the engine's tests do that)."""
    construct = OnPolicyAlgorithm.__init__

    def construct_small(self: OnPolicyAlgorithm, *args: Any, n_steps: int, **kwargs: Any) -> None:
        construct(self, *args, n_steps=min(n_steps, LEARN), **kwargs)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OnPolicyAlgorithm, "__init__", construct_small)
    monkeypatch.setattr(
        importlib.import_module("sb3_ppo_variants.experiments.speed.timed_model"), "ROLLOUT_ROWS", LEARN
    )
    without_workers(monkeypatch)


HUB, TRACKING = Path("sb3_ppo_variants/HUB.md"), Path("sb3_ppo_variants/TRACKING.md")
#: What the code of a page needs: an extra, and modules that it brings.
NEEDS = {HUB: ("zoo", ["huggingface_hub"]), TRACKING: ("tracking", ["mlflow", "wandb"])}

ENGINE = Path("sb3_ppo_variants/experiments/engine/README.md")
#: Importing what they are about takes longer than all the code of other pages.
LONG_PYTHON = {TRACKING, ENGINE, Path("sb3_ppo_variants/REFERENCE_POLICY.md")}
#: Their commands start rl_zoo3 and other processes anew.
LONG_COMMANDS = {Path("zoo_configs/README.md"), Path("sb3_ppo_variants/experiments/README.md"), ENGINE}


def long_where(condition: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if condition else []


def every_page_but(long: set[Path]) -> pytest.MarkDecorator:
    """Every page, of which the default run leaves out some."""
    return pytest.mark.parametrize("page", [pytest.param(p, id=str(p), marks=long_where(p in long)) for p in PAGES])


@every_page_but(LONG_PYTHON)
@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.usefixtures("small_runs")
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra, modules = NEEDS.get(page, ("", []))
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed: pip install 'sb3_ppo_variants[{extra}]'")
    if page == HUB:
        importlib.import_module("tests.hub").hub_in_folder(monkeypatch, tmp_path / "the_hub")
    # Making MLflow's database takes longer than everything else on its page.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
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
    "compare": {"--timesteps": "512", "--seeds": "1", "--executor": "local"},
    "tune": {"--timesteps": "512", "--seeds": "1", "--trials": "2", "--confirm": "0"},
    "train": {"--timesteps": "512"},
    "evaluate": {"--episodes": "1"},
    "record": {"--max-steps": "5"},
    "plot": {},
    "figures": {},
    "speed": {"--rounds": "1"},
}
SHORT_ZOO = {
    "train": {"-n": "2048", "--eval-freq": "1024", "--eval-episodes": "2"},
    "enjoy": {"-n": "50"},
    "record_video": {"-n": "20"},
}
SHORT_OPTIMIZE = {"--n-trials": "2", "-n": "2048", "--eval-episodes": "1"}
#: Its episodes have 1000 steps, and a run needs one; presets have it.
LONG_EPISODES = "HalfCheetah-v5"
#: Within a text: blocks have short ones of the same kind.
LONG_WITHIN_TEXT = {"zoo", "compare", "tune", "speed"}

#: The scripts that ``test_tuning_scripts.py`` runs.
SCRIPTS = ("tuning/tune.py", "tuning/sensitivity.py", "tuning/fine_tuning.py")

#: A name that CONTRIBUTING.md gives to what the reader writes.
YOURS = "from sb3_ppo_variants import ClipPPO\n\n\nclass MyPPO(ClipPPO):\n    pass\n"


def short(words: list[str], options: dict[str, str]) -> list[str]:
    """A command's arguments with its budgets cut."""
    kept = [
        word
        for index, word in enumerate(words)
        if word not in options and (index == 0 or words[index - 1] not in options)
    ]
    return [*kept, *(word for pair in options.items() for word in pair)]


def run_ours(name: str, *arguments: str) -> None:
    """A command of ours, in this process; the zoo in one of its own."""
    if name == "zoo":
        script, *words = arguments
        options = SHORT_OPTIMIZE if "-optimize" in words else SHORT_ZOO.get(script, {})
        zoo(Path.cwd(), script, *short(words, options))
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        options = dict(SHORT[name])
        if {LONG_EPISODES, "--preset"} & {*arguments} and "--timesteps" in options:
            options["--timesteps"] = "1024"
        result = CliRunner().invoke(app, [name, *short(list(arguments), options)])
    finally:  # a worker sets its own
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert result.exit_code == 0, f"{name} {arguments}: {result.output} {result.stderr} {result.exception!r}"


def check_extras(arguments: list[str]) -> None:
    """What is to be installed is there; that it can be, ``test_first_use.py`` tries."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"there is no extra {extra!r}"


def run_command(words: list[str]) -> None:
    """Run a command of a page; of a tool of development, look whether what it is given is there."""
    program, *arguments = words
    if program == "ppo-variants":
        assert arguments[0] in {*SHORT, "zoo", "--version"}, f"there is no command {arguments[0]!r}"
        if len(arguments) > 1:  # a name without options is a mention
            run_ours(*arguments)
    elif program == "pip":
        check_extras(arguments)
    elif program == "python" and arguments[0].startswith("tuning/"):
        assert arguments[0] in SCRIPTS, f"test_tuning_scripts.py does not run {arguments[0]}"
        assert (ROOT / arguments[0]).exists()
    elif program in ("pytest", "python"):
        files = [word.partition("::")[0] for word in arguments if "/" in word or word.endswith(".py")]
        assert all((ROOT / file).exists() for file in files if not file.startswith("your_")), words
    else:
        assert program in OF_DEVELOPMENT, f"no check for {' '.join(words)}"


def of_zoo(words: list[str]) -> list[str] | None:
    """The script of rl_zoo3 that a command starts, with its arguments; ``None`` if it starts none."""
    if words[:2] == ["ppo-variants", "zoo"] and len(words) > 2:
        return words[2:]
    if words[:2] == ["python", "-m"] and words[2].startswith("rl_zoo3."):
        return [words[2].removeprefix("rl_zoo3."), *words[3:]]
    return None


def in_blocks(page: Path) -> list[list[str]]:
    return [words for block in blocks(page) if block.language == "bash" for words in commands(block.text)]


def starts_zoo(words: list[str]) -> bool:
    return of_zoo(words) is not None


@every_page_but(LONG_COMMANDS)
@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.usefixtures("small_runs")
def test_commands_run(page: Path) -> None:
    found = in_blocks(page)
    if any(map(starts_zoo, found)):
        skip_without_rl_zoo3()
    done = set[str]()
    for words in found:
        if as_run(words) not in done:
            run_command(words)
        done.add(as_run(words))


def is_long(words: list[str]) -> bool:
    """Of a command within a text: a name without options is a mention."""
    return starts_zoo(words) or (words[0] == "ppo-variants" and len(words) > 2 and words[1] in LONG_WITHIN_TEXT)


def as_run(words: list[str]) -> str:
    """What of a command decides what it does here: not its folder, and none of the options that are cut."""
    name = words[1] if words[0] == "ppo-variants" and len(words) > 1 else ""
    return " ".join(short(words, {"--out": "", **SHORT[name]}) if name in SHORT else words)


@pytest.fixture
def my_package(small_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_package").mkdir()
    Path("my_package/my_module.py").write_text(YOURS)
    monkeypatch.syspath_prepend(".")


#: Each once, and none that a block runs too.
IN_BLOCKS = {as_run(words) for page in PAGES if page not in LONG_COMMANDS for words in in_blocks(page)}
WITHIN_TEXT = {as_run(words): words for page in PAGES for words in commands_in_prose(page)}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=" ".join(words), marks=long_where(is_long(words)))
        for text, words in WITHIN_TEXT.items()
        if text not in IN_BLOCKS
    ],
)
@pytest.mark.filterwarnings("ignore:rich is experimental")
@pytest.mark.usefixtures("small_runs", "my_package", "blank_pictures")
def test_commands_within_the_text_run(words: list[str]) -> None:
    run_command(words)


@pytest.mark.parametrize(
    "words", [pytest.param(w, id=t) for t, w in WITHIN_TEXT.items() if w[1] == "compare" and is_long(w)]
)
@pytest.mark.usefixtures("small_runs", "my_package")
def test_long_comparisons_within_the_text_are_planned(words: list[str]) -> None:
    """Their variants are built and their environments made; then the report says that there are no runs."""
    result = CliRunner().invoke(app, [*words[1:], "--report-only"])
    assert (result.exit_code, "Error: There is no ledger at" in result.stderr) == (2, True), result.stderr


#: rl_zoo3's scripts up to where they have read their command line; prints the commands that they do not take.
READ_COMMAND_LINES = """
import argparse, json, sys
from sb3_ppo_variants import zoo

class Read(BaseException):
    pass

def read(parser, *args, parse=argparse.ArgumentParser.parse_args):
    parse(parser, *args)
    raise Read

argparse.ArgumentParser.parse_args = read
wrong = []
for script, *arguments in json.loads(sys.argv[1]):
    try:
        zoo.run(script, arguments)
    except Read:
        continue
    except SystemExit as end:
        if end.code == 0:  # --help
            continue
    except ValueError:
        pass
    wrong.append([script, *arguments])
sys.stdout.write("\\n" + json.dumps(wrong))
"""


@needs_rl_zoo3
def test_rl_zoo3_takes_the_zoo_commands_of_all_pages(tmp_path: Path) -> None:
    found = [of_zoo(words) for page in PAGES for words in [*in_blocks(page), *commands_in_prose(page)]]
    given = [words for words in found if words is not None]
    mistakes = [["trian", "--env", "CartPole-v1"], ["train", "--nonsense", "1"], ["enjoy", "--algo", "clip_pp"]]
    assert len(given) > 5
    done = python(tmp_path, "-c", READ_COMMAND_LINES, json.dumps(given + mistakes))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == mistakes, done.stderr


#: Programs of development, and what of them :func:`test_commands_of_development_run` leaves to ``test_first_use.py``.
OF_DEVELOPMENT = {"source", "cd", "git", "ruff", "mypy", "python3", "sphinx-build"}
DEVELOPMENT = {
    " ".join(words): words
    for page in PAGES
    for words in [*in_blocks(page), *commands_in_prose(page)]
    if words[0] in ("pytest", "ruff", "mypy")
}


@pytest.mark.long
@pytest.mark.parametrize("words", DEVELOPMENT.values(), ids=DEVELOPMENT)
def test_commands_of_development_run(words: list[str]) -> None:
    """As they stand, in the repository; pytest only as far as it finds tests."""
    program, *arguments = words
    pytest.importorskip(program, reason=f"{program} is not installed: pip install 'sb3_ppo_variants[test]'")
    only = ["--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0"] if program == "pytest" else []
    # Anew: pytest warns of plugins that are imported before it.
    command = [sys.executable, "-m", program, *arguments, *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@every_page
def test_commands_stand_in_blocks_that_are_run(page: Path) -> None:
    for block in blocks(page):
        if block.language != "bash":
            lines = [line for line in block.text.splitlines() if line.startswith(tuple(f"{p} " for p in PROGRAMS))]
            assert not lines, f"mark the block as bash, so that it is run: {lines[0]}"


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
    SPO: ("spo.md", SurrogatePPO),
    RollbackPPO: ("rollback_ppo.md", SurrogatePPO),
    DiscoveredPPO: ("discovered_ppo.md", SurrogatePPO),
    ScopicPPO: ("scopic_ppo.md", SurrogatePPO),
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
