"""`agentcoord` commands that make a night: load, run, rehearse, wait, demo."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from agentcoord.cli import nights
from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import (
    AllowRoot,
    BaseUrl,
    External,
    Json,
    RunUsd,
    ScriptsFolder,
    Unconfined,
    finish,
    invocation_of,
)
from agentcoord.cli.starting import is_running, require_model, start, start_args
from agentcoord.errors import RpcError
from agentcoord.wire.protocol import ExitCode, Method

commands = group("")

Plan = Annotated[
    Path | None, typer.Argument(metavar="PLAN", help="A .toml plan or a Markdown checklist; `-` reads it.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Return when the plan is loaded; the daemon works on.")
]


Unattended = Annotated[
    bool, typer.Option("--no-supervisor", help="Start the daemon alone: nothing starts it again if it dies.")
]


@commands.command(
    epilog=example(
        "agentcoord run plan.toml", "agentcoord run plan.toml --run-usd 3 --detach", "agentcoord run"
    )
)
def run(
    context: typer.Context,
    plan: Plan = None,
    detach: Detach = False,
    allow_root: AllowRoot = False,
    unsafe_no_sandbox: Unconfined = False,
    external_sandbox: External = False,
    base_url: BaseUrl = "",
    run_usd: RunUsd = None,
    no_supervisor: Unattended = False,
    as_json: Json = False,
) -> None:
    """Run a plan to its end, and sum up.

    Starts the daemon if none runs, loads the plan, and follows it. Exits 0 when every task is done, 7 when
    one failed, was cancelled, or waits for you. Ctrl-C leaves the run to the daemon. Without PLAN it follows
    what is loaded already. Should the daemon die or hang at night, a small process starts it again, and tasks
    go on from their last complete turn.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    args = start_args(
        allow_root=invocation.may_be_root(allow_root),
        unsafe_no_sandbox=unsafe_no_sandbox,
        external_sandbox=external_sandbox,
        base_url=base_url,
        run_usd=run_usd,
        supervised=not no_supervisor,
    )
    text = None if plan is None else nights.read_plan_file(plan)
    running = is_running(invocation.paths())
    settings = nights.judge(invocation, text, args.flags, running=running)
    if running:
        if args.flags or unsafe_no_sandbox or external_sandbox:
            invocation.terminal.say("a daemon runs already: the options of a start change nothing in it")
        nights.refuse_without_model(nights.status_of(invocation), loads=text is not None)
    else:
        require_model(settings.models, invocation.env)
        started = start(invocation, args)
        invocation.terminal.say(f"started agentcoordd, pid {started.pid}")
    _go(invocation, text, detach=detach, schema="agentcoord.run", as_json=as_json)


@commands.command(epilog=example("agentcoord rehearse plan.toml --scripts rehearsal/"))
def rehearse(
    context: typer.Context,
    scripts: ScriptsFolder,
    plan: Plan = None,
    latency: Annotated[
        float, typer.Option("--latency", min=0.0, help="Scale of the scripts' thinking times.")
    ] = 1.0,
    detach: Detach = False,
    allow_root: AllowRoot = False,
    unsafe_no_sandbox: Unconfined = False,
    external_sandbox: External = False,
    as_json: Json = False,
) -> None:
    """Run a plan with a scripted model; nothing is paid.

    A local server answers from the script files. Files change all the same: the
    scripts' edits are checked and land in your tree.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    text = None if plan is None else nights.read_plan_file(plan)
    running = is_running(invocation.paths())
    nights.judge(invocation, text, {}, running=running)
    if running:
        if not invocation.ask(Method.STATUS)["scripted"]:
            raise CommandError(
                "a daemon with a real model runs here; a rehearsal needs one of its own",
                exit_code=ExitCode.REFUSED,
                mend="agentcoordd stop, then run the command again",
            )
    else:
        args = start_args(
            allow_root=invocation.may_be_root(allow_root),
            unsafe_no_sandbox=unsafe_no_sandbox,
            external_sandbox=external_sandbox,
            rehearse=scripts,
            rehearsal_latency=latency,
        )
        started = start(invocation, args)
        invocation.terminal.say(f"started agentcoordd with the rehearsal server, pid {started.pid}")
    _go(invocation, text, detach=detach, schema="agentcoord.rehearse", as_json=as_json)


def _go(
    invocation: Invocation, text: nights.PlanText | None, *, detach: bool, schema: str, as_json: bool
) -> None:
    if detach:
        if text is not None:
            view = nights.load(invocation, text)
            if as_json:
                invocation.terminal.document(schema, dict(view))
            else:
                invocation.terminal.text(nights.load_words(view))
        nights.tell_how_to_watch(invocation, "The daemon works on its own now.")
        return
    leaving = nights.Leaving(text)
    try:
        ending = nights.load_and_follow(invocation, text, leaving=leaving)
    except KeyboardInterrupt:
        nights.tell_how_to_watch(invocation, leaving.words)
        raise
    nights.print_ending(invocation, ending, schema=schema, as_json=as_json)
    finish(ending.exit_code)


@commands.command(epilog=example("agentcoord load plan.toml", "agentcoord load todo.md"))
def load(
    context: typer.Context,
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A .toml plan or a Markdown checklist; `-` reads it.")
    ],
    as_json: Json = False,
) -> None:
    """Load a plan into the running daemon. Loading it twice changes nothing that is done."""
    invocation = invocation_of(context)
    view = nights.load(invocation, nights.read_plan_file(plan))
    if as_json:
        invocation.terminal.document("agentcoord.load", dict(view))
    else:
        invocation.terminal.text(nights.load_words(view))


@commands.command(epilog=example("agentcoord wait", "agentcoord wait --timeout 3600"))
def wait(
    context: typer.Context,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", metavar="S", min=0.0, help="Give up after so many seconds (exit 6)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Wait until every task has ended, and sum up.

    Exits 7 when one failed, was cancelled or waits for you, 6 at the time-out.
    """
    invocation = invocation_of(context)
    with suppress(RpcError):  # Whoever follows waits for a store that is away.
        nights.refuse_vain_wait(nights.status_of(invocation))
    ending = nights.wait_for_end(invocation, timeout_s)
    nights.print_ending(invocation, ending, schema="agentcoord.wait", as_json=as_json)
    finish(ending.exit_code)


@commands.command(epilog=example("agentcoord demo", "agentcoord demo --dir /tmp/night --keep"))
def demo(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="A new folder for the demo's project.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the daemon running at the end.")] = False,
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", min=0.01, help="How fast the script thinks.")
    ] = 1.0,
    allow_root: AllowRoot = False,
) -> None:
    """Play a scripted night on a small bundled project.

    Costs nothing. Makes a new folder, works through ten tasks with six workers, and leaves the
    changes uncommitted for you to look at.
    """
    from agentcoord.cli.demo import DemoWishes, play_demo

    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    wishes = DemoWishes(folder=folder, keep=keep, speed=speed, allow_root=invocation.may_be_root(allow_root))
    finish(play_demo(invocation, wishes))
