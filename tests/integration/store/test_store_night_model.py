"""A whole project's store against one small model: two daemons' worth of dispatchers, lost answers, time.

Queue, locks, ledger, questions and events together, in any order, through proxies that lose questions
and answers, with a clock that steps both ways; an observer judges every moment from outside.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from fault_proxy import FaultProxy, Trap, fault_proxy, lost_answer, lost_question
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_runs import run_machine
from night_model import DEAD, EDITABLE, ModelLock, ModelTask, NightModel
from store_kit import ANYBODY, LEASE_MS, TESTER, HandClock, landed, open_store, spec
from store_observer import observer
from store_watch import Watch, confine

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.domain.task import Claim, TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import LeaseLostError, StoreUnavailableError
from agentcoord.store import Caps, LockAnswer, LockOutcome, Store
from agentcoord.store.scripts import load_sources

_S, _O = TaskState, LockOutcome
_T = TypeVar("_T")
CAPS = {"run:r": 300, "task": 120, "day:d": 250}
LOSSES: dict[str, Callable[[], Trap | None]] = {
    "none": lambda: None,
    "answer": lost_answer,
    "question": lost_question,
}
loss = st.sampled_from(["none", "none", "none", "answer", "question"])
side = st.integers(0, 1)


class NightMachine(RuleBasedStateMachine):
    """Does to a real store, by two clients, and to the model the same things."""

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
        self.used: list[str] = []
        self.logged = self.asked = 0
        for number in range(6):
            self._load(0, "none", 1 + number % 5, (), ("backend", "testing")[number % 3 == 0], "")
        for number in range(4):
            self._claim(number % 2, "none", tester=False)

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

    # Loading, and what a person says.

    @rule(
        by=side,
        how=loss,
        priority=st.integers(1, 5),
        picks=st.lists(st.integers(0, 20), max_size=2),
        tag=st.sampled_from(["backend", "testing"]),
        writes=st.sampled_from(["", "x.py", "y.py"]),
    )
    def load(self, by: int, how: str, priority: int, picks: list[int], tag: str, writes: str) -> None:
        names = list(self.model.tasks)
        needs = tuple(dict.fromkeys(names[p] for p in picks if p < len(names)))
        self._load(by, how, priority, needs, tag, writes)

    def _load(self, by: int, how: str, priority: int, needs: tuple[str, ...], tag: str, writes: str) -> None:
        name = f"t{len(self.model.tasks)}"
        loaded = spec(name, *needs, priority=priority, tags=[tag], writes=[writes] if writes else [])
        if self._single(by, how, lambda s: s.queue.load([loaded]))[0]:
            rank = self.model.ranks(self.clock.time_ms, 1)
            self.model.add(name, ModelTask(rank, priority, tag, needs, writes, loaded.title))

    @rule(data=st.data(), by=side, how=loss, priority=st.integers(1, 5), title=st.sampled_from("ABC"))
    def edit(self, data: st.DataObject, by: int, how: str, priority: int, title: str) -> None:
        name = data.draw(st.sampled_from(list(self.model.tasks)))
        task = self.model.tasks[name]
        if not self._single(by, how, lambda s: s.queue.load([self._edited(name, priority, title)]))[0]:
            return
        self.model.ranks(self.clock.time_ms, 1)
        if task.state in EDITABLE:
            task.priority, task.title = priority, title

    def _edited(self, name: str, priority: int, title: str) -> TaskSpec:
        task = self.model.tasks[name]
        writes = [task.writes] if task.writes else []
        return spec(name, *task.needs, priority=priority, tags=[task.route], writes=writes, title=title)

    @rule(data=st.data(), by=side, how=loss, again=st.booleans())
    def cancel_or_retry(self, data: st.DataObject, by: int, how: str, again: bool) -> None:
        name = data.draw(st.sampled_from(list(self.model.tasks)))
        if again:
            self._retry(name, by, how)
            return
        may = self.model.tasks[name].state not in {*DEAD, _S.DONE}
        by = self.claims[name][0] if name in self.claims else by
        happened, answer = self._single(by, how, lambda s: s.queue.cancel(TaskId(name), why="no"))
        assert answer in {may, None}
        if happened and may:
            self._ended(name)
            self.model.end(name, _S.CANCELLED)
            self._serve(heard=how == "none")

    def _retry(self, name: str, by: int, how: str) -> None:
        may = self.model.may_retry(name)
        happened, answer = self._single(by, how, lambda s: s.queue.retry(TaskId(name)))
        assert answer in {may, None}
        if happened and may:
            self.model.retry(name)

    # Claims and what becomes of them. What goes through the dispatcher is not disturbed by a loss.

    @rule(by=side, how=loss, tester=st.booleans(), count=st.integers(1, 3))
    def claim(self, by: int, how: str, tester: bool, count: int) -> None:
        for _ in range(count):
            self._claim(by, how, tester=tester)

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

    @precondition(lambda self: self._free())
    @rule(data=st.data(), how=loss, steps=st.integers(1, 3))
    def go_on(self, data: st.DataObject, how: str, steps: int) -> None:
        name, by, claim = self._pick(data)
        for _ in range(steps):
            self._step(name, by, claim, how)

    def _step(self, name: str, by: int, claim: Claim, how: str) -> None:
        if name not in self.claims:
            return
        task = self.model.tasks[name]
        if task.state is _S.LANDING:
            self._through(by, how, lambda s: s.queue.complete(claim, [landed("x")]))
            self._ended(name)
            self.model.done(name)
            self._serve(heard=True)
            return
        onward = _S.CHECKING if task.state is _S.RUNNING else _S.LANDING
        self._through(by, how, lambda s: s.queue.move(claim, task.state, onward))
        task.state = onward

    @precondition(lambda self: self._free())
    @rule(data=st.data(), how=loss, counts=st.booleans(), delay_ms=st.sampled_from([0, 0, 1, 90_000]))
    def requeue(self, data: st.DataObject, how: str, counts: bool, delay_ms: int) -> None:
        name, by, claim = self._pick(data)
        due_ms = self.clock.time_ms + delay_ms if delay_ms else 0
        again: dict[str, Any] = {"why": "again", "counts_attempt": counts, "delay_ms": delay_ms}
        if self._single(by, how, lambda s: s.queue.requeue(claim, **again))[0]:
            self._ended(name)
            self.model.put_back(name, counts=counts, due_ms=due_ms)
            self._serve(heard=how == "none")

    @precondition(lambda self: self._free())
    @rule(data=st.data(), how=loss, fails=st.booleans())
    def park_or_fail(self, data: st.DataObject, how: str, fails: bool) -> None:
        name, by, claim = self._pick(data)
        ending = (
            (lambda s: s.queue.fail(claim, why="red"))
            if fails
            else (lambda s: s.queue.park(claim, why="a question"))
        )
        if not self._single(by, how, ending)[0]:
            return
        self._ended(name)
        if fails:
            self.model.end(name, _S.FAILED)
        else:
            self.model.tasks[name].state = _S.PARKED
        self._serve(heard=how == "none")

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def come_back_too_late(self, data: st.DataObject) -> None:
        by, claim = data.draw(st.sampled_from(self.stale))
        queue, locks = self.stores[by].queue, self.stores[by].locks
        state = self.model.tasks[claim.task.id].state
        assert claim.task.id in self.run(queue.heartbeat([claim]))
        uses: list[Coroutine[Any, Any, object]] = [
            queue.verify(claim),
            queue.move(claim, _S.RUNNING, _S.CHECKING),
            queue.park(claim, why=""),
            queue.fail(claim, why=""),
            queue.requeue(claim, why="", counts_attempt=True),
            locks.acquire("stale.py", claim, timeout_s=5),
        ]
        # A completion may be repeated under the token that made it, and under no other.
        if state is not _S.DONE or self.model.tasks[claim.task.id].token != claim.token:
            uses += [queue.complete(claim, [], current=s) for s in (_S.RUNNING, _S.CHECKING, _S.LANDING)]
        for use in uses:
            try:
                self.run(use)
            except LeaseLostError:
                continue
            raise AssertionError("a stale token was accepted")

    # Time.

    @rule(
        data=st.data(),
        by=side,
        how=loss,
        ms=st.sampled_from([1, 500, LEASE_MS // 2, LEASE_MS, 7_123_457, -1, -1000, -3_333_333]),
        reaps=st.booleans(),
    )
    def step_the_clock(self, data: st.DataObject, by: int, how: str, ms: int, reaps: bool) -> None:
        self.clock.time_ms += ms
        for name in [name for name in self.claims if data.draw(st.booleans())]:
            self._heartbeat(name, how)
        if reaps:
            self._reap(by)

    def _heartbeat(self, name: str, how: str) -> None:
        by, claim = self.claims[name]
        deadline_ms = self.clock.time_ms + LEASE_MS
        if self._single(by, how, lambda s: s.queue.heartbeat([claim]))[0]:
            self.model.tasks[name].deadline_ms = deadline_ms

    def _reap(self, by: int) -> None:
        now_ms = self.clock.time_ms
        expired = {name for name in self.claims if self.model.tasks[name].deadline_ms <= now_ms}
        assert set(self.run(self.stores[by].queue.reap())) == expired
        for name in expired:
            self._ended(name)
            self.model.put_back(name, counts=True)
        self.model.ready_what_is_due(now_ms)
        self._serve(heard=False)

    @rule(by=side, rarely=st.integers(0, 3))
    def die_and_start_again(self, by: int, rarely: int) -> None:
        if rarely:
            return
        for name, (path, waiting) in list(self.waits.items()):
            if self.claims[name][0] == by:
                waiting.cancel()
                self.model.locks[path].line.remove(name)
                del self.waits[name]
        self.proxies[by].away = True
        self.proxies[by].cut_all()
        self.run(self.opened[by].aclose())
        self.proxies[by].away = False
        self.stores[by] = self._open(by)
        store = self.stores[by]
        assert set(self.run(store.queue.release_all_leases(why="restart"))) == set(self.claims)
        for name in list(self.claims):
            self._ended(name)
            self.model.put_back(name, counts=False)
        self.model.ready_what_is_due(self.clock.time_ms)
        for task, amount, began in self.model.reserved.values():
            self.model.spent[task] = self.model.spent.get(task, 0) + amount * began
        assert set(self.run(store.ledger.reconcile([]))) == set(self.model.reserved)
        self.model.reserved.clear()
        self._serve(heard=False)

    # Locks: the two sides use files of their own, since a side hears only of its own releases.

    @precondition(lambda self: self._free())
    @rule(data=st.data(), file=st.sampled_from(["x.py", "x.py", "y.py"]), waits=st.booleans())
    def lock(self, data: st.DataObject, file: str, waits: bool) -> None:
        _, by, _ = self._pick(data)
        mine = [name for name in self._free() if self.claims[name][0] == by]
        for name in data.draw(st.permutations(mine))[:3]:
            self._lock(name, file, waits=waits)

    def _lock(self, name: str, file: str, *, waits: bool) -> None:
        by, claim = self.claims[name]
        path = f"{by}/{file}"
        lock, holder = self.model.locks.setdefault(path, ModelLock()), self.model.holder(path)
        if holder not in {None, name} and waits and not self.model.would_deadlock(name, path):
            waiting = self.group.create_task(self._wait_for(by, path, claim))
            self.waits[name] = (path, waiting)
            self._stand(lock.line, name)
            self.run(self._until_in_line(by, path, name))
            return
        patience_s = 0 if holder not in {None, name} and not waits else 5
        answer = self.run(self.stores[by].locks.acquire(path, claim, timeout_s=patience_s))
        if lock.task == name:
            assert answer.outcome is _O.ALREADY_HELD
        elif holder is not None:
            assert answer.outcome is (_O.WOULD_DEADLOCK if waits else _O.TIMED_OUT)
            return
        else:
            assert answer.outcome is _O.TAKEN
        lock.task, lock.token = name, claim.token

    @precondition(lambda self: self._free())
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        name, by, _ = self._pick(data)
        mine = sorted(path for path, lock in self.model.locks.items() if lock.task == name)
        assert list(self.run(self.stores[by].locks.release_all(TaskId(name)))) == mine
        for path in mine:
            self.model.locks[path].task = ""
        self._serve(heard=False)

    # Money, questions, events.

    @precondition(lambda self: self._free())
    @rule(data=st.data(), how=loss, amount=st.integers(0, 90))
    def reserve(self, data: st.DataObject, how: str, amount: int) -> None:
        name, by, _ = self._pick(data)
        reservation = f"c{len(self.used)}"
        self.used.append(reservation)
        fits = self.model.sums() + amount <= 250 and self.model.sums(name) + amount <= 120
        caps = Caps(run=UsdMicros(300), task=UsdMicros(120), day=UsdMicros(250))
        where: dict[str, Any] = {
            "run": "r",
            "task": TaskId(name),
            "day": "d",
            "amount": UsdMicros(amount),
            "caps": caps,
        }
        happened, refused = self._single(by, how, lambda s: s.ledger.reserve(reservation, **where))
        assert how != "none" or (refused is None) == fits
        if happened and fits:
            self.model.reserved[reservation] = (name, amount, False)

    @precondition(lambda self: self.used)
    @rule(data=st.data(), by=side, how=loss, share=st.integers(0, 100), what=st.sampled_from("sbr"))
    def settle_begin_or_release(self, data: st.DataObject, by: int, how: str, share: int, what: str) -> None:
        name = data.draw(st.sampled_from(self.used))
        task, amount, _ = self.model.reserved.get(name, ("", 0, False))
        actual = amount * share // 100
        booked: dict[str, Any] = {"actual": UsdMicros(actual), "usage": Usage(1), "model": "m"}
        match what:
            case "s":
                happened, _ = self._single(by, how, lambda s: s.ledger.settle(name, **booked))
            case "b":
                happened, _ = self._single(by, how, lambda s: s.ledger.mark_started(name))
            case _:
                happened, _ = self._single(by, how, lambda s: s.ledger.release(name))
        if not happened or not task:
            return
        if what == "b":
            self.model.reserved[name] = (task, amount, True)
            return
        del self.model.reserved[name]
        self.model.spent[task] = self.model.spent.get(task, 0) + actual * (what == "s")

    @rule(data=st.data(), by=side, how=loss, count=st.integers(1, 3), what=st.sampled_from("bqe"))
    def book_ask_or_log(self, data: st.DataObject, by: int, how: str, count: int, what: str) -> None:
        task = data.draw(st.sampled_from(list(self.model.tasks)))
        booked: dict[str, Any] = {"usage": Usage(output_tokens=count), "cost_usd_micros": count, "turns": 1}
        events = [Event(EventKind.TASK_TURN, self.clock.time_ms)] * count
        match what:
            case "b" if self.stale:
                claim = data.draw(st.sampled_from([*self.stale, *self.claims.values()]))[1]
                if self._single(by, how, lambda s: s.queue.book(claim, **booked))[0]:
                    self.model.tasks[claim.task.id].cost += count
            case "q":
                asked = self._single(by, how, lambda s: s.questions.ask(TaskId(task), "Which?", "a", 1))
                self.asked += asked[0]
            case "e":
                stored = self._through(by, how, lambda s: s.events.append(events))
                assert [event.seq for event in stored] == [self.logged + 1 + i for i in range(count)]
                self.logged += count

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
        expected = {n: (t.attempt, t.cost, t.priority) for n, t in self.model.tasks.items()}
        told = {t.id: (t.attempt, t.cost_usd_micros, t.spec.priority) for t in await store.queue.all()}
        assert told == expected
        held = {lock.path: str(lock.task) for lock in await store.locks.holders()}
        living = {path: holder for path in self.model.locks if (holder := self.model.holder(path))}
        assert {path: held.get(path) for path in living} == living
        totals = await store.ledger.totals(run="r", day="d")
        assert totals.day_spent_usd_micros == sum(self.model.spent.values())
        assert totals.run_reserved_usd_micros == self.model.sums() - sum(self.model.spent.values())
        assert [e.seq for e in await store.events.read(after=0)] == list(range(1, self.logged + 1))
        assert len(await store.questions.open()) == self.asked

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
            self.run(self.stores[by].ping())
            return how == "answer", None
        assert trap is None
        return True, result

    def _through(self, by: int, how: str, call: Callable[[Store], Coroutine[Any, Any, _T]]) -> _T:
        """Make a call of the dispatcher's; what is lost on the way is its own business."""
        self.proxies[by].trap = LOSSES[how]()
        result = self.run(call(self.stores[by]))
        assert self.proxies[by].trap is None
        self.run(self.stores[by].ping())
        return result

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


def test_any_order_of_operations_leaves_the_store_as_its_model(valkey_url: str) -> None:
    class Machine(NightMachine):
        url = valkey_url

    run_machine(Machine, examples=20, steps=40)
