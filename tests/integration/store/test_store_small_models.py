"""The ledger and the file locks against tiny models, on a real server, in any order of operations."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from model_runs import run_machine
from store_kit import ANYBODY, HandClock, open_store, spec

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.errors import LeaseLostError
from agentcoord.store import Caps, LockOutcome

_T = TypeVar("_T")
CAPS = Caps(run=UsdMicros(100), task=UsdMicros(60), day=UsdMicros(90))
TASKS = ("a", "b", "c")
PATHS = ("x.py", "y.py")


class _OnAServer(RuleBasedStateMachine):
    """A store of its own for each example."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        project = ProjectId(f"model-{uuid.uuid4().hex[:10]}")
        self.store = self.run(self.exits.enter_async_context(open_store(self.url, project, HandClock())))

    def run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(call)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.cleanup(everything=True))
            self.run(self.exits.aclose())
            self.runner.close()


class LedgerMachine(_OnAServer):
    """Reserves, settles, releases, crashes and repeats; the model is two dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.open_ones: dict[str, tuple[str, int]] = {}
        self.begun: set[str] = set()
        self.spent = dict.fromkeys(TASKS, 0)
        self.used: list[str] = []

    @rule(task=st.sampled_from(TASKS), amount=st.integers(0, 70))
    def reserve(self, task: str, amount: int) -> None:
        name = f"r{len(self.used)}"
        self.used.append(name)
        reserved_here = sum(a for t, a in self.open_ones.values() if t == task)
        everything = sum(self.spent.values()) + sum(a for _, a in self.open_ones.values())
        fits = everything + amount <= 90 and self.spent[task] + reserved_here + amount <= 60
        refused = self.run(self._reserve(name, task, amount))
        assert (refused is None) == fits
        if fits:
            self.open_ones[name] = (task, amount)

    @precondition(lambda self: self.open_ones)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.open_ones)))
        assert self.run(self._reserve(name, *self.open_ones[name])) is None

    @precondition(lambda self: self.used)
    @rule(data=st.data(), share=st.integers(0, 100))
    def settle(self, data: st.DataObject, share: int) -> None:
        name = data.draw(st.sampled_from(self.used))
        task, amount = self.open_ones.pop(name, ("", 0))
        actual = amount * share // 100
        ledger = self.store.ledger
        self.run(ledger.settle(name, actual=UsdMicros(actual), usage=NO_USAGE, model="m"))
        if task:
            self.spent[task] += actual

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.used))
        self.run(self.store.ledger.release(name))
        self.open_ones.pop(name, None)

    @precondition(lambda self: self.open_ones)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.open_ones)))
        self.run(self.store.ledger.mark_started(name))
        self.begun.add(name)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        live = {name for name in sorted(self.open_ones) if data.draw(st.booleans())}
        dead = sorted(set(self.open_ones) - live)
        assert list(self.run(self.store.ledger.reconcile(live))) == dead
        for name in dead:
            task, amount = self.open_ones.pop(name)
            self.spent[task] += amount if name in self.begun else amount // 3

    @invariant()
    def the_sums_are_the_models_and_below_the_caps(self) -> None:
        if not hasattr(self, "store"):
            return
        totals = self.run(self.store.ledger.totals(run="run", day="day"))
        reserved = sum(amount for _, amount in self.open_ones.values())
        assert totals.run_spent_usd_micros == totals.day_spent_usd_micros == sum(self.spent.values())
        assert totals.run_reserved_usd_micros == totals.day_reserved_usd_micros == reserved
        assert totals.day_spent_usd_micros + reserved <= 90
        by_task = self.run(self.store.ledger.by_task("run"))
        assert {t: s.usd_micros for t, s in by_task.items() if s.usd_micros} == {
            task: spent for task, spent in self.spent.items() if spent
        }

    async def _reserve(self, name: str, task: str, amount: int) -> object:
        return await self.store.ledger.reserve(
            name,
            run="run",
            task=TaskId(task),
            day="day",
            amount=UsdMicros(amount),
            caps=CAPS,
            sent_amount=UsdMicros(amount // 3),
        )


class LockMachine(_OnAServer):
    """Three tasks that take, release and lose locks; the model says who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[str, Claim] = {}
        self.stale: list[Claim] = []
        self.holder: dict[str, tuple[str, int]] = {}
        """Who took each path, and under which token; it may have lost its lease since."""

    @precondition(lambda self: len(self.claims) < len(TASKS))
    @rule()
    def claim(self) -> None:
        self.run(self.store.queue.load([spec(task) for task in TASKS]))
        claim = self.run(self.store.queue.claim(ANYBODY))
        self.claims[claim.task.id] = claim

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), path=st.sampled_from(PATHS))
    def take(self, data: st.DataObject, path: str) -> None:
        task = data.draw(st.sampled_from(sorted(self.claims)))
        holder, alive = self.holder.get(path), self._living(path)
        patience_s = 0 if alive not in {None, task} else 5
        answer = self.run(self.store.locks.acquire(path, self.claims[task], timeout_s=patience_s))
        if holder is not None and holder[0] == task:
            assert answer.outcome is LockOutcome.ALREADY_HELD
        elif alive:
            assert (answer.outcome, answer.holder) == (LockOutcome.TIMED_OUT, alive)
            return
        else:
            assert answer.outcome is LockOutcome.TAKEN
        self.holder[path] = (task, self.claims[task].token)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.claims)))
        mine = sorted(path for path, (holder, _) in self.holder.items() if holder == task)
        assert list(self.run(self.store.locks.release_all(TaskId(task)))) == mine
        for path in mine:
            del self.holder[path]

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def lose_the_lease(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.claims)))
        claim = self.claims.pop(task)
        self.run(self.store.queue.requeue(claim, why="again", counts_attempt=False))
        self.stale.append(claim)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), path=st.sampled_from(PATHS))
    def come_back_too_late(self, data: st.DataObject, path: str) -> None:
        claim = data.draw(st.sampled_from(self.stale))
        try:
            self.run(self.store.locks.acquire(path, claim, timeout_s=5))
        except LeaseLostError:
            return
        raise AssertionError("a stale token took a lock")

    @rule()
    def clean(self) -> None:
        dead = {path for path in self.holder if self._living(path) is None}
        self.run(self.store.locks.release_dead())
        for path in dead:
            del self.holder[path]

    @invariant()
    def living_holders_are_the_models(self) -> None:
        if not hasattr(self, "store"):
            return
        held = {lock.path: lock.task for lock in self.run(self.store.locks.holders())}
        living = {path: task for path in self.holder if (task := self._living(path))}
        assert {path: task for path, task in held.items() if path in living} == living

    def _living(self, path: str) -> str | None:
        """Who holds the lock of `path` under a claim that lasts."""
        task, token = self.holder.get(path, ("", 0))
        return task if task in self.claims and self.claims[task].token == token else None


def test_any_order_of_reservations_and_crashes_keeps_the_sums(valkey_url: str) -> None:
    class Machine(LedgerMachine):
        url = valkey_url

    run_machine(Machine, examples=20, steps=25)


def test_any_order_of_locks_and_lost_leases_has_one_holder_a_path(valkey_url: str) -> None:
    class Machine(LockMachine):
        url = valkey_url

    run_machine(Machine, examples=20, steps=25)
