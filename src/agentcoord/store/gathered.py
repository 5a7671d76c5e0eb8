"""What the workers have left with the dispatcher and no call has taken yet.

Separate from the dispatcher, which says when a call is made and who hears its answer: here stands who waits,
what the next call takes, and how everybody is told when there will be no answer.
Deliberately absent: the server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import TypeVar

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.dispatch_call import Ahead, Appended, Call, Finished, Move, Waiter
from agentcoord.store.scripts import BATCH
from agentcoord.store.under_way import tell
from agentcoord.values import dataclass

_T = TypeVar("_T")


@dataclass(slots=True)
class Gathered:
    """Requests of one dispatcher."""

    stir: Callable[[], None]
    """There may be something to send."""
    moves: deque[Move] = field(default_factory=deque)
    finished: deque[Finished] = field(default_factory=deque)
    given_back: deque[tuple[TaskId, FencingToken]] = field(default_factory=deque)
    appended: deque[Appended] = field(default_factory=deque)
    waiters: dict[Waiter, None] = field(default_factory=dict)
    """In order of arrival."""
    ahead: deque[Ahead] = field(default_factory=deque)
    closing: bool = False
    calls: int = 0
    """How many calls were made of them."""

    def want(self, worker: WorkerSpec) -> Waiter:
        """Have a worker wait for a task. Raises StoreUnavailableError when closing."""
        self.refuse_when_closing()
        waiter = Waiter(worker, asyncio.get_running_loop().create_future())
        self.waiters[waiter] = None
        self.stir()
        return waiter

    def no_longer_wanted(self, waiter: Waiter) -> None:
        """Leave no task behind; a call under way is looked after when it ends, by its cancelled future."""
        self.waiters.pop(waiter, None)
        answer = waiter.answer
        if answer.cancel() or answer.cancelled():
            return
        # The answer came before anybody looked at it.
        if answer.exception() is None:
            self.give_back(answer.result().task.id, answer.result().token)

    def make_all_hungry(self) -> None:
        """A task may have become ready for anybody who waits."""
        for waiter in self.waiters:
            waiter.hungry = True

    def give_back(self, task: TaskId, token: FencingToken) -> None:
        """Put back in line what was handed out and nobody wants any more."""
        self.given_back.append((task, token))
        self.stir()

    def next_call(self, *, first: bool, paused: bool) -> Call | None:
        """Take all that has gathered. `first`: no other call of ours is under way."""
        # A finished task may release others, for anybody who waits.
        if self.finished or self.given_back:
            self.make_all_hungry()
        finished = _taken(self.finished)
        for one in finished:
            if one.following is not None:
                one.following.behind_own_finish = False
        waiters: tuple[Waiter, ...] = () if paused else self.to_be_asked_for()
        asked = self.moves or finished or self.given_back or waiters
        if not asked and not (self.appended and first):
            return None
        moves, given_back, appended = _taken(self.moves), _taken(self.given_back), _taken(self.appended)
        return self.call_for(waiters, moves, finished, given_back, appended)

    def call_for(
        self,
        waiters: tuple[Waiter, ...],
        moves: tuple[Move, ...] = (),
        finished: tuple[Finished, ...] = (),
        given_back: tuple[tuple[TaskId, FencingToken], ...] = (),
        appended: tuple[Appended, ...] = (),
    ) -> Call:
        """Make a call of what was taken; `waiters` are asked for in it."""
        self.calls += 1
        for waiter in waiters:
            waiter.hungry, waiter.asked = False, True
        return Call(self.calls, moves, finished, given_back, waiters, appended)

    @property
    def only_waiters(self) -> bool:
        """Whether the next call would take nothing but those who wait, and no other script goes before it."""
        return not (self.moves or self.finished or self.given_back or self.appended or self.ahead)

    def to_be_asked_for(self) -> tuple[Waiter, ...]:
        """Return those who wait and whom the next call would take."""
        hungry = [
            each for each in self.waiters if each.hungry and not each.asked and not each.behind_own_finish
        ]
        return tuple(hungry[:BATCH])

    def close(self, under_way: Iterable[Call]) -> None:
        """Take no more; who waits for a task is told."""
        self.closing = True
        waiting = list(self.waiters)
        self.waiters.clear()
        # Who has just finished a task is told when that is settled.
        theirs = {finished.following for finished in self._handed_in(under_way)}
        for waiter in waiting:
            if waiter not in theirs:
                tell(waiter.answer, closing_error())
        self.stir()

    def _handed_in(self, under_way: Iterable[Call]) -> Iterator[Finished]:
        yield from self.finished
        for call in under_way:
            yield from call.finished

    def refuse(self, call: Call, error: StoreError) -> None:
        """The server would not carry out a call: whoever asked in it is told."""
        for move in call.moves:
            tell(move.answer, error)
        for appended in call.appended:
            tell(appended.answer, error)
        self._tell_finished_and_waiters(call.finished, call.waiters, error)

    def tell_everybody(self, unsettled: Sequence[Call], error: StoreError) -> None:
        """The server is away: nobody but events is left waiting for what nobody will ask."""
        for call in unsettled:
            for move in call.moves:
                tell(move.answer, error)
            self._tell_finished_and_waiters(call.finished, call.waiters, error)
        for move in self.moves:
            tell(move.answer, error)
        for ahead in self.ahead:
            tell(ahead.answer, error)
        self.ahead.clear()
        self._tell_finished_and_waiters(self.finished, tuple(self.waiters), error)
        self.moves.clear()
        self.finished.clear()
        if self.closing:
            for appended in (*self.appended, *(a for call in unsettled for a in call.appended)):
                tell(appended.answer, error)

    def _tell_finished_and_waiters(
        self, finished: Sequence[Finished] | deque[Finished], waiters: Sequence[Waiter], error: StoreError
    ) -> None:
        for one in finished:
            self.refuse_finished(one, error)
        for waiter in waiters:
            self.waiters.pop(waiter, None)
            tell(waiter.answer, error)

    def refuse_finished(self, finished: Finished, error: StoreError) -> None:
        """It was not booked: whoever finished it is told, and gets no other task."""
        finished.on_finished = None  # Who asked has been told otherwise, and may ask again.
        if finished.answer is not None:
            tell(finished.answer, error)
        if finished.following is not None:
            self.waiters.pop(finished.following, None)
            tell(finished.following.answer, error)

    def refuse_when_closing(self) -> None:
        """Raise StoreUnavailableError once closed."""
        if self.closing:
            raise closing_error()


def _taken(waiting: deque[_T]) -> tuple[_T, ...]:
    """Take at most a batch."""
    if len(waiting) <= BATCH:
        taken = tuple(waiting)
        waiting.clear()
        return taken
    return tuple(waiting.popleft() for _ in range(BATCH))


def closing_error() -> StoreUnavailableError:
    """What whoever asks too late is told."""
    return StoreUnavailableError("the store is closing")
