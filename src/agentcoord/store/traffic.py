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
ahead of a hand-out are not repeated: who asked is told that they may have run. What the server refused
unseen, having forgotten its scripts, is sent again with them, once the other answers are in.
Deliberately absent: the connection itself, which is `lane`, and what is known of each call, `under_way`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol

from agentcoord.clock import Clock
from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Ahead, Call
from agentcoord.store.handing_over import HandOver
from agentcoord.store.lane import Lane, LaneCall, Listener, ScriptsForgottenError
from agentcoord.store.scripts import CALL_TIMEOUT_S, ScriptName
from agentcoord.store.under_way import Sent, UnderWay, answer_with, tell
from agentcoord.store.vigil import Vigil
from agentcoord.values import dataclass

REPEAT_AFTER_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before a call is repeated whose answer was lost; then everybody who waits is told."""
TRY_AGAIN_AFTER_S = 1.0
"""When a server that stays away is tried again at the latest: events wait for it."""
TELL_AGAIN = 3
"""How often in a row a server that forgets its scripts is told them again before that counts as no answer."""
MOST_UNDER_WAY = 8
"""The most calls under way, those of other scripts included."""


class Desk(Protocol):
    """What the traffic needs of the dispatcher."""

    @property
    def closing(self) -> bool: ...
    @property
    def handing_out(self) -> bool: ...
    def next_ahead(self, *, alone: bool) -> Ahead | HandOver | None: ...
    def next_call(self, *, first: bool) -> Call | None: ...
    def arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]: ...
    def arguments_of_hand_over(self, over: HandOver) -> list[str | int | bytes]: ...
    def settle(self, call: Call, reply: Sequence[Any]) -> None: ...
    def settle_hand_over(self, over: HandOver, reply: Sequence[Any]) -> bool: ...
    def refuse(self, call: Call, error: StoreError) -> None: ...
    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None: ...
    def wake(self) -> None: ...


@dataclass(slots=True)
class Traffic:
    """Calls between one dispatcher and the server."""

    lane: Lane
    clock: Clock
    desk: Desk
    _calls: UnderWay = field(default_factory=UnderWay)
    _care: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something that takes time."""
    _caring: bool = True
    """While set, only the care coroutine sends; also before it begins and after its end."""
    _sending_soon: bool = False
    """Whether the loop's next round will send what has gathered."""
    _repeated: asyncio.Future[Any] | None = None
    """The answer of the call that is being repeated."""
    _told_again: int = 0
    """How often in a row the server was told its scripts again, and has not answered since."""
    _heard_at: float = 0.0
    """On the loop's clock: when the last answer came, or the first of those under way was sent."""
    _patience: asyncio.TimerHandle | None = None
    _vigil: Vigil = field(init=False)
    _broken: Exception | None = None
    """A mistake of our own in handing out an answer; `run` ends with it."""

    def __post_init__(self) -> None:
        self._vigil = Vigil(lambda: bool(self._calls.sent))
        self.lane.listen(Listener(self._answered, self._lose_what_is_under_way))

    def stir(self) -> None:
        """There may be something to send."""
        if not self._sending_soon:
            self._sending_soon = True
            asyncio.get_running_loop().call_soon(self._after_a_stir)

    def rouse(self) -> None:
        """There will be a task to hand over in a moment: a server that sleeps wakes up meanwhile."""
        if not (self._caring or self._calls.anything) and self.lane.is_open:
            self.lane.rouse(ScriptName.HAND_OVER)

    def send_now(self) -> None:
        """There is something to send that nothing else need wait for."""
        if self._caring:
            self.stir()
        else:
            self._send_what_gathered()

    def soon(self, hand_out: Callable[[], None]) -> None:
        """Have the rest of an answer handed out in the loop's next round; a mistake in it ends `run`."""
        asyncio.get_running_loop().call_soon(self._guarded, hand_out)

    @property
    def may_overlap(self) -> bool:
        """Whether a second call could be sent while the answers of this one are handed out."""
        return not self._calls.sent and self.lane.depth > 1

    def not_settled(self) -> Iterator[Call]:
        """Calls whose answers have not come."""
        return self._calls.not_settled()

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
        self._calls.tell_ahead(error)
        self.desk.tell_everybody(tuple(self.not_settled()), error)

    @property
    def _is_done(self) -> bool:
        return not (self._calls.anything or self._sending_soon or self.desk.handing_out)

    async def _something_to_care_for(self) -> None:
        # A server that stays away is tried again, also when nobody asks.
        with suppress(TimeoutError):
            async with asyncio.timeout(TRY_AGAIN_AFTER_S if self._calls.unsettled else None):
                await self._care.wait()
        self._care.clear()
        if self._broken is not None:
            raise self._broken

    def _after_a_stir(self) -> None:
        self._sending_soon = False
        if not self._caring:
            self._send_what_gathered()
        if self._caring or self._calls.unsettled or self.desk.closing:
            self._care.set()

    def _send_what_gathered(self) -> None:
        self._guarded(self._send_all)
        if self._calls.in_hand:
            self._care.set()

    def _send_all(self) -> None:
        together: list[LaneCall] = []
        while not self._calls.must_wait and (call := self._next()) is not None:
            if not self.lane.is_open:
                self._calls.in_hand.appendleft(call)
                self._look_for_losses()
                return
            together.append(self._under_way(call))
            if isinstance(call, HandOver):
                self.lane.send(together)  # Nothing else has gathered.
                self._vigil.begin()
                return
        if together:
            self.lane.send(together)

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Keep a mistake of ours for `run`: what the event loop calls raises to nobody. False: it was one."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a boundary of its own: `run` raises it.
            self._broken = error
            self._care.set()
        return self._broken is None

    def _next(self) -> Sent | None:
        if self._calls.in_hand:
            return self._calls.in_hand.popleft()
        sent = self._calls.sent
        if not sent or (len(sent) < MOST_UNDER_WAY and not self._calls.hands_over):
            ahead = self.desk.next_ahead(alone=not sent)
            if ahead is not None:
                return ahead
        calls = self._calls.calls_sent
        return self.desk.next_call(first=calls == 0) if calls < self.lane.depth else None

    def _under_way(self, call: Sent) -> LaneCall:
        """Note that a call goes out now, and return it as the lane takes it."""
        if not self._calls.sent:
            loop = asyncio.get_running_loop()
            self._heard_at = loop.time()
            if self._patience is None:
                self._patience = loop.call_later(CALL_TIMEOUT_S, self._lose_patience)
        self._calls.sent.append(call)
        if isinstance(call, Ahead):
            return call.script, call.arguments()
        if isinstance(call, HandOver):
            return ScriptName.HAND_OVER, self.desk.arguments_of_hand_over(call)
        return ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=False)

    def _lose_patience(self) -> None:
        """One timer for all answers: one for each would cost as much as a task."""
        self._patience = None
        if self._calls.sent:
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
        if isinstance(reply, ScriptsForgottenError) and self._told_again < TELL_AGAIN:
            self.desk.wake()  # A hand-out that ran meanwhile did not see what this call brings.
            self._calls.refuse_oldest_unseen()
            self._tell_scripts_once_all_is_in()
            return
        if isinstance(reply, StoreUnavailableError):
            self._lose_what_is_under_way(reply)
            return
        self._told_again = 0
        call = self._calls.sent.popleft()
        if not self._guarded(lambda: self._hand_on(call, reply)):
            self._calls.keep(call)
        self._tell_scripts_once_all_is_in()
        self.stir()

    def _tell_scripts_once_all_is_in(self) -> None:
        """If the server refused calls unseen: it hears them once more, with their scripts."""
        if self._calls.refused_unseen and not self._calls.sent:
            self._told_again += 1
            self._calls.take_in_hand_what_was_refused()
            self.lane.tell_again()
            self.stir()

    def _hand_on(self, call: Sent, reply: Any) -> None:
        if isinstance(call, Ahead):
            if isinstance(reply, StoreError):
                tell(call.answer, reply)
            else:
                answer_with(call.answer, reply)
        elif isinstance(call, HandOver):
            if isinstance(reply, StoreError):
                tell(call.ahead.answer, reply)
                self.desk.refuse(call.call, reply)
            elif not self.desk.settle_hand_over(call, reply):
                self._calls.in_hand.append(call.ahead)
        elif isinstance(reply, StoreError):
            self.desk.refuse(call, reply)
        else:
            self.desk.settle(call, reply)

    def _look_for_losses(self) -> None:
        """A connection may be closed, or closing, some rounds of the loop before it is said to be lost."""
        if self._calls.sent and not self.lane.is_open:
            self._lose_what_is_under_way(StoreUnavailableError("the connection to Redis was lost"))

    def _lose_what_is_under_way(self, error: StoreUnavailableError) -> None:
        """The connection is of no use any more, and nobody knows what ran."""
        self.lane.hang_up()
        if self._repeated is not None:
            tell(self._repeated, error)
        self._calls.lose(error)
        self._care.set()

    async def _take_care(self) -> bool:
        """Settle what may have run, and connect when there is something to send.

        False when the server stays away.
        """
        self._look_for_losses()
        if self._calls.unsettled and not await self._repeat_unsettled():
            return False
        in_hand = self._calls.in_hand
        if not in_hand and not self._calls.must_wait and (call := self._next()) is not None:
            in_hand.append(call)
        if in_hand:
            try:
                await self.lane.connect()
            except StoreError as error:
                self._care.set()
                self._calls.not_answered(in_hand.popleft(), error)
        return True

    async def _repeat_unsettled(self) -> bool:
        """Repeat what may have run, in order and one by one. False when the server stays away."""
        unsettled = self._calls.unsettled
        while unsettled:
            call = unsettled[0]
            try:
                reply = await self._repeat(call)
            except StoreUnavailableError as error:
                self._calls.let_go_of_what_is_in_hand(error)
                self.desk.tell_everybody(tuple(unsettled), error)
                return False
            except StoreError as error:
                unsettled.popleft()
                self.desk.refuse(call, error)
            else:
                self.desk.settle(call, reply)
                unsettled.popleft()
        return True

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
            except ScriptsForgottenError as error:
                self.lane.tell_again()
                last = error
            except StoreUnavailableError as error:
                self.lane.hang_up()
                last = error
            if self.desk.closing:
                break
        raise last

    async def _send_again(self, call: Call) -> Any:
        self._repeated = asyncio.get_running_loop().create_future()
        try:
            self.lane.send([(ScriptName.DISPATCH, self.desk.arguments_of(call, repeated=True))])
            return await self._repeated
        finally:
            self._repeated = None


def _no_answer() -> StoreUnavailableError:
    return StoreUnavailableError(f"Redis gave no answer within {CALL_TIMEOUT_S:.0f} s")
