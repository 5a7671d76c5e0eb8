"""The dispatcher's calls on their way: sent, answered in order, repeated when an answer is lost.

Separate from the dispatcher, which knows who asked and who hears what; this knows what may have run.

Theory of operation. One coroutine sends what the dispatcher has gathered whenever something stirs; another
reads the answers. A call whose answer is lost may have run. It is repeated as it was, under its own
number, before anything new is sent, and the script answers again what it answered before; so nothing is
handed out to nobody, nor twice, and events are stored once. When the server stays away, everybody who waits
is told (only events go on waiting); the calls are repeated when it is back, and what they handed out
is given back. Scripts that go ahead of a hand-out are not repeated, unless the server never ran them: who
asked is told.
Deliberately absent: the connection itself, which is `lane`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from agentcoord.clock import Clock
from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Ahead, Call
from agentcoord.store.lane import Lane, ScriptsForgottenError
from agentcoord.store.scripts import CALL_TIMEOUT_S, ScriptName

REPEAT_AFTER_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""
TRY_AGAIN_AFTER_S = 1.0
"""When a server that stays away is tried again at the latest: events wait for it."""
MOST_UNDER_WAY = 8
"""The most calls under way, those of other scripts included."""
_T = TypeVar("_T")


class Desk(Protocol):
    """What the traffic needs of the dispatcher."""

    closing: bool

    def next_ahead(self) -> Ahead | None: ...
    def next_call(self, *, first: bool) -> Call | None: ...
    def arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]: ...
    async def settle(self, call: Call, reply: Sequence[Any]) -> None: ...
    def refuse(self, call: Call, error: StoreError) -> None: ...
    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None: ...


@dataclass(slots=True)
class Traffic:
    """Calls between one dispatcher and the server."""

    lane: Lane
    clock: Clock
    desk: Desk
    _under_way: deque[Call | Ahead] = field(default_factory=deque)
    """Sent, and not answered yet; in order."""
    _unsettled: deque[Call] = field(default_factory=deque)
    """Calls that may have run, and whose answers never came; in order."""
    _not_run: Ahead | None = None
    """One that the server refused unseen, because it had forgotten its scripts."""
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to send."""
    _sent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to read."""

    def stir(self) -> None:
        """There may be something to send."""
        self._stirred.set()

    @property
    def may_overlap(self) -> bool:
        """Whether a second call could be sent while the answers of this one are handed out."""
        return not self._under_way and self.lane.depth > 1

    def not_settled(self) -> Iterator[Call]:
        """Calls whose answers have not been handed out."""
        for call in (*self._under_way, *self._unsettled):
            if isinstance(call, Call):
                yield call

    async def run(self) -> None:
        """Send and read until the desk is closed and all is settled."""
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
                if self.desk.closing:
                    return
                continue
            while not self._unsettled and (call := self._next()) is not None:
                await self._send(call)
            if self.desk.closing and not (self._under_way or self._unsettled or self._not_run):
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
        not_run, self._not_run = self._not_run, None
        if not_run is not None:
            return not_run
        if len(self._under_way) < MOST_UNDER_WAY and (ahead := self.desk.next_ahead()) is not None:
            return ahead
        calls = sum(isinstance(call, Call) for call in self._under_way)
        return self.desk.next_call(first=calls == 0) if calls < self.lane.depth else None

    async def _send(self, call: Call | Ahead) -> None:
        try:
            # What is not repeated is better not lost to a connection that was cut while idle.
            await self.lane.connect(look=isinstance(call, Ahead) and not self._under_way)
        except StoreError as error:
            if isinstance(call, Ahead):
                tell(call.answer, error)
            else:
                self._unsettled.append(call)  # Not sent; repeating it comes to the same.
            return
        self._under_way.append(call)
        self._sent.set()
        # Who waits for the answer finds the same, within a bound. A server that stopped reading would hold
        # a large call up for ever: closing the connection does not end the sending.
        with suppress(StoreUnavailableError, TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                if isinstance(call, Ahead):
                    await self.lane.send(call.script, call.args)
                else:
                    await self.lane.send(ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=False))

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
                tell(call.answer, error)
            else:
                self.desk.refuse(call, error)
        else:
            self._under_way.popleft()
            if isinstance(call, Ahead):
                answer_with(call.answer, reply)
            else:
                await self.desk.settle(call, reply)
        self._stirred.set()

    async def _lose_what_is_under_way(self, error: StoreUnavailableError) -> None:
        """The connection is of no use any more, and nobody knows what ran."""
        if isinstance(error, ScriptsForgottenError):
            refused = self._under_way[0]
            if isinstance(refused, Ahead):
                self._not_run = refused
                self._under_way.popleft()
        for call in self._under_way:
            if isinstance(call, Ahead):
                tell(call.answer, error)
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
                not_run, self._not_run = self._not_run, None
                if not_run is not None:
                    tell(not_run.answer, error)
                self.desk.tell_everybody(tuple(self._unsettled), error)
                return False
            except StoreError as error:
                self._unsettled.popleft()
                self.desk.refuse(call, error)
            else:
                self._unsettled.popleft()
                await self.desk.settle(call, reply)
        return True

    async def _repeat(self, call: Call) -> Any:
        for pause in REPEAT_AFTER_S:
            await self.clock.sleep(pause)
            try:
                await self.lane.connect()
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self.lane.send(ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=True))
                    return await self.lane.receive()
            except TimeoutError:
                await self.lane.drop()
                last = _no_answer()
            except StoreUnavailableError as error:
                await self.lane.drop()
                last = error
            if self.desk.closing:
                break
        raise last


def answer_with(answer: asyncio.Future[_T], result: _T) -> None:
    """Answer, unless whoever asked has gone."""
    if not answer.done():
        answer.set_result(result)


def tell(answer: asyncio.Future[Any], error: StoreError) -> None:
    """Say that it failed, unless whoever asked has gone."""
    if not answer.done():
        answer.set_exception(error)


def _no_answer() -> StoreUnavailableError:
    return StoreUnavailableError(f"Redis gave no answer within {CALL_TIMEOUT_S:.0f} s")
