"""The task queue of one project: every move of a task between states, each one atomic.

This is the typed face of the queue's scripts. Python decides which moves are legal (`domain.states`)
and hands the states in; the scripts compare and set. Waiting for a task and finishing one go through
the dispatcher, which settles all of the moment in one call; everything else is a call of its own.
Deliberately absent: what a worker does with a task, when to reap, and what to tell anybody: the
daemon's business. File locks are `file_locks`; a lease that ends here only nudges those who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import field
from itertools import pairwise

from redis.asyncio import Redis

from agentcoord.clock import Clock
from agentcoord.domain.files import FileLines, LandedFile
from agentcoord.domain.ids import TaskId
from agentcoord.domain.lost_claims import ClaimEnd
from agentcoord.domain.retries import always_again
from agentcoord.domain.setbacks import AttemptEnd, Setback
from agentcoord.domain.states import HELD_STATES, ReviewState, TaskState, advance
from agentcoord.domain.task import Claim, Task, TaskSpec
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import IllegalMoveError, LeaseLostError, StoreError
from agentcoord.store.dispatcher import Dispatcher
from agentcoord.store.keys import Keys
from agentcoord.store.loading import Loader, LoadOutcome
from agentcoord.store.lost_claims import end_of, refusal_of
from agentcoord.store.pause_switch import PauseSwitch
from agentcoord.store.rejecting import reject
from agentcoord.store.scripts import ScriptName, Scripts, calling, pieces, read_hash
from agentcoord.store.setback_records import (
    HISTORY_LINES,
    Reason,
    SetBack,
    setback_args,
)
from agentcoord.store.spreading import DEAD_STATES, Spreader
from agentcoord.store.taking_back import Decide, TakingBack
from agentcoord.store.task_reading import ENDED, TaskReader
from agentcoord.store.task_records import TURNS_FIELD, counted_fields
from agentcoord.values import dataclass

_LOOKS = 5
"""How often all tasks are read again because others were loaded meanwhile."""


@dataclass(slots=True)
class TaskQueue:
    """Tasks of one project. Every method may raise StoreUnavailableError."""

    client: Redis
    keys: Keys
    scripts: Scripts
    clock: Clock
    dispatcher: Dispatcher
    reader: TaskReader
    taking: TakingBack
    spreader: Spreader
    lease_ms: int
    on_lease_ended: Callable[[TaskId], None]
    """Called, without awaiting, for each task whose lease this queue ended."""
    _loader: Loader = field(init=False)
    _switch: PauseSwitch = field(init=False)

    def __post_init__(self) -> None:
        self._loader = Loader(self.dispatcher, self.clock)
        self._switch = PauseSwitch(self.client, self.keys, self.dispatcher)

    async def load(self, specs: Sequence[TaskSpec]) -> LoadOutcome:
        """Add tasks, or replace what a person edited in those that nobody works on.

        A known task with an equal spec is `unchanged`. One with another spec is `changed` when it is
        blocked, queued or parked: everything but its `needs` is replaced (`on_need_failed` only while no
        need has ended without a result); else it stays as it is. Needs that are done count as met; a task
        whose need has ended without a result goes by its `on_need_failed`. Up to 1,000 tasks with 4,000
        needs are loaded all or none; more in such pieces, needs first.
        Raises PlanError for an unknown need, a cycle or a duplicate id, and loads nothing.
        """
        return await self._loader.load(specs)

    async def claim(self, worker: WorkerSpec) -> Claim:
        """Wait, without polling, for the first task in line that `worker` covers.

        Cancelled at any point, it gives back what it was just handed.
        """
        return await self.dispatcher.claim(worker)

    async def heartbeat(self, claims: Collection[Claim]) -> frozenset[TaskId]:
        """Renew leases, and return the tasks whose lease is lost."""
        deadline_ms = self.clock.now_ms() + self.lease_ms
        lost: set[TaskId] = set()
        for piece in pieces(list(claims)):
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
            raise await self._refusal(claim)
        if found != current:
            raise IllegalMoveError(f"{claim.task.id} is {found}, not {current}")

    async def count_turn(self, claim: Claim) -> None:
        """Add to the task's turns, whether or not the claim still holds. The ledger books what it cost."""
        await self.scripts.run(ScriptName.BOOK, claim.task.id, ENDED, TURNS_FIELD, 1)

    async def verify(self, claim: Claim) -> None:
        """Raise LeaseLostError unless the claim holds and its lease lasts at this moment."""
        async with calling("verify a claim"):
            deadline = await self.client.zscore(self.keys.of("lease"), f"{claim.token}:{claim.task.id}")
        if deadline is None or float(deadline) <= self.clock.now_ms():
            raise await self._refusal(claim)

    async def renew(self, claim: Claim) -> None:
        """Renew a claim's lease, also one past its deadline that nobody took.

        A clock that was set, or a pause of the machine, is no reason to throw work away. Raises
        LeaseLostError when the claim has ended.
        """
        if await self.heartbeat([claim]):
            raise await self._refusal(claim)

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
        try:
            await self.dispatcher.finish(claim, landed, current=current)
        except LeaseLostError as error:
            raise await self._refusal(claim) from error
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

        try:
            return await self.dispatcher.finish_and_claim(
                claim, landed, worker, current=current, on_finished=completed
            )
        except LeaseLostError as error:  # Says how the claim ended.
            raise await self._refusal(claim) from error

    async def requeue(
        self,
        claim: Claim,
        *,
        why: str,
        counts_attempt: bool,
        delay_ms: int = 0,
        setback: Setback | None = None,
        model: str = "",
        also: Setback | None = None,
    ) -> None:
        """Put a held task back at its old place in line, now or after `delay_ms`.

        `setback` (else what `counts_attempt` suggests) and `also` are counted, and with `model` go into the
        task's history. Raises LeaseLostError that says how the claim ended.
        """
        due_ms = self.clock.now_ms() + delay_ms if delay_ms > 0 else 0
        kind = setback or (Setback.UNPROVEN if counts_attempt else Setback.STOPPED)
        reason = Reason(kind, why, model, also)
        await self._release(claim, TaskState.QUEUED, reason, counts_attempt=counts_attempt, due_ms=due_ms)
        self.dispatcher.wake()

    async def park(
        self, claim: Claim, *, why: str, setback: Setback = Setback.PARKED, model: str = ""
    ) -> None:
        """Take a held task out of the line until a person decides. Raises like `requeue`."""
        await self._release(claim, TaskState.PARKED, Reason(setback, why, model))

    async def fail(
        self, claim: Claim, *, why: str, setback: Setback = Setback.UNPROVEN, model: str = ""
    ) -> tuple[TaskId, ...]:
        """End a held task without a result, and return what ended because it needs it.

        Raises like `requeue`.
        """
        return await self._release(claim, TaskState.FAILED, Reason(setback, why, model))

    async def cancel(self, task: TaskId, *, why: str) -> bool:
        """End a task at a person's word, held or not. False when it has ended already, or is unknown.

        Its holder's token becomes stale, and what needs it ends by its own rule.
        """
        reason = Reason(Setback.CANCELLED, why)
        (ok,), _ = await self.taking.set_back([SetBack(task, None, TaskState.CANCELLED, reason)])
        if ok:
            self.on_lease_ended(task)
        return bool(ok)

    async def count(self, claim: Claim, setback: Setback) -> None:
        """Count a setback within the attempt, whether or not the claim still holds."""
        await self.scripts.run(ScriptName.BOOK, claim.task.id, ENDED, *setback_args(setback))

    async def history(self, task: TaskId) -> tuple[AttemptEnd, ...]:
        """Return how a task's attempts ended, the oldest first; at most 50 are kept."""
        return (await self.reader.histories([task]))[task]

    async def histories(self, tasks: Sequence[TaskId]) -> dict[TaskId, tuple[AttemptEnd, ...]]:
        """Return the histories of several tasks at once."""
        return await self.reader.histories(tasks)

    async def end_of(self, claim: Claim) -> ClaimEnd:
        """Say how a claim ended that was refused, or that a heartbeat did not find."""
        return await end_of(self.client, self.keys, self.clock, claim)

    async def retry(self, task: TaskId, *, why: str = "") -> bool:
        """Bring a failed, cancelled or parked task back, as if never attempted, and what fell with it.

        Its history stays. False when it is in another state, or when a need of its own has ended without
        a result: that one must be retried first.
        """
        ok, _, *wave = await self.scripts.run(
            ScriptName.RETRY,
            *self.spreader.args(),
            task,
            ",".join(sorted(DEAD_STATES | {TaskState.PARKED})),
            Setback.ASKED,
            why or "asked for again",
            HISTORY_LINES,
        )
        if ok:
            await self.taking.spread_on(wave[0])
            self.dispatcher.wake()
        return bool(ok)

    async def reject(self, task: TaskId, *, why: str) -> str:
        """Put a done task back in line, as if never attempted; return why not in words, or nothing.

        Its history, its cost and its place stay. What needs it waits for it again, unless that is done or
        under way. Raises StoreError when more than 5,000 tasks need it.
        """
        for _ in range(_LOOKS):
            why_not = await reject(self.scripts, self.spreader, await self.all(), task, why)
            if why_not is not None:
                break
        else:
            return "the plan keeps changing"
        self.dispatcher.wake()
        return why_not

    async def set_review(self, task: TaskId, review: ReviewState) -> None:
        """Store what a person said about a done task. Raises StoreError when it is not done."""
        found = await self.scripts.run(ScriptName.SET_REVIEW, task, TaskState.DONE, review)
        if found != TaskState.DONE:
            raise StoreError(f"{task} is {found or 'unknown'}: only a done task is reviewed")

    async def set_landed(self, task: TaskId, landed: Sequence[FileLines]) -> None:
        """Store what stands after a part was taken out. Raises StoreError when the task is not done."""
        found = await self.scripts.run(ScriptName.SET_LANDED, task, TaskState.DONE, *counted_fields(landed))
        if found != TaskState.DONE:
            raise StoreError(f"{task} is {found or 'unknown'}: only what is done has landed")

    async def reap(
        self,
        decide: Decide = always_again,
        *,
        excused_until_ms: int = 0,
        model_of: Callable[[Task], str] = lambda _: "",
    ) -> tuple[TaskId, ...]:
        """Take back tasks whose lease has run out, and ready delayed ones now due.

        `decide` says what becomes of each. A lease that ran out at `excused_until_ms` or before, while
        nobody could renew any, costs no attempt. Also finishes waves that a crash cut short. Returns the
        tasks taken back, wherever they went.
        """
        if self._switch.in_doubt:
            await self._switch.look_again()
        if self.dispatcher.in_doubt:
            self.dispatcher.in_doubt = False
            self.dispatcher.wake()
        await self.spreader.finish()
        return await self.taking.lapsed(decide, model_of, excused_until_ms=excused_until_ms)

    async def release_all_leases(
        self,
        *,
        why: str,
        decide: Decide = always_again,
        model_of: Callable[[Task], str] = lambda _: "",
    ) -> tuple[TaskId, ...]:
        """Take every held task back, costing it no attempt; as a rule to its old place in line.

        For the start of a daemon, whose lock says that no other is alive.
        """
        await self.spreader.finish()
        return await self.taking.everything(decide, model_of, why=why)

    async def next_due_ms(self) -> int | None:
        """When `reap()` next has something to do; None: never, as things are."""
        async with calling("read the next deadline"), self.client.pipeline(transaction=False) as pipe:
            for suffix in ("lease", "delay"):
                pipe.zrange(self.keys.of(suffix), 0, 0, withscores=True)
            soonest = await pipe.execute()
        return min((int(score) for row in soonest for _, score in row), default=None)

    async def get(self, task: TaskId) -> Task | None:
        """Return a task as it is now; None when there is none of this id."""
        found = await self.reader.read([task])
        return found[0] if found else None

    async def all(self) -> list[Task]:
        """Return every task in plan order."""
        return await self.reader.all()

    async def counts(self) -> dict[TaskState, int]:
        """Return how many tasks are in each state; every state is there."""
        stored = await read_hash(self.client, self.keys.of("count"))
        return {state: int(stored.get(str(state), 0)) for state in TaskState}

    @property
    def paused(self) -> bool:
        """Whether claims wait although there is work."""
        return self.dispatcher.paused

    async def set_paused(self, paused: bool) -> None:
        """Stop or resume handing out tasks; it is remembered across restarts.

        Where its answer is lost, the next reaping finds out what was stored.
        """
        await self._switch.set(paused)

    async def _release(
        self, claim: Claim, to: TaskState, reason: Reason, *, counts_attempt: bool = True, due_ms: int = 0
    ) -> tuple[TaskId, ...]:
        order = SetBack(claim.task.id, claim.token, to, reason, counts_attempt, due_ms)
        (ok,), fallen = await self.taking.set_back([order])
        if not ok:
            raise await self._refusal(claim)
        self.on_lease_ended(claim.task.id)
        return tuple(fallen)

    async def _refusal(self, claim: Claim) -> LeaseLostError:
        return await refusal_of(self.client, self.keys, self.clock, claim)


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
