"""The places at the control socket: how many clients there are, and who gives its place to a newcomer.

Theory of operation. Who follows the daemon stays for hours, who asks is gone at once, and who does neither
has no need of its place. So followers leave a few places to the others, and when all are taken the client
that has been idle for longest goes. Only followers and clients whose question is being answered stay; where
nobody else is left, the newcomer is refused. Separate from `control`, which accepts, and from `connection`,
which speaks: this is arithmetic alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_CLIENTS = 64
KEPT_FOR_QUESTIONS = 8
"""Of these places no subscription takes one, so that `status` and `stop` are heard beside any crowd."""


class Place:
    """One client's place. Its connection says here what it does."""

    def __init__(self, places: Places, now_s: float) -> None:
        self._places = places
        self._follows = 0
        self._answers = 0
        self.idle_since_s = now_s
        self.leave: Callable[[], None] | None = None
        """Ends the connection; None before there is one."""

    @property
    def is_following(self) -> bool:
        return self._follows > 0

    @property
    def is_idle(self) -> bool:
        """Whether it may be taken away. An answer that the client has yet to read does not hold it."""
        return not self._follows and not self._answers

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, a question of this client is being answered."""
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1
            self._rest()

    def begin_following(self) -> bool:
        """Whether it may follow; if so, `end_following` is owed. It may begin anew before the end."""
        if not self.is_following and not self._places.has_room_to_follow:
            return False
        self._follows += 1
        return True

    def end_following(self) -> None:
        self._follows -= 1
        self._rest()

    def _rest(self) -> None:
        self.idle_since_s = self._places.now_s()


class Places:
    """All places. `now_s` counts seconds and never runs backwards."""

    def __init__(
        self,
        now_s: Callable[[], float],
        *,
        most: int = MAX_CLIENTS,
        kept_for_questions: int = KEPT_FOR_QUESTIONS,
    ) -> None:
        self.now_s = now_s
        self.most = most
        self.most_followers = most - kept_for_questions
        self._taken: set[Place] = set()

    @property
    def has_room_to_follow(self) -> bool:
        return sum(place.is_following for place in self._taken) < self.most_followers

    def take(self) -> Place | None:
        """A place for a newcomer, another's if need be; None when nobody is idle."""
        if len(self._taken) >= self.most:
            idle = [place for place in self._taken if place.is_idle and place.leave is not None]
            if not idle:
                return None
            longest = min(idle, key=lambda place: place.idle_since_s)
            self._taken.discard(longest)
            assert longest.leave is not None
            longest.leave()
        place = Place(self, self.now_s())
        self._taken.add(place)
        return place

    def give_back(self, place: Place) -> None:
        """Free a place, which may have been taken away already."""
        self._taken.discard(place)
