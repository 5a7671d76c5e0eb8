"""The Typer side of `agentcoord`: all its commands under one roof."""

from __future__ import annotations

from agentcoord.cli import (
    adopt_command,
    changing_commands,
    commit_command,
    night_commands,
    plan_commands,
    project_commands,
    reading_commands,
    report_command,
    review_command,
    shell_commands,
)
from agentcoord.cli.help_pages import add_help, group
from agentcoord.cli.options import surroundings

app = group(
    "A night shift for your repository: six Claude workers, one daemon, nothing committed until you say so.",
    "agentcoord demo                # a scripted night on a bundled project, no key needed",
    "agentcoord init                # propose settings for your repository",
    "agentcoord run plan.toml       # work a plan off, and sum up",
    "agentcoord dashboard           # look on while it works",
    "agentcoord review              # walk through what was done, in the morning",
)
app.callback()(surroundings)
for room in (
    project_commands,
    adopt_command,
    night_commands,
    plan_commands,
    reading_commands,
    report_command,
    review_command,
    commit_command,
    shell_commands,
    changing_commands,
):
    app.add_typer(room.commands)
app.add_typer(plan_commands.plan, name="plan")
app.add_typer(changing_commands.ctl, name="ctl")
add_help(app, "agentcoord help run", "agentcoord help ctl kill")
