"""The one caller of `dispatch.lua`: gathers what the workers finished and who wants work, and settles
all of it in one call.

Theory of operation. Workers only leave requests here and wait on a future. One coroutine, owned by the
store, takes everything that gathered while the last call was under way, makes one script call, and
hands out the answers. Redis sees a call only when something changed: a worker finished, a worker
asks for the first time, or `wake()` said that tasks may have become ready. Who got nothing keeps
waiting without any traffic until the next such moment.

A call whose answer is lost may have run. It is repeated as it was, under its own number, and the
script answers again what it answered before; so nothing is handed out to nobody, nor twice. When
the server stays away, everybody who waits is told; the call is repeated before the next new one, and
what it handed out is given back.

Deliberately absent: tasks becoming ready by time. The daemon calls `TaskQueue.reap()` when they are due.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from agentcoord.clock import Clock
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import HELD_STATES, TaskState, advance
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import LeaseLostError, StoreError, StoreUnavailableError
from agentcoord.store.place_in_line import HEADS_COMPARED
from agentcoord.store.scripts import BATCH, ScriptName, Scripts
from agentcoord.store.task_records import decode_task, landed_totals, pairs_to_dict

REPEAT_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A worker that wants a task."""

    worker: WorkerSpec
    answer: asyncio.Future[Claim]
    hungry: bool = True
    """Whether a task may have become ready for it since it was last looked after."""


@dataclass(eq=False, slots=True)
class _Finished:
    """A task that has landed."""

    claim: Claim
    landed: Sequence[LandedFile]
    answer: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Call:
    """What one script call settles."""

    number: int
    finished: tuple[_Finished, ...]
    given_back: tuple[tuple[TaskId, FencingToken], ...]
    waiters: tuple[_Waiter, ...]


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
    _finished: deque[_Finished] = field(default_factory=deque)
    _given_back: deque[tuple[TaskId, FencingToken]] = field(default_factory=deque)
    _waiters: dict[_Waiter, None] = field(default_factory=dict)
    """In order of arrival."""
    _unsettled: _Call | None = None
    """A call that may have run, and whose answer never came."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _calls: int = 0

    async def claim(self, worker: WorkerSpec) -> Claim:
        """Wait for a task that `worker` covers. Cancelled at any point, it leaves no task behind.

        Raises StoreUnavailableError when the server stays away, or the store is closing.
        """
        self._refuse_when_closing()
        waiter = _Waiter(worker, asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        self._stirred.set()
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._waiters.pop(waiter, None)
            # The answer may have come between the cancellation and now; a call under way is looked
            # after when it ends, because the future is cancelled by then.
            answer = waiter.answer
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._give_back(answer.result().task.id, answer.result().token)
            raise

    async def finish(self, claim: Claim, landed: Sequence[LandedFile]) -> None:
        """Move a landing task to done. It goes on when the caller is cancelled.

        Raises LeaseLostError when the token is stale, StoreUnavailableError like `claim`.
        """
        self._refuse_when_closing()
        finished = _Finished(claim, landed, asyncio.get_running_loop().create_future())
        self._finished.append(finished)
        self._stirred.set()
        try:
            await finished.answer
        except asyncio.CancelledError:
            if finished.answer.done() and not finished.answer.cancelled():
                finished.answer.exception()  # Looked at, so that the loop does not report it as lost.
            raise

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

    def _next_call(self) -> _Call | None:
        if self._unsettled is not None:
            return self._unsettled
        finished = tuple(self._finished.popleft() for _ in range(min(BATCH, len(self._finished))))
        given_back = tuple(self._given_back.popleft() for _ in range(min(BATCH, len(self._given_back))))
        # A finished task may release others, for anybody who waits.
        if finished or given_back:
            self._make_all_hungry()
        wanted = () if self.paused else (w for w in self._waiters if w.hungry)
        waiters = tuple(islice(wanted, BATCH))
        if not finished and not given_back and not waiters:
            return None
        self._calls += 1
        return _Call(self._calls, finished, given_back, waiters)

    async def _settle(self, call: _Call) -> bool:
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
            self._tell([*call.finished, *call.waiters], error)
            for waiter in call.waiters:
                self._waiters.pop(waiter, None)
            return True
        self._unsettled = None
        results, grants = reply
        for finished, result in zip(call.finished, results, strict=True):
            if result == 1 and not finished.answer.done():
                finished.answer.set_result(None)
            elif result != 1:
                self._tell([finished], _lease_lost(finished.claim))
        for index, *grant in grants:
            self._grant(call.waiters[index], *grant)
        return True

    async def _send(self, call: _Call, *, repeated: bool) -> Any:
        pauses = iter(REPEAT_AFTER_S)
        while True:
            try:
                return await self.scripts.run(ScriptName.DISPATCH, *self._arguments(call, repeated))
            except StoreUnavailableError:
                pause = next(pauses, None)
                if pause is None or self._closing:
                    raise
            await self.clock.sleep(pause)
            repeated = True

    def _arguments(self, call: _Call, repeated: bool) -> list[str | int]:
        args: list[str | int] = [self.clock.now_ms(), self.lease_ms, HEADS_COMPARED]
        args += [self.name, call.number, int(repeated)]
        args += [advance(TaskState.LANDING, TaskState.DONE), TaskState.BLOCKED]
        args += [TaskState.QUEUED, advance(TaskState.QUEUED, TaskState.RUNNING), TaskState.LANDING]
        args += [",".join(sorted(HELD_STATES)), len(call.finished)]
        for finished in call.finished:
            totals = landed_totals(finished.landed)
            args += [finished.claim.task.id, finished.claim.token]
            args += [totals.files_json, totals.lines_added, totals.lines_removed]
        args.append(len(call.given_back))
        for task, token in call.given_back:
            args += [task, token]
        args.append(len(call.waiters))
        for waiter in call.waiters:
            args += [waiter.worker.name, ",".join(sorted(waiter.worker.tags))]
        return args

    def _grant(
        self,
        waiter: _Waiter,
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

    def _tell_everybody(self, call: _Call, error: StoreError) -> None:
        """The server is away: nobody is left waiting for an answer that nobody will ask for."""
        self._tell([*call.finished, *call.waiters, *self._finished, *self._waiters], error)
        self._finished.clear()
        self._waiters.clear()

    def _tell(self, askers: Sequence[_Waiter | _Finished], error: StoreError) -> None:
        for asker in askers:
            if not asker.answer.done():
                asker.answer.set_exception(error)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise _closing_error()


def _closing_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store is closing")


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")
