"""`agentcoord completions`: what a shell needs to know of the commands."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.main import get_command

from agentcoord.cli.completions import Shell, script
from agentcoord.cli.options import example, group, invocation_of

commands = group("")


@commands.command(
    epilog=example(
        "agentcoord completions bash > ~/.local/share/bash-completion/completions/agentcoord",
        "agentcoord completions fish > ~/.config/fish/completions/agentcoord.fish",
    )
)
def completions(context: typer.Context, shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> None:
    """Print the completion script of a shell, for both programs.

    Pressing Tab then starts no program. zsh: `source <(agentcoord completions zsh)` in .zshrc.
    """
    from agentcoord.cli.agentcoord_app import app
    from agentcoord.cli.agentcoordd_app import app as daemon_app

    programs = {"agentcoord": get_command(app), "agentcoordd": get_command(daemon_app)}
    invocation_of(context).terminal.text(script(shell, programs))
