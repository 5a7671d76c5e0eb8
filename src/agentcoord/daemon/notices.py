"""Which events are worth a person's attention in the night, and in what words. Pure.

Separate from sending them (`notifications`), so that what is told can be read and tested without a
phone. Each kind of notice comes at most once a minute, the run's end once a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.usage import CapUnit
from agentcoord.values import dataclass
from agentcoord.wire.messages import StatusView

QUIET_MS: Final = 60_000
FAILURES_IN_A_ROW: Final = 3
_TEXT_CHARS: Final = 400
_MAY_END_THE_RUN: Final = frozenset(
    {EventKind.TASK_DONE, EventKind.TASK_FAILED, EventKind.TASK_PARKED, EventKind.TASK_CANCELLED}
)


class NoticeKind(StrEnum):
    """What a notice is about; the names that `notify.events` lists."""

    FINISHED = "finished"
    NEEDS_YOU = "needs_you"
    BUDGET = "budget"
    FAILURES = "failures"
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell a person."""

    kind: NoticeKind
    title: str
    text: str
    urgent: bool = False


def died_before(recent: Iterable[Event]) -> bool:
    """Whether the daemon before this one ended without saying so: its start is the last word of it."""
    last = None
    for event in recent:
        if event.kind in (EventKind.DAEMON_STARTED, EventKind.DAEMON_STOPPING):
            last = event.kind
    return last is EventKind.DAEMON_STARTED


class NoticeDesk:
    """Turns events into notices."""

    def __init__(self, project: str, wanted: Collection[str], *, died: bool) -> None:
        """`died`: whether the daemon before this one did (`died_before`)."""
        self._project = project
        self._wanted = frozenset(wanted)
        self._died = died
        self._told_at_ms: dict[NoticeKind, int] = {}
        self._failures = 0
        self._open = False

    def asks_whether_over(self, event: Event) -> bool:
        """Whether this event may have ended the run, so that `finished` should be asked."""
        if event.kind in (EventKind.PLAN_LOADED, EventKind.TASK_CLAIMED, EventKind.TASK_QUEUED):
            self._open = True
        return event.kind in _MAY_END_THE_RUN and self._open

    def finished(self, status: StatusView) -> Notice | None:
        """The notice of a run that has nothing left to do; None while it goes on."""
        if not (status["ended"] and self._open):
            return None
        self._open = False
        counts = status["counts"]
        others = ", ".join(
            f"{counts[state]} {state}" for state in ("parked", "failed", "cancelled") if counts[state]
        )
        text = (
            f"{counts['done']} of {sum(counts.values())} tasks done{', ' + others if others else ''}, "
            f"${status['spend']['spent_usd']:.2f} spent. agentcoord status shows what waits for you."
        )
        return self._kept(Notice(NoticeKind.FINISHED, f"{self._project}: the run has ended", text))

    def notice_of(self, event: Event) -> Notice | None:
        """The notice that this event is worth; None for most."""
        made = self._made_of(event)
        if made is None or self._kept(made) is None:
            return None
        told = self._told_at_ms.get(made.kind)
        if told is not None and 0 <= event.at_ms - told < QUIET_MS:
            return None
        self._told_at_ms[made.kind] = event.at_ms
        return made

    def _kept(self, notice: Notice) -> Notice | None:
        return notice if notice.kind in self._wanted else None

    def _made_of(self, event: Event) -> Notice | None:
        data, task = event.data, event.task or ""
        match event.kind:
            case EventKind.QUESTION_ASKED:
                return self._needs_you(f"{task} asks: {data.get('question', '')}")
            case EventKind.TASK_PARKED:
                return self._needs_you(f"{task} is parked: {data.get('why', '')}")
            case EventKind.RUN_PAUSED if data.get("why"):
                return self._needs_you(f"the run is paused: {data['why']}")
            case EventKind.BUDGET_WARNED if data.get("scope") != "task":
                unit = CapUnit.TOKENS if "cap_tokens" in data else CapUnit.USD_MICROS
                spent, cap = (unit.in_words(data[f"{each}_{unit}"]) for each in ("spent", "cap"))
                text = f"{spent} of the {data.get('scope', '')} cap of {cap} is spent."
                return Notice(NoticeKind.BUDGET, f"{self._project}: most of the budget is spent", text)
            case EventKind.BUDGET_REACHED:
                text = f"The {data.get('scope', '')} cap is reached; {task} is parked."
                return Notice(NoticeKind.BUDGET, f"{self._project}: a cap is reached", text, urgent=True)
            case EventKind.TASK_DONE:
                self._failures = 0
                return None
            case EventKind.TASK_FAILED:
                self._failures += 1
                if self._failures % FAILURES_IN_A_ROW:
                    return None
                text = (
                    f"{self._failures} tasks failed one after the other, {task} last: {data.get('why', '')}"
                )
                title = f"{self._project}: tasks keep failing"
                return Notice(NoticeKind.FAILURES, title, text[:_TEXT_CHARS], urgent=True)
            case EventKind.DAEMON_STARTED if self._died:
                self._died = False
                text = "It had ended without a word; its tasks go on from their last complete turn."
                return Notice(NoticeKind.RESTARTED, f"{self._project}: the daemon was restarted", text)
            case _:
                return None

    def _needs_you(self, text: str) -> Notice:
        return Notice(NoticeKind.NEEDS_YOU, f"{self._project} needs you", text[:_TEXT_CHARS], urgent=True)
