"""Moments that are easily forgotten: a pause without a task, midnight, an undone mending, left-over money."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from daemon_kit import (
    PATIENCE_S,
    PYTEST,
    WORKER,
    Daemonlet,
    Held,
    MovedClock,
    create,
    daemonlet,
    finish,
    keeper_of,
    own_valkey,
    until,
)

from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.baseline import BaselineKeeper
from agentcoord.daemon.broken_runs import BrokenRuns
from agentcoord.daemon.chores import ORPHAN_AFTER_S, Chores
from agentcoord.daemon.kept_file import KeptFile
from agentcoord.daemon.pausing import pause, resume
from agentcoord.daemon.worker_row import WorkerRow
from agentcoord.domain.events import EventKind
from agentcoord.domain.hunks import read_diff
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.usage import UsdMicros
from agentcoord.domain.worker import Role, worker_of
from agentcoord.errors import StoreUnavailableError
from agentcoord.llm.api import Block
from agentcoord.store import Caps, Store
from agentcoord.store.queue import TaskQueue
from workspace_kit import HandClock

OTHER = worker_of("Backend-Engineer-2", Role.BACKEND_ENGINEER)
DAY_MS = 24 * 3600 * 1000
ENDS = (EventKind.TASK_FAILED, EventKind.TASK_REQUEUED, EventKind.TASK_CANCELLED, EventKind.TASK_PARKED)


async def test_a_persons_pause_is_kept_although_no_task_tells_of_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        await d.store.memory.begin()
        keeper = keeper_of(d)
        tasks = [group.create_task(d.hub.run()), group.create_task(keeper.run())]

        def paused_in_file() -> str:
            return str(KeptFile(d.paths.kept_file).read().get("h:settings", {}).get("paused", "0"))

        await until(d.paths.kept_file.exists)
        await d.requests.answer("pause", {})
        await until(lambda: paused_in_file() == "1")
        await d.requests.answer("resume", {})
        await until(lambda: paused_in_file() == "0")
        for each in tasks:
            each.cancel()


async def test_what_the_days_cap_paused_goes_on_the_next_day_and_nothing_else_does(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id) as d:
        shop = replace(d.shop, clock=clock)
        chores = Chores(shop, d.fleet, lease_s=60, on_deadline=d.fleet.drain)
        for why, for_the_day in (
            ("the day cap is reached", True),
            ("the run cap is reached", False),
            ("", False),
        ):
            await pause(shop, why, for_the_day=for_the_day)
            await chores.watch_day()
            assert d.store.queue.paused, "the day is not over"
            clock.ahead_ms += DAY_MS
            await chores.watch_day()
            assert d.store.queue.paused is not for_the_day


async def test_a_pause_and_a_resume_at_once_are_one_after_the_other(
    valkey_url: str, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        shop, begun = d.shop, asyncio.Event()
        kept = type(shop.store).set_setting

        async def slowly(store: Store, name: str, value: str) -> None:
            if name == "paused_why" and value:
                begun.set()
                await asyncio.sleep(0.05)  # So that a resume that does not wait is over long before.
            await kept(store, name, value)

        monkeypatch.setattr(type(shop.store), "set_setting", slowly)
        async with asyncio.TaskGroup() as group:
            group.create_task(pause(shop, "the day's cap is reached", for_the_day=True))
            await begun.wait()
            group.create_task(resume(shop))
        settings = [await shop.store.get_setting(name) for name in ("paused_why", "paused_day")]
        assert (shop.store.queue.paused, settings) == (False, ["", ""])


async def test_six_workers_that_run_into_the_same_pause_the_run_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, d.working():
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(pause(d.shop, "the key is refused"))
        await pause(d.shop, "the disk is full")
        await pause(d.shop)
        d.hub.emit(EventKind.ERROR, where="behind them")
        await d.wait_for(EventKind.ERROR)
        told = [event.data["why"] for event in d.hub.recent if event.kind is EventKind.RUN_PAUSED]
        assert told == ["the key is refused", "the disk is full", "asked for"]


async def test_a_pause_whose_last_answer_is_lost_is_told_all_the_same(
    valkey_url: str, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemonlet(valkey_url, project_id) as d, d.working():
        chores = Chores(d.shop, d.fleet, lease_s=60, on_deadline=lambda: None)
        await chores.reap()
        kept = type(d.store.queue).set_paused

        async def answer_lost(queue: TaskQueue, paused: bool) -> None:
            await kept(queue, paused)
            queue.dispatcher.paused, queue._switch.in_doubt = not paused, True
            raise StoreUnavailableError("the answer is lost")

        with monkeypatch.context() as patched:
            patched.setattr(type(d.store.queue), "set_paused", answer_lost)
            with pytest.raises(StoreUnavailableError):
                await pause(d.shop, "the key is refused")
        await chores.reap()
        told = await d.wait_for(EventKind.RUN_PAUSED)
        assert (told.data["why"], d.store.queue.paused) == ("the key is refused", True)
        await pause(d.shop, "the key is refused")
        await resume(d.shop)
        await d.wait_for(EventKind.RUN_RESUMED)
        assert [each.kind for each in d.hub.recent].count(EventKind.RUN_PAUSED) == 1


async def test_a_call_that_an_earlier_run_could_not_close_is_ended_while_its_task_is_held_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [thought]
        await d.load("t")
        ledger, run, day = d.store.ledger, d.runs.run, d.runs.day()
        amount = UsdMicros(500)
        await ledger.reserve("left", run=run, task=TaskId("t"), day=day, amount=amount, caps=Caps())
        async with d.working():
            await thought.begun.wait()
            (own,) = set(ledger.mirror.open) - {"left"}
            for _ in range(2):
                await d.chores.reap()
                assert set(ledger.mirror.open) == {"left", own}
                clock.ahead_ms += round(ORPHAN_AFTER_S * 500)
            clock.ahead_ms += 1
            await d.chores.reap()
            assert set(ledger.mirror.open) == {own}, "what the present run reserved is its own"
            thought.may_end.set()
            await d.wait_until("t", TaskState.DONE)
        assert (await ledger.totals(run=run, day=day)).run_reserved_usd_micros == 0


async def test_money_of_which_nobody_learned_that_it_was_set_aside_is_given_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        ledger, run, day = d.store.ledger, d.runs.run, d.runs.day()
        amount = UsdMicros(500)
        await ledger.reserve(
            "lost", run=run, task=TaskId("t"), day=day, amount=amount, caps=Caps(), sent_amount=amount
        )
        ledger.mirror.doubtful["lost"] = ledger.mirror.open.pop("lost")  # As when the answer was lost.
        await d.chores.reap()
        clock.ahead_ms += round(ORPHAN_AFTER_S * 1000) + 1
        await d.chores.reap()
        totals = await ledger.totals(run=run, day=day)
        assert (totals.run_reserved_usd_micros, totals.run_spent_usd_micros) == (0, 0), "it was never sent"
        assert not ledger.mirror.unclosed


async def test_an_end_whose_answer_was_lost_is_told_once_all_the_same(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        hub = group.create_task(d.hub.run())
        broken, queue = BrokenRuns(d.shop, d.shop.clock), d.store.queue
        row, lost = WorkerRow(WORKER, own_since_ms=0), StoreUnavailableError("no answer")
        await d.load("t", "u")
        ended, taken = [await queue.claim(WORKER) for _ in "tu"]
        await queue.fail(ended, why="the same failure twice", setback=Setback.UNPROVEN)
        await queue.cancel(taken.task.id, why="by a person, who is told")
        for claim in (ended, taken):
            await broken.give_back(row, claim, lost)
            await broken.give_back(row, claim, RuntimeError("long after its end"))
        await d.hub.flushed()
        hub.cancel()
        told = [(e.kind, e.task, e.data["why"]) for e in d.hub.recent if e.kind in ENDS]
        assert told == [(EventKind.TASK_FAILED, ended.task.id, "the same failure twice")]


async def test_a_task_that_landed_never_fails_because_its_lease_ran_out_unheard() -> None:
    """The store goes away before `done`, and the worker is killed: nobody gives the claim back."""
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p"), attempts=1) as d:
            d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()]]
            await d.load("t")

            def kill(step: str) -> None:
                if step == "settle":
                    valkey.kill()

            d.fault.append(kill)
            async with d.working():
                await until(lambda: not valkey.is_alive)
                d.fleet.kill(WORKER.name)
                await until(lambda: WORKER.name not in d.shop.board.rows)
                await asyncio.to_thread(valkey.start)
                task = await d.task("t")
                assert task.state is TaskState.LANDING
                await d.store.client.zadd(d.store.keys.of("lease"), {f"{task.token}:t": 1})
                await d.chores.reap()
                assert (await d.task("t")).state is TaskState.QUEUED
                assert d.fleet.spawn(WORKER.role, 1)
                assert (await d.wait_until("t", TaskState.DONE)).attempt == 1
            assert d.model.asked == ["t"]


@pytest.mark.parametrize("method", ["undo", "reject", "take_out"])
async def test_a_test_that_is_red_again_after_an_undo_is_excused_again(
    valkey_url: str, project_id: ProjectId, method: str
) -> None:
    """A rejected task is done again, which here does not end."""
    tries: list[str] = []

    async def mend() -> list[Block]:
        tries.append("mend")
        if len(tries) > 1:
            await asyncio.Event().wait()
        return [create("src/app.py", "GOOD = True\n"), finish()]

    files = {
        "src/app.py": b"GOOD = False\n",
        "src/test_it.py": b"import app\n\ndef test_old():\n    assert app.GOOD\n",
        ".gitignore": b"*.pyc\n__pycache__\n",
    }
    command = f"{PYTEST} src"
    async with daemonlet(valkey_url, project_id, files=files, checks={"tests": command}, attempts=1) as d:
        await d.shop.prover.run_baseline()
        d.model.turns["mends"] = [mend]
        d.model.turns["next"] = [[create("src/other.py", "X = 1\n"), finish()]]
        await d.load("mends")
        async with d.working(WORKER, OTHER):
            await d.wait_until("mends", TaskState.DONE)
            if method == "take_out":
                await _take_everything_out(d, "mends")
            else:
                await d.requests.answer(method, {"id": "mends", "reason": "not so"})
            assert Path(d.root / "src/app.py").read_bytes() == b"GOOD = False\n"
            stored = await asyncio.to_thread(d.shop.check_book.stored_known)
            d.shop.prover.adopt_baseline(d.shop.prover.baseline, stored)  # type: ignore[arg-type]  # it was run above
            await d.load("next")
            done = await d.wait_until("next", TaskState.DONE, TaskState.FAILED)
        assert done.state is TaskState.DONE, "the red test is not its fault"
        checked = [e for e in d.hub.recent if e.kind is EventKind.TASK_CHECKED and e.task == "next"]
        assert [e.data["excused"] for e in checked] == [True]


async def _take_everything_out(d: Daemonlet, task: str) -> None:
    """Every hunk, at a person's word, although the checks are red without them."""
    text = (await d.requests.answer("diff", {"id": task}))["text"]
    asked = {"id": task, "hunks": [hunk.key for file in read_diff(text) for hunk in file.hunks]}
    with d.hub.subscribed() as told:
        while (await d.requests.answer("prove_without", asked))["state"] == "running":
            await told.ready.wait()
            told.take_all()
    await d.requests.answer("take_out", {**asked, "anyway": True})


async def test_the_first_deadline_after_the_start_is_told_while_leases_are_held(
    valkey_url: str, project_id: ProjectId
) -> None:
    """By a clock whose waits take no time."""
    clock = HandClock()
    soon = datetime.datetime.fromtimestamp(clock.ms / 1000, datetime.UTC).astimezone()
    deadline = f"{soon + datetime.timedelta(minutes=2):%H:%M}"
    told = asyncio.Event()
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        await d.load("t")
        await d.store.queue.claim(WORKER)
        settings = replace(d.shop.settings, budget=BudgetSection(deadline=deadline))
        shop = replace(d.shop, clock=clock, settings=settings)
        chores = Chores(shop, d.fleet, lease_s=60, on_deadline=told.set)
        await chores.watch_deadline()
        assert not told.is_set()
        tasks: list[asyncio.Task[None]] = []

        class Group(asyncio.TaskGroup):
            """Remembers what was started."""

            def create_task(self, *args: Any, **kwargs: Any) -> Any:
                tasks.append(group.create_task(*args, **kwargs))
                return tasks[-1]

        chores.start(Group())
        async with asyncio.timeout(PATIENCE_S):
            await told.wait()
        assert {each.get_name() for each in tasks} == {"heartbeat", "reap", "lag", "day", "deadline"}
        for each in tasks:
            each.cancel()


async def test_a_deadline_that_came_while_the_daemon_was_dead_is_kept_by_the_next(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    local = datetime.datetime.fromtimestamp(clock.ms / 1000, datetime.UTC).astimezone()
    deadline = f"{local - datetime.timedelta(minutes=2):%H:%M}"
    async with daemonlet(valkey_url, project_id) as d:
        settings = replace(d.shop.settings, budget=BudgetSection(deadline=deadline))
        shop = replace(d.shop, clock=clock, settings=settings)
        for since_ms, come in ((None, False), (clock.ms - 3_600_000, True)):
            told = asyncio.Event()
            chores = Chores(shop, d.fleet, lease_s=60, on_deadline=told.set, since_ms=since_ms)
            await chores.watch_deadline()
            assert told.is_set() is come


async def test_a_stored_baseline_is_used_again_and_a_damaged_one_is_made_anew(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    runs_of_it = tmp_path / "runs"
    checks = {"t": f"echo run >> {runs_of_it}"}
    async with daemonlet(valkey_url, project_id, checks=checks) as d:
        await d.runs.begin_if_none(any_open=False)

        async def baseline_settled() -> int:
            keeper = BaselineKeeper(d.shop, d.runs)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(keeper.run())
                keeper.want()
                async with asyncio.timeout(PATIENCE_S):
                    await d.shop.prover._baseline_settled.wait()
                running.cancel()
            return runs_of_it.read_text().count("run")

        assert await baseline_settled() == 1
        assert await baseline_settled() == 1
        for stored in d.paths.state_dir.rglob("*baseline*"):
            if stored.is_file():
                stored.write_text("{")
        assert await baseline_settled() == 2
