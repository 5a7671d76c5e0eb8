"""Declared files are locked before a task begins, and people see who holds and who waits."""

from __future__ import annotations

import asyncio

from daemon_kit import Daemonlet, Held, MovedClock, bash, create, daemonlet, finish

from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.usage import UsdMicros
from agentcoord.domain.worker import Role, WorkerState, worker_of
from agentcoord.store import Caps, Store

FIRST = worker_of("Backend-Engineer-1", Role.BACKEND_ENGINEER)
SECOND = worker_of("Backend-Engineer-2", Role.BACKEND_ENGINEER)


async def _waits(d: Daemonlet, task: str) -> None:
    """Wait until `task` stands in a line."""
    async with asyncio.timeout(10):
        while not any(task in lock["waiters"] for lock in await d.views.locks()):
            pass


async def test_a_task_begins_with_what_landed_in_the_files_that_both_declare(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        turn = Held(create("src/app.py", "X = 2\n"), finish())
        d.model.turns["a"] = [turn]
        d.model.turns["b"] = [[bash("cp src/app.py src/seen.py"), finish()]]
        writes = ("src/app.py", "src/b.py", "src/any/**")
        await d.load("a", writes=writes)
        async with d.working(FIRST, SECOND):
            await turn.begun.wait()
            await d.load("b", writes=writes)
            await _waits(d, "b")
            held = {lock["path"]: lock for lock in await d.views.locks()}
            assert {path: lock["task"] for path, lock in held.items()} == {
                "src/app.py": "a",
                "src/b.py": "a",
            }
            (wait,) = held["src/app.py"]["waits"]
            assert wait["task"] == "b"
            assert wait["since"] >= held["src/app.py"]["since"]
            detail = await d.views.task(TaskId("b"))
            assert detail is not None
            assert [lock["path"] for lock in detail["locks"]] == ["src/app.py", "src/b.py"]
            (row,) = (row for row in d.shop.board.rows.values() if row.task == "b")
            assert (row.state, row.doing) == (WorkerState.WAITING, "for the lock of src/app.py, src/b.py")
            assert "b" not in d.model.asked
            turn.may_end.set()
            await d.wait_until("b", TaskState.DONE)
            await d.idle()
        assert (d.root / "src/seen.py").read_text() == "X = 2\n"
        assert d.shop.prover.merges == 0
        waited = [event for event in d.hub.recent if event.kind is EventKind.LOCK_WAITED]
        assert [(event.task, event.data["outcome"]) for event in waited] in ([], [("b", "taken")])
        assert await d.store.locks.holders() == []


async def test_a_stop_does_not_wait_for_who_waits_for_its_files(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        turn = Held(create("src/app.py", "X = 2\n"))
        d.model.turns["a"] = [turn]
        await d.load("a", writes=("src/app.py",))
        async with d.working(FIRST, SECOND):
            await turn.begun.wait()
            await d.load("b", writes=("src/app.py",))
            await _waits(d, "b")
            stopping = group.create_task(d.fleet.stop(now=False))
            await d.wait_until("b", TaskState.QUEUED)
            assert (await d.task("a")).state is TaskState.RUNNING
            turn.may_end.set()
            await stopping
        assert [(await d.task(name)).attempt for name in ("a", "b")] == [0, 0]


async def test_a_cancelled_holder_lets_the_next_one_begin(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        turn = Held()
        d.model.turns["a"] = [turn]
        d.model.turns["b"] = [[create("src/app.py", "X = 3\n"), finish()]]
        await d.load("a", writes=("src/app.py",))
        async with d.working(FIRST, SECOND):
            await turn.begun.wait()
            await d.load("b", writes=("src/app.py",))
            await _waits(d, "b")
            await d.requests.answer("cancel", {"id": "a"})
            await d.wait_until("b", TaskState.DONE)
        assert (await d.task("a")).state is TaskState.CANCELLED
        assert (d.root / "src/app.py").read_text() == "X = 3\n"


async def test_what_is_not_in_the_scope_is_not_locked(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        turn = Held(create("src/app.py", "X = 2\n"), finish())
        d.model.turns["a"] = [turn]
        await d.load("a", writes=("README.md", "src/*.txt", "src/", "./src/app.py"))
        async with d.working(FIRST):
            await turn.begun.wait()
            assert [lock["path"] for lock in await d.views.locks()] == ["src/app.py"]
            turn.may_end.set()
            await d.wait_until("a", TaskState.DONE)


async def test_cleaning_up_takes_from_the_dead_alone(valkey_url: str, project_id: ProjectId) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        turn = Held(create("src/app.py", "X = 2\n"), finish())
        d.model.turns["alive"] = [turn]
        await d.load("alive", writes=("src/app.py",))
        async with d.working(FIRST):
            await turn.begun.wait()
            # What a daemon that died left behind: a claim, a lock, money set aside, a private copy.
            await d.load("dead", "over")
            async with Store.open(valkey_url, project_id, clock=clock, lease_ms=60_000) as gone:
                await gone.queue.cancel(TaskId("over"), why="")
                dead = await gone.queue.claim(SECOND)
                assert (await gone.locks.acquire("src/dead.py", dead, timeout_s=1)).outcome == "taken"
                for name, task in (("of the dead", dead.task.id), ("of the living", TaskId("alive"))):
                    amount = UsdMicros(10)
                    await gone.ledger.reserve(name, run="r", task=task, day="d", amount=amount, caps=Caps())
            (d.paths.workspaces_dir / "stray").mkdir()
            # The leases of both run out; only one of them has nobody behind it.
            clock.ahead_ms += 61_000
            answer = await d.requests.answer("cleanup", {})
            assert {key: answer[key] for key in ("locks", "leases", "reservations", "keys")} == {
                "locks": 1,
                "leases": 1,
                "reservations": 1,
                "keys": 0,
            }
            assert [lock["path"] for lock in await d.views.locks()] == ["src/app.py"]
            left = await d.store.ledger.open_reservations()
            assert sorted(task for task in left.values()) == ["alive", "alive"], "its turn's, and the other"
            again = await d.requests.answer("cleanup", {})
            assert {**again, "workspaces": 0} == dict.fromkeys(answer, 0), "once"
            assert (await d.task("alive")).state is TaskState.RUNNING
            assert (await d.task("dead")).state is TaskState.QUEUED
            await d.requests.answer("cancel", {"id": "dead"})
            turn.may_end.set()
            await d.wait_until("alive", TaskState.DONE)


async def test_money_of_a_run_that_is_gone_comes_back_once(valkey_url: str, project_id: ProjectId) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        turn = Held(create("src/app.py", "X = 2\n"), finish())
        d.model.turns["alive"] = [turn]
        await d.load("alive")
        async with d.working(FIRST):
            await turn.begun.wait()
            for name, task in (("unstarted", "gone"), ("started", "gone"), ("alive's own", "alive")):
                await d.store.ledger.reserve(
                    name, run="r", task=TaskId(task), day="d", amount=UsdMicros(10), caps=Caps()
                )
            await d.store.ledger.mark_started("started")
            await d.chores.reap()
            clock.ahead_ms += 29_000
            await d.chores.reap()
            assert {"unstarted", "started"} <= set(await d.store.ledger.open_reservations())
            clock.ahead_ms += 2_000
            for _ in range(2):
                await d.chores.reap()
                left = await d.store.ledger.open_reservations()
                assert set(left.values()) == {"alive"}
                totals = await d.store.ledger.totals(run="r", day="d")
                assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (10, 10)
            turn.may_end.set()
            await d.wait_until("alive", TaskState.DONE)
