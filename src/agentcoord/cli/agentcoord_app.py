"""The Typer side of `agentcoord`: all its commands under one roof."""

from __future__ import annotations

from agentcoord.cli import (
    changing_commands,
    commit_command,
    night_commands,
    project_commands,
    reading_commands,
    report_command,
    review_command,
    shell_commands,
)
from agentcoord.cli.options import group, surroundings

app = group(
    "A night shift for your repository: six Claude workers, one daemon, nothing committed until you say so."
)
app.callback()(surroundings)
for room in (
    project_commands,
    night_commands,
    reading_commands,
    report_command,
    review_command,
    commit_command,
    shell_commands,
    changing_commands,
):
    app.add_typer(room.commands)
app.add_typer(changing_commands.ctl, name="ctl")
