"""The lines of those who wait for file locks: who is whose turn. Pure: asks nobody and awaits nothing.

Theory of operation. A wait is for one file or for a set of them, and stands in the line of each of its
files: by priority, then arrival, the same order in every line, so that two sets never stand before each
other. Who waits for a set holds nothing of it meanwhile. Whoever stands ahead bars those behind, with two
exceptions, both for waits that could not go now anyway:
- It waits for somebody, or through others, who waits for a lock of the task behind it. That one must end
  first; were it barred, they would wait for each other. So every circle that is left is one of holders alone,
  which is looked for at each new wait.
- It waits for a set of which somebody holds another file. It lets at most `OVERTAKEN_MOST` go before it,
  and then keeps its place: a file that is free is used, and nobody starves.
Deliberately absent: who really holds a lock. That stands in Redis; here is what was last heard of it. Answers
come over several connections, so one may be told after the news of a later change: it counts for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.wait_graph import reaches
from agentcoord.values import dataclass

OVERTAKEN_MOST = 3
"""How many may go before a wait for a set that is stuck elsewhere."""


@dataclass(eq=False, slots=True)
class Waiting:
    """One wait for one or more files."""

    claim: Claim
    paths: tuple[str, ...]
    since_ms: int
    number: int
    """Counts up: the order of arrival."""
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it may be its turn; it then asks Redis."""
    is_told: bool = False
    """Whether it has heard that it must wait; before, it is only about to ask."""
    overtaken: int = 0
    """How many went before it."""
    is_outdated: bool = False
    """Whether one of its files was taken or freed since it asked: the answer may be from before that."""

    @property
    def task(self) -> TaskId:
        return self.claim.task.id

    @property
    def place(self) -> tuple[int, int]:
        """What it is sorted by in every line."""
        return (-self.claim.task.spec.priority, self.number)


@dataclass(frozen=True, slots=True)
class _Edges:
    """Who waits for whom at one moment."""

    to_holders: Mapping[TaskId, set[TaskId]]
    to_all: Mapping[TaskId, set[TaskId]]
    """To holders, and to all who keep their place ahead in some line."""


@dataclass(slots=True)
class LockLines:
    """The lines of one project."""

    _lines: dict[str, list[Waiting]] = field(default_factory=dict)
    _holders: dict[str, TaskId] = field(default_factory=dict)
    """Who was last seen with the lock of a file that somebody waits for."""
    _arrivals: int = 0

    @property
    def is_empty(self) -> bool:
        return not self._lines and not self._holders

    def join(self, claim: Claim, paths: tuple[str, ...], now_ms: int) -> Waiting:
        """Stand in the line of each of `paths`."""
        self._arrivals += 1
        one = Waiting(claim, paths, now_ms, self._arrivals)
        for path in paths:
            line = self._lines.setdefault(path, [])
            line.append(one)
            line.sort(key=lambda waiting: waiting.place)
        return one

    def leave(self, one: Waiting, *, took: bool) -> None:
        """Step out of every line; with the locks, or without, so that others may go."""
        others_may_go = not took
        for path in one.paths:
            for ahead in self._ahead(one, path):
                ahead.overtaken += took
            line = self._lines[path]
            line.remove(one)
            if not line:
                del self._lines[path]
                self._holders.pop(path, None)
            elif took:
                self._holders[path] = one.task
                self._outdate(path)
                # A set that waits for this file is stuck now, and bars nobody from the rest of it.
                others_may_go |= any(len(other.paths) > 1 for other in line)
        if others_may_go:
            self._wake()

    def hear(self, one: Waiting, held: Mapping[str, TaskId]) -> None:
        """Take over who holds which of its files: the others are free, or its own.

        What was seen as its own stays so: others who wait for that are part of the circle that it may close.
        """
        before = {path: self._holders.get(path) for path in one.paths}
        for path in one.paths:
            if path in held:
                self._holders[path] = held[path]
            elif before[path] != one.task:
                self._holders.pop(path, None)
        if not one.is_told or before != {path: self._holders.get(path) for path in one.paths}:
            one.is_told = True
            self._wake(except_for=one)

    def freed(self, paths: Iterable[str], by: TaskId) -> None:
        """`by` does not hold these files any more; who was seen with one since then keeps it."""
        for path in paths:
            if self._holders.get(path) == by:
                del self._holders[path]
            self._outdate(path)
        self._wake()

    def freed_of(self, task: TaskId) -> None:
        """`task` holds nothing any more."""
        self.freed([path for path, holder in self._holders.items() if holder == task], task)

    def unknown(self) -> None:
        """Locks have gone, and nobody says which: all who wait ask again."""
        self._holders.clear()
        for path in self._lines:
            self._outdate(path)
        self._wake()

    def may_go(self, one: Waiting) -> bool:
        """Whether nobody ahead bars it, whoever holds its files."""
        return next(self._bars(one, self._edges()), None) is None

    def waits_for(self, one: Waiting) -> list[TaskId]:
        """The tasks that hold its files, then those ahead that bar it; each once, none its own."""
        bars = (ahead.task for ahead in self._bars(one, self._edges()))
        return list(dict.fromkeys([*sorted(self._holders_of(one)), *bars]))

    def held_up(self) -> dict[TaskId, set[TaskId]]:
        """Which task waits for which holders. Who stands ahead does not count: it never closes a circle."""
        found: dict[TaskId, set[TaskId]] = {}
        for one in self._all():
            if one.is_told:
                found.setdefault(one.task, set()).update(self._holders_of(one))
        return found

    def line_of(self, path: str) -> list[Waiting]:
        """Who waits for a file and knows it, first in line first."""
        return [one for one in self._lines.get(path, ()) if one.is_told]

    def _outdate(self, path: str) -> None:
        for one in self._lines.get(path, ()):
            one.is_outdated = True

    def _bars(self, one: Waiting, edges: _Edges) -> Iterator[Waiting]:
        need_it = [task for task, holders in edges.to_holders.items() if one.task in holders]
        for path in one.paths:
            for ahead in self._ahead(one, path):
                if ahead.task == one.task or self._is_stuck_elsewhere(ahead, path):
                    continue
                if not any(reaches(edges.to_all, ahead.task, task) for task in need_it):
                    yield ahead

    def _edges(self) -> _Edges:
        to_holders = self.held_up()
        to_all = {task: set(holders) for task, holders in to_holders.items()}
        for path, line in self._lines.items():
            keep_their_place = [one for one in line if not self._is_stuck_elsewhere(one, path)]
            for one in line:
                ahead = {other.task for other in keep_their_place if other.place < one.place}
                to_all.setdefault(one.task, set()).update(ahead - {one.task})
        return _Edges(to_holders, to_all)

    def _holders_of(self, one: Waiting) -> set[TaskId]:
        return {self._holders[path] for path in one.paths if self._is_held(path, one)}

    def _is_stuck_elsewhere(self, one: Waiting, path: str) -> bool:
        others = (other for other in one.paths if other != path)
        return one.overtaken < OVERTAKEN_MOST and any(self._is_held(other, one) for other in others)

    def _is_held(self, path: str, one: Waiting) -> bool:
        """Whether somebody else was last seen with what `one` waits for."""
        return self._holders.get(path, one.task) != one.task

    def _ahead(self, one: Waiting, path: str) -> list[Waiting]:
        line = self._lines[path]
        return line[: line.index(one)]

    def _wake(self, *, except_for: Waiting | None = None) -> None:
        """Let those ask again who could go, as far as is known; the others hear of it at a release.

        All are looked at: a change in one line may mean that somebody in another is not barred any more.
        """
        edges = self._edges()
        for one in self._all() - {except_for}:
            if not self._holders_of(one) and next(self._bars(one, edges), None) is None:
                one.turn.set()

    def _all(self) -> set[Waiting]:
        return {one for line in self._lines.values() for one in line}
