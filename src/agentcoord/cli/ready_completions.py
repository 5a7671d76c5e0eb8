"""The completion scripts as they lie beside this file, made from the commands by scripts/make_reference.py.

Separate from `completions`, which makes them: that needs every command of both programs, and whoever has
`eval "$(agentcoord completions bash)"` in a start file waits for it with every new shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentcoord.cli.invocation import Invocation
from agentcoord.wire.protocol import ExitCode

FOLDER = Path(__file__).with_name("completion_scripts")


def script_file(shell: str) -> Path:
    """Where the script of a shell lies, if there is one."""
    return FOLDER / f"agentcoord.{shell}"


def answer_completions(argv: Sequence[str], invocation: Invocation) -> int | None:
    """Answer `completions SHELL`, or return None: something else was asked for."""
    if len(argv) != 2 or argv[0] != "completions" or not argv[1].isalpha():
        return None
    path = script_file(argv[1])
    if not path.is_file():
        return None
    invocation.terminal.text(path.read_text(encoding="utf-8"))
    return ExitCode.OK
