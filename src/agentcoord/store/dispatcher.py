"""The one caller of `dispatch.lua`: gathers what the workers finished, who wants work and what happened,
and settles all of it in one call.

Theory of operation. Workers only leave requests here and wait on a future. What has gathered in a round of
the event loop is sent in one script call; its answers are handed out as they come. A worker that finishes
one task and wants the next asks for both at once. Redis sees a call only when something changed: a worker
moved or finished its task, asks for the first time, an event is to be stored, or `wake()` said that tasks
may have become ready. Who got nothing keeps waiting without any traffic until the next such moment.

A script after which tasks may be ready, such as loading, is sent by `run_ahead`, and the hand-out follows
it at once, before it is answered: a task that the daemon itself enqueues is picked up within one round trip.

Two calls may be under way, so that the server settles the one while the answers of the other are worked
off. For that to come about, the first large answer is handed out in two halves, the second in the loop's next
round. Events alone never take the second place: they ride along with the next call.

Deliberately absent: sending, reading and repeating calls, which is `traffic`; and tasks becoming ready by
time: the daemon calls `TaskQueue.reap()` when they are due.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, NamedTuple, TypeVar

from agentcoord.clock import Clock
from agentcoord.domain.files import LandedFile
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import LeaseLostError, StoreError
from agentcoord.store.dispatch_call import (
    Ahead,
    Appended,
    Call,
    Finished,
    Move,
    OneTask,
    RoutesCovered,
    Waiter,
    head_of,
)
from agentcoord.store.dispatch_reply import Grant, claim_of, grants_of
from agentcoord.store.gathered import Gathered, closing_error
from agentcoord.store.handing_over import HandOver, grant_of, taker_of
from agentcoord.store.lane import Lane
from agentcoord.store.place_in_line import HEADS_COMPARED
from agentcoord.store.scripts import ScriptName
from agentcoord.store.traffic import Traffic
from agentcoord.store.under_way import answer_with, tell
from agentcoord.values import dataclass

DISPATCHED = (ScriptName.DISPATCH, ScriptName.LOAD, ScriptName.HAND_OVER)
"""The scripts that the dispatcher sends."""
HALVED_FROM = 4
"""Answers that hand out fewer tasks than this are handed out at once."""
KEPT_EVENTS = 100_000
"""About how many of the newest events are kept."""
_STALE, _SOME_LEFT = b"02"
"""What the script says of a finished task: the token is stale; some that need it are left to be told."""
_T = TypeVar("_T")


class _Half(NamedTuple):
    """What is left to be handed out of an answer."""

    call: Call
    grants: Sequence[Grant]
    deadline_ms: int


@dataclass(slots=True)
class Dispatcher:
    """Hands out and finishes tasks, and stores events; answers nobody unless `run()` is running."""

    lane: Lane
    clock: Clock
    lease_ms: int
    name: str
    """Unique to this dispatcher: it names the memory of its last calls."""
    spread: Callable[[], Awaitable[object]]
    """Releases the dependents that a call left over. May raise StoreError: the next reaping goes on then."""
    paused: bool = False
    """While set, nobody is handed a task; the script looks at the stored flag too."""
    _routes: RoutesCovered = field(default_factory=RoutesCovered)
    _second_halves: deque[_Half] = field(default_factory=deque)
    _spare_epoch: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What the epoch of the event log becomes if the stored log turns out to be gone."""
    _traffic: Traffic = field(init=False)
    _gathered: Gathered = field(init=False)
    _left_over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call left dependents to be released."""

    def __post_init__(self) -> None:
        self._traffic = Traffic(self.lane, self.clock, self)
        self._gathered = Gathered(self._traffic.stir)

    @property
    def closing(self) -> bool:
        """Whether nothing more is taken (for `Traffic`)."""
        return self._gathered.closing

    def claim(self, worker: WorkerSpec) -> Coroutine[Any, Any, Claim]:
        """Wait for a task that `worker` covers. Cancelled at any point, it leaves no task behind.

        Raises StoreUnavailableError when the server stays away, or the store is closing.
        """
        return self._wait_as(self._gathered.want(worker))

    async def move(self, claim: Claim, current: TaskState, to: TaskState, *, why: str) -> str:
        """Move a held task if it is in `current`; return the state it was in, empty for a stale token.

        It goes on when the caller is cancelled. Raises StoreUnavailableError like `claim`.
        """
        self._gathered.refuse_when_closing()
        move = Move(claim, current, to, why, asyncio.get_running_loop().create_future())
        self._gathered.moves.append(move)
        self._traffic.stir()
        return await _answer_of(move.answer)

    async def finish(self, claim: Claim, landed: Sequence[LandedFile], *, current: TaskState) -> None:
        """Move a task that is in `current` to done. It goes on when the caller is cancelled.

        Raises LeaseLostError when the token is stale, StoreUnavailableError like `claim`.
        """
        self._gathered.refuse_when_closing()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.finished.append(Finished(claim, landed, current, answer))
        self._traffic.stir()
        await _answer_of(answer)

    def finish_and_claim(
        self,
        claim: Claim,
        landed: Sequence[LandedFile],
        worker: WorkerSpec,
        *,
        current: TaskState,
        on_finished: Callable[[], None],
    ) -> Coroutine[Any, Any, Claim]:
        """Do what `finish` does and then `claim`, in one call to the server when there is work.

        `on_finished` is called in between, without awaiting, also when the caller has been cancelled since.
        Raises what both raise; when the finish is refused, the claim is given back.
        """
        waiter = self._gathered.want(worker)
        waiter.behind_own_finish = True
        self._gathered.finished.append(Finished(claim, landed, current, None, waiter, on_finished))
        return self._wait_as(waiter)

    async def append(self, count: int, encoded: bytes) -> tuple[str, int]:
        """Store `count` events; return the log's epoch and the number of the first. Stored once, however
        long the server stays away; it goes on when the caller is cancelled.

        Raises StoreUnavailableError when the store is closing, StoreError when the server refuses.
        """
        self._gathered.refuse_when_closing()
        appended = Appended(count, encoded, asyncio.get_running_loop().create_future())
        self._gathered.appended.append(appended)
        self._traffic.stir()
        return await _answer_of(appended.answer)

    async def run_ahead(
        self,
        script: ScriptName,
        arguments: Callable[[], Sequence[str | int | bytes]],
        *,
        one: OneTask | None = None,
    ) -> Any:
        """Run a script after which tasks may be ready; return its answer, strings as bytes.

        `one` is what it loads, if that is a single task which may be handed over at once.

        It goes on when the caller is cancelled. Raises StoreUnavailableError (it may or may not have run; it
        is not repeated), StoreError when the server refuses.
        """
        self._gathered.refuse_when_closing()
        ahead = Ahead(script, arguments, asyncio.get_running_loop().create_future(), one)
        self._gathered.ahead.append(ahead)
        self._gathered.make_all_hungry()
        self._traffic.send_now()
        return await _answer_of(ahead.answer)

    async def _wait_as(self, waiter: Waiter) -> Claim:
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._gathered.no_longer_wanted(waiter)
            raise

    def wake(self) -> None:
        """Tasks may have become ready: look after everybody who waits."""
        self._gathered.make_all_hungry()
        if self._gathered.waiters:
            self._traffic.stir()

    def close(self) -> None:
        """Let `run()` end once what the workers handed in is settled; who waits for a task is told."""
        self._gathered.close(self._traffic.not_settled())

    async def run(self) -> None:
        """Settle calls until closed. Errors of the store go to those who asked."""
        try:
            async with asyncio.TaskGroup() as group:
                spreading = group.create_task(self._release_left_over(), name="store dependents")
                try:
                    await self._traffic.run()
                finally:
                    spreading.cancel()
        finally:
            self._gathered.closing = True  # Also when it was cancelled: nobody will answer any more.
            self._traffic.give_up(closing_error())

    def next_ahead(self, *, alone: bool) -> Ahead | HandOver | None:
        """Take the next script that goes before hand-outs (for `Traffic`). `alone`: nothing is under way."""
        if not self._gathered.ahead:
            return None
        ahead = self._gathered.ahead.popleft()
        return (self._as_hand_over(ahead, ahead.one) if alone and ahead.one else None) or ahead

    def _as_hand_over(self, ahead: Ahead, one: OneTask) -> HandOver | None:
        if self.paused or not self._gathered.only_waiters:
            return None
        taker = taker_of(one.route, self._gathered.to_be_asked_for(), self._routes)
        if taker is None or (call := self.next_call(first=True)) is None:
            return None
        return HandOver(ahead, one, call, *taker)

    def arguments_of_hand_over(self, over: HandOver) -> list[str | int | bytes]:
        """Return it as the script takes it (for `Traffic`)."""
        over.sent_at_ms = now_ms = self.clock.now_ms()
        return over.arguments(now_ms, now_ms + self.lease_ms, self.name, self._routes.version)

    def settle_hand_over(self, over: HandOver, reply: Sequence[Any]) -> bool:
        """Hand on what it did (for `Traffic`). False when it did nothing: the load must run after all."""
        if not reply:
            self._hand_out(_Half(over.call, (), 0))
            self._gathered.make_all_hungry()
            return False
        rank, token = reply
        answer_with(over.ahead.answer, [rank, [1]])
        self._hand_out(_Half(over.call, (grant_of(over, token),), over.sent_at_ms + self.lease_ms))
        return True

    def next_call(self, *, first: bool) -> Call | None:
        """Take all that has gathered (for `Traffic`). `first`: no other call of ours is under way."""
        return self._gathered.next_call(first=first, paused=self.paused)

    def arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]:
        """Return a call as the script takes it (for `Traffic`)."""
        now_ms, version = self.clock.now_ms(), self._routes.version
        deadline_ms = now_ms + self.lease_ms
        head = head_of(
            deadline_ms, HEADS_COMPARED, self.name, call.number, repeated=repeated, version=version
        )
        of_log = (self._spare_epoch, KEPT_EVENTS) if call.appended else ()
        return [now_ms, head, *call.arguments(self._routes), *of_log]

    def settle(self, call: Call, reply: Sequence[Any]) -> None:
        """Hand out the answers of a call (for `Traffic`)."""
        words, bodies, *rest = reply
        looked_up, found, routes = rest or ((), (), ())
        results, deadline, first_token, waiters, version, epoch, first_event = words.split(b"|")
        self._routes.learn(version, routes)
        for move, state in zip(call.moves, found, strict=True):
            answer_with(move.answer, state.decode())
        for finished, result in zip(call.finished, results, strict=True):
            self._booked(finished, result != _STALE)
        if _SOME_LEFT in results:
            self._left_over.set()
        if call.appended:
            self._number(call.appended, epoch.decode(), int(first_event))
        grants = grants_of(first_token, waiters, bodies, looked_up)
        if len(grants) < HALVED_FROM or not self._traffic.may_overlap:
            self._hand_out(_Half(call, grants, int(deadline)))
            return
        # The first ones work, and what they hand in is sent, while the rest is handed out.
        half = len(grants) // 2
        for grant in grants[:half]:
            self._grant(call, grant, int(deadline))
        self._traffic.stir()
        self._second_halves.append(_Half(call, grants[half:], int(deadline)))
        self._traffic.soon(self._hand_out_second_half)

    @property
    def handing_out(self) -> bool:
        """Whether an answer that has come is not handed out to its end (for `Traffic`)."""
        return bool(self._second_halves)

    def _hand_out_second_half(self) -> None:
        self._hand_out(self._second_halves[0])
        self._second_halves.popleft()
        self._traffic.stir()

    def _hand_out(self, half: _Half) -> None:
        for grant in half.grants:
            self._grant(half.call, grant, half.deadline_ms)
        for waiter in half.call.waiters:
            waiter.asked = False

    def refuse(self, call: Call, error: StoreError) -> None:
        """The server would not carry out a call: whoever asked in it is told (for `Traffic`)."""
        self._gathered.refuse(call, error)

    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None:
        """The server is away: nobody but events is left waiting for what nobody will ask (for `Traffic`)."""
        self._gathered.tell_everybody(unsettled, error)

    def _number(self, stored: Sequence[Appended], epoch: str, number: int) -> None:
        if epoch == self._spare_epoch:
            self._spare_epoch = uuid.uuid4().hex  # The log may be lost again.
        for appended in stored:
            answer_with(appended.answer, (epoch, number))
            number += appended.count

    async def _release_left_over(self) -> None:
        """Beside the calls, which go on: thousands may wait for one task."""
        while True:
            await self._left_over.wait()
            self._left_over.clear()
            with suppress(StoreError):
                await self.spread()

    def _booked(self, finished: Finished, ok: bool) -> None:
        if not ok:
            self._gathered.refuse_finished(finished, _lease_lost(finished.claim))
            return
        if finished.on_finished is not None:
            finished.on_finished()
        if finished.answer is not None:
            answer_with(finished.answer, None)
        elif self._gathered.closing and finished.following is not None:
            tell(finished.following.answer, closing_error())

    def _grant(self, call: Call, grant: Grant, deadline_ms: int) -> None:
        waiter = call.waiters[grant.waiter]
        claim = claim_of(grant, waiter.worker.name, deadline_ms, self.lease_ms)
        if waiter.answer.done():
            self._gathered.give_back(claim.task.spec.id, claim.token)
            return
        self._gathered.waiters.pop(waiter, None)
        waiter.answer.set_result(claim)


async def _answer_of(answer: asyncio.Future[_T]) -> _T:
    try:
        return await answer
    except asyncio.CancelledError:
        if answer.done() and not answer.cancelled():
            answer.exception()  # Looked at, so that the loop does not report it as lost.
        raise


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")
