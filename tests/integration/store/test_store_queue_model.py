"""The queue against a tiny model, on a real server: any order of operations leaves both the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from model_runs import run_machine
from msgspec.structs import replace
from store_kit import ANYBODY, LEASE_MS, HandClock, landed, open_store, spec

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.retries import RetryPolicy, Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.domain.task import Claim, OnNeedFailed, Task
from agentcoord.errors import LeaseLostError

_S = TaskState
_DEAD = frozenset({_S.FAILED, _S.CANCELLED})
_FALLS_TO = {OnNeedFailed.FAIL: _S.FAILED, OnNeedFailed.SKIP: _S.CANCELLED}
_POLICY = RetryPolicy(attempts=3)


def _decide(task: Task, setback: Setback) -> Verdict:
    return _POLICY.decide(task, setback, random=lambda: 0.0)


@dataclass
class _Modelled:
    """What the model knows of a task."""

    rank: int
    priority: int
    needs: tuple[str, ...]
    state: TaskState
    rule: OnNeedFailed = OnNeedFailed.FAIL
    attempt: int = 0
    fell: bool = False
    """Ended only because of a need."""
    setbacks: int = 0
    """How many lines its history has."""


class QueueMachine(RuleBasedStateMachine):
    """Does to a real queue and to a dict the same things in any order."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.exits = AsyncExitStack()
        self.clock = HandClock()
        project = ProjectId(f"model-{uuid.uuid4().hex[:10]}")
        self.store = self.runner.run(
            self.exits.enter_async_context(open_store(self.url, project, self.clock))
        )
        self.model: dict[str, _Modelled] = {}
        self.claims: dict[str, Claim] = {}
        self.stale: list[Claim] = []

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.store.cleanup(everything=True))
            self.runner.run(self.exits.aclose())
            self.runner.close()

    # What a person and the daemon may do.

    @rule(
        priority=st.integers(1, 5),
        picks=st.lists(st.integers(0, 30), max_size=3),
        of_needs=st.sampled_from(OnNeedFailed),
    )
    def load(self, priority: int, picks: list[int], of_needs: OnNeedFailed) -> None:
        names = list(self.model)
        needs = tuple(dict.fromkeys(names[p] for p in picks if p < len(names)))
        name = f"t{len(names)}"
        ruled = replace(spec(name, *needs, priority=priority), on_need_failed=of_needs)
        self.runner.run(self.store.queue.load([ruled]))
        task = _Modelled(len(names), priority, needs, _S.QUEUED, of_needs)
        self.model[name] = task
        task.state = self._waiting_state(task)
        if self._has_dead_need(task):
            task.state, task.fell = _FALLS_TO[of_needs], True

    @precondition(lambda self: any(t.state is _S.QUEUED for t in self.model.values()))
    @rule()
    def claim(self) -> None:
        claim = self.runner.run(_soon(self.store.queue.claim(ANYBODY)))
        queued = {name: task for name, task in self.model.items() if task.state is _S.QUEUED}
        first = min(queued, key=lambda n: (-queued[n].priority, queued[n].rank))
        assert claim.task.id == first
        task = queued[first]
        task.state, task.attempt = _S.RUNNING, task.attempt + 1
        assert claim.task.attempt == task.attempt
        assert all(claim.token > other.token for other in [*self.claims.values(), *self.stale])
        self.claims[first] = claim

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        name, claim = self._pick(data)
        task = self.model[name]
        if task.state is _S.LANDING:
            self.runner.run(self.store.queue.complete(claim, [landed("x")]))
            self._ended(name, _S.DONE)
            for other in self.model.values():
                if other.state is _S.BLOCKED:
                    other.state = self._waiting_state(other)
            return
        onward = _S.CHECKING if task.state is _S.RUNNING else _S.LANDING
        self.runner.run(self.store.queue.move(claim, task.state, onward))
        task.state = onward

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), counts=st.booleans())
    def requeue(self, data: st.DataObject, counts: bool) -> None:
        name, claim = self._pick(data)
        self.runner.run(self.store.queue.requeue(claim, why="again", counts_attempt=counts))
        self.model[name].attempt -= not counts
        self._ended(name, _S.QUEUED)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        name, claim = self._pick(data)
        self.runner.run(self.store.queue.park(claim, why="a question"))
        self._ended(name, _S.PARKED)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        name, claim = self._pick(data)
        fallen = self.runner.run(self.store.queue.fail(claim, why="red"))
        self._ended(name, _S.FAILED)
        assert set(fallen) == self._fall()
        self._rerun_waiting()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        may = self.model[name].state not in {*_DEAD, _S.DONE}
        assert self.runner.run(self.store.queue.cancel(TaskId(name), why="no")) == may
        if may:
            self._ended(name, _S.CANCELLED)
            self._fall()
            self._rerun_waiting()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        task = self.model[name]
        may = task.state in {*_DEAD, _S.PARKED} and not self._has_dead_need(task)
        assert self.runner.run(self.store.queue.retry(TaskId(name))) == may
        if not may:
            return
        task.state, task.attempt, task.fell = self._waiting_state(task), 0, False
        task.setbacks += 1
        for other in self.model.values():  # In order of loading, so needs come first.
            if other.fell and not self._has_dead_need(other):
                other.state, other.attempt, other.fell = self._waiting_state(other), 0, False
        self._rerun_waiting()

    @precondition(lambda self: self.claims)
    @rule()
    def expire(self) -> None:
        self.clock.time_ms += LEASE_MS
        assert set(self.runner.run(self.store.queue.reap(_decide))) == set(self.claims)
        for name in list(self.claims):
            spent = self.model[name].attempt >= _POLICY.attempts
            self._ended(name, _S.FAILED if spent else _S.QUEUED)
        self._fall()
        self._rerun_waiting()

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def come_back_too_late(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.stale))
        for use in (self.store.queue.verify(claim), self.store.queue.park(claim, why="")):
            try:
                self.runner.run(use)
            except LeaseLostError:
                continue
            raise AssertionError("a stale token was accepted")

    # What must hold after each.

    @invariant()
    def both_know_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        tasks = self.runner.run(self.store.queue.all())
        assert [t.id for t in tasks] == list(self.model)
        assert {t.id: (t.state, t.attempt) for t in tasks} == {
            name: (task.state, task.attempt) for name, task in self.model.items()
        }
        counts = self.runner.run(self.store.queue.counts())
        assert counts == {s: sum(t.state is s for t in tasks) for s in TaskState}
        assert {t.id for t in tasks if t.state in HELD_STATES} == set(self.claims)
        assert {t.id for t in tasks if t.dead_need} == {n for n, task in self.model.items() if task.fell}
        assert {t.id: sum(t.all_setbacks.values()) for t in tasks} == {
            name: task.setbacks for name, task in self.model.items()
        }

    def _pick(self, data: st.DataObject) -> tuple[str, Claim]:
        name = data.draw(st.sampled_from(sorted(self.claims)))
        return name, self.claims[name]

    def _ended(self, name: str, state: TaskState) -> None:
        self.model[name].state = state
        self.model[name].setbacks += state is not _S.DONE
        if name in self.claims:
            self.stale.append(self.claims.pop(name))

    def _waiting_state(self, task: _Modelled) -> TaskState:
        met = {_S.DONE} if task.rule is not OnNeedFailed.RUN else {_S.DONE, *_DEAD}
        return _S.QUEUED if all(self.model[n].state in met for n in task.needs) else _S.BLOCKED

    def _has_dead_need(self, task: _Modelled) -> bool:
        """Whether a need has ended in a way that ends this task."""
        return task.rule is not OnNeedFailed.RUN and any(self.model[n].state in _DEAD for n in task.needs)

    def _fall(self) -> set[str]:
        fallen = set()
        for name, task in self.model.items():  # In order of loading, so needs come first.
            if task.state is _S.BLOCKED and self._has_dead_need(task):
                task.state, task.fell = _FALLS_TO[task.rule], True
                fallen.add(name)
        return fallen

    def _rerun_waiting(self) -> None:
        """What waits is blocked or in line as its needs are now."""
        for task in self.model.values():
            if task.state in {_S.BLOCKED, _S.QUEUED}:
                task.state = self._waiting_state(task)


async def _soon(claiming: Awaitable[Claim]) -> Claim:
    async with asyncio.timeout(5):
        return await claiming


def test_any_order_of_operations_leaves_the_queue_as_its_model(valkey_url: str) -> None:
    class Machine(QueueMachine):
        url = valkey_url

    run_machine(Machine, examples=25, steps=40)
