"""The fleet under kills, stops, drains, a store that goes away, and a machine that fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
from pathlib import Path

import pytest
from daemon_kit import (
    PATIENCE_S,
    WORKER,
    Daemonlet,
    Held,
    bash,
    create,
    daemonlet,
    finish,
    own_valkey,
    until,
)

from agentcoord.clock import SystemClock
from agentcoord.daemon.broken_runs import STORE_AWAY
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.pausing import pause
from agentcoord.daemon.task_views import TaskViews
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import FencingToken, ProjectId, RunId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role, WorkerState, worker_of
from agentcoord.errors import DaemonError, RpcError, SandboxError
from agentcoord.llm.api import Block
from agentcoord.sandbox import Limits, OnOutput, Policy, ProbeReport, RefusingSandbox, Result
from agentcoord.sandbox.plain import PlainSandbox

OTHER = worker_of("Backend-Engineer-2", Role.BACKEND_ENGINEER)


async def test_a_worker_killed_the_moment_it_claims_leaves_the_task_to_another(
    valkey_url: str, project_id: ProjectId
) -> None:
    """Killed at each step of the loop around the claim: the task never stays leased to nobody."""
    for steps in range(14):
        async with daemonlet(valkey_url, ProjectId(f"{project_id}-{steps}")) as d:
            thought = Held(finish())
            d.model.turns["t"] = [thought]
            async with d.working():
                await d.wait_for(EventKind.WORKER_STARTED)
                await d.load("t")
                for _ in range(steps):
                    await asyncio.sleep(0)
                d.fleet.kill(WORKER.name)
                await until(lambda: WORKER.name not in d.shop.board.rows)
                task = await d.task("t")
                if task.state is not TaskState.QUEUED:
                    await d.store.queue.claim(OTHER)  # What it was handed is given back a moment later.
                assert (await d.task("t")).attempt <= 1


async def test_a_kill_is_not_swallowed_when_handing_back_fails() -> None:
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p")) as d:
            d.model.turns["t"] = [[bash(f"kill -9 {valkey.process.pid}; sleep 30")]]
            await d.load("t")
            async with d.working():
                await until(lambda: not valkey.is_alive)
                d.fleet.kill(WORKER.name)
                await until(lambda: WORKER.name not in d.shop.board.rows)
                await asyncio.to_thread(valkey.start)


async def test_a_store_that_is_away_costs_no_private_copy_and_no_attempt() -> None:
    """It goes away before a tool takes a file's lock: the run breaks, and goes on from its last turn."""
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p")) as d:
            d.model.turns["t"] = [
                [create("src/a.py", "A = 1\n")],
                [bash(f"kill -9 {valkey.process.pid}"), create("src/b.py", "B = 1\n")],
                [create("src/c.py", "C = 1\n"), finish()],
            ]
            await d.load("t")
            async with d.working():
                await d.wait_for(EventKind.WORKER_STARTED)
                row = d.shop.board.rows[WORKER.name]
                await until(lambda: (row.state, row.doing) == (WorkerState.WAITING, STORE_AWAY))
                assert d.fleet.claims, "its lease is kept alive as soon as that is possible"
                await asyncio.to_thread(valkey.start)
                task = await d.wait_until("t", TaskState.DONE)
            assert (task.attempt, task.files) == (1, ("src/a.py", "src/c.py"))
            assert d.model.asked == ["t"] * 3, "no turn was paid twice"
            (why,) = (each.data["why"] for each in d.hub.recent if each.kind is EventKind.TASK_REQUEUED)
            assert why.startswith("the store was away: Redis cannot be reached"), "that is no crash"


async def test_a_stop_with_the_store_away_ends_in_time() -> None:
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p")) as d:
            d.model.turns["t"] = [[bash(f"kill -9 {valkey.process.pid}; sleep 30")]]
            await d.load("t")
            async with asyncio.timeout(15), d.working():
                await until(lambda: not valkey.is_alive)
            assert not d.fleet.claims


async def test_a_turn_is_booked_once_the_store_is_back_and_not_paid_again() -> None:
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p")) as d:
            first = Held(create("src/new.py", "Y = 2\n"))
            d.model.turns["t"] = [first, [finish()]]
            await d.load("t")
            async with d.working():
                await first.begun.wait()
                valkey.kill()
                first.may_end.set()
                await asyncio.to_thread(valkey.start)
                await d.wait_until("t", TaskState.DONE)
            assert d.model.asked == ["t", "t"]
            totals = await d.store.ledger.totals(run=d.runs.run, day=d.runs.day())
            assert totals.run_reserved_usd_micros == 0


async def test_a_stop_waits_for_the_turn_and_hands_the_task_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        thought = Held(create("src/new.py", "Y = 2\n"))
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            stopping = group.create_task(d.fleet.stop(now=False))
            await asyncio.sleep(0)
            assert d.fleet.claims, "it is not cut off"
            with pytest.raises(DaemonError, match="stopping"):
                d.fleet.spawn(Role.ARCHITECT, 1)
            thought.may_end.set()
            await stopping
        task = await d.task("t")
        assert (task.state, task.attempt) == (TaskState.QUEUED, 0)


async def test_a_second_stop_cuts_the_turn_off(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.TaskGroup() as group:
        thought = Held()
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            first = group.create_task(d.fleet.stop(now=False))
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await d.fleet.stop(now=True)
                await first
        assert (await d.task("t")).state is TaskState.QUEUED


async def test_a_paused_fleet_drains_at_once_and_takes_nobody_new(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.store.queue.set_paused(True)
        await d.load("t")
        drained: list[bool] = []
        d.fleet.on_drained = lambda: drained.append(True)
        async with d.working(WORKER, OTHER):
            await d.wait_for(EventKind.WORKER_STARTED)
            d.fleet.drain()
            await until(lambda: bool(drained))
            d.fleet.drain()
            with pytest.raises(RpcError):
                await d.requests.answer("spawn", {"role": "nobody"})
            with pytest.raises(DaemonError, match="draining"):
                await d.requests.answer("spawn", {"role": "architect"})
        assert drained == [True]


async def test_without_a_model_nobody_is_spawned(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        fleet = Fleet(d.shop, d.shop.clock, no_workers_because="there is no model")
        with pytest.raises(DaemonError, match="there is no model"):
            fleet.spawn(Role.ARCHITECT, 1)


async def test_every_spawned_worker_has_a_private_copy_of_its_own(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thoughts = [Held(create(f"src/{name}.py", "Y = 2\n"), finish()) for name in "abcd"]
        d.model.turns.update({name: [thought] for name, thought in zip("abcd", thoughts, strict=True)})
        await d.load(*"abcd")
        async with d.working():
            await thoughts[0].begun.wait()
            assert len(d.fleet.spawn(Role.BACKEND_ENGINEER, 3)) == 3
            async with asyncio.timeout(PATIENCE_S):
                for thought in thoughts:
                    await thought.begun.wait()
            for name, thought in zip("abcd", thoughts, strict=True):
                thought.may_end.set()
                await d.wait_until(name, TaskState.DONE)


async def test_only_the_run_of_that_claim_is_interrupted(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            (claim,) = d.fleet.claims
            assert not d.fleet.interrupt("t", FencingToken(claim.token - 1))
            thought.may_end.set()
            await d.wait_until("t", TaskState.DONE)


async def test_a_heartbeat_in_the_moment_a_task_is_done_does_not_cut_off_who_is_to_tell_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            (claim,) = d.fleet.claims
            await d.store.queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
            await d.store.queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
            await d.store.queue.complete(claim, ())  # As its run does; that has not heard so yet.
            (run,) = d.fleet._runs.values()
            await d.chores.heartbeat()
            assert run.cancelling() == 0
            thought.may_end.set()


async def test_a_worker_without_a_sign_of_life_is_replaced_and_its_task_goes_on(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        hangs = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [hangs]
        await d.load("t")
        async with d.working():
            await hangs.begun.wait()
            (claim,) = d.fleet.claims
            d.fleet.give_up(d.shop.board.rows[WORKER.name], claim, "no sign of life for 3600 s")
            crash = await d.wait_for(EventKind.WORKER_CRASHED)
            hangs.may_end.set()
            assert "no sign of life" in crash.data["error"]
            assert (await d.wait_until("t", TaskState.DONE)).worker == WORKER.name
        assert d.fleet.restarts == 1


async def test_a_run_that_cannot_be_cancelled_is_left_behind_and_its_lease_runs_out(
    valkey_url: str, project_id: ProjectId
) -> None:
    stubborn, may_end = asyncio.Event(), asyncio.Event()

    async def think() -> list[Block]:
        again = stubborn.is_set()
        stubborn.set()
        while not again and not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        return [create("src/new.py", "Y = 2\n"), finish()]

    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [think]
        await d.load("t")
        async with d.working():
            await stubborn.wait()
            (claim,) = d.fleet.claims
            row = d.shop.board.rows[WORKER.name]
            d.fleet.give_up(row, claim, "no sign of life")
            await asyncio.sleep(0)
            assert d.fleet.claims == [claim]
            d.fleet.give_up(row, claim, "no sign of life")
            assert d.fleet.claims == []
            await d.store.client.zadd(d.store.keys.of("lease"), {f"{claim.token}:t": 1})
            await d.chores.reap()
            done = await d.wait_until("t", TaskState.DONE)
            assert done.token != claim.token
            may_end.set()
            await until(lambda: len(d.shop.board.rows) == 1 and d.shop.board.rows[WORKER.name].claim is None)


async def test_file_locks_whose_release_failed_are_released_later(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        claim = await d.store.queue.claim(WORKER)
        await d.store.locks.acquire("src/app.py", claim, timeout_s=1)
        await d.chores.reap()
        assert [lock.path for lock in await d.store.locks.holders()] == ["src/app.py"]
        await d.store.queue.requeue(claim, why="a test", counts_attempt=False)
        await d.chores.reap()
        assert await d.store.locks.holders() == []


async def test_leases_that_lapsed_while_the_machine_slept_are_renewed_not_taken_away(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, lease_s=5) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            (claim,) = d.fleet.claims
            lease = f"{claim.token}:t"
            await d.store.client.zadd(d.store.keys.of("lease"), {lease: 1})
            await d.chores.reap()
            assert (await d.task("t")).state is TaskState.RUNNING
            thought.may_end.set()
            assert (await d.wait_until("t", TaskState.DONE)).attempt == 1


async def test_a_lease_that_is_really_gone_ends_the_run_and_the_worker_goes_on(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thought = Held()
        d.model.turns |= {"t": [thought], "u": [[create("src/u.py", "U = 1\n"), finish()]]}
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            await d.store.client.delete(d.store.keys.of("lease"))
            await d.chores.heartbeat()
            await d.load("u")
            await d.wait_until("u", TaskState.DONE)


def full_disk(step: str) -> None:
    if step == "blobs":
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_holds_the_run_and_costs_no_attempt(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()]]
        await d.load("t")
        d.fault.append(full_disk)
        async with d.working():
            paused = await d.wait_for(EventKind.RUN_PAUSED)
            assert "full" in paused.data["why"]
            await d.idle()
            task = await d.task("t")
            assert (task.state, task.attempt) == (TaskState.QUEUED, 0)
            assert not (d.root / "src/new.py").exists()
            d.fault.remove(full_disk)
            await d.requests.answer("resume", {})
            await d.wait_until("t", TaskState.DONE)
        assert d.model.asked == ["t"], "the work was kept"


PLAN = """[[task]]
id = "{id}"
title = "T"
tags = ["backend"]
"""


@pytest.mark.parametrize(("why", "still"), [("the run cap of $1.00 is reached", False), ("", True)])
async def test_the_next_run_is_not_held_by_what_the_last_one_ran_into(
    valkey_url: str, project_id: ProjectId, why: str, still: bool
) -> None:
    """But what a person paused stays so."""
    async with daemonlet(valkey_url, project_id) as d:
        await d.requests.answer("load", {"text": PLAN.format(id="first")})
        await pause(d.shop, why)
        await d.requests.answer("load", {"text": PLAN.format(id="second")})
        assert d.store.queue.paused, "first is open: it is the same run"
        for task in ("first", "second"):
            await d.store.queue.cancel(TaskId(task), why="")
        d.runs.run = RunId("r20260101-000000")
        await d.requests.answer("load", {"text": PLAN.format(id="third")})
        assert d.store.queue.paused is still


async def test_where_no_sandbox_works_nothing_runs_and_the_run_is_held(
    valkey_url: str, project_id: ProjectId
) -> None:
    report = ProbeReport(ok=False, backend="none", reasons=("bwrap is gone",), mend="install it")
    async with daemonlet(valkey_url, project_id, attempts=1, sandbox=RefusingSandbox(report)) as d:
        ran = d.root.parent / "ran"
        d.model.turns |= {"t": [[bash(f"touch {ran}")]], "u": [[finish()]]}
        await d.load("t", "u")
        async with d.working():
            paused = await d.wait_for(EventKind.RUN_PAUSED)
            assert "bwrap is gone: install it, then agentcoordd restart" in paused.data["why"]
            await d.idle()
            assert [(await d.task(task)).state for task in "tu"] == [TaskState.QUEUED] * 2
            assert (await d.task("t")).attempt == 0
        assert not ran.exists()


class OnceRefusing(PlainSandbox):
    """Works, but refuses its first command, as after a mount target was swapped."""

    refusals = 1

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        if self.refusals:
            self.refusals -= 1
            raise SandboxError("node_modules is not the plain folder it has to be")
        return await super().run(command, policy, limits, on_output=on_output)


async def test_a_command_that_the_sandbox_refuses_parks_its_task_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    report = ProbeReport(ok=True, backend="none")
    sandbox = OnceRefusing(Path("/bin/bash"), report, clock=SystemClock(), confined=False)
    async with daemonlet(valkey_url, project_id, attempts=1, sandbox=sandbox) as d:
        d.model.turns |= {"t": [[bash("true")]], "u": [[create("src/u.py", "U = 1\n"), finish()]]}
        await d.load("t", "u")
        async with d.working():
            parked = await d.wait_until("t", TaskState.PARKED)
            await d.wait_until("u", TaskState.DONE)
        assert "the sandbox refused: node_modules is not" in parked.why


async def test_a_transcript_that_cannot_be_written_is_no_crash(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()]]
        (d.paths.transcripts_dir / "t").write_text("a file where a folder must be")
        await d.load("t")
        async with d.working():
            task = await d.wait_until("t", TaskState.FAILED)
        assert "the private copy failed" in task.why
        assert d.model.asked == []
        assert d.fleet.restarts == 0


async def test_a_repository_that_vanishes_holds_the_run(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns |= {"t": [thought], "u": [[finish()]]}
        await d.load("t", "u")
        async with d.working():
            await thought.begun.wait()
            shutil.move(d.root, d.root.with_name("moved"))
            thought.may_end.set()
            paused = await d.wait_for(EventKind.RUN_PAUSED)
            assert "is gone" in paused.data["why"]
            await d.idle()
            assert [(await d.task(task)).state for task in "tu"] == [TaskState.QUEUED] * 2
            shutil.move(d.root.with_name("moved"), d.root)


async def test_a_run_that_breaks_is_told_and_its_attempts_are_bounded(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:

        async def burst() -> list[Block]:
            raise RuntimeError("a bug of ours")

        d.model.turns |= {"t": [burst], "u": [[create("src/u.py", "U = 1\n"), finish()]]}
        await d.load("t")
        async with d.working():
            task = await d.wait_until("t", TaskState.FAILED)
            assert "a bug of ours" in task.why
            await d.wait_for(EventKind.WORKER_CRASHED)
            await d.load("u")
            await d.wait_until("u", TaskState.DONE)
        assert d.fleet.restarts == 1


async def test_a_broken_invariant_stops_everything(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:

        async def broken() -> list[Block]:
            raise AssertionError("an invariant")

        d.model.turns["t"] = [broken]
        await d.load("t")
        with pytest.raises(ExceptionGroup) as ended:
            await _until_it_ends(d)
        assert ended.group_contains(AssertionError, match="an invariant")


async def _until_it_ends(d: Daemonlet) -> None:
    async with d.working():
        await asyncio.Event().wait()


async def test_one_paid_model_serves_all_tasks_of_a_run(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        assert d.shop.paid_model() is d.shop.paid_model()
        first = d.shop.paid_model()
        await d.runs.begin_if_none(any_open=True)
        assert d.shop.paid_model() is first


async def test_a_fleet_whose_last_worker_is_gone_has_drained_already(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, d.working():
        await d.wait_for(EventKind.WORKER_STARTED)
        d.fleet.kill(WORKER.name)
        await d.wait_for(EventKind.WORKER_STOPPED)
        drained: list[bool] = []
        d.fleet.on_drained = lambda: drained.append(True)
        d.fleet.drain()
        assert drained == [True]


async def test_a_claim_that_nobody_runs_is_not_given_up(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thought = Held(create("src/new.py", "Y = 2\n"), finish())
        d.model.turns["t"] = [thought]
        await d.load("t")
        async with d.working():
            await thought.begun.wait()
            (claim,) = d.fleet.claims
            thought.may_end.set()
            await d.wait_until("t", TaskState.DONE)
            await until(lambda: not d.fleet._runs)
            d.fleet.give_up(d.shop.board.rows[WORKER.name], claim, "no sign of life")
            d.model.turns["u"] = [[create("src/u.py", "U = 1\n"), finish()]]
            await d.load("u")
            await d.wait_until("u", TaskState.DONE)
            assert d.fleet.restarts == 0


class BreaksWhenTold:
    """A model's turn that raises what the test says, once it is let."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> list[Block]:
        self.begun.set()
        await self.may_end.wait()
        raise self._error


async def test_a_run_that_breaks_while_the_fleet_drains_is_told_and_its_task_kept(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        breaks = BreaksWhenTold(KeyError("a fault of ours"))
        d.model.turns["t"] = [breaks]
        await d.load("t")
        async with d.working():
            await breaks.begun.wait()
            d.fleet.drain()
            breaks.may_end.set()
            crash = await d.wait_for(EventKind.WORKER_CRASHED)
            await d.wait_for(EventKind.WORKER_STOPPED)
        assert "a fault of ours" in crash.data["error"]
        assert (await d.task("t")).state is TaskState.QUEUED


@pytest.mark.parametrize("drains", [True, False])
@pytest.mark.parametrize(
    "error",
    [AssertionError("an invariant"), ExceptionGroup("two", [AssertionError("an invariant"), KeyError()])],
)
async def test_a_broken_invariant_stops_the_fleet(
    valkey_url: str, project_id: ProjectId, error: Exception, *, drains: bool
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        breaks = BreaksWhenTold(error)
        d.model.turns["t"] = [breaks]
        await d.load("t")

        async def work() -> None:
            async with d.working():
                await breaks.begun.wait()
                if drains:
                    d.fleet.drain()
                breaks.may_end.set()
                await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup) as ended:
            async with asyncio.timeout(PATIENCE_S):
                await work()
        assert ended.value.subgroup(AssertionError) is not None


async def test_what_a_task_waits_for_is_said_as_it_is(valkey_url: str, project_id: ProjectId) -> None:
    other = worker_of("Architect", Role.ARCHITECT)
    async with daemonlet(valkey_url, project_id, workers=(WORKER, other)) as d:

        async def add(**tags: tuple[str, ...]) -> None:
            specs = [TaskSpec(id=TaskId(name), title=name, tags=each) for name, each in tags.items()]
            await d.store.queue.load(specs)

        async def whys() -> dict[str, str]:
            rows, _ = await d.views.tasks()
            return {row["id"]: row["why"] for row in rows}

        held = {"first": Held(finish()), "second": Held(finish())}
        d.model.turns |= {name: [each] for name, each in held.items()}
        await add(first=("backend",), second=("docs",))
        assert await whys() == {
            "first": "there is no worker: agentcoord spawn --role backend-engineer",
            "second": "there is no worker: agentcoord spawn --role architect",
        }
        task = (await d.store.queue.all())[0]
        row = TaskViews(d.shop, "none: set a key", lambda: "running").of(task, {task.id: task})
        assert row["why"] == "there is no model: set a key"  # Nobody can be spawned.
        async with d.working(WORKER, other):
            for each in held.values():
                await each.begun.wait()
            await add(any=(), its=("backend",))
            told = await whys()
            assert told["any"] == "waits for a free worker"
            assert told["its"] == f"waits for {WORKER.name}"


async def test_what_nobody_will_begin_is_not_said_to_be_about_to_be_claimed(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, workers=(WORKER, OTHER)) as d:
        held = Held(finish())
        d.model.turns["first"] = [held]
        await d.load("first")
        async with d.working(WORKER, OTHER):
            await held.begun.wait()
            idle = next(row for row in d.shop.board.rows.values() if not row.tasks)
            d.fleet.drain()
            await until(lambda: idle.state is WorkerState.STOPPED)
            await d.load("second")
            by_id = {task.id: task for task in await d.store.queue.all()}

            def why(state: str) -> str:
                return TaskViews(d.shop, "a test", lambda: state).of(by_id[TaskId("second")], by_id)["why"]

            assert why("draining") == "the daemon begins nothing new and stops: agentcoordd start goes on"
            assert why("stopping") == "the daemon stops: agentcoordd start goes on"
            assert why("restarting") == "the daemon is being started again"
            d.shop.board.set_own_state(idle, WorkerState.CRASHED, "restarts in 60 s")
            assert why("running") == "waits for a free worker"
            await d.store.queue.set_paused(True)
            assert why("draining") == "paused: agentcoord ctl resume"
            held.may_end.set()


async def test_the_mend_for_missing_workers_brings_one_that_may_take_the_task(
    valkey_url: str, project_id: ProjectId
) -> None:
    database = worker_of("Database", Role.BACKEND_ENGINEER, ["database"])
    tags = {"own": ("database",), "docs": ("docs", "architecture"), "nobody": ("docs", "database")}
    async with daemonlet(valkey_url, project_id, workers=(database, OTHER)) as d:
        await d.store.queue.load(
            [TaskSpec(id=TaskId(name), title=name, tags=each) for name, each in tags.items()]
        )
        async with d.working(OTHER):
            rows, _ = await d.views.tasks()
            assert {row["id"]: row["why"] for row in rows} == {
                "own": "no worker has the tags database: agentcoordd restart",
                "docs": "no worker has the tags docs, architecture: agentcoord spawn --role architect",
                "nobody": "no worker has the tags docs, database: "
                "give them to a [[worker]] of agentcoord.toml, then agentcoordd restart",
            }
