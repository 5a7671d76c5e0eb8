"""Locks on files, one holder each, so that two workers don't spend money on the same file.

For efficiency only: nothing at landing relies on them. The holder stands in Redis, under the fencing
token of its claim, and holds only while that claim's lease lasts. Who waits stands in memory
(`lock_lines`): one daemon owns a project, and its restart ends every wait anyway.

Theory of operation. Whoever wants one file, or a set of them all or none, stands in line before it
first asks Redis, so that no release falls between asking and waiting; only who is not barred by
others in line may take. Each release, and each lease that ends, wakes those who could go to ask again.
A wait that would close a cycle of tasks waiting for each other is refused at that moment, and nobody
else's. Deliberately absent: shared locks, and who goes on without a lock; the caller decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum

from redis.asyncio import Redis

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.wait_graph import who_would_deadlock
from agentcoord.errors import LeaseLostError, StoreError
from agentcoord.store.keys import Keys
from agentcoord.store.lock_lines import LockLines, Waiting
from agentcoord.store.scripts import BATCH, ScriptName, Scripts, read_hash
from agentcoord.values import dataclass


class LockOutcome(StrEnum):
    """How an attempt to take a lock, or a set of them, ended."""

    TAKEN = "taken"
    """All of them are this task's now; some may have been before."""
    ALREADY_HELD = "already_held"
    """This task has all of them already."""
    TIMED_OUT = "timed_out"
    WOULD_DEADLOCK = "would_deadlock"
    """A holder waits, directly or through others, for a file of this task."""


@dataclass(frozen=True, slots=True)
class LockAnswer:
    """What came of asking for a lock, or a set of them."""

    outcome: LockOutcome
    holder: TaskId | None
    """Who has it now, or was in the way; None when that is nobody."""
    waited_ms: int
    path: str = ""
    """Of a set that was not had: the file that the holder has."""


@dataclass(frozen=True, slots=True)
class LockWait:
    """One who waits for a lock, for people to see."""

    task: TaskId
    since_ms: int


@dataclass(frozen=True, slots=True)
class HeldLock:
    """One lock, for people to see."""

    path: str
    task: TaskId
    token: FencingToken
    since_ms: int
    waits: tuple[LockWait, ...]
    """First in line first."""

    @property
    def waiters(self) -> tuple[TaskId, ...]:
        return tuple(each.task for each in self.waits)


@dataclass(frozen=True, slots=True)
class _Found:
    """What Redis said: `outcome` is None when others have some of it, or are to have it first."""

    outcome: LockOutcome | None
    held: dict[str, TaskId] = field(default_factory=dict)
    """What others hold of it."""
    in_the_way: TaskId | None = None

    @property
    def path(self) -> str:
        """The file that keeps it from all."""
        return next((path for path, holder in self.held.items() if holder == self.in_the_way), "")


@dataclass(slots=True)
class FileLocks:
    """The file locks of one project."""

    client: Redis
    keys: Keys
    scripts: Scripts
    clock: Clock
    lines: LockLines = field(default_factory=LockLines)

    async def acquire(self, path: str, claim: Claim, *, timeout_s: float) -> LockAnswer:
        """Take the lock of `path`, waiting in line for at most `timeout_s`; reentrant for the task.

        Cancelled, it leaves the line; a lock taken in that same moment goes with `release_all`.
        Raises LeaseLostError when the claim has ended.
        """
        return await self.acquire_all((path,), claim, timeout_s=timeout_s)

    async def acquire_all(self, paths: Iterable[str], claim: Claim, *, timeout_s: float) -> LockAnswer:
        """Do what `acquire` does for a set of at most 1,000 files, in one step: all of their locks, or none.

        While it waits it takes none of those that it lacks, and has its place in each line.
        """
        wanted = tuple(sorted(set(paths)))
        if len(wanted) > BATCH:
            raise StoreError(f"{len(wanted)} files cannot be locked together; {BATCH} can")
        if not wanted:
            return LockAnswer(LockOutcome.ALREADY_HELD, claim.task.id, 0)
        began = self.clock.monotonic()
        waiting = self.lines.join(claim, wanted, self.clock.now_ms())
        found = _Found(None)
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._wait_for(waiting)
        except TimeoutError:
            # The deadline may have struck while Redis was granting it, so ask once more.
            found = await self._ask(waiting, may_take=False)
            if found.outcome is None:
                in_the_way = next(iter(found.held.values()), None) or _first(self.lines.waits_for(waiting))
                found = _Found(LockOutcome.TIMED_OUT, found.held, in_the_way)
            elif found.outcome is LockOutcome.ALREADY_HELD:
                found = _Found(LockOutcome.TAKEN)
        finally:
            self.lines.leave(waiting, took=found.outcome is LockOutcome.TAKEN)
        assert found.outcome is not None
        waited_ms = round((self.clock.monotonic() - began) * 1000)
        has_it = found.outcome in {LockOutcome.TAKEN, LockOutcome.ALREADY_HELD}
        if has_it:
            return LockAnswer(found.outcome, claim.task.id, waited_ms)
        return LockAnswer(found.outcome, found.in_the_way, waited_ms, found.path)

    async def release_all(self, task: TaskId) -> tuple[str, ...]:
        """Release every lock of `task`, and return their paths, sorted."""
        paths = await self.scripts.run(ScriptName.UNLOCK_ALL, task)
        self.lines.freed(paths, task)
        return tuple(sorted(paths))

    async def release_dead(self) -> int:
        """Release the locks of tasks whose lease has ended; return how many."""
        released: int = await self.scripts.run(ScriptName.UNLOCK_DEAD)
        # Also when there were none: a release whose answer was lost freed some that nobody was told of.
        self.lines.unknown()
        return released

    async def holders(self) -> list[HeldLock]:
        """Return every lock, sorted by path."""
        stored = await read_hash(self.client, self.keys.of("locks"))
        return [self._held_lock(path, stored[path]) for path in sorted(stored)]

    def nudge(self, task: TaskId) -> None:
        """The lease of `task` has ended: whoever waits for its files may take them now."""
        if not self.lines.is_empty:
            self.lines.freed_of(task)

    async def _wait_for(self, waiting: Waiting) -> _Found:
        """Ask, and ask again at each turn, until all is had or waiting for it would deadlock."""
        lines = self.lines
        while True:
            waiting.is_outdated = False
            found = await self._ask(waiting, may_take=lines.may_go(waiting))
            if found.outcome is not None:
                return found
            if waiting.is_outdated:
                continue
            lines.hear(waiting, found.held)
            circle = who_would_deadlock(lines.held_up(), waiting.task, sorted(set(found.held.values())))
            if circle is not None:
                return _Found(LockOutcome.WOULD_DEADLOCK, found.held, circle)
            if lines.waits_for(waiting):
                await waiting.turn.wait()
            waiting.turn.clear()

    async def _ask(self, waiting: Waiting, *, may_take: bool) -> _Found:
        claim = waiting.claim
        args: list[str | int] = [claim.task.id, claim.token, self.clock.now_ms(), int(may_take)]
        code, held = await self.scripts.run(ScriptName.LOCK, *args, *waiting.paths)
        match code:
            case 2:
                return _Found(LockOutcome.TAKEN)
            case 1:
                return _Found(LockOutcome.ALREADY_HELD)
            case 0:
                pairs = zip(held[::2], held[1::2], strict=True)
                return _Found(None, {path: TaskId(holder) for path, holder in pairs})
            case _:
                raise LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")

    def _held_lock(self, path: str, stored: str) -> HeldLock:
        token, since_ms, task = stored.split(":", 2)
        waits = tuple(LockWait(each.task, each.since_ms) for each in self.lines.line_of(path))
        return HeldLock(path, TaskId(task), FencingToken(int(token)), int(since_ms), waits)


def _first(tasks: list[TaskId]) -> TaskId | None:
    return tasks[0] if tasks else None
