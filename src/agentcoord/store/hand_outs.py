"""What goes to the server in the dispatcher's calls, and who hears what of their answers.

Separate from the dispatcher, whom the workers ask, and from `traffic`, which sends calls and repeats them:
here a call is put together of what has gathered, and taken apart again.

Two calls may be under way, so that the server settles the one while the answers of the other are worked off.
For that to come about, the first large answer is handed out in two halves, the second in the loop's next
round. Events alone never take the second place: they ride along with the next call.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import field
from typing import Any, NamedTuple

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.task import Claim
from agentcoord.errors import LeaseLostError, StoreError
from agentcoord.store.dispatch_call import (
    Ahead,
    Appended,
    Call,
    Finished,
    OneTask,
    RoutesCovered,
    Waiter,
    head_of,
)
from agentcoord.store.dispatch_reply import Grant, claim_of, grants_of
from agentcoord.store.gathered import Gathered, closing_error
from agentcoord.store.handing_over import HandOver, taker_of
from agentcoord.store.lane import Lane
from agentcoord.store.traffic import Traffic
from agentcoord.store.under_way import answer_with, tell
from agentcoord.values import dataclass

HALVED_FROM = 4
"""Answers that hand out fewer tasks than this are handed out at once."""
KEPT_EVENTS = 100_000
"""About how many of the newest events are kept."""
_STALE, _SOME_LEFT = b"02"
"""What the script says of a finished task: the token is stale; some that need it are left to be told. It says
the second once more, behind all of them, when somebody is left to be told after a task was given back."""


class _Half(NamedTuple):
    """What is left to be handed out of an answer."""

    call: Call
    grants: Sequence[Grant]
    deadline_ms: int


@dataclass(slots=True)
class HandOuts:
    """The calls of one dispatcher (`traffic.Desk`)."""

    lane: Lane
    clock: Clock
    lease_ms: int
    name: str
    """Unique to this dispatcher: it names the memory of its last calls."""
    paused: bool = False
    """While set, nobody is handed a task; the script looks at the stored flag too."""
    traffic: Traffic = field(init=False)
    gathered: Gathered = field(init=False)
    left_over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call left dependents to be released."""
    _routes: RoutesCovered = field(default_factory=RoutesCovered)
    _second_halves: deque[_Half] = field(default_factory=deque)
    _spare_epoch: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What the epoch of the event log becomes if the stored log turns out to be gone."""
    _last_event: tuple[str, int] = ("", 0)
    """The epoch and the number of the newest event of which an answer told."""

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.lane, self.clock, self)
        self.gathered = Gathered(self.traffic.stir)

    @property
    def closing(self) -> bool:
        """Whether nothing more is taken."""
        return self.gathered.closing

    def next_ahead(self, *, alone: bool) -> Ahead | HandOver | None:
        """Take the next script that goes before hand-outs. `alone`: nothing is under way."""
        if not self.gathered.ahead:
            return None
        ahead = self.gathered.ahead.popleft()
        return (self._as_hand_over(ahead, ahead.one) if alone and ahead.one else None) or ahead

    def _as_hand_over(self, ahead: Ahead, one: OneTask) -> HandOver | None:
        if self.paused or not self.gathered.only_waiters:
            return None
        waiters = self.gathered.to_be_asked_for()
        taker = taker_of(one.route, waiters, self._routes)
        if taker is None:
            return None
        return HandOver(ahead, one, self.gathered.call_for(waiters), *taker, self._routes.version)

    def arguments_of_hand_over(self, over: HandOver) -> list[str | int | bytes]:
        """Return it as the script takes it."""
        over.sent_at_ms = now_ms = self.clock.now_ms()
        return over.arguments(now_ms, now_ms + self.lease_ms, self.name)

    def settle_hand_over(self, over: HandOver, reply: Sequence[Any]) -> bool:
        """Hand on what it did. False when it did nothing: the load must run after all."""
        if not reply:
            _asked_no_more(over.call)
            self.gathered.make_all_hungry()
            return False
        rank, token = reply
        self._give(over.call.waiters[over.which], over.claim(FencingToken(int(token)), self.lease_ms))
        _asked_no_more(over.call)
        answer_with(over.ahead.answer, [rank, [1]])
        return True

    def next_call(self, *, first: bool) -> Call | None:
        """Take all that has gathered. `first`: no other call of ours is under way."""
        return self.gathered.next_call(first=first, paused=self.paused)

    def arguments_of(self, call: Call, *, repeated: bool) -> list[str | int | bytes]:
        """Return a call as the script takes it."""
        now_ms, version = self.clock.now_ms(), self._routes.version
        deadline_ms = now_ms + self.lease_ms
        head = head_of(deadline_ms, self.name, call.number, repeated=repeated, version=version)
        of_log = (self._spare_epoch, KEPT_EVENTS, *self._last_event) if call.appended else ()
        return [now_ms, head, *call.arguments(self._routes), *of_log]

    def settle(self, call: Call, reply: Sequence[Any]) -> None:
        """Hand out the answers of a call."""
        words, bodies, *rest = reply
        looked_up, found, routes = rest or ((), (), ())
        results, deadline, first_token, waiters, version, epoch, first_event = words.split(b"|")
        self._routes.learn(version, routes)
        for move, state in zip(call.moves, found, strict=True):
            answer_with(move.answer, state.decode())
        for finished, result in zip(call.finished, results[: len(call.finished)], strict=True):
            self._booked(finished, result != _STALE)
        if _SOME_LEFT in results:
            self.left_over.set()
        if call.appended:
            self._number(call.appended, epoch.decode(), int(first_event))
        grants = grants_of(first_token, waiters, bodies, looked_up)
        if len(grants) < HALVED_FROM or not self.traffic.may_overlap:
            self._hand_out(_Half(call, grants, int(deadline)))
            return
        # The first ones work, and what they hand in is sent, while the rest is handed out.
        half = len(grants) // 2
        for grant in grants[:half]:
            self._grant(call, grant, int(deadline))
        self.traffic.stir()
        self._second_halves.append(_Half(call, grants[half:], int(deadline)))
        self.traffic.soon(self._hand_out_second_half)

    @property
    def handing_out(self) -> bool:
        """Whether an answer that has come is not handed out to its end."""
        return bool(self._second_halves)

    def _hand_out_second_half(self) -> None:
        self._hand_out(self._second_halves[0])
        self._second_halves.popleft()
        self.traffic.stir()

    def _hand_out(self, half: _Half) -> None:
        for grant in half.grants:
            self._grant(half.call, grant, half.deadline_ms)
        _asked_no_more(half.call)

    def refuse(self, call: Call, error: StoreError) -> None:
        """The server would not carry out a call: whoever asked in it is told."""
        self.gathered.refuse(call, error)

    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None:
        """The server is away: nobody but events is left waiting for what nobody will ask."""
        self.gathered.tell_everybody(unsettled, error)

    def wake(self) -> None:
        """Tasks may have become ready: look after everybody who waits."""
        self.gathered.make_all_hungry()
        if self.gathered.waiters:
            self.traffic.stir()

    def _number(self, stored: Sequence[Appended], epoch: str, number: int) -> None:
        if epoch == self._spare_epoch:
            self._spare_epoch = uuid.uuid4().hex  # The log may be lost again.
        for appended in stored:
            answer_with(appended.answer, (epoch, number))
            number += appended.count
        self._last_event = (epoch, number - 1)

    def _booked(self, finished: Finished, ok: bool) -> None:
        if not ok:
            self.gathered.refuse_finished(finished, _lease_lost(finished.claim))
            return
        if finished.on_finished is not None:
            finished.on_finished()
        if finished.answer is not None:
            answer_with(finished.answer, None)
        elif self.gathered.closing and finished.following is not None:
            tell(finished.following.answer, closing_error())

    def _grant(self, call: Call, grant: Grant, deadline_ms: int) -> None:
        waiter = call.waiters[grant.waiter]
        self._give(waiter, claim_of(grant, waiter.worker.name, deadline_ms, self.lease_ms))

    def _give(self, waiter: Waiter, claim: Claim) -> None:
        if waiter.answer.done():
            self.gathered.give_back(claim.task.spec.id, claim.token)
            return
        self.gathered.waiters.pop(waiter, None)
        waiter.answer.set_result(claim)


def _asked_no_more(call: Call) -> None:
    for waiter in call.waiters:
        waiter.asked = False


def _lease_lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"the claim on {claim.task.id} (token {claim.token}) has ended")
