"""The line of those who mean to land, each proven on the tree as those before it will leave it.

Theory of operation. Who stands in line shows what it would land: its offer. Whoever comes after puts its
change on top of all offers before it and runs its checks there, at the same time as they run theirs.
When those before it have landed, the tree is the one that its checks saw, and it lands without a
second proof. Who leaves without landing (red, held, parked, cancelled) or shows another offer makes void
what was proven on top of it; those are proven anew, without it. The first in line lands; nobody else.

The line only says whom to count on and when it is one's turn. That the tree really is what was proven
is compared at the landing, file by file, and not taken from here. Whoever waits in line holds no proof
copy, so that those before it can always get one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Any, TypeVar

from agentcoord.values import dataclass
from agentcoord.workspace.staged import Staged

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Offer:
    """What one place would land, as those behind it count on it.

    It does not know its place: the two would keep each other, and with them the landed contents and a list
    of the whole tree, until the collector comes, which on a daemon is seldom.
    """

    staged: Staged
    landed: bool = False
    withdrawn: bool = False

    @property
    def open(self) -> bool:
        """Whether it may still land."""
        return not (self.landed or self.withdrawn)


@dataclass(slots=True, eq=False)
class Place:
    """One task's place; made by `LandingLine.stand`."""

    _line: LandingLine
    offer: Offer | None = None
    counts_on: tuple[Offer, ...] = ()
    """The offers before it that its own was put on top of."""
    void: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one of these will not land, and it matters to checks."""

    def has_landed(self) -> None:
        """What it offers is in the tree."""
        if self.offer is not None:
            self.offer.landed = True

    async def offers_before(self) -> tuple[Offer, ...]:
        """Return what those before it would land, first one first; wait until each has shown it.

        Its own offer is over: whoever counted on it waits for the next.
        """
        self._line.withdraw(self)
        self._line.tell()
        while (offers := self.shown_before()) is None:
            await self._line.changed.wait()
        return offers

    def shown_before(self) -> tuple[Offer, ...] | None:
        """As `offers_before`; None while somebody has not shown it."""
        offers = [place.offer for place in self._line.before(self)]
        shown = tuple(offer for offer in offers if offer is not None)
        return shown if len(shown) == len(offers) else None

    def show(self, staged: Staged, counts_on: tuple[Offer, ...]) -> None:
        """Let those behind count on this."""
        self.counts_on = counts_on
        self.void.clear()
        if not self._may_stand:
            self.void.set()  # While it was staged, somebody left.
        self.offer = Offer(staged)
        self._line.tell()

    async def unless_void(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns. When the place becomes void first, `work` is cancelled: None."""
        try:
            async with asyncio.TaskGroup() as group:
                doing = group.create_task(work)
                watching = group.create_task(self.void.wait())
                await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
                doing.cancel()
                watching.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return None if doing.cancelled() else doing.result()

    async def first(self) -> bool:
        """Wait for its turn; return whether all that it counts on has landed; False as soon as it cannot."""
        while self._line.before(self) and self._may_stand:
            await self._line.changed.wait()
        return self.stands

    async def stepped_out(self) -> bool:
        """Leave the line at once; return, when it is known, whether all that it counted on has landed."""
        self._line.leave(self)
        while any(offer.open for offer in self.counts_on):
            await self._line.changed.wait()
        return self.stands

    def step_in(self) -> None:
        """Stand at the end of the line again."""
        self._line.places.append(self)
        self._line.tell()

    @property
    def stands(self) -> bool:
        """Whether all that it counts on has landed."""
        return all(offer.landed for offer in self.counts_on)

    @property
    def _may_stand(self) -> bool:
        return all(offer.landed or offer.open for offer in self.counts_on)


class LandingLine:
    """All places, in the order of landing."""

    def __init__(self, matters: Callable[[Staged], bool]) -> None:
        """`matters`: whether any check reads what is staged."""
        self._matters = matters
        self.places: list[Place] = []
        self.changed = asyncio.Event()
        """Set, and replaced by a new one, whenever anything about the line changes."""

    @asynccontextmanager
    async def stand(self) -> AsyncIterator[Place]:
        """Stand at the end of the line for the length of the block."""
        place = Place(self)
        place.step_in()
        try:
            yield place
        finally:
            self.leave(place)
            # Else who counts on this one would keep all that ever stood before it, with their contents.
            place.counts_on = ()

    def before(self, place: Place) -> list[Place]:
        return self.places[: self.places.index(place)]

    def offers_of(self, wanted: Callable[[str], bool]) -> tuple[Offer, ...]:
        """The offers with a wanted file, the first one first, and those that share a file with it."""
        found: list[Offer] = []
        paths: set[str] = set()
        for place in reversed(self.places):
            offer = place.offer
            if offer is None or place.void.is_set():
                continue
            theirs = {file.path for file in offer.staged.files}
            if theirs & paths or any(wanted(path) for path in theirs):
                found.append(offer)
                paths |= theirs
        return tuple(reversed(found))

    def leave(self, place: Place) -> None:
        """Take a place out; what counted on an offer that has not landed becomes void."""
        if place.offer is None or not place.offer.landed:
            self.withdraw(place)
        if place in self.places:
            self.places.remove(place)
        self.tell()

    def withdraw(self, place: Place) -> None:
        """Let nobody count on its offer any more."""
        offer, place.offer = place.offer, None
        if offer is None:
            return
        offer.withdrawn = True
        if self._matters(offer.staged):
            for other in self.places:
                if offer in other.counts_on:
                    other.void.set()

    def tell(self) -> None:
        """Wake whoever waits. Awaits nothing, so that no cancellation can lose the wake-up."""
        self.changed.set()
        self.changed = asyncio.Event()
