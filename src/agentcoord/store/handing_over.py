"""A task that is added while somebody waits for such a one: both in one script call, `hand_over.lua`.

Separate from the dispatcher, which loads and then hands out, in two calls sent together: that does all that
may be wanted, this only what is wanted nearly always when workers wait, in half of the server's time.

Theory of operation. Nothing else may have gathered and nothing be under way, so that the order of things
stays as it was. The script looks whether anybody who waits could have had another task, and does nothing
then: load and hand-out are sent after all. When its answer is lost, the hand-out is repeated by
`dispatch.lua`, which remembers it; who loaded is told that it may have run.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from agentcoord.domain.ids import FencingToken
from agentcoord.domain.states import TaskState, advance
from agentcoord.domain.task import Claim, Task
from agentcoord.store.dispatch_call import Ahead, Call, OneTask, RoutesCovered, Waiter

MOST_ROUTES = 32
"""Where those who wait cover more routes than this, looking into all of them is left to `dispatch.lua`."""
_RUNNING = advance(TaskState.QUEUED, TaskState.RUNNING)


class HandOver(Struct, eq=False):
    """Adds what `ahead` would add and hands it to one of those who wait in `call`."""

    ahead: Ahead
    one: OneTask
    call: Call
    which: int
    """Whose it is, of the call's waiters."""
    covered: str
    """The routes that any of them covers, a line feed before each."""
    version: str
    """Of the routes among which these were found: it may be sent again when others are known."""
    sent_at_ms: int = 0

    def arguments(self, now_ms: int, deadline_ms: int, dispatcher: str) -> list[int | str | bytes]:
        """Return the call as the script takes it."""
        one, number, worker = self.one, self.call.number, self.call.waiters[self.which].worker.name
        head = (
            f"{deadline_ms}\n{dispatcher}:{number % 2}\n{number}\n{_RUNNING}\n{self.version}\n"
            f"{one.spec.id}\n{one.bonus_ms}\n{one.route}\n{worker}\n{self.which}\n"
        )
        return [now_ms, head, one.body, self.covered]

    def claim(self, token: FencingToken, lease_ms: int) -> Claim:
        """Return what the script handed out: what was loaded, which nobody need read back."""
        worker, began_ms = self.call.waiters[self.which].worker.name, self.sent_at_ms
        task = Task(self.one.spec, _RUNNING, 1, worker, token, queued_at_ms=began_ms, started_at_ms=began_ms)
        return Claim(task, token, began_ms + lease_ms)


def taker_of(route: str, waiters: Sequence[Waiter], routes: RoutesCovered) -> tuple[int, str] | None:
    """Return who takes a task of this route, and the routes that any of the waiters covers.

    None when nobody does, or they cover too many or ones that are not known.
    """
    covered, own, which = [], f"\n{route}\n", None
    for number, waiter in enumerate(waiters):
        theirs = routes.covered_by(waiter.worker.tags)[1] + "\n"
        covered.append(theirs)
        if which is None and own in theirs:
            which = number
    if which is None:
        return None
    together = covered[0][:-1] if len(covered) == 1 else "".join(f"\n{each}" for each in _each_once(covered))
    return (which, together) if together.count("\n") <= MOST_ROUTES else None


def _each_once(covered: Sequence[str]) -> dict[str, None]:
    return dict.fromkeys(route for routes in dict.fromkeys(covered) for route in routes.split("\n")[1:-1])
