"""The page of the command's options, from the command itself: ``python -m tests.command_reference`` writes it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sb3_ppo_variants.cli import app
from sb3_ppo_variants.files import write_text
from tests.pages import ROOT

PAGE = Path("sb3_ppo_variants/COMMANDS.md")


def reference() -> str:
    """The page: a section for each command, with what ``--help`` says of it."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("ppo-variants", [], resilient_parsing=True)
    shown = {name: command for name, command in group.commands.items() if not command.hidden}
    lines = [
        "# The commands and their options",
        "",
        "The text of `--help`, written by `python -m tests.command_reference`. How the commands are used is on "
        "[the page of the experiments](experiments/README.md#the-commands).",
        "",
        f"`ppo-variants COMMAND …` has these commands: {', '.join(f'[{name}](#{name})' for name in shown)}. "
        "`ppo-variants --version` says which version it is.",
    ]
    for name, command in shown.items():
        lines += ["", *_section(command, command.make_context(name, [], parent=context, resilient_parsing=True))]
    return "\n".join(lines) + "\n"


def _section(command: Any, context: Any) -> Iterator[str]:
    yield f"## {context.info_name}"
    yield ""
    yield inspect.cleandoc(command.help)
    yield ""
    yield "| option | meaning |"
    yield "|---|---|"
    for parameter in command.get_params(context):
        names, meaning = parameter.get_help_record(context)
        if names != "--help":
            name = names if " / " in names else names.split()[0]
            yield f"| `{name}` | {_escaped(meaning)} |"


def _escaped(text: str) -> str:
    for character in "|*_[]<>":
        text = text.replace(character, f"\\{character}")
    return text


if __name__ == "__main__":
    write_text(ROOT / PAGE, reference())
