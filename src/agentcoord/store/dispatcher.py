"""The one caller of `dispatch.lua`: gathers what the workers finished, who wants work and what happened,
and settles all of it in one call.

Theory of operation. Workers only leave requests here and wait on a future. One coroutine, owned by the
store, sends everything that has gathered in one script call; another reads the answers and hands them
out. A worker that finishes one task and wants the next asks for both at once. Redis sees a call only
when something changed: a worker moved or finished its task, asks for the first time, an event is to be
stored, or `wake()` said that tasks may have become ready. Who got nothing keeps waiting without any
traffic until the next such moment.

A script after which tasks may be ready, such as loading, is sent by `run_ahead`, and the hand-out follows
it at once, before it is answered: a task that the daemon itself enqueues is picked up within one round trip.

Two calls may be under way, so that the server settles the one while the answers of the other are worked
off. For that to come about, the first large answer is handed out in two halves. Events alone never take
the second place: they ride along with the next call.

A call whose answer is lost may have run. It is repeated as it was, under its own number, before anything
new is sent, and the script answers again what it answered before; so nothing is handed out to nobody,
nor twice, and events are stored once. When the server stays away, everybody who waits is told (only
events go on waiting); the calls are repeated when it is back, and what they handed out is given back.

Deliberately absent: tasks becoming ready by time. The daemon calls `TaskQueue.reap()` when they are due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from agentcoord.clock import Clock
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import LeaseLostError, StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Ahead, Appended, Call, Finished, Move, RoutesCovered, Waiter
from agentcoord.store.dispatch_reply import GRANT_WORDS, claim_of
from agentcoord.store.lane import Lane
from agentcoord.store.place_in_line import HEADS_COMPARED
from agentcoord.store.scripts import BATCH, CALL_TIMEOUT_S, ScriptName

REPEAT_AFTER_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""
TRY_AGAIN_AFTER_S = 1.0
"""When a server that stays away is tried again at the latest: events wait for it."""
DISPATCHED = (ScriptName.DISPATCH, ScriptName.LOAD)
"""The scripts that the dispatcher sends."""
MOST_UNDER_WAY = 8
"""The most calls under way, those of other scripts included."""
HALVED_FROM = 4
"""Answers that hand out fewer tasks than this are handed out at once."""
KEPT_EVENTS = 100_000
"""About how many of the newest events are kept."""
_T = TypeVar("_T")


@dataclass(slots=True)
class Dispatcher:
    """Hands out and finishes tasks, and stores events; answers nobody unless `run()` is running."""

    lane: Lane
    clock: Clock
    lease_ms: int
    name: str
    """Unique to this dispatcher: it names the memory of its last calls."""
    spare_epoch: str
    """What the epoch of the event log becomes if the stored log turns out to be gone."""
    paused: bool = False
    """While set, nobody is handed a task; the script looks at the stored flag too."""
    _moves: deque[Move] = field(default_factory=deque)
    _finished: deque[Finished] = field(default_factory=deque)
    _given_back: deque[tuple[TaskId, FencingToken]] = field(default_factory=deque)
    _appended: deque[Appended] = field(default_factory=deque)
    _waiters: dict[Waiter, None] = field(default_factory=dict)
    """In order of arrival."""
    _ahead: deque[Ahead] = field(default_factory=deque)
    _under_way: deque[Call | Ahead] = field(default_factory=deque)
    """Sent, and not answered yet; in order."""
    _unsettled: deque[Call] = field(default_factory=deque)
    """Calls that may have run, and whose answers never came; in order."""
    _routes: RoutesCovered = field(default_factory=RoutesCovered)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to send."""
    _sent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to read."""
    _closing: bool = False
    _calls: int = 0

    async def claim(self, worker: WorkerSpec) -> Claim:
        """Wait for a task that `worker` covers. Cancelled at any point, it leaves no task behind.

        Raises StoreUnavailableError when the server stays away, or the store is closing.
        """
        return await self._wait_as(self._want(worker))

    async def move(self, claim: Claim, current: TaskState, to: TaskState, *, why: str) -> str:
        """Move a held task if it is in `current`; return the state it was in, empty for a stale token.

        It goes on when the caller is cancelled. Raises StoreUnavailableError like `claim`.
        """
        self._refuse_when_closing()
        move = Move(claim, current, to, why, asyncio.get_running_loop().create_future())
        self._moves.append(move)
        self._stirred.set()
        return await _answer_of(move.answer)

    async def finish(self, claim: Claim, landed: Sequence[LandedFile], *, current: TaskState) -> None:
        """Move a task that is in `current` to done. It goes on when the caller is cancelled.

        Raises LeaseLostError when the token is stale, StoreUnavailableError like `claim`.
        """
        self._refuse_when_closing()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished.append(Finished(claim, landed, current, answer))
        self._stirred.set()
        await _answer_of(answer)

    async def finish_and_claim(
        self,
        claim: Claim,
        landed: Sequence[LandedFile],
        worker: WorkerSpec,
        *,
        current: TaskState,
        on_finished: Callable[[], None],
    ) -> Claim:
        """Do what `finish` does and then `claim`, in one call to the server when there is work.

        `on_finished` is called in between, without awaiting, also when the caller has been cancelled since.
        Raises what both raise; when the finish is refused, the claim is given back.
        """
        waiter = self._want(worker)
        self._finished.append(Finished(claim, landed, current, None, waiter, on_finished))
        return await self._wait_as(waiter)

    async def append(self, count: int, encoded: bytes) -> tuple[str, int]:
        """Store `count` events; return the log's epoch and the number of the first. Stored once, however
        long the server stays away; it goes on when the caller is cancelled.

        Raises StoreUnavailableError when the store is closing, StoreError when the server refuses.
        """
        self._refuse_when_closing()
        appended = Appended(count, encoded, asyncio.get_running_loop().create_future())
        self._appended.append(appended)
        self._stirred.set()
        return await _answer_of(appended.answer)

    async def run_ahead(self, script: ScriptName, *args: str | int | bytes) -> Any:
        """Run a script after which tasks may be ready; return its answer, strings as bytes.

        It goes on when the caller is cancelled. Raises StoreUnavailableError (it may or may not have run; it
        is not repeated), StoreError when the server refuses.
        """
        self._refuse_when_closing()
        ahead = Ahead(script, args, asyncio.get_running_loop().create_future())
        self._ahead.append(ahead)
        self._make_all_hungry()
        self._stirred.set()
        return await _answer_of(ahead.answer)

    def _want(self, worker: WorkerSpec) -> Waiter:
        self._refuse_when_closing()
        waiter = Waiter(worker, asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        self._stirred.set()
        return waiter

    async def _wait_as(self, waiter: Waiter) -> Claim:
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._no_longer_wanted(waiter)
            raise

    def _no_longer_wanted(self, waiter: Waiter) -> None:
        """Leave no task behind; a call under way is looked after when it ends, by its cancelled future."""
        self._waiters.pop(waiter, None)
        answer = waiter.answer
        if answer.cancel() or answer.cancelled():
            return
        # The answer came before anybody looked at it.
        if answer.exception() is None:
            self._give_back(answer.result().task.id, answer.result().token)

    def wake(self) -> None:
        """Tasks may have become ready: look after everybody who waits."""
        self._make_all_hungry()
        if self._waiters:
            self._stirred.set()

    def close(self) -> None:
        """Let `run()` end once what the workers handed in is settled; who waits for a task is told."""
        self._closing = True
        waiting = list(self._waiters)
        self._waiters.clear()
        # Who has just finished a task is told when that is settled.
        theirs = {finished.following for finished in self._handed_in()}
        for waiter in waiting:
            if waiter not in theirs:
                _tell(waiter.answer, _closing_error())
        self._stirred.set()

    def _handed_in(self) -> Iterator[Finished]:
        yield from self._finished
        for call in (*self._under_way, *self._unsettled):
            if isinstance(call, Call):
                yield from call.finished

    async def run(self) -> None:
        """Settle calls until closed. Errors of the store go to those who asked."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read_answers(), name="store answers")
                try:
                    await self._send_calls()
                finally:
                    reading.cancel()
        finally:
            await self.lane.drop()

    async def _send_calls(self) -> None:
        while True:
            await self._wait_for_something_to_send()
            if self._unsettled and not await self._repeat_unsettled():
                if self._closing:
                    self._tell_everybody(_closing_error())
                    return
                continue
            while not self._unsettled and (call := self._next()) is not None:
                await self._send(call)
            if self._closing and not self._under_way and not self._unsettled:
                return

    async def _wait_for_something_to_send(self) -> None:
        if self._unsettled:
            with suppress(TimeoutError):
                async with asyncio.timeout(TRY_AGAIN_AFTER_S):
                    await self._stirred.wait()
        else:
            await self._stirred.wait()
        self._stirred.clear()

    def _next(self) -> Call | Ahead | None:
        if self._ahead and len(self._under_way) < MOST_UNDER_WAY:
            return self._ahead.popleft()
        calls = sum(isinstance(call, Call) for call in self._under_way)
        return self._next_call(first=calls == 0) if calls < self.lane.depth else None

    def _next_call(self, *, first: bool) -> Call | None:
        # A finished task may release others, for anybody who waits.
        if self._finished or self._given_back:
            self._make_all_hungry()
        wanted = () if self.paused else (w for w in self._waiters if w.hungry and not w.asked)
        waiters = tuple(islice(wanted, BATCH))
        asked = self._moves or self._finished or self._given_back or waiters
        if not asked and not (self._appended and first):
            return None
        self._calls += 1
        for waiter in waiters:
            waiter.hungry, waiter.asked = False, True
        return Call(
            self._calls,
            _taken(self._moves),
            _taken(self._finished),
            _taken(self._given_back),
            waiters,
            _taken(self._appended),
        )

    async def _send(self, call: Call | Ahead) -> None:
        try:
            await self.lane.connect()
        except StoreError as error:
            if isinstance(call, Ahead):
                _tell(call.answer, error)
            else:
                self._unsettled.append(call)  # Not sent; repeating it comes to the same.
            return
        self._under_way.append(call)
        self._sent.set()
        with suppress(StoreUnavailableError):  # Who waits for the answer finds the same, within a bound.
            if isinstance(call, Ahead):
                await self.lane.send(call.script, call.args)
            else:
                await self.lane.send(ScriptName.DISPATCH, self._arguments_of(call, repeated=False))

    def _arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]:
        head = (self.clock.now_ms(), self.lease_ms, HEADS_COMPARED, self.name, call.number, int(repeated))
        return [*head, *call.arguments(self._routes), self.spare_epoch, KEPT_EVENTS]

    async def _read_answers(self) -> None:
        while True:
            await self._sent.wait()
            self._sent.clear()
            try:
                # One bound for all answers in a row, set anew for each: making one costs as much as a task.
                async with asyncio.timeout(CALL_TIMEOUT_S) as bound:
                    while self._under_way:
                        await self._read_answer()
                        bound.reschedule(asyncio.get_running_loop().time() + CALL_TIMEOUT_S)
            except TimeoutError:
                await self._lose_what_is_under_way(_no_answer())
            except StoreUnavailableError as error:
                await self._lose_what_is_under_way(error)
            self._stirred.set()

    async def _read_answer(self) -> None:
        call = self._under_way[0]
        try:
            reply = await self.lane.receive()
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self._under_way.popleft()
            if isinstance(call, Ahead):
                _tell(call.answer, error)
            else:
                self._refuse(call, error)
        else:
            self._under_way.popleft()
            if isinstance(call, Ahead):
                _answer(call.answer, reply)
            else:
                await self._settle(call, reply)
        self._stirred.set()

    async def _lose_what_is_under_way(self, error: StoreUnavailableError) -> None:
        """The connection is of no use any more, and nobody knows what ran."""
        for call in self._under_way:
            if isinstance(call, Ahead):
                _tell(call.answer, error)
            else:
                self._unsettled.append(call)
        self._under_way.clear()
        await self.lane.drop()

    async def _repeat_unsettled(self) -> bool:
        """Repeat what may have run, in order and one by one. False when the server stays away."""
        while self._unsettled:
            call = self._unsettled[0]
            try:
                reply = await self._repeat(call)
            except StoreUnavailableError as error:
                self._tell_everybody(error)
                return False
            except StoreError as error:
                self._unsettled.popleft()
                self._refuse(call, error)
            else:
                self._unsettled.popleft()
                await self._settle(call, reply)
        return True

    async def _repeat(self, call: Call) -> Any:
        for pause in REPEAT_AFTER_S:
            await self.clock.sleep(pause)
            try:
                await self.lane.connect()
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self.lane.send(ScriptName.DISPATCH, self._arguments_of(call, repeated=True))
                    return await self.lane.receive()
            except TimeoutError:
                await self.lane.drop()
                last = _no_answer()
            except StoreUnavailableError as error:
                await self.lane.drop()
                last = error
            if self._closing:
                break
        raise last

    async def _settle(self, call: Call, reply: Sequence[Any]) -> None:
        """Hand out the answers of a call."""
        found, results, deadline, flat, version, routes, epoch, first_event = reply
        self._routes.learn(version, routes)
        for move, state in zip(call.moves, found, strict=True):
            _answer(move.answer, state.decode())
        for finished, result in zip(call.finished, results, strict=True):
            self._booked(finished, result == 1)
        number = int(first_event) if first_event else 0
        for appended in call.appended:
            _answer(appended.answer, (epoch.decode(), number))
            number += appended.count
        grants = [flat[at : at + GRANT_WORDS] for at in range(0, len(flat), GRANT_WORDS)]
        deadline_ms = int(deadline)
        at = 0
        try:
            if len(grants) >= HALVED_FROM and not self._under_way and self.lane.depth > 1:
                for at in range(1, len(grants) // 2 + 1):
                    self._grant(call, grants[at - 1], deadline_ms)
                # They work, and what they hand in is sent, while the rest is handed out.
                self._stirred.set()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        finally:
            for grant in grants[at:]:
                self._grant(call, grant, deadline_ms)
            for waiter in call.waiters:
                waiter.asked = False

    def _booked(self, finished: Finished, ok: bool) -> None:
        if not ok:
            self._refuse_finished(finished, _lease_lost(finished.claim))
            return
        if finished.on_finished is not None:
            finished.on_finished()
        if finished.answer is not None:
            _answer(finished.answer, None)
        elif self._closing and finished.following is not None:
            _tell(finished.following.answer, _closing_error())

    def _refuse_finished(self, finished: Finished, error: StoreError) -> None:
        finished.on_finished = None  # Who asked has been told otherwise, and may ask again.
        if finished.answer is not None:
            _tell(finished.answer, error)
        if finished.following is not None:
            self._waiters.pop(finished.following, None)
            _tell(finished.following.answer, error)

    def _grant(self, call: Call, words: Sequence[Any], deadline_ms: int) -> None:
        waiter = call.waiters[words[0]]
        claim = claim_of(words, waiter.worker.name, deadline_ms, self.lease_ms)
        if waiter.answer.done():
            self._give_back(claim.task.spec.id, claim.token)
            return
        self._waiters.pop(waiter, None)
        waiter.answer.set_result(claim)

    def _make_all_hungry(self) -> None:
        for waiter in self._waiters:
            waiter.hungry = True

    def _give_back(self, task: TaskId, token: FencingToken) -> None:
        self._given_back.append((task, token))
        self._stirred.set()

    def _refuse(self, call: Call, error: StoreError) -> None:
        """The server would not carry out a call: whoever asked in it is told."""
        for move in call.moves:
            _tell(move.answer, error)
        for appended in call.appended:
            _tell(appended.answer, error)
        self._tell_finished_and_waiters(call.finished, call.waiters, error)

    def _tell_everybody(self, error: StoreError) -> None:
        """The server is away: nobody but events is left waiting for an answer that nobody will ask for."""
        for call in self._unsettled:
            for move in call.moves:
                _tell(move.answer, error)
            self._tell_finished_and_waiters(call.finished, call.waiters, error)
        for move in self._moves:
            _tell(move.answer, error)
        for ahead in self._ahead:
            _tell(ahead.answer, error)
        self._ahead.clear()
        self._tell_finished_and_waiters(self._finished, tuple(self._waiters), error)
        self._moves.clear()
        self._finished.clear()
        if self._closing:
            for appended in (*self._appended, *(a for call in self._unsettled for a in call.appended)):
                _tell(appended.answer, error)

    def _tell_finished_and_waiters(
        self, finished: Sequence[Finished] | deque[Finished], waiters: Sequence[Waiter], error: StoreError
    ) -> None:
        for one in finished:
            self._refuse_finished(one, error)
        for waiter in waiters:
            self._waiters.pop(waiter, None)
            _tell(waiter.answer, error)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise _closing_error()


def _taken(waiting: deque[_T]) -> tuple[_T, ...]:
    """Take at most a batch."""
    if len(waiting) <= BATCH:
        taken = tuple(waiting)
        waiting.clear()
        return taken
    return tuple(waiting.popleft() for _ in range(BATCH))


async def _answer_of(answer: asyncio.Future[_T]) -> _T:
    try:
        return await answer
    except asyncio.CancelledError:
        if answer.done() and not answer.cancelled():
            answer.exception()  # Looked at, so that the loop does not report it as lost.
        raise


def _answer(answer: asyncio.Future[_T], result: _T) -> None:
    if not answer.done():
        answer.set_result(result)


def _tell(answer: asyncio.Future[Any], error: StoreError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _no_answer() -> StoreUnavailableError:
    return StoreUnavailableError(f"Redis gave no answer within {CALL_TIMEOUT_S:.0f} s")


def _closing_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closing")


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")
