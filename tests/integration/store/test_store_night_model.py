"""A whole project's store against one small model: two daemons' worth of dispatchers, lost answers, time.

Queue, locks, ledger, questions and events together, in any order, through proxies that lose questions
and answers, with a clock that steps both ways; an observer judges every moment from outside.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from model_runs import run_machine
from night_machine import ModelledNight
from night_model import DEAD, EDITABLE, ModelLock
from store_kit import LEASE_MS, landed, spec

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import LeaseLostError
from agentcoord.store import Caps, LockOutcome

_S, _O = TaskState, LockOutcome
loss = st.sampled_from(["none", "none", "none", "answer", "question"])
side = st.integers(0, 1)


class NightMachine(ModelledNight):
    """All that daemon, workers, person and time may do, in any order."""

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
        needs = tuple(dict.fromkeys(names[pick % len(names)] for pick in picks))
        self._load(by, how, priority, needs, tag, writes)

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

    @precondition(lambda self: any(t.state is _S.DONE for t in self.model.tasks.values()))
    @rule(data=st.data(), by=side)
    def reject(self, data: st.DataObject, by: int) -> None:
        name = data.draw(st.sampled_from([n for n, t in self.model.tasks.items() if t.state is _S.DONE]))
        may = self.model.may_reject(name)
        assert (self.run(self.stores[by].queue.reject(TaskId(name), why="too short")) == "") is may
        if may:
            self.model.reject(name)

    # Claims and what becomes of them. What goes through the dispatcher is not disturbed by a loss.

    @rule(by=side, how=loss, tester=st.booleans(), count=st.integers(1, 3))
    def claim(self, by: int, how: str, tester: bool, count: int) -> None:
        for _ in range(count):
            self._claim(by, how, tester=tester)

    @precondition(lambda self: self._free())
    @rule(data=st.data(), how=loss, steps=st.integers(1, 4))
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
        for name in self.claims:  # None lasts longer than one that is given now.
            task = self.model.tasks[name]
            task.deadline_ms = min(task.deadline_ms, now_ms + LEASE_MS)
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
        self.stores[by] = store = self._open(by)
        self._connect(by)
        assert set(self.run(store.queue.release_all_leases(why="restart"))) == set(self.claims)
        for name in list(self.claims):
            self._ended(name)
            self.model.put_back(name, counts=False)
        self.model.ready_what_is_due(self.clock.time_ms)
        for task, amount, began in self.model.reserved.values():
            self.model.spent[task] = self.model.spent.get(task, 0) + (amount if began else amount // 3)
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
        self._serve(heard=True)

    # Money, questions, events.

    @precondition(lambda self: self._free())
    @rule(
        data=st.data(),
        how=loss,
        amount=st.integers(0, 90),
        share=st.integers(0, 100),
        then=st.lists(st.sampled_from("brs"), max_size=3),
    )
    def spend(self, data: st.DataObject, how: str, amount: int, share: int, then: list[str]) -> None:
        """Reserve for a new call, or again for an old one; then begin it, settle it, give it up, or not."""
        name, by, _ = self._pick(data)
        reservation = data.draw(st.sampled_from(["", *self.model.reserved]))
        if reservation:
            name, amount, _ = self.model.reserved[reservation]
        else:
            self.model.last_call += 1
            reservation = f"c{self.model.last_call}"
        self._reserve(by, how, reservation, name, amount)
        for step in then:
            self._end_call(by, how, step, reservation, amount * share // 100)

    def _reserve(self, by: int, how: str, reservation: str, name: str, amount: int) -> None:
        fits = self.model.sums() + amount <= 250 and self.model.sums(name) + amount <= 120
        caps = Caps(run=UsdMicros(300), task=UsdMicros(120), day=UsdMicros(250))
        where: dict[str, Any] = {"run": "r", "task": TaskId(name), "day": "d", "caps": caps}
        where |= {"amount": UsdMicros(amount), "sent_amount": UsdMicros(amount // 3)}
        happened, refused = self._single(by, how, lambda s: s.ledger.reserve(reservation, **where))
        known = reservation in self.model.reserved
        assert how != "none" or (refused is None) == (fits or known)
        if happened and fits and not known:
            self.model.reserved[reservation] = (name, amount, False)

    def _end_call(self, by: int, how: str, step: str, reservation: str, actual: int) -> None:
        booked: dict[str, Any] = {"actual": UsdMicros(actual), "usage": Usage(1), "model": "m"}
        match step:
            case "s":
                happened, _ = self._single(by, how, lambda s: s.ledger.settle(reservation, **booked))
            case "b":
                happened, _ = self._single(by, how, lambda s: s.ledger.mark_started(reservation))
            case _:
                happened, _ = self._single(by, how, lambda s: s.ledger.release(reservation))
        if not happened or reservation not in self.model.reserved:
            return
        task, amount, _ = self.model.reserved[reservation]
        if step == "b":
            self.model.reserved[reservation] = (task, amount, True)
            return
        del self.model.reserved[reservation]
        self.model.spent[task] = self.model.spent.get(task, 0) + actual * (step == "s")

    @rule(data=st.data(), by=side, how=loss)
    def count_turn(self, data: st.DataObject, by: int, how: str) -> None:
        """Under a claim that holds or one that has ended: it was taken either way."""
        claims = [*self.stale, *self.claims.values()]
        claim = data.draw(st.sampled_from(claims))[1]
        if self._single(by, how, lambda s: s.queue.count_turn(claim))[0]:
            self.model.tasks[claim.task.id].turns += 1

    @rule(by=side, how=loss, count=st.integers(1, 3))
    def log(self, by: int, how: str, count: int) -> None:
        events = [Event(EventKind.TASK_TURN, self.clock.time_ms)] * count
        stored = self._through(by, how, lambda s: s.events.append(events))
        assert [event.seq for event in stored] == [self.logged + 1 + i for i in range(count)]
        self.logged += count

    @rule(data=st.data(), by=side, how=loss, answers=st.booleans())
    def ask_or_answer(self, data: st.DataObject, by: int, how: str, answers: bool) -> None:
        task = data.draw(st.sampled_from(["t0", "t1"]))
        if answers:
            happened, _ = self._single(by, how, lambda s: s.questions.answer(TaskId(task), "b"))
            if happened and task in self.asked:
                self.asked.remove(task)
        else:
            happened, _ = self._single(by, how, lambda s: s.questions.ask(TaskId(task), "Which?", "a", 1))
            self.asked += [task] * happened


def test_any_order_of_operations_leaves_the_store_as_its_model(valkey_url: str) -> None:
    class Machine(NightMachine):
        url = valkey_url

    run_machine(Machine, examples=12, steps=40)
