"""The dispatcher's calls on their way: sent, answered in order, repeated when an answer is lost.

Separate from the dispatcher, which knows who asked and who hears what; this knows what may have run.

Theory of operation. As long as all is well nothing here is a coroutine: `stir` has what has gathered sent
in the event loop's next round, and an answer is handed on from the call by which the loop tells of its
bytes. Whatever takes time (connecting, repeating, a server that is away, the end) is care, and one
coroutine's; while it cares, nothing else is sent.

A call whose answer is lost may have run. It is repeated as it was, under its own number, before anything new
is sent, and the script answers again what it answered before; so nothing is handed out to nobody, nor twice,
and events are stored once. When the server stays away, everybody who waits is told (only events go on
waiting); the calls are repeated when it is back, and what they handed out is given back. Scripts that go
ahead of a hand-out are not repeated: who asked is told that they may have run. Only one that the server
refused unseen, as the first of what was under way, is sent again.
Deliberately absent: the connection itself, which is `lane`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol, TypeVar

from agentcoord.clock import Clock
from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Ahead, Call
from agentcoord.store.lane import Lane, Listener, ScriptsForgottenError
from agentcoord.store.scripts import CALL_TIMEOUT_S, ScriptName
from agentcoord.values import dataclass

REPEAT_AFTER_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""
TRY_AGAIN_AFTER_S = 1.0
"""When a server that stays away is tried again at the latest: events wait for it."""
MOST_UNDER_WAY = 8
"""The most calls under way, those of other scripts included."""
_T = TypeVar("_T")


class Desk(Protocol):
    """What the traffic needs of the dispatcher."""

    @property
    def closing(self) -> bool: ...
    @property
    def handing_out(self) -> bool: ...
    def next_ahead(self) -> Ahead | None: ...
    def next_call(self, *, first: bool) -> Call | None: ...
    def arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]: ...
    def settle(self, call: Call, reply: Sequence[Any]) -> None: ...
    def refuse(self, call: Call, error: StoreError) -> None: ...
    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None: ...
    def wake(self) -> None: ...


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
    _in_hand: deque[Call | Ahead] = field(default_factory=deque)
    """The next to be sent, as soon as there is a connection."""
    _care: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something that takes time."""
    _caring: bool = True
    """While set, only the care coroutine sends; also before it begins and after its end."""
    _sending_soon: bool = False
    """Whether the loop's next round will send what has gathered."""
    _repeated: asyncio.Future[Any] | None = None
    """The answer of the call that is being repeated."""
    _heard_at: float = 0.0
    """On the loop's clock: when the last answer came, or the first of those under way was sent."""
    _patience: asyncio.TimerHandle | None = None
    _broken: Exception | None = None
    """A mistake of our own in handing out an answer; `run` ends with it."""

    def __post_init__(self) -> None:
        self.lane.listen(Listener(self._answered, self._lose_what_is_under_way))

    def stir(self) -> None:
        """There may be something to send."""
        if not self._sending_soon:
            self._sending_soon = True
            asyncio.get_running_loop().call_soon(self._after_a_stir)

    def soon(self, hand_out: Callable[[], None]) -> None:
        """Have the rest of an answer handed out in the loop's next round; a mistake in it ends `run`."""
        asyncio.get_running_loop().call_soon(self._guarded, hand_out)

    @property
    def may_overlap(self) -> bool:
        """Whether a second call could be sent while the answers of this one are handed out."""
        return not self._under_way and self.lane.depth > 1

    def not_settled(self) -> Iterator[Call]:
        """Calls whose answers have not come."""
        for call in (*self._under_way, *self._unsettled, *self._in_hand):
            if isinstance(call, Call):
                yield call

    async def run(self) -> None:
        """Look after what takes time, until the desk is closed and all is settled."""
        async with asyncio.TaskGroup() as group:
            self.lane.begin(group)
            try:
                await self._care_until_closed()
            finally:
                self._caring = True
                if self._patience is not None:
                    self._patience.cancel()
                await self.lane.drop()

    async def _care_until_closed(self) -> None:
        while True:
            self._caring = True
            settled = await self._take_care()
            self._caring = False
            if settled:
                self._send_what_gathered()
            if self.desk.closing and (not settled or self._is_done):
                return
            await self._something_to_care_for()

    def give_up(self, error: StoreError) -> None:
        """Tell whoever still waits, after `run` has ended one way or another."""
        for call in (*self._under_way, *self._in_hand):
            if isinstance(call, Ahead):
                tell(call.answer, error)
        self.desk.tell_everybody(tuple(self.not_settled()), error)

    @property
    def _is_done(self) -> bool:
        waiting = self._under_way or self._unsettled or self._in_hand
        return not (waiting or self._sending_soon or self.desk.handing_out)

    async def _something_to_care_for(self) -> None:
        # A server that stays away is tried again, also when nobody asks.
        with suppress(TimeoutError):
            async with asyncio.timeout(TRY_AGAIN_AFTER_S if self._unsettled else None):
                await self._care.wait()
        self._care.clear()
        if self._broken is not None:
            raise self._broken

    def _after_a_stir(self) -> None:
        self._sending_soon = False
        if not self._caring:
            self._send_what_gathered()
        if self._caring or self._unsettled or self.desk.closing:
            self._care.set()

    def _send_what_gathered(self) -> None:
        self._guarded(self._send_all)
        if self._in_hand:
            self._care.set()

    def _send_all(self) -> None:
        while not self._unsettled and (call := self._next()) is not None:
            if not self.lane.is_open:
                self._in_hand.appendleft(call)
                self._look_for_losses()
                break
            self._send(call)

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Keep a mistake of ours for `run`: what the event loop calls raises to nobody. False: it was one."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a boundary of its own: `run` raises it.
            self._broken = error
            self._care.set()
        return self._broken is None

    def _next(self) -> Call | Ahead | None:
        if self._in_hand:
            return self._in_hand.popleft()
        if len(self._under_way) < MOST_UNDER_WAY and (ahead := self.desk.next_ahead()) is not None:
            return ahead
        calls = sum(isinstance(call, Call) for call in self._under_way)
        return self.desk.next_call(first=calls == 0) if calls < self.lane.depth else None

    def _send(self, call: Call | Ahead) -> None:
        if not self._under_way:
            loop = asyncio.get_running_loop()
            self._heard_at = loop.time()
            if self._patience is None:
                self._patience = loop.call_later(CALL_TIMEOUT_S, self._lose_patience)
        self._under_way.append(call)
        if isinstance(call, Ahead):
            self.lane.send(call.script, call.args)
        else:
            self.lane.send(ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=False))

    def _lose_patience(self) -> None:
        """One timer for all answers: one for each would cost as much as a task."""
        self._patience = None
        if self._under_way:
            loop = asyncio.get_running_loop()
            left_s = self._heard_at + CALL_TIMEOUT_S - loop.time()
            if left_s > 0:
                self._patience = loop.call_later(left_s, self._lose_patience)
            else:
                self._lose_what_is_under_way(_no_answer())

    def _answered(self, reply: Any) -> None:
        if self._repeated is not None:
            if isinstance(reply, StoreError):
                tell(self._repeated, reply)
            else:
                answer_with(self._repeated, reply)
            return
        self._heard_at = asyncio.get_running_loop().time()
        if isinstance(reply, StoreUnavailableError):
            self._lose_what_is_under_way(reply)
            return
        call = self._under_way.popleft()
        if not self._guarded(lambda: self._hand_on(call, reply)) and isinstance(call, Call):
            self._unsettled.appendleft(call)  # `give_up` tells those who were not reached.
        self.stir()

    def _hand_on(self, call: Call | Ahead, reply: Any) -> None:
        if isinstance(call, Ahead):
            if isinstance(reply, StoreError):
                tell(call.answer, reply)
            else:
                answer_with(call.answer, reply)
        elif isinstance(reply, StoreError):
            self.desk.refuse(call, reply)
        else:
            self.desk.settle(call, reply)

    def _look_for_losses(self) -> None:
        """A connection may be closed, or closing, some rounds of the loop before it is said to be lost."""
        if self._under_way and not self.lane.is_open:
            self._lose_what_is_under_way(StoreUnavailableError("the connection to Redis was lost"))

    def _lose_what_is_under_way(self, error: StoreUnavailableError) -> None:
        """The connection is of no use any more, and nobody knows what ran."""
        self.lane.hang_up()
        if self._repeated is not None:
            tell(self._repeated, error)
        if isinstance(error, ScriptsForgottenError) and self._under_way:
            refused = self._under_way[0]
            if isinstance(refused, Ahead):
                self._in_hand.appendleft(refused)
                self._under_way.popleft()
                self.desk.wake()  # A hand-out that was behind it will be repeated before it.
        for call in self._under_way:
            if isinstance(call, Ahead):
                tell(call.answer, error)
            else:
                self._unsettled.append(call)
        self._under_way.clear()
        self._care.set()

    async def _take_care(self) -> bool:
        """Settle what may have run, and connect when there is something to send.

        False when the server stays away.
        """
        self._look_for_losses()
        if self._unsettled and not await self._repeat_unsettled():
            return False
        if not self._in_hand and (call := self._next()) is not None:
            self._in_hand.append(call)
        if self._in_hand:
            try:
                await self.lane.connect()
            except StoreError as error:
                in_hand = self._in_hand.popleft()
                self._care.set()
                if isinstance(in_hand, Ahead):
                    tell(in_hand.answer, error)
                else:
                    self._unsettled.append(in_hand)  # Not sent; repeating it comes to the same.
        return True

    async def _repeat_unsettled(self) -> bool:
        """Repeat what may have run, in order and one by one. False when the server stays away."""
        while self._unsettled:
            call = self._unsettled[0]
            try:
                reply = await self._repeat(call)
            except StoreUnavailableError as error:
                self._let_go_of_what_is_in_hand(error)
                self.desk.tell_everybody(tuple(self._unsettled), error)
                return False
            except StoreError as error:
                self._unsettled.popleft()
                self.desk.refuse(call, error)
            else:
                self.desk.settle(call, reply)
                self._unsettled.popleft()
        return True

    def _let_go_of_what_is_in_hand(self, error: StoreError) -> None:
        for call in self._in_hand:
            if isinstance(call, Ahead):
                tell(call.answer, error)
            else:
                self._unsettled.append(call)
        self._in_hand.clear()

    async def _repeat(self, call: Call) -> Any:
        for pause in REPEAT_AFTER_S:
            await self.clock.sleep(pause)
            try:
                await self.lane.connect()
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    return await self._send_again(call)
            except TimeoutError:
                self.lane.hang_up()
                last = _no_answer()
            except StoreUnavailableError as error:
                self.lane.hang_up()
                last = error
            if self.desk.closing:
                break
        raise last

    async def _send_again(self, call: Call) -> Any:
        self._repeated = asyncio.get_running_loop().create_future()
        try:
            self.lane.send(ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=True))
            return await self._repeated
        finally:
            self._repeated = None


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
