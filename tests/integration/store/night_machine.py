"""The machine that does the same to a real store, by two clients, and to a model: how it is run and judged.

Separate from what it may do, which `test_store_night_model.py` lists as rules. Each side has a dispatcher
of its own behind a proxy that loses questions and answers; an observer judges from outside.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from fault_proxy import FaultProxy, Trap, fault_proxy, lost_answer, lost_question
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from night_model import ModelTask, NightModel
from store_kit import ANYBODY, TESTER, HandClock, open_store, spec
from store_observer import observer
from store_watch import Watch, confine

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.domain.task import Claim
from agentcoord.errors import LeaseLostError, StoreUnavailableError
from agentcoord.store import LockAnswer, LockOutcome, Store
from agentcoord.store.scripts import load_sources

_S, _O = TaskState, LockOutcome
_T = TypeVar("_T")
CAPS = {"run:r": 300, "task": 120, "day:d": 250}
LOSSES: dict[str, Callable[[], Trap | None]] = {
    "none": lambda: None,
    "answer": lost_answer,
    "question": lost_question,
}

BEGUN_WITH: tuple[tuple[int, ...], ...] = ((), (), (), (), (0,), (0, 1), (4, 2))
"""The needs of the tasks that are there from the beginning."""


class ModelledNight(RuleBasedStateMachine):
    """A real store and the model of it, and what must hold of both."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.clock = HandClock()
        self.project = ProjectId(f"night-{uuid.uuid4().hex[:10]}")
        folder = Path(self.exits.enter_context(tempfile.TemporaryDirectory(prefix="ac-night-")))
        client = self.exits.enter_context(observer(self.url))
        for source in self.run(load_sources()).values():  # So that each call is one question.
            client.script_load(source)
        user = confine(client, self.project)
        self.proxies: list[FaultProxy] = []
        self.urls: list[str] = []
        for _ in range(2):
            url, proxy = self._enter(fault_proxy(self.url, folder, user=user))
            self.proxies.append(proxy)
            self.urls.append(url)
        self.group: asyncio.TaskGroup = self._enter(asyncio.TaskGroup())
        self.opened = [AsyncExitStack(), AsyncExitStack()]
        self.stores = [self._open(0), self._open(1)]
        self.watch = Watch(client, self.stores[0].keys.prefix, {"run:r": 300, "day:d": 250})
        self.model = NightModel()
        self.claims: dict[str, tuple[int, Claim]] = {}
        """By task: which side holds it, and how."""
        self.stale: list[tuple[int, Claim]] = []
        self.waits: dict[str, tuple[str, asyncio.Task[LockAnswer | None]]] = {}
        self.over: Claim | None = None
        """A claim that ended long ago."""
        self.logged = 0
        self.asked: list[str] = []
        """The task of each open question, oldest first."""
        for number, needs in enumerate(BEGUN_WITH):
            tag = ("backend", "testing")[number % 3 == 0]
            self._load(0, "none", 1 + number % 5, tuple(f"t{need}" for need in needs), tag, "")
        for number in range(4):
            self._claim(number % 2, "none", tester=False)
        name = next(iter(self.claims))
        by, claim = self.claims.pop(name)
        self.run(self.stores[by].queue.complete(claim, (), current=TaskState.RUNNING))
        self.model.done(name)
        self.over = claim
        for each in range(2):
            self._connect(each)

    def teardown(self) -> None:
        if not hasattr(self, "watch"):
            return
        for proxy in self.proxies:
            proxy.trap = None
        for _, waiting in self.waits.values():
            waiting.cancel()
        self.run(self.stores[0].cleanup(everything=True))
        for opened in self.opened:
            self.run(opened.aclose())
        self.watch.client.acl_deluser(f"only-{self.project}")
        self.run(self.exits.aclose())
        self.runner.close()

    def _load(self, by: int, how: str, priority: int, needs: tuple[str, ...], tag: str, writes: str) -> None:
        name = f"t{len(self.model.tasks)}"
        loaded = spec(name, *needs, priority=priority, tags=[tag], writes=[writes] if writes else [])
        if self._single(by, how, lambda s: s.queue.load([loaded]))[0]:
            rank = self.model.ranks(self.clock.time_ms, 1)
            self.model.add(name, ModelTask(rank, priority, tag, needs, writes, loaded.title))

    def _claim(self, by: int, how: str, *, tester: bool) -> None:
        routes = {"testing"} if tester else {"backend", "testing"}
        first = self.model.first_for(routes)
        if first is None:
            return
        claim = self._through(by, how, lambda s: s.queue.claim(TESTER if tester else ANYBODY))
        assert claim.task.id == first
        token = self.model.claimed(first, claim.lease_deadline_ms)
        assert claim.task.attempt == self.model.tasks[first].attempt
        assert claim.token == token, "tokens have a hole, so something was handed out to nobody"
        self.claims[first] = (by, claim)

    # What must hold after each.

    @invariant()
    def both_know_the_same(self) -> None:
        if not hasattr(self, "watch"):
            return
        self.watch.caps |= {f"task:{name}": CAPS["task"] for name in self.model.tasks}
        seen = self.watch.look().states
        assert seen == {name: str(task.state) for name, task in self.model.tasks.items()}
        assert set(self.claims) == {n for n, t in self.model.tasks.items() if t.state in HELD_STATES}
        self.run(self._the_store_says_so_too(self.stores[0]))

    async def _the_store_says_so_too(self, store: Store) -> None:
        spent = self.model.spent
        expected = {n: (t.attempt, t.turns, spent.get(n, 0), t.priority) for n, t in self.model.tasks.items()}
        told = {
            t.id: (t.attempt, t.turns, t.cost_usd_micros, t.spec.priority) for t in await store.queue.all()
        }
        assert told == expected
        held = {lock.path: str(lock.task) for lock in await store.locks.holders()}
        living = {path: holder for path in self.model.locks if (holder := self.model.holder(path))}
        assert {path: held.get(path) for path in living} == living
        totals = await store.ledger.totals(run="r", day="d")
        assert totals.day_spent_usd_micros == sum(self.model.spent.values())
        assert totals.run_reserved_usd_micros == self.model.sums() - sum(self.model.spent.values())
        assert [e.seq for e in await store.events.read(after=0)] == list(range(1, self.logged + 1))
        assert [question.task for question in await store.questions.open()] == self.asked

    # How it is done.

    def run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(_soon(call))

    def _enter(self, context: Any) -> Any:
        return self.run(self.exits.enter_async_context(context))

    def _open(self, by: int) -> Store:
        self.opened[by] = AsyncExitStack()
        opening = open_store(self.urls[by], self.project, self.clock)
        return self.run(self.opened[by].enter_async_context(opening))

    def _single(
        self, by: int, how: str, call: Callable[[Store], Coroutine[Any, Any, _T]]
    ) -> tuple[bool, _T | None]:
        """Make one call with a loss; give whether it happened, and its answer if that came."""
        self.proxies[by].trap = trap = LOSSES[how]()
        try:
            result = self.run(call(self.stores[by]))
        except StoreUnavailableError:
            assert trap is not None
            assert trap.sprung.is_set()
            self._connect(by)
            return how == "answer", None
        assert trap is None
        return True, result

    def _through(self, by: int, how: str, call: Callable[[Store], Coroutine[Any, Any, _T]]) -> _T:
        """Make a call of the dispatcher's; what is lost on the way is its own business."""
        self.proxies[by].trap = LOSSES[how]()
        result = self.run(call(self.stores[by]))
        assert self.proxies[by].trap is None
        self._connect(by)
        return result

    def _connect(self, by: int) -> None:
        """See that each way to the server is open, so that a trap catches a call and no greeting."""
        self.run(self.stores[by].ping())
        if self.over is None:
            return
        with suppress(LeaseLostError):
            self.run(self.stores[by].queue.move(self.over, TaskState.RUNNING, TaskState.CHECKING))

    def _free(self) -> list[str]:
        """Claimed tasks whose worker does not wait for a lock."""
        return [name for name in self.claims if name not in self.waits]

    def _pick(self, data: st.DataObject) -> tuple[str, int, Claim]:
        name = data.draw(st.sampled_from(self._free()))
        return name, *self.claims[name]

    def _ended(self, name: str) -> None:
        if name in self.claims:
            self.stale.append(self.claims.pop(name))

    def _stand(self, line: list[str], name: str) -> None:
        """Stand in line: by priority of the claim, then arrival."""
        priority = self._priority(name)
        behind = [i for i, other in enumerate(line) if self._priority(other) < priority]
        line.insert(behind[0] if behind else len(line), name)

    def _priority(self, name: str) -> int:
        return self.claims[name][1].task.spec.priority

    async def _wait_for(self, by: int, path: str, claim: Claim) -> LockAnswer | None:
        try:
            return await self.stores[by].locks.acquire(path, claim, timeout_s=60)
        except LeaseLostError:
            return None

    async def _until_in_line(self, by: int, path: str, name: str) -> None:
        while not any(name in lock.waiters for lock in await self.stores[by].locks.holders()):
            assert not self.waits[name][1].done(), self.waits[name][1].result()

    def _serve(self, *, heard: bool) -> None:
        """Whoever is first in line for a lock that nobody holds any more must get it now."""
        if not heard:  # By the daemon's chore, when the end of a lease was not this side's own doing.
            for store in self.stores:
                self.run(store.locks.release_dead())
            for path, lock in self.model.locks.items():
                if self.model.holder(path) is None:
                    lock.task = ""
        for path, lock in self.model.locks.items():
            while lock.line and self.model.holder(path) is None:
                name = lock.line.pop(0)
                _, waiting = self.waits.pop(name)
                answer = self.run(_result_of(waiting))
                if name in self.claims:
                    assert answer is not None
                    assert answer.outcome is _O.TAKEN
                    lock.task, lock.token = name, self.claims[name][1].token
                else:
                    assert answer is None, "a waiter whose claim had ended took the lock"


async def _soon(call: Coroutine[Any, Any, _T]) -> _T:
    async with asyncio.timeout(10):
        return await call


async def _result_of(waiting: asyncio.Task[_T]) -> _T:
    return await waiting
