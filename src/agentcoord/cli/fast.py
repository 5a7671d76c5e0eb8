"""The commands that people and prompts run all day, answered before Typer is imported.

Importing Typer and building the commands takes longer than everything else that `agentcoord tasks`
does. So plain spellings of `status`, `tasks`, `workers`, `start` and `completions` are recognised from
argv alone and answered on a plain socket; whatever is spelled otherwise (`--help` too) is left to Typer.
Both use `reading`, so both print the same. Reading imports no Typer, pydantic, asyncio, SDK, Textual or
Redis; `dashboard`, which comes here too, imports Textual and no Typer.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.cli.invocation import Invocation
from agentcoord.cli.reading import STATUS, TASKS, WORKERS, answer, answer_daemon_status
from agentcoord.wire.protocol import ExitCode

_READINGS = {"status": STATUS, "tasks": TASKS, "workers": WORKERS}


def answer_agentcoord(argv: Sequence[str], invocation: Invocation) -> int | None:
    """Answer `agentcoord` with these (hoisted) arguments, or return None: not ours."""
    if "--names" in argv:
        from agentcoord.cli.names import answer_names

        return answer_names(argv, invocation)
    if argv[:1] == ["completions"]:
        from agentcoord.cli.ready_completions import answer_completions

        return answer_completions(argv, invocation)
    request = _recognise(argv, invocation)
    if request is not None and request[:2] == ("dashboard", False):
        return watch(request[2])
    if request is None or request[0] not in _READINGS:
        return None
    command, as_json, where = request
    return answer(_READINGS[command], where, as_json=as_json)


def answer_agentcoordd(argv: Sequence[str], invocation: Invocation) -> int | None:
    """Answer `agentcoordd status` and `start` with these (hoisted) arguments, or return None: not ours."""
    request = _recognise(argv, invocation)
    if request is None or request[0] not in ("start", "status"):
        return None
    command, as_json, where = request
    return (answer_daemon_status if command == "status" else _start)(where, as_json=as_json)


def _start(invocation: Invocation, *, as_json: bool) -> int:
    """`agentcoordd start` without options: the daemon imports enough, who waits for it need not too."""
    from agentcoord.cli.starting import args_to_resume, start_args, start_in_words

    invocation.refuse_root(False)
    given = start_args(allow_root=invocation.may_be_root(False))
    start_in_words(invocation, given, args_to_resume(invocation.paths(), given), as_json=as_json)
    return ExitCode.OK


def watch(invocation: Invocation, *, read_only: bool = False) -> int:
    """`agentcoord dashboard`."""
    from agentcoord.tui.app import run_dashboard

    paths = invocation.paths()
    return run_dashboard(
        paths.socket, project_name=paths.root.name, read_only=read_only, log_file=paths.log_file
    )


def _recognise(argv: Sequence[str], invocation: Invocation) -> tuple[str, bool, Invocation] | None:
    """Read `[-C DIR] COMMAND [--json]`; None for any other spelling."""
    words = list(argv)
    while len(words) >= 2 and words[0] in ("-C", "--project"):
        invocation = invocation.at(words[1])
        del words[:2]
    if len(words) == 1:
        return words[0], False, invocation
    if len(words) == 2 and "--json" in words:
        words.remove("--json")
        return words[0], True, invocation
    return None
