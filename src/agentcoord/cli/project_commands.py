"""`agentcoord` commands about the project and the machine: init, config, doctor. No daemon needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.doctor import Verdict, examine, mend, page
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.options import Json, finish, invocation_of
from agentcoord.cli.render import Column, cell, table
from agentcoord.cli.summary import commands as command_lines
from agentcoord.config.init import propose
from agentcoord.config.load import load_settings, settings_table
from agentcoord.config.paths import CONFIG_NAME
from agentcoord.tui.styled import Tone
from agentcoord.wire.protocol import ExitCode

commands = group("")

_HIDDEN: Final = "..."


@commands.command(epilog=example("agentcoord init", "agentcoord init --print"))
def init(
    context: typer.Context,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the file, or with --json the guesses; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a commented agentcoord.toml.

    Scope and test command are guessed from what is there, and shown.
    """
    invocation = invocation_of(context)
    terminal, paths = invocation.terminal, invocation.paths()
    proposal = propose(paths.root)
    if only_print and not as_json:
        terminal.text(proposal.text)
        return
    if not only_print:
        _write_new(paths.config_file, proposal.text)
    if as_json:
        checks = dict(proposal.checks)
        document = {
            "path": str(paths.config_file),
            "scope": proposal.scope,
            "checks": checks,
            "notes": proposal.notes,
        }
        terminal.document("agentcoord.init", document)
        return
    terminal.text(f"wrote {paths.config_file}")
    for note in proposal.notes:
        terminal.text(f"  {note}")
    terminal.say("")
    steps = [
        (f"$EDITOR {CONFIG_NAME}", "look whether the guesses are right"),
        ("agentcoord doctor", "see what is missing on this machine"),
        ("agentcoord run plan.toml", "start the night"),
    ]
    for line in command_lines(steps):
        terminal.say(*line)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CommandError(
            f"{path} is there already; it was left as it is",
            exit_code=ExitCode.REFUSED,
            mend="agentcoord config shows what it says; agentcoord init --print shows a fresh one",
        ) from error


@commands.command(epilog=example("agentcoord config", "AGENTCOORD_BUDGET_RUN_USD=3 agentcoord config --json"))
def config(context: typer.Context, as_json: Json = False) -> None:
    """Print every setting, and where it came from."""
    invocation = invocation_of(context)
    settings = load_settings(invocation.root(), invocation.env)
    rows = [(key, _without_secrets(key, value), origin) for key, value, origin in settings_table(settings)]
    if as_json:
        document = {
            "settings": [{"key": key, "value": value, "origin": origin} for key, value, origin in rows],
            "workers": [
                {"name": worker.name, "role": str(worker.role), "tags": sorted(worker.tags)}
                for worker in settings.workers
            ],
        }
        invocation.terminal.document("agentcoord.config", document)
        return
    columns = [Column("SETTING"), Column("VALUE", elastic=True), Column("FROM")]
    cells = [(cell(key), cell(_shown(value)), cell(origin, Tone.MUTED)) for key, value, origin in rows]
    cells += [
        (
            cell(f"worker {worker.name}"),
            cell(f"{worker.role}, tags {', '.join(sorted(worker.tags))}"),
            cell(settings.origins.get("worker", ""), Tone.MUTED),
        )
        for worker in settings.workers
    ]
    invocation.terminal.lines(table(columns, cells, width=invocation.terminal.width))


def _without_secrets(key: str, value: object) -> object:
    """The value as it may stand in a report of a mistake: who is told and where, without what opens it."""
    match key, value:
        case (("redis.url" | "models.base_url"), str()) if "@" in value:
            scheme, _, rest = value.rpartition("://")
            return f"{scheme}://{_HIDDEN}@{rest.rpartition('@')[2]}"
        case "notify.url", str() if value:
            scheme, _, rest = value.partition("://")
            return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}/{_HIDDEN}" if rest else _HIDDEN
        case "notify.apprise", tuple():
            return tuple(f"{str(url).partition('://')[0]}://{_HIDDEN}" for url in value)
    return value


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    return "(empty)" if value == "" else str(value)


@commands.command(
    epilog=example("agentcoord doctor", "agentcoord doctor --fix", "agentcoord doctor --online --json")
)
def doctor(
    context: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what is safe to mend: say it, do it, look again.")
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the model's server, with one request of a few tokens.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look whether everything for a night is there.

    One line each, with the mend. Exits 1 when something is missing. `--fix` removes what dead
    daemons left, closes our own folders and the key file to others, and lets your services
    outlive a logout; it never touches your repository.
    """
    invocation = invocation_of(context)
    findings = examine(invocation, online=online)
    mended = mend(invocation, findings) if fix else []
    if mended:
        findings = examine(invocation, online=online)
    elif fix:
        invocation.terminal.say("there is nothing that --fix would mend")
    if as_json:
        document = {
            "findings": [
                {
                    "name": each.name,
                    "verdict": str(each.verdict),
                    "words": each.words,
                    "mend": each.mend,
                    "fixable": each.repair is not None,
                }
                for each in findings
            ],
            "mended": [each.to_dict() for each in mended],
        }
        invocation.terminal.document("agentcoord.doctor", document)
    else:
        invocation.terminal.lines(page(findings))
    failed = any(each.verdict is Verdict.FAIL for each in findings)
    finish(ExitCode.ERROR if failed else ExitCode.OK)
