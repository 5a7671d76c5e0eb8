"""When the models may be called again, told to the governor of a daemon that has just started.

The log of events is what survives: each time that a worker was held up, it says for how long. A
provider that asked for an hour is not asked again after ten minutes only because we restarted.
Deliberately absent: a store of its own, which could disagree with the log.
"""

from __future__ import annotations

from collections.abc import Iterable

from agentcoord.domain.events import Event, EventKind
from agentcoord.llm.pacing import Governor


def keep_waiting(governor: Governor, events: Iterable[Event], now_ms: int) -> None:
    """Close each model's gate until the moment that `events` told last, where that is still to come."""
    for event in events:
        if event.kind is not EventKind.RATE_LIMITED:
            continue
        resume_at_ms = event.at_ms + round(float(event.data["wait_s"]) * 1_000)
        if resume_at_ms > now_ms:
            governor.close_until(str(event.data["model"]), resume_at_ms, str(event.data["why"]))
