"""Who shows no sign of life for too long is given up; who waits, moves or has nothing to do is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from daemon_fakes import HandClock, MemoryLog

from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.health_watch import HealthWatch, silence_allowed_s
from agentcoord.daemon.worker_row import FleetBoard, WorkerRow
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task, TaskSpec
from agentcoord.domain.worker import MISSION_WORKERS, WorkerState
from agentcoord.store.event_log import EventLog

SILENCE_S = 3_600.0


class Watched:
    """One worker at work, and those that were replaced."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.board = FleetBoard(self.clock)
        self.row = WorkerRow(MISSION_WORKERS[0])
        self.at = self.board.began(self.row, a_claim(), "m")
        self.at.doing = "thinks"
        self.board.rows[self.row.spec.name] = self.row
        self.replaced: list[tuple[int, str]] = []
        self.watch = HealthWatch(
            self.board,
            EventHub(cast("EventLog", MemoryLog()), self.clock),
            self.clock,
            silence_s=SILENCE_S,
            give_up=lambda _, claim, why: self.replaced.append((claim.token, why)),
        )
        self.watch.look()

    def after_silence(self) -> list[tuple[int, str]]:
        self.clock.now_s += SILENCE_S
        self.watch.look()
        return self.replaced


def a_claim() -> Claim:
    return Claim(Task(TaskSpec(TaskId("t"), "T"), TaskState.RUNNING), FencingToken(7), 0)


def test_silence_is_noticed_once_in_its_time_and_told_with_what_was_done() -> None:
    watched = Watched()
    assert watched.after_silence() == [(7, "no sign of life for 3600 s (thinks)")]
    watched.watch.look()
    assert len(watched.replaced) == 1
    assert len(watched.after_silence()) == 2


def an_event(watched: Watched) -> None:
    watched.watch._hear(Event(EventKind.TASK_TOOL, 1, "t", "w", {}, 9))


def other_words(watched: Watched) -> None:
    watched.at.says = "still at it"


def waits(watched: Watched) -> None:
    watched.at.state = WorkerState.WAITING


def let_go(watched: Watched) -> None:
    watched.board.ended(watched.row, watched.at)


def limited(watched: Watched) -> None:
    watched.watch._hear(Event(EventKind.RATE_LIMITED, 1, None, None, {"model": "m", "wait_s": 9 * SILENCE_S}))


@pytest.mark.parametrize("sign", [an_event, other_words, waits, let_go, limited])
def test_a_sign_of_life_and_a_wait_are_no_silence(sign: Callable[[Watched], None]) -> None:
    watched = Watched()
    sign(watched)
    assert watched.after_silence() == []


def test_long_checks_may_be_waited_for() -> None:
    assert silence_allowed_s(900, 1) == SILENCE_S
    assert silence_allowed_s(3_000, 2) == 12_000
