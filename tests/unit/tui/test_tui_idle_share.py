"""The share of the workers' time that passed without a task."""

from __future__ import annotations

from typing import Any

import pytest

from agentcoord.domain.events import EventKind
from agentcoord.tui.idle_share import idle_parts

_K = EventKind


def event(at_ms: int, kind: EventKind, worker: str = "w", task: str = "t") -> dict[str, Any]:
    return {"at_ms": at_ms, "kind": kind, "worker": worker, "task": task}


def parts(*events: dict[str, Any], workers: int = 1, now_ms: int = 1000) -> list[float | None]:
    shares = idle_parts(list(events), begin_ms=0, now_ms=now_ms, parts=4, workers=workers)
    return [None if share is None else round(share, 2) for share in shares]


def test_a_worker_is_busy_from_its_claim_to_the_end_of_its_task() -> None:
    begun = event(0, _K.DAEMON_STARTED, "", "")
    for end in (_K.TASK_DONE, _K.TASK_FAILED, _K.TASK_PARKED, _K.TASK_REQUEUED, _K.TASK_CANCELLED):
        assert parts(begun, event(300, _K.TASK_CLAIMED), event(625, end)) == [1.0, 0.2, 0.5, 1.0]
    assert parts(begun, event(750, _K.TASK_CLAIMED)) == [1.0, 1.0, 1.0, 0.0], "and it still is"


def test_two_tasks_at_once_are_no_more_than_all_of_its_time() -> None:
    assert parts(
        event(0, _K.TASK_CLAIMED, task="a"),
        event(500, _K.TASK_CLAIMED, task="b"),
        event(600, _K.TASK_DONE, task="a"),
        event(750, _K.TASK_DONE, task="b"),
    ) == [0.0, 0.0, 0.0, 1.0]


def test_the_share_is_of_all_workers() -> None:
    claimed = [event(0, _K.TASK_CLAIMED, worker, worker) for worker in ("a", "b", "c")]
    assert parts(*claimed, workers=6) == [0.5, 0.5, 0.5, 0.5]
    assert parts(*claimed, workers=2) == [0.0, 0.0, 0.0, 0.0], "one has gone since"


def test_what_was_before_we_looked_is_not_guessed() -> None:
    assert parts() == [None] * 4
    assert parts(event(500, _K.TASK_CLAIMED), workers=0) == [None] * 4
    assert parts(event(600, _K.TASK_TURN)) == [None, None, 0.4, 0.0]
    assert parts(event(500, _K.DAEMON_STARTED, "", ""), event(600, _K.TASK_TURN)) == [None, None, 0.0, 0.0]
    assert parts(event(500, _K.DAEMON_STARTED, "", ""), event(750, _K.TASK_DONE)) == [None, None, 0.0, 1.0]


@pytest.mark.parametrize("at_ms", [-500, 0, 999, 1000])
def test_what_ends_at_an_edge_is_counted_once(at_ms: int) -> None:
    shares = parts(event(-1000, _K.TASK_CLAIMED), event(at_ms, _K.TASK_DONE))
    busy = sum(1 - share for share in shares if share is not None) * 250
    assert busy == pytest.approx(max(0, at_ms), abs=2)
