"""The docstring of a public function names the errors that the function raises."""

import ast
from collections.abc import Iterable, Iterator

from tests.pages import ROOT

PACKAGE = ROOT / "sb3_ppo_variants"
# Functions that make an error, and what they make.
MAKES = {"cannot_open": "ValueError", "lost_database": "ConnectionError"}


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods whose name, and whose class's name, begins with no underscore."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            if not child.name.startswith("_"):
                yield child
        elif not (isinstance(child, ast.ClassDef) and child.name.startswith("_")):
            yield from public_functions(child)


def raised(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names in ``raise Name(…)``, but for those that a ``try`` around it catches, or of inner functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Try):
            caught = {n.id for h in node.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)}
            yield from (name for name in raised(node.body) if name not in caught)
            yield from raised([*node.handlers, *node.orelse, *node.finalbody])
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            yield node.exc.func.id
        yield from raised(ast.iter_child_nodes(node))


def unnamed(function: ast.FunctionDef) -> list[str]:
    """The errors that a docstring lacks; a method without a docstring has its parent's."""
    doc = ast.get_docstring(function)
    errors = {MAKES.get(name, name) for name in raised(function.body)} - {"NotImplementedError"}
    return [] if doc is None else sorted(error for error in errors if f":raises {error}:" not in doc)


def test_docstrings_name_the_errors_that_are_raised() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {', '.join(errors)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE / "cli"  # its docstrings are the commands' help
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if (errors := unnamed(function))
    ]
    assert not offenders
