"""What empty tables say: why they are empty, and the command or key that changes it. Pure."""

from __future__ import annotations

from agentcoord.tui.filtering import TaskFilter
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import one_line
from agentcoord.wire.messages import NO_MODEL

_Lines = tuple[Line, ...]


def no_tasks(model: DashboardModel, task_filter: TaskFilter) -> _Lines:
    """For the task table."""
    if model.status is None:
        return _not_connected(model)
    if model.tasks and task_filter:
        return (
            _say(f"No task matches /{one_line(task_filter.text)}."),
            _hint("Esc", "shows all tasks again"),
        )
    return (_say("No tasks yet. Load a plan:"), _command("agentcoord load plan.toml"))


def no_workers(model: DashboardModel) -> _Lines:
    """For the worker table."""
    if model.status is None:
        return ()
    source = one_line(model.status["model_source"])
    if source.startswith(NO_MODEL):
        return (_say("No model, so no workers:"), _command(source.removeprefix(NO_MODEL)))
    return (_say("No workers. Start one:"), _command("agentcoord spawn --role backend-engineer"))


def no_events(model: DashboardModel) -> _Lines:
    """For the event table."""
    return (_say("Nothing has happened yet."),) if model.status is not None else ()


def _not_connected(model: DashboardModel) -> _Lines:
    reason = one_line(model.link.reason)
    if not reason:
        return (_say("Connecting to the daemon ..."),)
    lines = [_say(reason)]
    if model.link.mend:
        lines.append(_command(model.link.mend))
    lines.append(_say("This view connects by itself as soon as the daemon runs."))
    return tuple(lines)


def _say(text: str) -> Line:
    return (Span(text, Tone.MUTED),)


def _command(text: str) -> Line:
    return (Span("  "), Span(one_line(text), Tone.ACCENT))


def _hint(key: str, text: str) -> Line:
    return (Span(key, Tone.ACCENT), Span(f" {text}", Tone.MUTED))
