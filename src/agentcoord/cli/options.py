"""The options that many commands share, and how a command gets at its surroundings.

Only the Typer side imports this; the fast path must not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentcoord import __version__
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.terminal import Terminal
from agentcoord.config.root_rule import ALLOW_ROOT_VARIABLE

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a page.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
AllowRoot = Annotated[
    bool, typer.Option("--allow-root", help=f"Work as root all the same (or set {ALLOW_ROOT_VARIABLE}=1).")
]
Unconfined = Annotated[
    bool,
    typer.Option(
        "--unsafe-no-sandbox",
        help="Run the workers' commands without a sandbox, until the daemon is stopped.",
    ),
]
External = Annotated[
    bool,
    typer.Option(
        "--external-sandbox",
        help="You vouch for it: all this runs in a container or virtual machine, which is the sandbox.",
    ),
]
BaseUrl = Annotated[
    str, typer.Option("--base-url", metavar="URL", help="A server that speaks the Messages API.")
]
RunUsd = Annotated[
    float | None,
    typer.Option("--run-usd", metavar="USD", min=0.0, help="The cap of this run; overrides budget.run_usd."),
]
TaskName = Annotated[str, typer.Argument(metavar="ID", help="The task's id, as `agentcoord tasks` shows it.")]
ScriptsFolder = Annotated[
    Path,
    typer.Option(
        "--scripts", metavar="DIR", exists=True, file_okay=False, help="The rehearsal's script files."
    ),
]


def _print_version(context: typer.Context, value: bool) -> None:
    if value:
        terminal_of(context).text(f"{context.info_name} {__version__}")
        finish(0)


def surroundings(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(
            "-C", "--project", metavar="DIR", help="The repository, instead of the working directory."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options before (or after) any command; both programs use this as their callback."""
    del version
    if project is not None:
        context.obj = invocation_of(context).at(project)


def invocation_of(context: typer.Context) -> Invocation:
    """The surroundings that the entry point handed in."""
    invocation = context.obj
    assert isinstance(invocation, Invocation)
    return invocation


def terminal_of(context: typer.Context) -> Terminal:
    """Where the command's words go."""
    return invocation_of(context).terminal


def finish(exit_code: int) -> None:
    """End the command with this code."""
    raise typer.Exit(int(exit_code))
