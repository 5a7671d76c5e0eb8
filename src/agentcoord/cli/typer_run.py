"""Runs a Typer app as a function: arguments in, exit code out, errors left to the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import typer
from typer.main import get_command

from agentcoord.cli.invocation import Invocation
from agentcoord.wire.protocol import ExitCode


def run_app(app: typer.Typer, program: str, words: Sequence[str], invocation: Invocation) -> int:
    """Run one command and return its exit code; usage errors are told by Typer (code 2).

    Raises what the command raises.
    """
    try:
        _command_of(app).main(args=list(words), prog_name=program, obj=invocation)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else ExitCode.OK
    return ExitCode.OK


@cache
def _command_of(app: typer.Typer) -> Any:
    """All commands, made once: it takes most of the time of a command that a process runs as its second."""
    return get_command(app)
