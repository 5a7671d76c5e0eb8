"""A first `agentcoord.toml` for a repository: scope and test commands guessed from what is there.

It looks, and never writes: the command that was asked for writes the text after showing it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from agentcoord.config.guessed_scope import NOBODY_KNOWS, guessed_scope
from agentcoord.config.guesses import Guess
from agentcoord.config.nested_guesses import all_guesses_of, shared_folders
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `agentcoord init` would write, and why."""

    text: str
    """The whole file."""
    scope: tuple[str, ...]
    checks: tuple[tuple[str, str], ...]
    """Names and commands; empty when no test command was found."""
    notes: tuple[str, ...]
    """What each guess rests on, and what the person should look at."""


def propose(root: Path) -> Proposal:
    """Guess settings for the repository at `root`."""
    guesses = all_guesses_of(root)
    scope = guessed_scope(root, guesses)
    checks = _checks_of(guesses)
    text = (files("agentcoord.config") / "agentcoord.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^scope = .*$", lambda _: f"scope = {_toml_list(scope)}", text, count=1)
    shared = shared_folders(root, list(dict.fromkeys(guess.place for guess in guesses if guess.place)))
    if shared:
        line = f"share = {_toml_list(['.venv', 'node_modules', *shared])}"
        text = re.sub(r"(?m)^# share = .*$", lambda _: line, text, count=1)
    lines = [f"{name} = {json.dumps(command)}" for name, command in checks]
    written = "\n".join(lines) or '# tests = "python -m pytest -q"'
    text = re.sub(r"(?m)^tests = .*$", lambda _: written, text, count=1)
    return Proposal(text, tuple(scope), checks, tuple(_notes(root, scope, guesses)))


def _checks_of(guesses: Sequence[Guess]) -> tuple[tuple[str, str], ...]:
    """One is called `tests`; several are called by what they are of."""
    with_command = [guess for guess in guesses if guess.command]
    if len(with_command) == 1:
        return (("tests", with_command[0].command),)
    return tuple((_name_of(guess), guess.command) for guess in with_command)


def _name_of(guess: Guess) -> str:
    folder = re.sub(r"[^A-Za-z0-9_-]+", "-", guess.place)
    return f"{folder}-{guess.kind.lower()}" if folder else guess.kind.lower()


def _notes(root: Path, scope: Sequence[str], guesses: Sequence[Guess]) -> Iterator[str]:
    yield f"scope: {', '.join(scope)}"
    if tuple(scope) == NOBODY_KNOWS and not any((root / glob.removesuffix("/**")).is_dir() for glob in scope):
        yield "none of these folders is there: name under [project] what workers may change"
    for guess in guesses:
        if guess.command:
            where = f" in {guess.place}/" if guess.place else ""
            yield f"a {guess.kind} project{where} ({guess.because}); the check is `{guess.command}`"
        else:
            yield f"a {guess.kind} project, but {guess.because}: nothing of it is checked"
    if not any(guess.command for guess in guesses):
        yield "no test command found: add one under [checks], or nothing proves a change"


def _toml_list(items: Sequence[str]) -> str:
    return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in items) + "]"
