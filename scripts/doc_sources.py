"""What the documentation is made of: the commands of both programs, and the strings beneath fields.

Shared by `make_reference`, which writes pages of it, and `check_docs`, which holds pages against it.
Typer's classes are touched by their documented attributes only, and as `Any`: they differ from one
version of Typer to the next.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from agentcoord.cli import agentcoord_app, agentcoordd_app

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "agentcoord"
_PLACEHOLDERS: Final = {int: "N", float: "X"}


@cache
def commands_of_both() -> Mapping[str, Any]:
    """Return every command that does something, by all its words: `agentcoord ctl kill`.

    Made once: Typer takes a quarter of a second for them.
    """
    found: dict[str, Any] = {}
    for program, app in (("agentcoord", agentcoord_app.app), ("agentcoordd", agentcoordd_app.app)):
        found |= dict(_leaves(program, get_command(app)))
    return found


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, inner in below.items():
        yield from _leaves(f"{name} {word}", inner)


def first_sentence(command: Any) -> str:
    """Return what a command says of itself in a list."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def command_section(name: str, command: Any) -> list[str]:
    described = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    rows = [(_param_words(param), _param_help(param)) for param in shown]
    lines = [f"## {name}", "", described, ""]
    if rows:
        lines += [*table(("Argument or option", ""), rows), ""]
    examples = [line.strip() for line in (command.epilog or "").splitlines()[2:] if line.strip()]
    return [*lines, "```sh", *examples, "```", ""]


def param_words(param: Any) -> tuple[str, str]:
    """Return how a parameter is written, without marks, and what it means."""
    return _param_words(param).replace("`", ""), _param_help(param)


def _param_words(param: Any) -> str:
    if param.param_type_name == "argument":
        name = str(param.metavar or param.name.upper())
        return f"`{name}`" if param.required else f"`[{name}]`"
    value = "" if param.is_flag else f" {param.metavar or _PLACEHOLDERS.get(type(param.default), 'VALUE')}"
    return ", ".join(f"`{option}{value}`" for option in param.opts)


def _param_help(param: Any) -> str:
    words = " ".join((param.help or "").split())
    default = param.default
    if param.param_type_name == "option" and param.required:
        return f"{words} Required."
    if isinstance(default, bool) or default in (None, ""):
        return words
    return f"{words} Default: {default:g}." if isinstance(default, float) else f"{words} Default: {default}."


def documented_fields(path: Path, class_name: str) -> dict[str, str]:
    """Return what the strings beneath the fields of a class say, by the field's name."""
    found = {}
    body = _class_of(path, class_name).body
    for field, below in pairwise(body):
        name = _assigned_name(field)
        if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[name] = " ".join(str(below.value.value).split())
    return found


def _assigned_name(node: ast.stmt) -> str:
    target = node.target if isinstance(node, ast.AnnAssign) else None
    if isinstance(node, ast.Assign):
        target = node.targets[0] if isinstance(node.targets[0], ast.Name) else None
    return target.id if isinstance(target, ast.Name) else ""


def _class_of(path: Path, name: str) -> ast.ClassDef:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def class_docstring(path: Path, name: str) -> str:
    return ast.get_docstring(_class_of(path, name)) or ""


def base_names(path: Path, name: str) -> list[str]:
    """Return the names of what a class is built on, as its source has them, without their modules."""
    return [ast.unparse(base).rpartition(".")[2] for base in _class_of(path, name).bases]


def as_toml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False)


def between_marks(page: str, text: str, begins: str, ends: str, made: str) -> str:
    """Return the text of a page with `made` between its two marks, on lines of its own.

    Raises ValueError when the marks are not there.
    """
    before, begun, rest = text.partition(begins)
    _, ended, after = rest.partition(ends)
    if not begun or not ended:
        raise ValueError(f"{page} has not both marks: {begins} and {ends}")
    return f"{before}{begins}\n{made}{ends}{after}"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)]
