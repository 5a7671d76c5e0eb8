"""Locks on files, one holder each, so that two workers don't spend money on the same file.

For efficiency only: nothing at landing relies on them. The holder stands in Redis, under the fencing
token of its claim, and holds only while that claim's lease lasts. Who waits stands here, in memory:
one daemon owns a project, and its restart ends every wait anyway.

Theory of operation. A waiter stands in its path's line (by priority, then arrival) before it first
asks Redis, so that no release falls between asking and waiting; only the first in line may take.
Each release, and each lease that ends, wakes the first in line to ask again. A wait that would
close a cycle of tasks waiting for each other is refused at that moment.
Deliberately absent: shared locks, and who goes on without a lock; the caller decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from redis.asyncio import Redis

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.wait_graph import would_deadlock
from agentcoord.errors import LeaseLostError
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import ScriptName, Scripts, read_hash


class LockOutcome(StrEnum):
    """How an attempt to take a lock ended."""

    TAKEN = "taken"
    ALREADY_HELD = "already_held"
    """This task has it already."""
    TIMED_OUT = "timed_out"
    WOULD_DEADLOCK = "would_deadlock"
    """Its holder waits, directly or through others, for a file of this task."""


@dataclass(frozen=True, slots=True)
class LockAnswer:
    """What came of asking for a lock."""

    outcome: LockOutcome
    holder: TaskId | None
    """Who has it now; None when that is nobody."""
    waited_ms: int


@dataclass(frozen=True, slots=True)
class HeldLock:
    """One lock, for people to see."""

    path: str
    task: TaskId
    token: FencingToken
    since_ms: int
    waiters: tuple[TaskId, ...]
    """First in line first."""


@dataclass(eq=False, slots=True)
class _Waiter:
    claim: Claim
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it may be its turn; it then asks Redis."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What Redis said: `outcome` is None when somebody else has the lock, or is to have it."""

    outcome: LockOutcome | None
    holder: TaskId | None


@dataclass(slots=True)
class FileLocks:
    """The file locks of one project."""

    client: Redis
    keys: Keys
    scripts: Scripts
    clock: Clock
    _lines: dict[str, list[_Waiter]] = field(default_factory=dict)
    _holders: dict[str, TaskId] = field(default_factory=dict)
    """Who was last seen with the lock of a path that somebody waits for."""
    _waits: dict[TaskId, str] = field(default_factory=dict)
    """The path that a task waits for."""

    async def acquire(self, path: str, claim: Claim, *, timeout_s: float) -> LockAnswer:
        """Take the lock of `path`, waiting in line for at most `timeout_s`; reentrant for the task.

        Cancelled, it leaves the line; a lock taken in that same moment goes with `release_all`.
        Raises LeaseLostError when the claim has ended.
        """
        began = self.clock.monotonic()
        waiter = self._stand_in_line(path, claim)
        found = _Found(None, None)
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._wait_for(path, waiter)
        except TimeoutError:
            # The deadline may have struck while Redis was granting it, so ask once more.
            found = await self._ask(path, claim, may_take=False)
            if found.outcome is None:
                found = _Found(LockOutcome.TIMED_OUT, found.holder)
            elif found.outcome is LockOutcome.ALREADY_HELD:
                found = _Found(LockOutcome.TAKEN, found.holder)
        finally:
            self._leave_line(path, waiter, took=found.outcome is LockOutcome.TAKEN)
        assert found.outcome is not None
        waited_ms = round((self.clock.monotonic() - began) * 1000)
        return LockAnswer(found.outcome, found.holder, waited_ms)

    async def release_all(self, task: TaskId) -> tuple[str, ...]:
        """Release every lock of `task`, and return their paths, sorted."""
        paths = await self.scripts.run(ScriptName.UNLOCK_ALL, task)
        for path in paths:
            self._wake_first(path)
        return tuple(sorted(paths))

    async def release_dead(self) -> int:
        """Release the locks of tasks whose lease has ended; return how many."""
        released: int = await self.scripts.run(ScriptName.UNLOCK_DEAD)
        for path in self._lines:
            self._wake_first(path)
        return released

    async def holders(self) -> list[HeldLock]:
        """Return every lock, sorted by path."""
        stored = await read_hash(self.client, self.keys.of("locks"))
        return [self._held_lock(path, stored[path]) for path in sorted(stored)]

    def nudge(self, task: TaskId) -> None:
        """The lease of `task` has ended: whoever waits for its files may take them now."""
        for path, holder in self._holders.items():
            if holder == task:
                self._wake_first(path)

    async def _wait_for(self, path: str, waiter: _Waiter) -> _Found:
        """Ask, and ask again at each turn, until the lock is had or waiting for it would deadlock."""
        task = waiter.claim.task.id
        while True:
            first = self._lines[path][0]
            found = await self._ask(path, waiter.claim, may_take=first is waiter)
            if found.outcome is not None:
                return found
            holder = found.holder or first.claim.task.id
            if would_deadlock(self._waits_for(), task, holder):
                return _Found(LockOutcome.WOULD_DEADLOCK, holder)
            if found.holder is None:
                self._wake_first(path)  # It is free: whoever is first may not have heard of it.
            else:
                self._holders[path] = holder
            self._waits[task] = path
            await waiter.turn.wait()
            waiter.turn.clear()

    async def _ask(self, path: str, claim: Claim, *, may_take: bool) -> _Found:
        args = (path, claim.task.id, claim.token, self.clock.now_ms(), int(may_take))
        code, holder = await self.scripts.run(ScriptName.LOCK, *args)
        match code:
            case 2:
                return _Found(LockOutcome.TAKEN, claim.task.id)
            case 1:
                return _Found(LockOutcome.ALREADY_HELD, claim.task.id)
            case 0:
                return _Found(None, TaskId(holder) if holder else None)
            case _:
                raise LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")

    def _stand_in_line(self, path: str, claim: Claim) -> _Waiter:
        waiter = _Waiter(claim)
        line = self._lines.setdefault(path, [])
        priority = claim.task.spec.priority
        behind = [i for i, other in enumerate(line) if other.claim.task.spec.priority < priority]
        line.insert(behind[0] if behind else len(line), waiter)
        return waiter

    def _leave_line(self, path: str, waiter: _Waiter, *, took: bool) -> None:
        line = self._lines[path]
        was_first = line[0] is waiter
        line.remove(waiter)
        task = waiter.claim.task.id
        if self._waits.get(task) == path:
            del self._waits[task]
        if not line:
            del self._lines[path]
            self._holders.pop(path, None)
        elif took:
            self._holders[path] = task
        elif was_first:
            self._wake_first(path)

    def _wake_first(self, path: str) -> None:
        line = self._lines.get(path)
        if line:
            line[0].turn.set()

    def _waits_for(self) -> Mapping[str, str]:
        """Which task waits for which, as far as somebody was seen holding what is waited for."""
        return {task: self._holders[path] for task, path in self._waits.items() if path in self._holders}

    def _held_lock(self, path: str, stored: str) -> HeldLock:
        token, since_ms, task = stored.split(":", 2)
        waiters = tuple(w.claim.task.id for w in self._lines.get(path, ()) if w.claim.task.id in self._waits)
        return HeldLock(path, TaskId(task), FencingToken(int(token)), int(since_ms), waiters)
