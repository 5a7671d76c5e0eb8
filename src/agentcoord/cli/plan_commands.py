"""`agentcoord plan`: have a plan proposed, and judge one; and `add`, a plan of one task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import typer

from agentcoord.api.coordinator import DRAFT_TIMEOUT_S
from agentcoord.cli import nights
from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import Json, invocation_of
from agentcoord.cli.plan_notes import plan_notes
from agentcoord.cli.reading import fetch
from agentcoord.cli.summary import commands as command_lines
from agentcoord.config.load import load_settings
from agentcoord.domain.checklist import id_of_title
from agentcoord.domain.ids import TaskId
from agentcoord.domain.plan import read_plan
from agentcoord.domain.plan_text import render_plan
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import usd_micros
from agentcoord.errors import DaemonNotRunningError
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import plural
from agentcoord.wire.answers import DraftView
from agentcoord.wire.call import call_once
from agentcoord.wire.messages import ExitCode, Method

commands = group("")
plan = group(
    "Have a plan proposed, and judge one before it is loaded.",
    'agentcoord plan draft "raise the test coverage of parsing"',
    "agentcoord plan check plan.toml",
)


@plan.command(
    epilog=example(
        'agentcoord plan draft "raise the test coverage of parsing"',
        'agentcoord plan draft "make errors readable" --out errors.toml',
    )
)
def draft(
    context: typer.Context,
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What the night shall be for; `-` reads it.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A new file; `-` prints the plan.")
    ] = Path("plan.toml"),
    as_json: Json = False,
) -> None:
    """Have a model propose a plan, as a file that you edit.

    One call of the last model in `models.ladder`, paid and capped like every other one; a
    second when the first answer is no plan that loads. Nothing is loaded, and no file is
    ever overwritten. Needs the running daemon, which has the model and the money.
    """
    import sys

    invocation = invocation_of(context)
    printed = str(out) == "-"
    if not printed and os.path.lexists(out):
        raise _is_there(out)
    if not printed and not os.access(out.parent, os.W_OK | os.X_OK):  # Asked before anything is paid.
        there = "cannot be written to" if out.parent.is_dir() else "is not a folder that is there"
        raise CommandError(f"{out.parent} {there}", mend="name another file with --out")
    invocation.ask(Method.STATUS)  # A draft is the daemon's: without one, say so before any other word.
    words = sys.stdin.read() if goal == "-" else goal
    invocation.terminal.say("asking the model for a plan; this may take some minutes")
    view = cast(
        "DraftView",
        call_once(invocation.paths().socket, Method.DRAFT, {"goal": words}, DRAFT_TIMEOUT_S),
    )
    path = Path("-") if printed else _write_new(out, view["text"])
    told = (
        f"{plural(view['tasks'], 'task')}, estimated at ${view['estimate_usd']:.2f}; "
        f"the draft cost ${view['cost_usd']:.4f}"
    )
    if as_json:
        document = {**view, "path": str(path)}
        invocation.terminal.document("agentcoord.plan.draft", document)
    elif printed:
        invocation.terminal.text(view["text"])
        invocation.terminal.say(told)
    else:
        invocation.terminal.text(f"wrote {path}: {told}")
        for line in command_lines(
            [
                (f"$EDITOR {path}", "change what you like"),
                (f"agentcoord plan check {path}", "see whether it still loads"),
                (f"agentcoord run {path}", "start the night"),
            ]
        ):
            invocation.terminal.say(*line)


def _write_new(out: Path, text: str) -> Path:
    """Write a file that must not be there; one that has come meanwhile is left, and another name is taken."""
    for number in range(1, 100):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise _is_there(out)


def _is_there(path: Path) -> CommandError:
    return CommandError(
        f"{path} is there already; it was left as it is",
        exit_code=ExitCode.REFUSED,
        mend="name another file with --out",
    )


@plan.command(epilog=example("agentcoord plan check plan.toml", "agentcoord plan check todo.md --json"))
def check(
    context: typer.Context,
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A .toml plan or a Markdown checklist; `-` reads it.")
    ],
    as_json: Json = False,
) -> None:
    """Judge a plan without loading it.

    Exits 2 with every problem and its line when it cannot be loaded; says what may surprise
    when it can. Knows the tasks that are loaded, if the daemon runs.
    """
    invocation = invocation_of(context)
    text = nights.read_plan_file(plan)
    settings = load_settings(invocation.root(), invocation.env)
    read = read_plan(
        text.text, format=text.format, source=text.source, known=_loaded(invocation), workers=settings.workers
    )
    notes = plan_notes(read, settings)
    if as_json:
        document = {"source": text.source, "tasks": [task.id for task in read.tasks], "notes": notes}
        invocation.terminal.document("agentcoord.plan.check", document)
        return
    invocation.terminal.text(f"{text.source}: {plural(len(read.tasks), 'task')}, nothing wrong")
    for note in notes:
        invocation.terminal.lines([(Span("▲ ", Tone.WARN), Span(note))])


def _loaded(invocation: Invocation) -> set[TaskId]:
    try:
        return {TaskId(task["id"]) for task in fetch(Method.TASKS, invocation)["tasks"]}
    except DaemonNotRunningError:
        return set()


@commands.command(
    epilog=example(
        'agentcoord add "Add a test for empty input" --tag testing --check "pytest -q tests/test_input.py"',
        'agentcoord add "Describe the settings" --writes "docs/**" --need add-a-test-for-empty-input',
    )
)
def add(
    context: typer.Context,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What to do, in one line.")],
    task_id: Annotated[str, typer.Option("--id", metavar="ID", help="Made of the title unless given.")] = "",
    description: Annotated[str, typer.Option("--description", help="What and why, for the worker.")] = "",
    priority: Annotated[int, typer.Option("--priority", min=1, max=5, help="5 critical ... 1 idle.")] = 3,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Who may take it; may be repeated.")] = None,
    needs: Annotated[
        list[str] | None,
        typer.Option("--need", metavar="ID", help="A task to be done first; may be repeated."),
    ] = None,
    writes: Annotated[
        list[str] | None,
        typer.Option("--writes", metavar="GLOB", help="Files it expects to write; may be repeated."),
    ] = None,
    check_command: Annotated[
        str, typer.Option("--check", metavar="COMMAND", help="Must exit 0, beside the project's checks.")
    ] = "",
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", metavar="USD", min=0.01, help="The task's own cap.")
    ] = None,
    budget_tokens: Annotated[
        int | None,
        typer.Option("--budget-tokens", metavar="TOKENS", min=1, help="The same in tokens of all kinds."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add one task to those that are loaded."""
    invocation = invocation_of(context)
    name = task_id or id_of_title(title)
    if not name:
        raise CommandError(
            "no id can be made of this title", exit_code=ExitCode.USAGE, mend="give one with --id"
        )
    taken = _loaded(invocation)
    if name in taken:
        raise CommandError(
            f"a task is called {name} already; nothing was added",
            exit_code=ExitCode.REFUSED,
            mend=f"give another name with --id, or look at it: agentcoord task {name}",
        )
    spec = TaskSpec(
        id=TaskId(name),
        title=title,
        description=description,
        priority=priority,
        tags=tuple(tags or ()),
        needs=tuple(TaskId(need) for need in needs or ()),
        writes=tuple(writes or ()),
        check=check_command,
        budget_usd_micros=None if budget_usd is None else usd_micros(budget_usd),
        budget_tokens=budget_tokens,
    )
    text = nights.PlanText(render_plan("added by hand", [spec]), "toml", "agentcoord add")
    view = nights.load(invocation, text)
    if as_json:
        invocation.terminal.document("agentcoord.add", {"id": name, **view})
    else:
        invocation.terminal.text(f"added {name}")
