"""What a project's store should do, as one small thing in memory: tasks, their order, locks and money.

Pure, and written from the documentation alone; the machine in `test_store_night_model.py` does the same
to it and to a real store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.store.place_in_line import HEADS_COMPARED, PASSED_OVER_MS, priority_bonus_ms

_S = TaskState
DEAD = frozenset({_S.FAILED, _S.CANCELLED})
EDITABLE = frozenset({_S.BLOCKED, _S.QUEUED, _S.PARKED})


@dataclass(slots=True)
class ModelTask:
    """One task."""

    rank: int
    priority: int
    route: str
    needs: tuple[str, ...]
    writes: str
    """One file, or nothing."""
    title: str = ""
    state: TaskState = _S.QUEUED
    attempt: int = 0
    fell: bool = False
    """Failed only because of a need."""
    due_ms: int = 0
    """While queued: not in line before the first reap from then on; 0 when it is in line."""
    token: int = 0
    """Of its newest claim."""
    deadline_ms: int = 0
    turns: int = 0

    @property
    def score(self) -> int:
        return self.rank - priority_bonus_ms(self.priority)


@dataclass(slots=True)
class ModelLock:
    """Who took a path, under which token, and who waits for it, first in line first."""

    task: str = ""
    token: int = 0
    line: list[str] = field(default_factory=list)


@dataclass(slots=True)
class NightModel:
    """All of one project."""

    tasks: dict[str, ModelTask] = field(default_factory=dict)
    locks: dict[str, ModelLock] = field(default_factory=dict)
    reserved: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    """By reservation: task, amount, whether its answer began."""
    spent: dict[str, int] = field(default_factory=dict)
    last_rank: int = 0
    last_token: int = 0
    last_call: int = 0

    def ranks(self, now_ms: int, count: int) -> int:
        """Give out `count` ranks and return the first."""
        first = max(now_ms, self.last_rank + 1)
        self.last_rank = first + count - 1
        return first

    def add(self, name: str, task: ModelTask) -> None:
        self.tasks[name] = task
        task.state = self._waiting_state(task)
        if self._has_dead_need(task):
            task.state, task.fell = _S.FAILED, True

    def first_for(self, routes: set[str]) -> str | None:
        """Who is handed out next to a worker that covers these routes."""
        busy = {task.writes for task in self.tasks.values() if task.state in HELD_STATES} - {""}
        busy |= {path for path in self.locks if self.holder(path)}
        heads: list[str] = []
        for route in routes:
            line = [name for name, t in self.tasks.items() if t.route == route and self._in_line(t)]
            heads += sorted(line, key=lambda name: self.tasks[name].score)[:HEADS_COMPARED]
        heads.sort(key=lambda name: self.tasks[name].score)
        latest = self.tasks[heads[0]].score + PASSED_OVER_MS if heads else 0
        near = [name for name in heads if self.tasks[name].score <= latest]
        free = [name for name in near if self.tasks[name].writes not in busy]
        return next(iter(free or heads), None)

    def claimed(self, name: str, deadline_ms: int) -> int:
        """Hand a task out; return its token."""
        self.last_token += 1
        task = self.tasks[name]
        task.state, task.attempt = _S.RUNNING, task.attempt + 1
        task.token, task.deadline_ms = self.last_token, deadline_ms
        return task.token

    def put_back(self, name: str, *, counts: bool, due_ms: int = 0) -> None:
        task = self.tasks[name]
        task.state = self._waiting_state(task)  # A need may have been rejected meanwhile.
        task.due_ms = due_ms if task.state is _S.QUEUED else 0
        task.attempt -= not counts
        self._end_what_waits_for_the_dead()

    def ready_what_is_due(self, now_ms: int) -> None:
        for task in self.tasks.values():
            if task.due_ms <= now_ms:
                task.due_ms = 0

    def done(self, name: str) -> None:
        self.tasks[name].state = _S.DONE
        for other in self.tasks.values():
            if other.state is _S.BLOCKED:
                other.state = self._waiting_state(other)

    def end(self, name: str, state: TaskState) -> set[str]:
        """End a task without a result; return what falls with it."""
        self.tasks[name].state, self.tasks[name].due_ms = state, 0
        return self._end_what_waits_for_the_dead()

    def _end_what_waits_for_the_dead(self) -> set[str]:
        fallen = set()
        for other_name, other in self.tasks.items():  # In order of loading, so needs come first.
            if other.state is _S.BLOCKED and self._has_dead_need(other):
                other.state, other.fell = _S.FAILED, True
                fallen.add(other_name)
        return fallen

    def may_retry(self, name: str) -> bool:
        task = self.tasks[name]
        return task.state in DEAD | {_S.PARKED} and not self._has_dead_need(task)

    def retry(self, name: str) -> None:
        task = self.tasks[name]
        task.state, task.attempt, task.fell = self._waiting_state(task), 0, False
        for other in self.tasks.values():
            if other.fell and not self._has_dead_need(other):
                other.state, other.attempt, other.fell = self._waiting_state(other), 0, False

    def may_reject(self, name: str) -> bool:
        task = self.tasks[name]
        return task.state is _S.DONE and not self._has_dead_need(task)

    def reject(self, name: str) -> None:
        """Put a done task back; what waits in line for its turn waits for it again."""
        task = self.tasks[name]
        task.state, task.attempt = self._waiting_state(task), 0
        for other in self.tasks.values():
            if other.state is _S.QUEUED and name in other.needs:
                other.state, other.due_ms = _S.BLOCKED, 0

    def holder(self, path: str) -> str | None:
        """Who holds the lock of `path` under a lease that lasts."""
        lock = self.locks.get(path, ModelLock())
        task = self.tasks.get(lock.task)
        alive = task is not None and task.state in HELD_STATES and task.token == lock.token
        return lock.task if alive else None

    def would_deadlock(self, waiter: str, path: str) -> bool:
        waits = {name: p for p, lock in self.locks.items() for name in lock.line}
        holder, seen = self.holder(path), set[str]()
        while holder is not None and holder not in seen:
            if holder == waiter:
                return True
            seen.add(holder)
            holder = self.holder(waits[holder]) if holder in waits else None
        return False

    def sums(self, task: str | None = None) -> int:
        """What was spent and set aside, in all or for one task."""
        aside = sum(amount for t, amount, _ in self.reserved.values() if task in {None, t})
        return aside + (sum(self.spent.values()) if task is None else self.spent.get(task, 0))

    def _in_line(self, task: ModelTask) -> bool:
        return task.state is _S.QUEUED and task.due_ms == 0

    def _waiting_state(self, task: ModelTask) -> TaskState:
        return _S.QUEUED if all(self.tasks[n].state is _S.DONE for n in task.needs) else _S.BLOCKED

    def _has_dead_need(self, task: ModelTask) -> bool:
        return any(self.tasks[need].state in DEAD for need in task.needs)
