"""Locks of a whole set of files: all or none, no starving, no deadlock, and seen by people."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from store_kit import NIGHT_MS, HandClock, claim, evalsha_calls, load, open_store, spec

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.task import Claim
from agentcoord.store import LockAnswer, LockOutcome, LockWait, Store
from agentcoord.store.lock_lines import OVERTAKEN_MOST, LockLines
from agentcoord.store.scripts import ScriptName, Scripts

_O = LockOutcome


async def _claims(store: Store, *priorities: int) -> list[Claim]:
    """Claims on tasks a, b, c ... with these priorities, in that order."""
    names = [chr(ord("a") + i) for i in range(len(priorities))]
    await load(store, *(spec(name, priority=p) for name, p in zip(names, priorities, strict=True)))
    return sorted([await claim(store) for _ in names], key=lambda c: c.task.id)


async def _waits(store: Store, path: str, *tasks: str) -> None:
    """Wait until just these stand in line for `path`."""
    async with asyncio.timeout(5):
        while [one.task for one in store.locks.lines.line_of(path)] != list(tasks):
            await store.ping()


async def _held(store: Store) -> dict[str, str]:
    return {lock.path: lock.task for lock in await store.locks.holders()}


async def test_a_free_set_is_taken_in_one_call(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        (a,) = await _claims(store, 3)
        await store.locks.acquire("z.py", a, timeout_s=1)  # The server knows the script from now on.
        await store.locks.release_all(a.task.id)
        before = await evalsha_calls(store)
        answer = await store.locks.acquire_all(["y.py", "x.py", "y.py"], a, timeout_s=1)
        assert answer == LockAnswer(_O.TAKEN, a.task.id, 0)
        assert await evalsha_calls(store) == before + 1
        assert await _held(store) == {"x.py": "a", "y.py": "a"}
        assert (await store.locks.acquire_all(["x.py", "y.py"], a, timeout_s=1)).outcome is _O.ALREADY_HELD
        assert (await store.locks.acquire_all([], a, timeout_s=1)).outcome is _O.ALREADY_HELD
        assert await store.locks.release_all(a.task.id) == ("x.py", "y.py")


async def test_who_waits_for_a_set_holds_nothing_new_of_it(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("y.py", a, timeout_s=1)
        await store.locks.acquire("own.py", b, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                store.locks.acquire_all(["own.py", "x.py", "y.py", "z.py"], b, timeout_s=5)
            )
            await _waits(store, "y.py", "b")
            assert await _held(store) == {"own.py": "b", "y.py": "a"}
            await store.locks.release_all(a.task.id)
            assert (await waiting).outcome is _O.TAKEN
        assert await _held(store) == dict.fromkeys(("own.py", "x.py", "y.py", "z.py"), "b")
        assert store.locks.lines.is_empty


async def test_a_set_that_times_out_leaves_nothing_behind(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("y.py", a, timeout_s=1)
        answer = await store.locks.acquire_all(["x.py", "y.py"], b, timeout_s=0.05)
        assert (answer.outcome, answer.holder) == (_O.TIMED_OUT, "a")
        assert await _held(store) == {"y.py": "a"}
        assert store.locks.lines.is_empty


async def test_a_set_is_taken_when_the_last_of_its_holders_is_gone(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        await store.locks.acquire("y.py", b, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.locks.acquire_all(["x.py", "y.py"], c, timeout_s=5))
            await _waits(store, "x.py", "c")
            await store.locks.release_all(a.task.id)
            answer = await store.locks.acquire("z.py", a, timeout_s=5)
            assert answer.outcome is _O.TAKEN
            assert not waiting.done()
            # The holder of the other goes by its lease, not by a release.
            await store.queue.cancel(b.task.id, why="")
            assert (await waiting).outcome is _O.TAKEN


async def test_sets_that_overlap_in_any_order_never_wait_for_each_other(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        claims = await _claims(store, 3, 5, 4)
        order: list[str] = []

        async def work(one: Claim, *paths: str) -> None:
            answer = await store.locks.acquire_all(paths, one, timeout_s=5)
            assert answer.outcome is _O.TAKEN
            order.append(one.task.id)
            held = await _held(store)
            assert {held[path] for path in paths} == {one.task.id}
            await store.locks.release_all(one.task.id)

        async with asyncio.TaskGroup() as group:
            await store.locks.acquire("y.py", claims[0], timeout_s=1)
            group.create_task(work(claims[2], "x.py", "y.py", "z.py"))
            group.create_task(work(claims[1], "z.py", "y.py", "x.py"))
            await _waits(store, "y.py", "b", "c")
            await store.locks.release_all(claims[0].task.id)
        assert order == ["b", "c"]


async def test_a_free_file_is_used_while_a_set_is_stuck_but_the_set_is_not_starved(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, *others = await _claims(store, *[3] * (OVERTAKEN_MOST + 3))
        await store.locks.acquire("y.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.locks.acquire_all(["x.py", "y.py"], b, timeout_s=5))
            await _waits(store, "y.py", "b")
            for other in others[:OVERTAKEN_MOST]:
                assert (await store.locks.acquire("x.py", other, timeout_s=0.5)).outcome is _O.TAKEN
                await store.locks.release_all(other.task.id)
            late = await store.locks.acquire("x.py", others[-1], timeout_s=0.05)
            assert (late.outcome, late.holder) == (_O.TIMED_OUT, "b")
            await store.locks.release_all(a.task.id)
            assert (await waiting).outcome is _O.TAKEN


async def test_who_is_waited_for_goes_first_although_a_set_stands_ahead(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 5)
        await store.locks.acquire("y.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(
                store.locks.acquire_all([f"{n}.py" for n in range(9)] + ["y.py"], b, timeout_s=5)
            )
            await _waits(store, "y.py", "b")
            for n in range(2 * OVERTAKEN_MOST):  # However often: what waits for it has to wait anyway.
                assert (await store.locks.acquire(f"{n}.py", a, timeout_s=0.5)).outcome is _O.TAKEN
            await store.locks.release_all(a.task.id)
            assert (await waiting).outcome is _O.TAKEN


async def test_a_circle_through_the_second_holder_of_a_set_is_refused_to_who_closes_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        for path, holder in (("a.py", a), ("b.py", b), ("c.py", c)):
            await store.locks.acquire(path, holder, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            # c waits for a and for b; then b, which closes a circle although a does not.
            waiting = group.create_task(store.locks.acquire_all(["a.py", "b.py"], c, timeout_s=5))
            await _waits(store, "b.py", "c")
            answer = await store.locks.acquire_all(["c.py", "d.py"], b, timeout_s=5)
            assert (answer.outcome, answer.holder) == (_O.WOULD_DEADLOCK, "c")
            assert await _held(store) == {"a.py": "a", "b.py": "b", "c.py": "c"}
            assert not waiting.done()
            await store.locks.release_all(a.task.id)
            await store.locks.release_all(b.task.id)
            assert (await waiting).outcome is _O.TAKEN


async def test_a_set_with_a_holder_that_already_waits_for_its_task_is_refused(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        for path, holder in (("a.py", a), ("b.py", b), ("c.py", c)):
            await store.locks.acquire(path, holder, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.locks.acquire("c.py", b, timeout_s=5))
            await _waits(store, "c.py", "b")
            answer = await store.locks.acquire_all(["a.py", "b.py"], c, timeout_s=5)
            assert (answer.outcome, answer.holder) == (_O.WOULD_DEADLOCK, "b")
            await store.locks.release_all(c.task.id)
            assert (await waiting).outcome is _O.TAKEN


async def test_a_circle_is_seen_also_by_who_asks_again_for_what_it_has(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("x", a, timeout_s=5)
        await store.locks.acquire("y", b, timeout_s=5)
        waiting = group.create_task(store.locks.acquire("x", b, timeout_s=10))
        await _waits(store, "x", "b")
        answer = await store.locks.acquire_all(["x", "y"], a, timeout_s=2)
        assert (answer.outcome, answer.holder, answer.path) == (_O.WOULD_DEADLOCK, "b", "y")
        await store.locks.release_all(a.task.id)
        assert (await waiting).outcome is _O.TAKEN


class _AnswersInAnyOrder:
    """Scripts whose answers are told some time after they came, as over connections of different speed."""

    def __init__(self, scripts: Scripts, dice: random.Random) -> None:
        self._scripts = scripts
        self._dice = dice

    async def run(self, name: ScriptName, *args: str | int) -> Any:
        answer = await self._scripts.run(name, *args)
        await asyncio.sleep(self._dice.choice((0, 0, 0.001, 0.004)))
        return answer


class _LateAnswers:
    """Scripts whose answers to one task's calls for locks are told only when they are let go."""

    def __init__(self, scripts: Scripts, task: TaskId) -> None:
        self._scripts = scripts
        self._task = task
        self.has_come = asyncio.Event()
        self.may_be_told = asyncio.Event()

    async def run(self, name: ScriptName, *args: str | int) -> Any:
        answer = await self._scripts.run(name, *args)
        if name is ScriptName.LOCK and args[0] == self._task:
            self.has_come.set()
            await self.may_be_told.wait()
        return answer


async def test_an_answer_from_before_a_release_that_was_told_first_keeps_nobody_waiting(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        a, b, c, d = await _claims(store, 3, 3, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        await store.locks.acquire("y.py", b, timeout_s=1)
        first = group.create_task(store.locks.acquire("y.py", d, timeout_s=5))
        await _waits(store, "y.py", "d")  # So b is known to have y.py, and c is not woken for x.py alone.
        late = _LateAnswers(store.locks.scripts, c.task.id)
        store.locks.scripts = cast("Scripts", late)
        waiting = group.create_task(store.locks.acquire_all(["x.py", "y.py"], c, timeout_s=5))
        await late.has_come.wait()
        await store.locks.release_all(a.task.id)
        late.may_be_told.set()
        await _waits(store, "x.py", "c")
        await store.locks.release_all(b.task.id)
        assert (await first).outcome is _O.TAKEN
        await store.locks.release_all(d.task.id)
        assert (await waiting).outcome is _O.TAKEN


async def test_a_release_told_after_the_next_holder_was_seen_does_not_hide_that_one(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        a, b, c = await _claims(store, 3, 3, 3)
        await store.locks.acquire("x.py", b, timeout_s=1)
        await store.locks.acquire("y.py", c, timeout_s=1)
        waiting = group.create_task(store.locks.acquire_all(["x.py", "y.py"], a, timeout_s=5))
        await _waits(store, "x.py", "a")
        store.locks.lines.freed(["x.py"], TaskId("who had it before"))
        await store.locks.acquire("z.py", a, timeout_s=1)
        answer = await store.locks.acquire("z.py", b, timeout_s=5)
        assert (answer.outcome, answer.holder) == (_O.WOULD_DEADLOCK, "a")
        await store.locks.release_all(b.task.id)
        await store.locks.release_all(c.task.id)
        assert (await waiting).outcome is _O.TAKEN


async def test_a_set_that_gets_stuck_lets_those_behind_it_go_at_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c, d = await _claims(store, 3, 3, 3, 3)
        lines = LockLines()
        next_in_line = lines.join(b, ("x.py",), NIGHT_MS)
        stuck = lines.join(c, ("x.py", "y.py"), NIGHT_MS)
        for one in (next_in_line, stuck):
            lines.hear(one, {"x.py": a.task.id})
        lines.freed(["x.py"], a.task.id)
        behind = lines.join(d, ("y.py",), NIGHT_MS)
        assert lines.waits_for(behind) == [c.task.id]
        lines.leave(next_in_line, took=True)
        assert behind.turn.is_set()


async def test_people_see_who_waits_for_what_and_since_when(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        a, b, c = await _claims(store, 3, 3, 4)
        await store.locks.acquire_all(["x.py", "y.py"], a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            clock.time_ms += 1000
            group.create_task(store.locks.acquire_all(["x.py", "y.py"], b, timeout_s=5))
            await _waits(store, "x.py", "b")
            clock.time_ms += 1000
            group.create_task(store.locks.acquire("x.py", c, timeout_s=5))
            await _waits(store, "x.py", "c", "b")
            x, y = await store.locks.holders()
            assert (x.since_ms, y.since_ms) == (NIGHT_MS, NIGHT_MS)
            assert x.waits == (LockWait(c.task.id, NIGHT_MS + 2000), LockWait(b.task.id, NIGHT_MS + 1000))
            assert y.waits == (LockWait(b.task.id, NIGHT_MS + 1000),)
            await store.locks.release_all(a.task.id)
            await _waits(store, "x.py", "b")
            await store.locks.release_all(c.task.id)


@pytest.mark.parametrize("in_any_order", [False, True])
async def test_a_crowd_that_takes_sets_and_more_always_gets_through(
    valkey_url: str, project_id: ProjectId, in_any_order: bool
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    paths = [f"{n}.py" for n in range(6)]
    async with AsyncExitStack() as exits:
        store = await exits.enter_async_context(open_store(valkey_url, project_id, HandClock()))
        claims = await _claims(store, *(dice.randrange(1, 6) for _ in range(8)))
        if in_any_order:
            store.locks.scripts = cast("Scripts", _AnswersInAnyOrder(store.locks.scripts, dice))
        owner: dict[str, str] = {}
        outcomes: list[LockOutcome] = []

        async def take(one: Claim, wanted: list[str]) -> bool:
            answer = await store.locks.acquire_all(wanted, one, timeout_s=15)
            outcomes.append(answer.outcome)
            if answer.outcome is _O.WOULD_DEADLOCK:
                return False
            for path in wanted:
                assert owner.setdefault(path, one.task.id) == one.task.id
            return True

        async def work(one: Claim) -> None:
            for _ in range(8):
                while True:
                    first, more = dice.sample(paths, dice.randrange(1, 4)), dice.sample(paths, 1)
                    through = await take(one, first) and await take(one, more)
                    for path in [path for path, holder in owner.items() if holder == one.task.id]:
                        del owner[path]
                    await store.locks.release_all(one.task.id)
                    if through:
                        break

        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            for one in claims:
                group.create_task(work(one))
        assert _O.TIMED_OUT not in outcomes
        assert store.locks.lines.is_empty
        assert await store.locks.holders() == []
