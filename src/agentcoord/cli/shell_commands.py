"""`agentcoord completions` and `schema`: what shells and scripts need to know of the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.completions import SCHEMA_NAME, Shell
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.options import invocation_of
from agentcoord.cli.ready_completions import script_file
from agentcoord.wire.protocol import ExitCode

commands = group("")


@commands.command(
    epilog=example(
        "mkdir -p ~/.local/share/bash-completion/completions ~/.config/fish/completions",
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
    invocation_of(context).terminal.text(script_file(shell).read_text(encoding="utf-8"))


@commands.command(epilog=example("agentcoord schema", "agentcoord schema agentcoord.tasks"))
def schema(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar=SCHEMA_NAME, help="One of them alone.")] = "",
) -> None:
    """Print the JSON Schema of the documents that `--json` prints, of agentcoord.toml, and of a plan."""
    import json

    from agentcoord.cli.file_schemas import all_schemas

    found = all_schemas()
    if name and name not in found:
        raise CommandError(
            f"there is no schema {name}",
            exit_code=ExitCode.NOT_FOUND,
            problems=sorted(found),
            mend="agentcoord schema",
        )
    invocation_of(context).terminal.text(json.dumps(found[name] if name else found, indent=2))
