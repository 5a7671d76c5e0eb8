"""The one caller of `dispatch.lua`: gathers what the workers finished, who wants work and what happened,
and settles all of it in one call.

Theory of operation. Workers only leave requests here and wait on a future. What has gathered in a round of
the event loop is sent in one script call; its answers are handed out as they come. A worker that finishes
one task and wants the next asks for both at once. Redis sees a call only when something changed: a worker
moved or finished its task, asks for the first time, an event is to be stored, or `wake()` said that tasks
may have become ready. Who got nothing keeps waiting without any traffic until the next such moment.

A script after which tasks may be ready, such as loading, is sent by `run_ahead`, and the hand-out follows
it at once, before it is answered: a task that the daemon itself enqueues is picked up within one round trip,
and mostly in the same script (`handing_over`).

Deliberately absent: putting calls together and reading their answers, which is `hand_outs`; sending and
repeating them, which is `traffic`; and tasks becoming ready by time: the daemon calls `TaskQueue.reap()` when
they are due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from agentcoord.domain.files import LandedFile
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import StoreError
from agentcoord.store.dispatch_call import Ahead, Appended, Finished, Move, OneTask, Waiter
from agentcoord.store.gathered import closing_error
from agentcoord.store.hand_outs import HandOuts
from agentcoord.store.scripts import ScriptName
from agentcoord.values import dataclass

DISPATCHED = (ScriptName.DISPATCH, ScriptName.LOAD, ScriptName.HAND_OVER)
"""The scripts that the dispatcher sends."""
_T = TypeVar("_T")


@dataclass(slots=True)
class Dispatcher:
    """Hands out and finishes tasks, and stores events; answers nobody unless `run()` is running."""

    hand_outs: HandOuts
    spread: Callable[[], Awaitable[object]]
    """Releases the dependents that a call left over. May raise StoreError: the next reaping goes on then."""
    in_doubt: bool = False
    """Whether an answer was lost that may have said that tasks are ready; what it answers may run later."""

    @property
    def paused(self) -> bool:
        """While set, nobody is handed a task."""
        return self.hand_outs.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self.hand_outs.paused = paused

    def wake(self) -> None:
        """Tasks may have become ready: look after everybody who waits."""
        self.hand_outs.wake()

    def wake_in_doubt(self) -> None:
        """Look after everybody who waits, now and at the next reaping: nobody knows what ran, or will."""
        self.in_doubt = True
        self.wake()

    def claim(self, worker: WorkerSpec) -> Coroutine[Any, Any, Claim]:
        """Wait for a task that `worker` covers. Cancelled at any point, it leaves no task behind.

        Raises StoreUnavailableError when the server stays away, or the store is closing.
        """
        return self._wait_as(self.hand_outs.gathered.want(worker))

    async def move(self, claim: Claim, current: TaskState, to: TaskState, *, why: str) -> str:
        """Move a held task if it is in `current`; return the state it was in, empty for a stale token.

        It goes on when the caller is cancelled. Raises StoreUnavailableError like `claim`.
        """
        self.hand_outs.gathered.refuse_when_closing()
        move = Move(claim, current, to, why, asyncio.get_running_loop().create_future())
        self.hand_outs.gathered.moves.append(move)
        self.hand_outs.traffic.stir()
        return await _answer_of(move.answer)

    async def finish(self, claim: Claim, landed: Sequence[LandedFile], *, current: TaskState) -> None:
        """Move a task that is in `current` to done. It goes on when the caller is cancelled.

        Raises LeaseLostError when the token is stale, StoreUnavailableError like `claim`.
        """
        self.hand_outs.gathered.refuse_when_closing()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hand_outs.gathered.finished.append(Finished(claim, landed, current, answer))
        self.hand_outs.traffic.stir()
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
        waiter = self.hand_outs.gathered.want(worker)
        waiter.behind_own_finish = True
        self.hand_outs.gathered.finished.append(Finished(claim, landed, current, None, waiter, on_finished))
        return self._wait_as(waiter)

    async def append(self, count: int, encoded: bytes) -> tuple[str, int]:
        """Store `count` events; return the log's epoch and the number of the first. Stored once, however
        long the server stays away; it goes on when the caller is cancelled.

        Raises StoreUnavailableError when the store is closing, StoreError when the server refuses.
        """
        self.hand_outs.gathered.refuse_when_closing()
        appended = Appended(count, encoded, asyncio.get_running_loop().create_future())
        self.hand_outs.gathered.appended.append(appended)
        self.hand_outs.traffic.stir()
        return await _answer_of(appended.answer)

    def rouse(self) -> None:
        """Say that `run_ahead` will be called in a moment, by which somebody who waits may get a task."""
        if self.hand_outs.gathered.waiters:
            self.hand_outs.traffic.rouse()

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
        self.hand_outs.gathered.refuse_when_closing()
        ahead = Ahead(script, arguments, asyncio.get_running_loop().create_future(), one)
        self.hand_outs.gathered.ahead.append(ahead)
        self.hand_outs.gathered.make_all_hungry()
        self.hand_outs.traffic.send_now()
        return await _answer_of(ahead.answer)

    async def _wait_as(self, waiter: Waiter) -> Claim:
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self.hand_outs.gathered.no_longer_wanted(waiter)
            raise

    def close(self) -> None:
        """Let `run()` end once what the workers handed in is settled; who waits for a task is told."""
        self.hand_outs.gathered.close(self.hand_outs.traffic.not_settled())

    async def run(self) -> None:
        """Settle calls until closed. Errors of the store go to those who asked."""
        try:
            async with asyncio.TaskGroup() as group:
                spreading = group.create_task(self._release_left_over(), name="store dependents")
                try:
                    await self.hand_outs.traffic.run()
                finally:
                    spreading.cancel()
        finally:
            self.hand_outs.gathered.closing = True  # Also when it was cancelled: nobody will answer any more.
            self.hand_outs.traffic.give_up(closing_error())

    async def _release_left_over(self) -> None:
        """Beside the calls, which go on: thousands may wait for one task."""
        while True:
            await self.hand_outs.left_over.wait()
            self.hand_outs.left_over.clear()
            with suppress(StoreError):
                await self.spread()


async def _answer_of(answer: asyncio.Future[_T]) -> _T:
    try:
        return await answer
    except asyncio.CancelledError:
        if answer.done() and not answer.cancelled():
            answer.exception()  # Looked at, so that the loop does not report it as lost.
        raise
