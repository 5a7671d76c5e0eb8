"""Reading what `dispatch.lua` hands out: one grant after the other, as bytes, to claims.

Separate from the dispatcher because this is where most of a claim's time is spent; a task that was never
claimed before, which is nearly every one, takes the short way: its body says all.
Deliberately absent: who gets the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct

from agentcoord.domain.ids import FencingToken, WorkerName
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task
from agentcoord.store.task_bodies import decode_body, split_body
from agentcoord.store.task_records import decode_needs, decode_pairs, decode_task

_RUNNING = TaskState.RUNNING
"""Looked up once: asking an enumeration for a member costs as much as making the claim."""


class Grant(Struct, frozen=True):
    """One task for one waiter."""

    waiter: int
    """Which of the call's."""
    token: FencingToken
    body: bytes
    looked_up: tuple[int, Sequence[bytes]] | None
    """Attempt, and the task's hash, of one whose body does not say all."""


def grants_of(
    first_token: bytes, waiters: bytes, bodies: Sequence[Any], looked_up: Sequence[Any]
) -> list[Grant]:
    """Read these four words of an answer; what a repeated call does not hand out after all is left out."""
    if not bodies:
        return []
    first = int(first_token)
    tokens = cast("Sequence[FencingToken]", range(first, first + len(bodies)))
    looked_up_at = {
        at - 1: (attempt, flat)
        for at, attempt, flat in zip(looked_up[::3], looked_up[1::3], looked_up[2::3], strict=True)
    }
    return [
        Grant(int(waiter), token, body, looked_up_at.get(i))
        for i, (waiter, token, body) in enumerate(zip(waiters.split(b","), tokens, bodies, strict=True))
        if body is not None or i in looked_up_at
    ]


def claim_of(grant: Grant, worker: WorkerName, deadline_ms: int, lease_ms: int) -> Claim:
    """Build the claim that a grant gives to `worker`."""
    token = grant.token
    if grant.looked_up is not None:
        attempt, flat = grant.looked_up
        fields = {"started_at": str(deadline_ms - lease_ms), **decode_pairs(flat)}
        fields |= {"state": _RUNNING, "token": str(token), "worker": worker}
        fields |= {"attempt": str(attempt), "why": ""}
        return Claim(decode_task(grant.body, fields), token, deadline_ms)
    queued_at, needs, body = split_body(grant.body)
    task = Task(
        decode_body(body, decode_needs(needs.decode()) if needs else ()),
        _RUNNING,
        1,
        worker,
        token,
        queued_at_ms=int(queued_at),
        started_at_ms=deadline_ms - lease_ms,
    )
    return Claim(task, token, deadline_ms)
