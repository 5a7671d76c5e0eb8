"""The programs that the command line of a check plainly names, and those behind the scripts that it runs.

Separate from `looks_checks`, which asks whether they are there. What only a shell can read is left out, and
what is not sure: better no word of a program than a wrong one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agentcoord.config.guesses import json_of

_SHELL_SIGNS: Final = frozenset("|&;<>()$`\\\"'*?[#~=%!{}")
_NEXT_BEGINS: Final = frozenset({"&&", ";"})
_SCRIPT_RUNNERS: Final = frozenset({"npm", "pnpm", "yarn"})
_RUN: Final = frozenset({"run", "run-script"})
_BY_NAME_ALONE: Final = frozenset({"test", "start", "stop", "restart"})
"""The scripts that npm runs without `run`. The others run any that is no command of their own."""
_COMMANDS: Final = frozenset(
    {
        *("add", "audit", "ci", "create", "deploy", "dlx", "exec", "i", "import", "init", "install", "link"),
        *("list", "node", "outdated", "pack", "patch", "prune", "publish", "rebuild", "remove", "root"),
        *("setup", "store", "unlink", "up", "update", "upgrade", "version", "why", "workspace", "workspaces"),
    }
)
_ELSEWHERE: Final = ("--workspace", "--filter", "--prefix", "--dir", "--cwd", "-w", "-r", "-C")
"""Options by which other scripts run than those of the package where the command begins."""
_PLUG_AND_PLAY: Final = (".pnp.cjs", ".pnp.js")
"""What yarn makes instead of `node_modules`: it finds the programs by it, and nobody else does."""


def programs_of(command: str) -> list[str]:
    """The programs that a command line surely starts: its first, and each after `&&` or `;`.

    What only a shell can read is left out. A path is told from where the command begins.
    """
    return list(dict.fromkeys(program for program, _ in _starts(command)))


def programs_of_scripts(command: str, root: Path) -> list[str]:
    """What the scripts of package.json that a command line surely runs start themselves.

    A program of `node_modules` is told by its path: whoever runs a script puts it before PATH.
    """
    starts = _starts(command)
    has_no_folder = any((root / name).exists() for name in _PLUG_AND_PLAY)
    if has_no_folder or any(program == "cd" for program, _ in starts):
        return []
    scripts = json_of(root / "package.json").get("scripts")
    found: list[str] = []
    for program, words in starts:
        if program in _SCRIPT_RUNNERS and isinstance(scripts, dict):
            found += programs_of(str(scripts.get(_script_of(program, words), "")))
    paths = {word: f"node_modules/.bin/{word}" for word in found}
    told = [path if (root / path).is_file() else word for word, path in paths.items()]
    named = {program for program, _ in starts}
    return [word for word in told if word not in named]


def _script_of(runner: str, words: Sequence[str]) -> str:
    """The script that a package manager runs of the package where it begins; empty if that is not sure."""
    name, *more = words or [""]
    if any(word.startswith(_ELSEWHERE) for word in words):
        return ""
    if name in _RUN:
        return next(iter(more), "")
    return name if name in _BY_NAME_ALONE or (runner != "npm" and name not in _COMMANDS) else ""


def modules_of(command: str) -> list[tuple[str, str]]:
    """The Pythons that a command line surely starts with `-m`, each with the module."""
    found = [
        (program, words[1])
        for program, words in _starts(command)
        if Path(program).name.startswith("python") and len(words) > 1 and words[0] == "-m"
    ]
    return list(dict.fromkeys(found))


def _starts(command: str) -> list[tuple[str, list[str]]]:
    """Each program with the words after it."""
    splitter = shlex.shlex(command, posix=True, punctuation_chars=True)
    splitter.whitespace_split = True
    splitter.commenters = ""
    found: list[tuple[str, list[str]]] = []
    words: list[str] = []
    begins = True
    folder = ""
    try:
        for word in splitter:
            if word in _NEXT_BEGINS:
                begins = True
            elif begins and "=" in word and word.partition("=")[0].isidentifier():
                continue
            elif begins:
                begins, words = False, []
                if not _SHELL_SIGNS & set(word):
                    is_path = "/" in word and not word.startswith("/")
                    found.append((f"{folder}{word}" if is_path else word, words))
            else:
                words.append(word)
                if found and found[-1][1] is words and found[-1][0] == "cd" and len(words) == 1:
                    folder += f"{word.rstrip('/')}/"
    except ValueError:  # A quotation that does not end.
        return found[:1]
    return found
