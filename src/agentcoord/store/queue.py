"""The task queue of one project: every move of a task between states, each one atomic.

This is the typed face of the queue's scripts. Python decides which moves are legal (`domain.states`)
and hands the states in; the scripts compare and set. Waiting for a task and finishing one go through
the dispatcher, which settles all of the moment in one call; everything else is a call of its own.
Deliberately absent: what a worker does with a task, when to reap, and what to tell anybody: the
daemon's business. File locks are `file_locks`; a lease that ends here only nudges those who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, cast

from redis.asyncio import Redis

from agentcoord.clock import Clock
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import HELD_STATES, LEGAL_MOVES, ReviewState, TaskState, advance
from agentcoord.domain.task import Claim, Task, TaskSpec
from agentcoord.domain.usage import Usage
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import IllegalMoveError, LeaseLostError, StoreError
from agentcoord.store.dispatcher import Dispatcher
from agentcoord.store.keys import Keys
from agentcoord.store.loading import DEAD_STATES, WORDS_AROUND_A_DEAD_NEED, Loader, LoadOutcome
from agentcoord.store.scripts import BATCH, ScriptName, Scripts, calling, read_hash
from agentcoord.store.task_records import COST_FIELD, TURNS_FIELD, decode_task, usage_args

READ_BATCH = 500
"""Tasks read in one round trip."""
_LEASE_EXPIRED = "lease expired"
_T = TypeVar("_T")


@dataclass(slots=True)
class TaskQueue:
    """Tasks of one project. Every method may raise StoreUnavailableError."""

    client: Redis
    keys: Keys
    scripts: Scripts
    clock: Clock
    dispatcher: Dispatcher
    lease_ms: int
    on_lease_ended: Callable[[TaskId], None]
    """Called, without awaiting, for each task whose lease this queue ended."""

    async def load(self, specs: Sequence[TaskSpec]) -> LoadOutcome:
        """Add tasks, or replace what a person edited in those that nobody works on.

        A known task with an equal spec is `unchanged`. One with another spec is `changed` when it is
        blocked, queued or parked: everything but its `needs` is replaced; else it stays as it is.
        Needs that are done count as met; a task whose need has failed fails with that cause. Up to
        1,000 tasks are loaded all or none; more in such pieces, needs first.
        Raises PlanError for an unknown need, a cycle or a duplicate id, and loads nothing.
        """
        return await Loader(self.dispatcher, self.clock).load(specs)

    async def claim(self, worker: WorkerSpec) -> Claim:
        """Wait, without polling, for the first task in line that `worker` covers.

        Cancelled at any point, it gives back what it was just handed.
        """
        return await self.dispatcher.claim(worker)

    async def heartbeat(self, claims: Collection[Claim]) -> frozenset[TaskId]:
        """Renew leases, and return the tasks whose lease is lost."""
        deadline_ms = self.clock.now_ms() + self.lease_ms
        lost: set[TaskId] = set()
        for piece in _pieces(list(claims), BATCH):
            members = [f"{claim.token}:{claim.task.id}" for claim in piece]
            renewed = await self.scripts.run(ScriptName.HEARTBEAT, deadline_ms, *members)
            lost.update(claim.task.id for claim, ok in zip(piece, renewed, strict=True) if not ok)
        return frozenset(lost)

    async def move(self, claim: Claim, current: TaskState, to: TaskState, *, why: str = "") -> None:
        """Move a held task between running, checking and landing, if it is in `current`.

        Raises LeaseLostError when the token is stale, IllegalMoveError when it is in another state, or
        when `to` is no held state (leaving those is `complete`, `requeue`, `park`, `fail`).
        """
        if advance(current, to) not in HELD_STATES:
            raise IllegalMoveError(f"a move to {to} ends the claim: it has a method of its own")
        found = await self.dispatcher.move(claim, current, to, why=why)
        if found == "":
            raise _lease_lost(claim)
        if found != current:
            raise IllegalMoveError(f"{claim.task.id} is {found}, not {current}")

    async def book(self, claim: Claim, *, usage: Usage, cost_usd_micros: int, turns: int) -> None:
        """Add to the task's totals, whether or not the claim still holds: the money is spent."""
        amounts = [COST_FIELD, cost_usd_micros, TURNS_FIELD, turns, *usage_args(usage)]
        await self.scripts.run(ScriptName.BOOK, claim.task.id, *amounts)

    async def verify(self, claim: Claim) -> None:
        """Raise LeaseLostError unless the claim holds and its lease lasts at this moment."""
        async with calling("verify a claim"):
            deadline = await self.client.zscore(self.keys.of("lease"), f"{claim.token}:{claim.task.id}")
        if deadline is None or float(deadline) <= self.clock.now_ms():
            raise _lease_lost(claim)

    async def complete(
        self, claim: Claim, landed: Sequence[LandedFile], *, current: TaskState = TaskState.LANDING
    ) -> None:
        """Move a landing task to done and release what needs it. Repeating it changes nothing.

        With `current` running or checking, the task passes through the states between in the same step:
        for work that has nothing to check or land. A lease past its deadline that nobody took is still
        good here: the files are already landed.
        Raises LeaseLostError when the token is stale or the task is not in `current`.
        """
        _pass_through(current)
        await self.dispatcher.finish(claim, landed, current=current)
        self.on_lease_ended(claim.task.id)

    async def complete_and_claim(
        self,
        claim: Claim,
        landed: Sequence[LandedFile],
        worker: WorkerSpec,
        *,
        current: TaskState = TaskState.LANDING,
        on_completed: Callable[[], None] = lambda: None,
    ) -> Claim:
        """Do what `complete` does and then `claim`, in one call to the server when there is work.

        `on_completed` is called in between, without awaiting. When completing is refused, or the caller
        is cancelled, what was claimed is given back. Raises what both raise.
        """
        _pass_through(current)

        def completed() -> None:
            self.on_lease_ended(claim.task.id)
            on_completed()

        return await self.dispatcher.finish_and_claim(
            claim, landed, worker, current=current, on_finished=completed
        )

    async def requeue(self, claim: Claim, *, why: str, counts_attempt: bool, delay_ms: int = 0) -> None:
        """Put a held task back at its old place in line, now or after `delay_ms`."""
        due_ms = self.clock.now_ms() + delay_ms if delay_ms > 0 else 0
        ok = await self.scripts.run(
            ScriptName.REQUEUE,
            claim.task.id,
            claim.token,
            _held_states_that_may_become(TaskState.QUEUED),
            TaskState.QUEUED,
            why,
            int(counts_attempt),
            due_ms,
        )
        self._after_release(claim, ok=bool(ok))
        self.dispatcher.wake()

    async def park(self, claim: Claim, *, why: str) -> None:
        """Take a held task out of the line until a person decides."""
        ok = await self.scripts.run(
            ScriptName.PARK,
            claim.task.id,
            claim.token,
            _held_states_that_may_become(TaskState.PARKED),
            TaskState.PARKED,
            why,
        )
        self._after_release(claim, ok=bool(ok))

    async def fail(self, claim: Claim, *, why: str) -> tuple[TaskId, ...]:
        """End a held task without a result; fail what needs it, and return those."""
        allowed = _held_states_that_may_become(TaskState.FAILED)
        ok, fallen = await self._end(claim.task.id, str(claim.token), allowed, TaskState.FAILED, why)
        self._after_release(claim, ok=ok)
        return fallen

    async def cancel(self, task: TaskId, *, why: str) -> bool:
        """End a task at a person's word, held or not. False when it has ended already, or is unknown.

        Its holder's token becomes stale, and what needs it fails.
        """
        allowed = ",".join(sorted(s for s in TaskState if TaskState.CANCELLED in LEGAL_MOVES[s]))
        ok, _ = await self._end(task, "", allowed, TaskState.CANCELLED, why)
        if ok:
            self.on_lease_ended(task)
        return ok

    async def retry(self, task: TaskId) -> bool:
        """Bring a failed, cancelled or parked task back, as if never attempted, and what fell with it.

        False when it is in another state, or when a need of its own has ended without a result: that
        one must be retried first.
        """
        ok, _ = await self.scripts.run(
            ScriptName.RETRY,
            task,
            ",".join(sorted(DEAD_STATES | {TaskState.PARKED})),
            TaskState.QUEUED,
            TaskState.BLOCKED,
            TaskState.FAILED,
            ",".join(sorted(DEAD_STATES)),
            *WORDS_AROUND_A_DEAD_NEED,
            10 * BATCH,
        )
        self.dispatcher.wake()
        return bool(ok)

    async def set_review(self, task: TaskId, review: ReviewState) -> None:
        """Store what a person said about a done task. Raises StoreError when it is not done."""
        found = await self.scripts.run(ScriptName.SET_REVIEW, task, TaskState.DONE, review)
        if found != TaskState.DONE:
            raise StoreError(f"{task} is {found or 'unknown'}: only a done task is reviewed")

    async def reap(self) -> tuple[TaskId, ...]:
        """Requeue tasks whose lease has run out (the attempt counts), and ready delayed ones now due.

        Also finishes a fall of dependents that a crash cut short. Returns the requeued tasks.
        """
        await self._finish_falling()
        return await self._reap(why=_LEASE_EXPIRED, every_lease=False)

    async def release_all_leases(self, *, why: str) -> tuple[TaskId, ...]:
        """Put every held task back at its old place in line, costing it no attempt.

        For the start of a daemon, whose lock says that no other is alive.
        """
        await self._finish_falling()
        return await self._reap(why=why, every_lease=True)

    async def next_due_ms(self) -> int | None:
        """When `reap()` next has something to do; None: never, as things are."""
        async with calling("read the next deadline"), self.client.pipeline(transaction=False) as pipe:
            for suffix in ("lease", "delay"):
                pipe.zrange(self.keys.of(suffix), 0, 0, withscores=True)
            soonest = await pipe.execute()
        return min((int(score) for row in soonest for _, score in row), default=None)

    async def get(self, task: TaskId) -> Task | None:
        """Return a task as it is now; None when there is none of this id."""
        found = await self._read([task])
        return found[0] if found else None

    async def all(self) -> list[Task]:
        """Return every task in plan order."""
        async with calling("list the tasks"):
            ids = cast("list[str]", await self.client.zrange(self.keys.of("order"), 0, -1))
        return [task for piece in _pieces(ids, READ_BATCH) for task in await self._read(piece)]

    async def counts(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state; every state is there."""
        stored = await read_hash(self.client, self.keys.of("count"))
        return {state: int(stored.get(str(state), 0)) for state in TaskState}

    @property
    def paused(self) -> bool:
        """Whether claims wait although there is work."""
        return self.dispatcher.paused

    async def set_paused(self, paused: bool) -> None:
        """Stop or resume handing out tasks; it is remembered across restarts."""
        async with calling("store a setting"):
            await self.client.hset(self.keys.of("settings"), "paused", str(int(paused)))
        self.dispatcher.paused = paused
        self.dispatcher.wake()

    async def _end(
        self, task: TaskId, token: str, allowed: str, to: TaskState, why: str
    ) -> tuple[bool, tuple[TaskId, ...]]:
        """Run `end_task` until nothing is left to fall. Returns whether `task` ended, and what fell."""
        ended, fallen, left = await self._end_once(task, token, allowed, to, why)
        return bool(ended), (*fallen, *(await self._finish_falling() if left else ()))

    async def _finish_falling(self) -> tuple[TaskId, ...]:
        fallen: list[TaskId] = []
        left = 1
        while left:
            _, more, left = await self._end_once(TaskId(""), "", "", TaskState.FAILED, "")
            fallen += more
        return tuple(fallen)

    async def _end_once(
        self, task: TaskId, token: str, allowed: str, to: TaskState, why: str
    ) -> tuple[int, list[TaskId], int]:
        before, _ = WORDS_AROUND_A_DEAD_NEED
        after = ", which was cancelled" if to is TaskState.CANCELLED else ", which failed"
        args = (task, token, allowed, to, why, self.clock.now_ms())
        states = (TaskState.BLOCKED, advance(TaskState.BLOCKED, TaskState.FAILED))
        words = (before, after, ", which failed")
        ended, fallen, left = await self.scripts.run(ScriptName.END_TASK, *args, *states, *words, BATCH)
        return ended, fallen, left

    async def _reap(self, *, why: str, every_lease: bool) -> tuple[TaskId, ...]:
        requeued: list[TaskId] = []
        more = 1
        while more:
            args = (self.clock.now_ms(), TaskState.QUEUED, why, BATCH, int(every_lease))
            ids, readied, more = await self.scripts.run(ScriptName.REAP, *args)
            requeued += ids
            for task in ids:
                self.on_lease_ended(task)
            if ids or readied:
                self.dispatcher.wake()
        return tuple(requeued)

    def _after_release(self, claim: Claim, *, ok: bool) -> None:
        if not ok:
            raise _lease_lost(claim)
        self.on_lease_ended(claim.task.id)

    async def _read(self, ids: Sequence[str]) -> list[Task]:
        async with calling("read tasks"), self.client.pipeline(transaction=False) as pipe:
            for task in ids:
                pipe.get(self.keys.body(task))
                pipe.hgetall(self.keys.task(task))
            rows = await pipe.execute()
        bodies, hashes = rows[::2], rows[1::2]
        return [
            decode_task(body.encode(errors="surrogateescape"), fields)
            for body, fields in zip(bodies, hashes, strict=True)
            if fields
        ]


def _held_states_that_may_become(to: TaskState) -> str:
    """The held states from which the table allows `to`, as scripts take a set."""
    return ",".join(sorted(state for state in HELD_STATES if to in LEGAL_MOVES[state]))


def _states_that_pass_through_to_done() -> frozenset[TaskState]:
    """The held states from which the table of moves leads to done, one step after the other."""
    path = (TaskState.RUNNING, TaskState.CHECKING, TaskState.LANDING, TaskState.DONE)
    for one, following in pairwise(path):
        advance(one, following)
    return frozenset(path[:-1])


_PASS_THROUGH = _states_that_pass_through_to_done()


def _pass_through(current: TaskState) -> None:
    if current not in _PASS_THROUGH:
        raise IllegalMoveError(f"a {current} task cannot become {TaskState.DONE}")


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")


def _pieces(items: Sequence[_T], size: int) -> list[Sequence[_T]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
