"""Reading what `dispatch.lua` hands out: the words of one grant, as bytes, to a claim.

Separate from the dispatcher because this is where most of a claim's time is spent; a task that was never
claimed before, which is nearly every one, takes the short way.
Deliberately absent: who gets the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentcoord.domain.ids import FencingToken, WorkerName
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task
from agentcoord.store.task_bodies import decode_body
from agentcoord.store.task_records import decode_needs, decode_pairs, decode_task

GRANT_WORDS = 8
"""Index of the waiter, id, token, attempt, queued_at, needs, body, and every field or nothing."""


def claim_of(words: Sequence[Any], worker: WorkerName, deadline_ms: int, lease_ms: int) -> Claim:
    """Build the claim that a grant gives to `worker`."""
    _, _, token, attempt, queued_at, needs, body, flat = words
    number = FencingToken(int(token))
    if flat:
        fields = {"started_at": str(deadline_ms - lease_ms), **decode_pairs(flat)}
        fields |= {"state": TaskState.RUNNING, "token": token.decode(), "worker": worker}
        fields |= {"attempt": str(attempt), "why": ""}
        return Claim(decode_task(body, fields), number, deadline_ms)
    task = Task(
        decode_body(body, decode_needs(needs.decode()) if needs else ()),
        TaskState.RUNNING,
        attempt,
        worker,
        number,
        queued_at_ms=int(queued_at),
        started_at_ms=deadline_ms - lease_ms,
    )
    return Claim(task, number, deadline_ms)
