"""Commands that ask the daemon one thing and print it, as a page or as a JSON document.

One entry a command, used by the fast path and by Typer alike, so that both print the same.
Cheap to import. Deliberately absent: parsing of arguments (`fast`, `agentcoord_app`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentcoord import __version__
from agentcoord.cli.boundary import exit_code_of, tell
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.pages import (
    costs_page,
    daemon_page,
    locks_page,
    stats_page,
    status_page,
    tasks_page,
    workers_page,
)
from agentcoord.cli.setback_pages import dead_page
from agentcoord.errors import DaemonNotRunningError
from agentcoord.tui.styled import Line
from agentcoord.wire.protocol import ExitCode, Method

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any

    View = dict[str, Any]
    """An answer of the daemon, as it came."""


class Reading:
    """One reading command: what it asks, and how the answer is shown.

    `schema` is `<program>.<command>`; the version is added.
    """

    __slots__ = ("document", "method", "page", "params", "schema")

    def __init__(
        self,
        schema: str,
        method: Method,
        page: Callable[[Any, int], list[Line]],
        document: Callable[[View], View] = dict,
        params: Mapping[str, object] | None = None,
    ) -> None:
        self.schema = schema
        self.method = method
        self.page = page
        self.document = document
        self.params = params or {}


def answer(reading: Reading, invocation: Invocation, *, as_json: bool) -> int:
    """Ask, print, and return the exit code. Raises what `call_once` raises."""
    view = fetch(reading.method, invocation, **reading.params)
    if as_json:
        invocation.terminal.document(reading.schema, reading.document(view))
    else:
        invocation.terminal.lines(reading.page(view, invocation.terminal.width))
    if reading.method == Method.TASKS and not view["tasks"] and (moved := invocation.moved_words()):
        invocation.terminal.say(moved)
    return ExitCode.OK


def fetch(method: Method, invocation: Invocation, **params: object) -> View:
    """Ask for a view; one that comes in pages is put together."""
    view = invocation.ask(method, **params)
    while (offset := view.pop("next_offset", None)) is not None:
        page = invocation.ask(method, offset=offset, **params)
        view["tasks"] += page["tasks"]
        view["next_offset"] = page["next_offset"]
    return view


def answer_daemon_status(invocation: Invocation, *, as_json: bool) -> int:
    """`agentcoordd status`: a daemon that does not run has a document too, beside exit code 3."""
    try:
        return answer(DAEMON_STATUS, invocation, as_json=as_json)
    except DaemonNotRunningError as error:
        if as_json:
            stopped = {
                "pid": None,
                "state": "stopped",
                "socket": str(invocation.paths().socket),
                "version": __version__,
                "started_at": None,
            }
            invocation.terminal.document(DAEMON_STATUS.schema, stopped)
        tell(invocation.terminal, error)
        return exit_code_of(error)


def _status_document(view: View) -> View:
    """StatusView, with the money that scripts ask for first at the top."""
    return {**view, "cap": view["spend"]["cap_usd"], "forecast": view["forecast_usd"]}


def _daemon_document(view: View) -> View:
    keys = (
        "pid",
        "state",
        "socket",
        "version",
        "started_at",
        "state_dir",
        "project",
        "model_source",
        "sandbox",
    )
    return {key: view[key] for key in keys}


DAEMON_STATUS = Reading("agentcoordd.status", Method.STATUS, daemon_page, _daemon_document)
STATUS = Reading("agentcoord.status", Method.STATUS, status_page, _status_document)
TASKS = Reading("agentcoord.tasks", Method.TASKS, lambda view, width: tasks_page(view["tasks"], width))
DEAD_TASKS = Reading(
    "agentcoord.tasks",
    Method.TASKS,
    lambda view, width: dead_page(view["tasks"], width),
    params={"dead": True},
)
WORKERS = Reading(
    "agentcoord.workers", Method.WORKERS, lambda view, width: workers_page(view["workers"], width)
)
COSTS = Reading("agentcoord.costs", Method.COSTS, costs_page)
STATS = Reading("agentcoord.stats", Method.STATS, stats_page)
LOCKS = Reading("agentcoord.locks", Method.LOCKS, lambda view, width: locks_page(view["locks"], width))
