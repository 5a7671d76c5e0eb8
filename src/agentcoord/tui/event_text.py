"""Events in words: one sentence and one tone for each kind of fact.

Separate from the model, which only counts them. Every `data` field is optional here: an event
of an older or a newer daemon is shown as well as it can be, never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.usage import CapUnit, usd
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import harmless, money, one_line, plural, short_worker, spoken_span, time_of_day

_Data = Mapping[str, Any]
_K = EventKind

NEWSWORTHY: Final = frozenset(
    {
        _K.TASK_DONE,
        _K.TASK_PARKED,
        _K.TASK_FAILED,
        _K.QUESTION_ASKED,
        _K.WORKER_CRASHED,
        _K.BUDGET_REACHED,
        _K.BASELINE_ENDED,
    }
)
"""Kinds that are worth a toast when they happen while somebody watches."""
SHORT_WAIT_MS: Final = 1000
"""A wait for a lock that is shorter than this is nothing to look at."""


def event_cells(event: Mapping[str, Any], *, zone: tzinfo | None) -> tuple[Span, ...]:
    """One row of the event table: time, who, what. Of a worker without a task the sentence says who it is:
    a narrow table has no room for the column."""
    at_ms = int(event.get("at_ms", 0))
    who, what = short_worker(str(event.get("worker") or "")), sentence(event)
    if who and not event.get("task"):
        who, what = "", f"{who} {what}"
    return (
        Span(time_of_day(at_ms, zone) if at_ms else "", Tone.MUTED),
        Span(who, Tone.MUTED),
        Span(what, tone_of(event)),
    )


def sentence(event: Mapping[str, Any], *, with_task: bool = True) -> str:
    """What happened, on one line, beginning with the task where there is one."""
    kind = str(event.get("kind", ""))
    data = event.get("data") or {}
    say = _WORDS.get(kind)
    words = say(data) if say is not None else _unknown(kind, data)
    task = str(event.get("task") or "")
    return one_line(f"{task} {words}" if task and with_task else words)


def tone_of(event: Mapping[str, Any]) -> Tone:
    """How much it matters."""
    kind = str(event.get("kind", ""))
    data = event.get("data") or {}
    failed_tool = kind == _K.TASK_TOOL and bool(data.get("is_error"))
    red_check = kind in (_K.TASK_CHECKED, _K.BASELINE_ENDED) and data.get("ok") is False
    if failed_tool or red_check:
        return Tone.WARN
    if kind == _K.LOCK_WAITED and int(data.get("ms") or 0) < SHORT_WAIT_MS:
        return Tone.MUTED
    return _TONES.get(kind, Tone.PLAIN)


def _seconds(data: _Data, key: str = "ms") -> str:
    return f"{float(data.get(key) or 0) / 1000:.1f} s"


def _because(text: str) -> Callable[[_Data], str]:
    """A sentence that ends in the event's reason."""

    def say(data: _Data) -> str:
        why = data.get("why") or data.get("error")
        return f"{text}: {why}" if why else text

    return say


def _fixed(text: str) -> Callable[[_Data], str]:
    return lambda _data: text


def _loaded(data: _Data) -> str:
    added, unchanged = data.get("added"), data.get("unchanged")
    count = len(added) if isinstance(added, list) else added or 0
    same = len(unchanged) if isinstance(unchanged, list) else unchanged or 0
    return f"plan loaded: {count} new, {same} unchanged"


def _baseline(data: _Data) -> str:
    return (
        "the checks pass on the untouched tree" if data.get("ok") else "the untouched tree fails its checks"
    )


def _claimed(data: _Data) -> str:
    return "resumed" if data.get("resumed") else f"claimed, attempt {data.get('attempt', 1)}"


def _turn(data: _Data) -> str:
    cost = money(usd(int(data.get("cost_usd_micros") or 0)))
    return f"turn {data.get('turn', '?')} · {data.get('stop_reason', '')} · {cost}"


def _tool(data: _Data) -> str:
    outcome = "failed: " if data.get("is_error") else ""
    return f"{outcome}{data.get('summary') or data.get('tool', 'a tool')}"


def _checked(data: _Data) -> str:
    name = data.get("check", "check")
    if data.get("ok"):
        return f"{name} passed in {_seconds(data)}"
    words = f"{name} failed with {data.get('exit_code', '?')} in {_seconds(data)}"
    if others := int(data.get("on_top_of") or 0):
        # Then nothing is said yet: where those do not land, it is tried without them.
        words += f", on top of {plural(others, 'change')} not landed yet"
    return words


def _done(data: _Data) -> str:
    files = data.get("files") or []
    count = len(files) if isinstance(files, list) else int(files)
    lines = f"+{data.get('lines_added', 0)} -{data.get('lines_removed', 0)}"
    return f"landed {plural(count, 'file')}, {lines}, {money(usd(int(data.get('cost_usd_micros') or 0)))}"


def _asked(data: _Data) -> str:
    return f"asks: {data.get('question', '')}"


def _lock_waited(data: _Data) -> str:
    return (
        f"waited {_seconds(data)} for {data.get('path', '')}, held by {data.get('holder', '?')}: "
        f"{data.get('outcome', '')}"
    )


def _released(data: _Data) -> str:
    paths = data.get("paths") or []
    return f"released {plural(len(paths) if isinstance(paths, list) else int(paths), 'lock')}"


def _rate_limited(data: _Data) -> str:
    wait = spoken_span(round(float(data.get("wait_s") or 0) * 1000))
    return f"{data.get('why') or 'rate limited'}, waits {wait}"


def _budget_warned(data: _Data) -> str:
    unit = CapUnit.TOKENS if "cap_tokens" in data else CapUnit.USD_MICROS
    spent, cap = (unit.in_words(int(data.get(f"{key}_{unit}") or 0)) for key in ("spent", "cap"))
    return f"{data.get('scope', '')} budget: {spent} of {cap} spent"


def _cleaned(data: _Data) -> str:
    parts = ", ".join(f"{value} {key}" for key, value in data.items() if value)
    return f"cleaned up {parts or 'nothing'}"


def _worker_state(data: _Data) -> str:
    state, doing = data.get("state") or "active", data.get("doing")
    return f"is {state}: {doing}" if doing else f"is {state}"


def _unknown(kind: str, data: _Data) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in data.items())
    return harmless(f"{kind} {facts}")


_WORDS: Final[dict[str, Callable[[_Data], str]]] = {
    _K.DAEMON_STARTED: _fixed("the daemon started"),
    _K.DAEMON_STOPPING: _because("the daemon is stopping"),
    _K.RUN_PAUSED: _because("paused, nothing new is claimed"),
    _K.RUN_RESUMED: _fixed("resumed"),
    _K.PLAN_LOADED: _loaded,
    _K.BASELINE_ENDED: _baseline,
    _K.TASK_QUEUED: _because("queued"),
    _K.TASK_CLAIMED: _claimed,
    _K.TASK_TURN: _turn,
    _K.TASK_TOOL: _tool,
    _K.TASK_CHECKING: _fixed("is being checked"),
    _K.TASK_CHECKED: _checked,
    _K.TASK_LANDING: _fixed("is landing"),
    _K.TASK_DONE: _done,
    _K.TASK_REQUEUED: _because("back in the queue"),
    _K.TASK_PARKED: _because("parked, needs you"),
    _K.TASK_FAILED: _because("failed"),
    _K.TASK_CANCELLED: _because("cancelled"),
    _K.TASK_UNDONE: _fixed("undone"),
    _K.TASK_ACCEPTED: _fixed("accepted"),
    _K.TASK_SUBSET_PROVEN: lambda data: (
        f"is {data.get('state', '')} without {plural(int(data.get('hunks') or 0), 'hunk')}"
    ),
    _K.TASK_TRIMMED: lambda data: f"has {plural(int(data.get('hunks') or 0), 'hunk')} taken out",
    _K.TASK_REJECTED: lambda data: f"rejected, is asked for again: {data.get('reason', '')}",
    _K.QUESTION_ASKED: _asked,
    _K.LOCK_TAKEN: lambda data: f"locked {data.get('path', '')}",
    _K.LOCK_WAITED: _lock_waited,
    _K.LOCKS_RELEASED: _released,
    _K.WORKER_STARTED: _fixed("started"),
    _K.WORKER_STATE: _worker_state,
    _K.WORKER_CRASHED: _because("crashed, restarts"),
    _K.WORKER_STOPPED: _because("stopped"),
    _K.RATE_LIMITED: _rate_limited,
    _K.BUDGET_WARNED: _budget_warned,
    _K.BUDGET_REACHED: lambda data: f"the {data.get('scope', '')} budget is reached",
    _K.CLEANED: _cleaned,
    _K.ERROR: _because("something went wrong"),
    "missed": lambda data: f"{plural(int(data.get('count', 0)), 'event')} missing here: too fast to follow",
}

_TONES: Final[dict[str, Tone]] = {
    _K.TASK_DONE: Tone.GOOD,
    _K.TASK_ACCEPTED: Tone.GOOD,
    _K.TASK_REJECTED: Tone.WARN,
    _K.TASK_FAILED: Tone.BAD,
    _K.WORKER_CRASHED: Tone.BAD,
    _K.BUDGET_REACHED: Tone.BAD,
    _K.ERROR: Tone.BAD,
    _K.TASK_PARKED: Tone.WARN,
    _K.QUESTION_ASKED: Tone.WARN,
    _K.RATE_LIMITED: Tone.WARN,
    _K.BUDGET_WARNED: Tone.WARN,
    _K.TASK_REQUEUED: Tone.WARN,
    _K.TASK_TURN: Tone.MUTED,
    _K.TASK_TOOL: Tone.MUTED,
    _K.LOCK_TAKEN: Tone.MUTED,
    _K.LOCKS_RELEASED: Tone.MUTED,
    _K.WORKER_STATE: Tone.MUTED,
    "missed": Tone.WARN,
}
