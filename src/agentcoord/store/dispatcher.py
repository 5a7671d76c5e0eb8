"""The one caller of `dispatch.lua`: gathers what the workers finished and who wants work, and settles
all of it in one call.

Theory of operation. Workers only leave requests here and wait on a future. One coroutine, owned by the
store, takes everything that gathered while the last call was under way, makes one script call, and
hands out the answers. A worker that finishes one task and wants the next asks for both at once. Redis
sees a call only when something changed: a worker moved or finished its task, a worker asks for the
first time, or `wake()` said that tasks may have become ready. Who got nothing keeps waiting without
any traffic until the next such moment.

A call whose answer is lost may have run. It is repeated as it was, under its own number, and the
script answers again what it answered before; so nothing is handed out to nobody, nor twice. When
the server stays away, everybody who waits is told; the call is repeated before the next new one, and
what it handed out is given back.

Deliberately absent: tasks becoming ready by time. The daemon calls `TaskQueue.reap()` when they are due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from agentcoord.clock import Clock
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import LeaseLostError, StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Call, Finished, Move, Waiter
from agentcoord.store.place_in_line import HEADS_COMPARED
from agentcoord.store.scripts import BATCH, ScriptName, Scripts
from agentcoord.store.task_records import decode_task, pairs_to_dict

REPEAT_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""


@dataclass(slots=True)
class Dispatcher:
    """Hands out and finishes tasks. `run()` must be running for anything to be answered."""

    scripts: Scripts
    clock: Clock
    lease_ms: int
    name: str
    """Unique to this dispatcher: it names the memory of its last call."""
    paused: bool = False
    """While set, nobody is handed a task; the script looks at the stored flag too."""
    _moves: deque[Move] = field(default_factory=deque)
    _finished: deque[Finished] = field(default_factory=deque)
    _given_back: deque[tuple[TaskId, FencingToken]] = field(default_factory=deque)
    _waiters: dict[Waiter, None] = field(default_factory=dict)
    """In order of arrival."""
    _unsettled: Call | None = None
    """A call that may have run, and whose answer never came."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
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
        found: str = await _answer_of(move)
        return found

    async def finish(self, claim: Claim, landed: Sequence[LandedFile], *, current: TaskState) -> None:
        """Move a task that is in `current` to done. It goes on when the caller is cancelled.

        Raises LeaseLostError when the token is stale, StoreUnavailableError like `claim`.
        """
        await _answer_of(self._hand_in(claim, landed, current))

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

        `on_finished` is called in between, without awaiting. Raises what both raise; when the finish is
        refused, the claim is given back.
        """
        finished = self._hand_in(claim, landed, current)
        waiter = self._want(worker)
        try:
            await _answer_of(finished)
        except BaseException:
            self._no_longer_wanted(waiter)
            raise
        on_finished()
        return await self._wait_as(waiter)

    def _hand_in(self, claim: Claim, landed: Sequence[LandedFile], current: TaskState) -> Finished:
        self._refuse_when_closing()
        finished = Finished(claim, landed, current, asyncio.get_running_loop().create_future())
        self._finished.append(finished)
        self._stirred.set()
        return finished

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
        self._tell(list(self._waiters), _closing_error())
        self._waiters.clear()
        self._stirred.set()

    async def run(self) -> None:
        """Settle calls until closed. Errors of the store go to those who asked."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while (call := self._next_call()) is not None:
                if not await self._settle(call):
                    break
            if self._closing:
                return

    def _next_call(self) -> Call | None:
        if self._unsettled is not None:
            return self._unsettled
        moves = tuple(self._moves.popleft() for _ in range(min(BATCH, len(self._moves))))
        finished = tuple(self._finished.popleft() for _ in range(min(BATCH, len(self._finished))))
        given_back = tuple(self._given_back.popleft() for _ in range(min(BATCH, len(self._given_back))))
        # A finished task may release others, for anybody who waits.
        if finished or given_back:
            self._make_all_hungry()
        wanted = () if self.paused else (w for w in self._waiters if w.hungry)
        waiters = tuple(islice(wanted, BATCH))
        if not moves and not finished and not given_back and not waiters:
            return None
        self._calls += 1
        return Call(self._calls, moves, finished, given_back, waiters)

    async def _settle(self, call: Call) -> bool:
        """Make the call and hand out its answers. False when the server stays away."""
        for waiter in call.waiters:
            waiter.hungry = False
        try:
            reply = await self._send(call, repeated=call is self._unsettled)
        except StoreUnavailableError as error:
            self._unsettled = call
            self._tell_everybody(call, error)
            return False
        except StoreError as error:
            self._unsettled = None
            self._tell([*call.moves, *call.finished, *call.waiters], error)
            for waiter in call.waiters:
                self._waiters.pop(waiter, None)
            return True
        self._unsettled = None
        found, results, grants = reply
        for move, state in zip(call.moves, found, strict=True):
            if not move.answer.done():
                move.answer.set_result(state)
        for finished, result in zip(call.finished, results, strict=True):
            if result == 1 and not finished.answer.done():
                finished.answer.set_result(None)
            elif result != 1:
                self._tell([finished], _lease_lost(finished.claim))
        for index, *grant in grants:
            self._grant(call.waiters[index], *grant)
        return True

    async def _send(self, call: Call, *, repeated: bool) -> Any:
        pauses = iter(REPEAT_AFTER_S)
        while True:
            try:
                head = (
                    self.clock.now_ms(),
                    self.lease_ms,
                    HEADS_COMPARED,
                    self.name,
                    call.number,
                    int(repeated),
                )
                return await self.scripts.run(ScriptName.DISPATCH, *head, *call.arguments())
            except StoreUnavailableError:
                pause = next(pauses, None)
                if pause is None or self._closing:
                    raise
            await self.clock.sleep(pause)
            repeated = True

    def _grant(
        self,
        waiter: Waiter,
        task: str,
        token: str,
        deadline_ms: str,
        attempt: int,
        body: str,
        flat: Sequence[str],
    ) -> None:
        if waiter.answer.done():
            self._give_back(TaskId(task), FencingToken(int(token)))
            return
        began_ms = int(deadline_ms) - self.lease_ms
        fields = {"started_at": str(began_ms), **pairs_to_dict(flat)}
        fields |= {"state": TaskState.RUNNING, "token": token, "worker": waiter.worker.name}
        fields |= {"attempt": str(attempt), "why": ""}
        claim = Claim(decode_task(body, fields), FencingToken(int(token)), int(deadline_ms))
        self._waiters.pop(waiter, None)
        waiter.answer.set_result(claim)

    def _make_all_hungry(self) -> None:
        for waiter in self._waiters:
            waiter.hungry = True

    def _give_back(self, task: TaskId, token: FencingToken) -> None:
        self._given_back.append((task, token))
        self._stirred.set()

    def _tell_everybody(self, call: Call, error: StoreError) -> None:
        """The server is away: nobody is left waiting for an answer that nobody will ask for."""
        self._tell([*call.moves, *call.finished, *call.waiters], error)
        self._tell([*self._moves, *self._finished, *self._waiters], error)
        self._moves.clear()
        self._finished.clear()
        self._waiters.clear()

    def _tell(self, askers: Sequence[Waiter | Move | Finished], error: StoreError) -> None:
        for asker in askers:
            if not asker.answer.done():
                asker.answer.set_exception(error)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise _closing_error()


async def _answer_of(asker: Move | Finished) -> Any:
    try:
        return await asker.answer
    except asyncio.CancelledError:
        if asker.answer.done() and not asker.answer.cancelled():
            asker.answer.exception()  # Looked at, so that the loop does not report it as lost.
        raise


def _closing_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closing")


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")
