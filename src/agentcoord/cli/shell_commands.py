"""`agentcoord completions` and `schema`: what shells and scripts need to know of the commands."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.main import get_command

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.completions import Shell, script
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.options import invocation_of
from agentcoord.wire.protocol import ExitCode

commands = group("")


@commands.command(
    epilog=example(
        "agentcoord completions bash | "
        "tee ~/.local/share/bash-completion/completions/agentcoord{,d} >/dev/null",
        "agentcoord completions fish | tee ~/.config/fish/completions/agentcoord{,d}.fish >/dev/null",
    )
)
def completions(context: typer.Context, shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> None:
    """Print the completion script of a shell, for both programs.

    Tab asks the daemon for ids of tasks and names of workers, for a tenth of a second at most; all else
    starts no program. bash and fish look for a file named after each program. zsh: write it to a file once,
    and `source` that in .zshrc.
    """
    from agentcoord.cli.agentcoord_app import app
    from agentcoord.cli.agentcoordd_app import app as daemon_app

    programs = {"agentcoord": get_command(app), "agentcoordd": get_command(daemon_app)}
    invocation_of(context).terminal.text(script(shell, programs))


@commands.command(epilog=example("agentcoord schema", "agentcoord schema agentcoord.tasks"))
def schema(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One of them alone.")] = "",
) -> None:
    """Print the JSON Schema of the documents that `--json` prints, of agentcoord.toml, and of a plan."""
    import json

    from agentcoord.cli.file_schemas import plan_schema, settings_schema
    from agentcoord.cli.schemas import document_schemas, line_schemas

    files = {"agentcoord.toml": settings_schema(), "plan.toml": plan_schema()}
    found = {**document_schemas(), **line_schemas(), **files}
    if name and name not in found:
        raise CommandError(
            f"there is no schema {name}",
            exit_code=ExitCode.NOT_FOUND,
            problems=sorted(found),
            mend="agentcoord schema",
        )
    invocation_of(context).terminal.text(json.dumps(found[name] if name else found, indent=2))
