"""Which events are worth a person's attention in the night, and in what words. Pure.

Separate from sending them (`notifications`), so that what is told can be read and tested without a
phone. Each kind of notice comes at most once a minute, and what came up meanwhile as one after it; an
urgent one waits for no other. The run's end comes once a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.usage import CapUnit
from agentcoord.values import dataclass

if TYPE_CHECKING:
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


_Voice = tuple[NoticeKind, bool]
"""A kind and whether it is urgent: each is heard once in `QUIET_MS`."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What came up while it was to be quiet."""

    newest: Notice
    count: int


def died_before(recent: Iterable[Event]) -> bool:
    """Whether the daemon before this one ended without saying so.

    Its goodbye would stand among its newest events; its start need not, after a long life.
    """
    known, last = False, None
    for event in recent:
        known = True
        if event.kind in (EventKind.DAEMON_STARTED, EventKind.DAEMON_STOPPING):
            last = event.kind
    return known and last is not EventKind.DAEMON_STOPPING


def _counted(status: StatusView) -> str:
    """How a run stands, in a sentence."""
    counts = dict(status["counts"])
    done, total = counts.pop("done"), sum(status["counts"].values())
    others = [f"{counts.pop(state)} {state}" for state in ("parked", "failed", "cancelled") if counts[state]]
    rest = [f"{sum(counts.values())} not ended"] if sum(counts.values()) else []
    words = ", ".join([f"{done} of {total} tasks done", *others, *rest])
    return f"{words}, ${status['spend']['spent_usd']:.2f} spent."


class NoticeDesk:
    """Turns events into notices."""

    def __init__(self, project: str, wanted: Collection[str], *, died: bool) -> None:
        """`died`: whether the daemon before this one did (`died_before`)."""
        self._project = project
        self._wanted = frozenset(wanted)
        self._died = died
        self._told_at_ms: dict[_Voice, int] = {}
        self._held: dict[_Voice, _Held] = {}
        self._failures = 0
        self._open = died  # What it had begun and not ended, nobody tells of again.
        self._stopping_why = ""

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
        text = f"{_counted(status)} agentcoord status shows what waits for you."
        return self._kept(Notice(NoticeKind.FINISHED, f"{self._project}: the run has ended", text))

    @property
    def is_cut_short(self) -> bool:
        """Whether the daemon ends a run by itself that is not over, so that `cut_short` should be asked."""
        return self._open and self._stopping_why != ""

    def cut_short(self, status: StatusView) -> Notice | None:
        """The notice of a run that goes on only when the daemon is started again; None when it is over."""
        if status["ended"] or not any(status["counts"].values()):
            return None
        text = f"{self._stopping_why[:1].upper()}{self._stopping_why[1:]}. {_counted(status)}"
        text = f"{text} agentcoordd start goes on."
        return self._kept(Notice(NoticeKind.FINISHED, f"{self._project}: the daemon has stopped", text))

    def notice_of(self, event: Event) -> Notice | None:
        """The notice that this event is worth; None for most, and for what is to wait (`due`)."""
        made = self._made_of(event)
        if made is None or self._kept(made) is None:
            return None
        voice = made.kind, made.urgent
        held = self._held.get(voice)
        held = _Held(made, 1 if held is None else held.count + 1)
        if self._quiet_ms(voice, event.at_ms) > 0:
            self._held[voice] = held
            return None
        return self._told(held, event.at_ms)

    def due(self, now_ms: int) -> list[Notice]:
        """What was held back and may be told now."""
        over = [voice for voice in self._held if self._quiet_ms(voice, now_ms) <= 0]
        return [self._told(self._held[voice], now_ms) for voice in over]

    def due_in_ms(self, now_ms: int) -> int | None:
        """How long until something that is held back may be told; None when nothing is."""
        return min((self._quiet_ms(voice, now_ms) for voice in self._held), default=None)

    def _quiet_ms(self, voice: _Voice, now_ms: int) -> int:
        """How long it is still to be quiet; a clock that jumped back silences nobody."""
        told = self._told_at_ms.get(voice)
        return QUIET_MS - (now_ms - told) if told is not None and now_ms >= told else 0

    def _told(self, held: _Held, now_ms: int) -> Notice:
        notice = held.newest
        voice = notice.kind, notice.urgent
        self._told_at_ms[voice] = now_ms
        self._held.pop(voice, None)
        if held.count == 1:
            return notice
        text = f"{notice.text} (and {held.count - 1} more: agentcoord status)"
        return Notice(notice.kind, notice.title, text, urgent=notice.urgent)

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
            case EventKind.DAEMON_STOPPING:
                self._stopping_why = str(data.get("why", ""))
                return None
            case EventKind.DAEMON_STARTED if self._died:
                self._died = False
                text = "It had ended without a word; its tasks go on from their last complete turn."
                return Notice(NoticeKind.RESTARTED, f"{self._project}: the daemon was restarted", text)
            case _:
                return None

    def _needs_you(self, text: str) -> Notice:
        return Notice(NoticeKind.NEEDS_YOU, f"{self._project} needs you", text[:_TEXT_CHARS], urgent=True)
