"""Calls that were sent, or are to be sent next, and what is known of each.

Separate from `traffic`, which sends and repeats: here stands which call may have run, which was refused
unseen, and who is told what when the connection is lost.
Deliberately absent: the connection, the event loop and bounds of time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import field
from typing import Any, TypeVar

from agentcoord.errors import StoreError
from agentcoord.store.dispatch_call import Ahead, Call
from agentcoord.store.handing_over import HandOver
from agentcoord.values import dataclass

_T = TypeVar("_T")
Sent = Call | Ahead | HandOver


@dataclass(slots=True)
class UnderWay:
    """The calls of one dispatcher."""

    sent: deque[Sent] = field(default_factory=deque)
    """Sent, and not answered yet; in order."""
    refused_unseen: deque[Sent] = field(default_factory=deque)
    """Those that the server did not run, because it had forgotten the script; while others are unanswered."""
    unsettled: deque[Call] = field(default_factory=deque)
    """Calls that may have run, and whose answers never came; in order."""
    in_hand: deque[Sent] = field(default_factory=deque)
    """The next to be sent, as soon as there is a connection."""

    @property
    def anything(self) -> bool:
        """Whether any call is left."""
        return bool(self.sent or self.refused_unseen or self.unsettled or self.in_hand)

    @property
    def must_wait(self) -> bool:
        """Whether nothing new may be sent yet: what has been sent before must be settled first."""
        return bool(self.unsettled or self.refused_unseen)

    @property
    def calls_sent(self) -> int:
        """How many hand-outs are unanswered."""
        return sum(not isinstance(call, Ahead) for call in self.sent)

    @property
    def hands_over(self) -> bool:
        """Whether a hand-over is unanswered: if it did nothing, what it would have loaded must come first."""
        return any(isinstance(call, HandOver) for call in self.sent)

    def not_settled(self) -> Iterator[Call]:
        """Hand-outs whose answers have not come."""
        for call in (*self.sent, *self.refused_unseen, *self.unsettled, *self.in_hand):
            _, hand_out = _halves(call)
            if hand_out is not None:
                yield hand_out

    def refuse_oldest_unseen(self) -> None:
        """The oldest call did not run."""
        self.refused_unseen.append(self.sent.popleft())

    def take_in_hand_what_was_refused(self) -> None:
        """Have it sent before anything else."""
        self.in_hand.extendleft(reversed(self.refused_unseen))
        self.refused_unseen.clear()

    def lose(self, error: StoreError) -> None:
        """The connection is of no use any more, and nobody knows what ran of what is unanswered."""
        self.take_in_hand_what_was_refused()
        for call in self.sent:
            self.not_answered(call, error)
        self.sent.clear()

    def let_go_of_what_is_in_hand(self, error: StoreError) -> None:
        """The server stays away: nobody waits for these to be sent."""
        for call in self.in_hand:
            self.not_answered(call, error)
        self.in_hand.clear()

    def not_answered(self, call: Sent, error: StoreError) -> None:
        """Tell whoever asked; a hand-out is kept to be repeated, which is harmless if it was never sent."""
        ahead, hand_out = _halves(call)
        if ahead is not None:
            tell(ahead.answer, error)
        if hand_out is not None:
            self.unsettled.append(hand_out)

    def keep(self, call: Sent) -> None:
        """Its answer was not handed out to its end: `tell_everybody` tells those who were not reached."""
        _, hand_out = _halves(call)
        if hand_out is not None:
            self.unsettled.appendleft(hand_out)

    def tell_ahead(self, error: StoreError) -> None:
        """There will be no answer: tell whoever waits for another script than the hand-out."""
        for call in (*self.sent, *self.refused_unseen, *self.in_hand):
            ahead, _ = _halves(call)
            if ahead is not None:
                tell(ahead.answer, error)


def _halves(call: Sent) -> tuple[Ahead | None, Call | None]:
    """What goes ahead and the hand-out behind it: a hand-over is both."""
    if isinstance(call, HandOver):
        return call.ahead, call.call
    return (call, None) if isinstance(call, Ahead) else (None, call)


def answer_with(answer: asyncio.Future[_T], result: _T) -> None:
    """Answer, unless whoever asked has gone."""
    if not answer.done():
        answer.set_result(result)


def tell(answer: asyncio.Future[Any], error: StoreError) -> None:
    """Say that it failed, unless whoever asked has gone."""
    if not answer.done():
        answer.set_exception(error)
