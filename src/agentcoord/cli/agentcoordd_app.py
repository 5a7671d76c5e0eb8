"""The Typer side of `agentcoordd`: start, run, stop, restart, status, logs; see `service_commands` too."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from agentcoord.cli import service_commands
from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import add_help, example, group
from agentcoord.cli.kept_by_system import start_again, start_command_of
from agentcoord.cli.options import (
    AllowRoot,
    BaseUrl,
    External,
    Json,
    JsonLines,
    RunUsd,
    Unconfined,
    finish,
    invocation_of,
    surroundings,
)
from agentcoord.cli.reading import answer_daemon_status
from agentcoord.cli.starting import args_to_resume, judge_settings, start_args, start_in_words
from agentcoord.cli.starting import stop as stop_daemon
from agentcoord.errors import DaemonNotRunningError
from agentcoord.telemetry.log_file import lines_from_now, newest_lines
from agentcoord.tui.log_text import log_line
from agentcoord.wire.protocol import ExitCode

app = group(
    "The AgentCoord daemon: hosts the workers of one project. Talk to it with `agentcoord`.",
    "agentcoordd start              # in the background; returns when it is ready",
    "agentcoordd status             # pid, socket, version",
    "agentcoordd logs -f            # what it logs, as it does",
    "agentcoordd stop               # in order; tasks go back to the queue",
)
app.callback()(surroundings)
app.add_typer(service_commands.commands)

Rehearse = Annotated[
    Path | None,
    typer.Option(
        "--rehearse", metavar="DIR", exists=True, file_okay=False, help="Scripts for a scripted model."
    ),
]
Latency = Annotated[
    float, typer.Option("--rehearsal-latency", min=0.0, help="Scale of the scripts' thinking times.")
]
Supervised = Annotated[
    bool,
    typer.Option("--supervised", help="Under a small process that starts it again when it dies or hangs."),
]
Now = Annotated[bool, typer.Option("--now", help="Cut off what runs; the tasks go back to the queue.")]


@app.command(epilog=example("agentcoordd start", "agentcoordd -C ~/src/shop start --run-usd 3"))
def start(
    context: typer.Context,
    allow_root: AllowRoot = False,
    unsafe_no_sandbox: Unconfined = False,
    external_sandbox: External = False,
    rehearse: Rehearse = None,
    rehearsal_latency: Latency = 1.0,
    base_url: BaseUrl = "",
    run_usd: RunUsd = None,
    supervised: Supervised = False,
    as_json: Json = False,
) -> None:
    """Start the daemon; returns when it is ready.

    It runs in the background. After a crash it goes on as it was started before: a rehearsal
    stays a rehearsal.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    args = start_args(
        allow_root=invocation.may_be_root(allow_root),
        unsafe_no_sandbox=unsafe_no_sandbox,
        external_sandbox=external_sandbox,
        rehearse=rehearse,
        rehearsal_latency=rehearsal_latency,
        base_url=base_url,
        run_usd=run_usd,
        supervised=supervised,
    )
    start_in_words(invocation, args, args_to_resume(invocation.paths(), args), as_json=as_json)


@app.command(epilog=example("agentcoordd run"))
def run(
    context: typer.Context,
    allow_root: AllowRoot = False,
    unsafe_no_sandbox: Unconfined = False,
    external_sandbox: External = False,
    rehearse: Rehearse = None,
    rehearsal_latency: Latency = 1.0,
    base_url: BaseUrl = "",
    run_usd: RunUsd = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Be the daemon in the foreground.

    For service managers and for looking on. Ctrl-C stops it in order, twice at once.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    args = start_args(
        allow_root=invocation.may_be_root(allow_root),
        unsafe_no_sandbox=unsafe_no_sandbox,
        external_sandbox=external_sandbox,
        rehearse=rehearse,
        rehearsal_latency=rehearsal_latency,
        base_url=base_url,
        run_usd=run_usd,
    )
    from agentcoord.daemon.service import run_foreground

    finish(run_foreground(invocation.root(), args=args, env=invocation.env, ready_fd=ready_fd))


@app.command(epilog=example("agentcoordd stop", "agentcoordd stop --now"))
def stop(context: typer.Context, now: Now = False) -> None:
    """Stop the daemon in order.

    Running tool calls end, tasks go back to the queue, locks are released. With --now, a daemon that does
    not answer is ended too: its process, by signals.
    """
    invocation = invocation_of(context)
    stop_daemon(invocation.paths(), invocation.terminal.say, now=now, by_force=now)
    invocation.terminal.text("stopped")


@app.command(epilog=example("agentcoordd restart"))
def restart(
    context: typer.Context, now: Now = False, allow_root: AllowRoot = False, as_json: Json = False
) -> None:
    """Stop the daemon, and start it as it was. One that does not answer is ended by signals.

    Settings with a mistake are told first, and the daemon goes on as it is.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    paths = invocation.paths()
    given = start_args(allow_root=invocation.may_be_root(allow_root))
    args = args_to_resume(paths, given, always=True)
    judge_settings(paths, invocation.env, args.flags)
    by_system = start_command_of(invocation)
    with suppress(DaemonNotRunningError):
        stop_daemon(paths, invocation.terminal.say, now=now, restarting=True, by_force=True)
    if by_system:
        start_again(invocation, by_system, as_json=as_json)
        return
    start_in_words(invocation, given, args, as_json=as_json)


@app.command(epilog=example("agentcoordd status", "agentcoordd status --json | jq -r .state"))
def status(
    context: typer.Context,
    of_all: Annotated[bool, typer.Option("--all", help="Every daemon of yours, whatever project.")] = False,
    as_json: Json = False,
) -> None:
    """Show whether the daemon runs: pid, socket, version.

    Exits 3 when it does not.
    """
    if of_all:
        from agentcoord.cli.every_daemon import answer_every_daemon

        finish(answer_every_daemon(invocation_of(context), as_json=as_json))
    finish(answer_daemon_status(invocation_of(context), as_json=as_json))


@app.command(epilog=example("agentcoordd logs", "agentcoordd logs -f"))
def logs(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is logged.")] = False,
    newest: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=100_000, help="How many to begin with.")
    ] = 50,
    as_json: JsonLines = False,
) -> None:
    """Print the daemon's own log, dead or alive."""
    invocation = invocation_of(context)
    path, terminal = invocation.paths().log_file, invocation.terminal
    if not path.exists():
        raise CommandError(
            f"there is no log yet ({path})", exit_code=ExitCode.NOT_FOUND, mend="agentcoordd start"
        )

    def show(raw: str) -> None:
        if as_json:
            terminal.text(raw)
        else:
            terminal.lines([log_line(raw)])

    for raw in newest_lines(path, newest):
        show(raw)
    if follow:
        for raw in lines_from_now(path):
            show(raw)


add_help(app, "agentcoordd help start")
