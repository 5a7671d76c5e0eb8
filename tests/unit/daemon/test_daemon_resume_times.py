"""A provider that asked for patience gets it from the next process too."""

from __future__ import annotations

from agentcoord.daemon.resume_times import keep_waiting
from agentcoord.domain.events import Event, EventKind
from agentcoord.llm.pacing import Governor

NOW_MS = 1_000_000


class StoppedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 5.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


def limited(model: str, at_ms: int, wait_s: float) -> Event:
    return Event(EventKind.RATE_LIMITED, at_ms, data={"model": model, "wait_s": wait_s, "why": "429"})


def test_a_wait_that_is_not_over_goes_on_after_a_restart() -> None:
    governor = Governor(clock=StoppedClock())
    events = [
        limited("haiku", NOW_MS - 60_000, 3_600.0),
        limited("haiku", NOW_MS - 30_000, 10.0),
        Event(EventKind.WORKER_STOPPED, NOW_MS),
        limited("sonnet", NOW_MS - 30_000, 10.0),
    ]
    keep_waiting(governor, events, NOW_MS)
    assert governor.resume_at_ms("haiku") == NOW_MS - 60_000 + 3_600_000
    assert governor.resume_at_ms("sonnet") is None
    assert governor.resume_at_ms("opus") is None
