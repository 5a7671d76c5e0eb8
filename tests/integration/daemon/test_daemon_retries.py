"""What the daemon does about setbacks, and what people see of it: counts, waits, and dead letters."""

from __future__ import annotations

from dataclasses import replace

from daemon_kit import WORKER, Daemonlet, create, daemonlet, finish

from agentcoord.config.sections import RetriesSection
from agentcoord.daemon.chores import Chores
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed, TaskSpec
from agentcoord.errors import LlmOverloadedError, LlmRequestError, RpcError
from agentcoord.llm.api import Block
from workspace_kit import HandClock

HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"
RED = {"tests": "exit 1"}


async def overloaded() -> list[Block]:
    """Longer than a turn is patient."""
    raise LlmOverloadedError("limited until the morning", retry_after_s=7_200)


async def refused() -> list[Block]:
    raise LlmRequestError("no such model")


async def row_of(d: Daemonlet, task: str) -> dict[str, object]:
    detail = await d.views.task(TaskId(task))
    assert detail is not None
    return {**detail["task"], "history": detail.get("history", [])}


async def test_a_rate_limit_costs_no_attempt_and_is_waited_out_as_long_as_asked(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        d.model.turns["t"] = [overloaded]
        await d.load("t")
        async with d.working():
            event = await d.wait_for(EventKind.TASK_REQUEUED, "t")
            await d.idle()
        assert event.data["setback"] == "overloaded"
        assert 7_100_000 < event.data["wait_ms"] < 8_000_000
        row = await row_of(d, "t")
        assert (row["state"], row["attempt"], row["setbacks"]) == ("queued", 0, {"overloaded": 1})
        assert row["retry_at"] is not None
        assert str(row["why"]).startswith("waits 7")


async def test_a_limit_of_the_environment_parks_the_task_and_says_which(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, retries=RetriesSection(overloaded=1)) as d:
        d.model.turns["t"] = [overloaded]
        await d.load("t")
        async with d.working():
            task = await d.wait_until("t", TaskState.PARKED)
            await d.wait_for(EventKind.TASK_PARKED, "t")
        assert task.why.endswith("(for the 1st time; the limit is retries.overloaded)")


async def test_attempts_that_are_spent_leave_a_dead_letter_with_all_that_is_known(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks=RED, attempts=2) as d:
        d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()], [finish()]]
        await d.load("t")
        await d.load("above", needs=(TaskId("t"),))
        await d.load("skipped", needs=(TaskId("above"),), on_need_failed=OnNeedFailed.SKIP)
        async with d.working():
            await d.wait_for(EventKind.TASK_CANCELLED, "skipped")
        answer = await d.requests.answer("tasks", {"dead": True})
        (letter,) = answer["tasks"]
        assert (letter["id"], letter["setback"], letter["fell"]) == ("t", "unproven", ["above", "skipped"])
        assert letter["setbacks"] == {"checks_red": 2, "unproven": 2, "next_model": 1}
        ends = [(end["attempt"], end["model"], end["worker"], end["to"]) for end in letter["history"]]
        assert ends == [(1, HAIKU, WORKER.name, "queued"), (2, SONNET, WORKER.name, "failed")]
        assert all("the same checks failed twice alike: tests" in end["why"] for end in letter["history"])
        events = {(event.task, str(event.kind)) for event in d.hub.recent}
        assert {("above", "task.failed"), ("skipped", "task.cancelled")} <= events
        assert (await row_of(d, "skipped"))["skipped"] is True

        refused_words = await _refusal(d, "skipped")
        assert "skipped needs above, which is failed" in refused_words
        assert (await d.requests.answer("retry", {"id": "t"}))["state"] == "queued"
        assert (await d.requests.answer("tasks", {"dead": True}))["tasks"] == []
        row = await row_of(d, "t")
        assert [end["setback"] for end in row["history"]] == ["unproven", "unproven", "asked"]  # type: ignore[attr-defined]  # JSON
        assert (await row_of(d, "skipped"))["state"] == "blocked"


async def _refusal(d: Daemonlet, task: str) -> str:
    try:
        await d.requests.answer("retry", {"id": task})
    except RpcError as error:
        return error.message
    raise AssertionError("it was not refused")


async def test_a_fault_that_may_pass_waits_a_random_share_before_the_next_attempt(
    valkey_url: str, project_id: ProjectId
) -> None:
    retries = RetriesSection(first_wait_s=1_000, most_wait_s=1_500)
    async with daemonlet(valkey_url, project_id, retries=retries, chance=0.5) as d:
        d.model.turns["t"] = [refused]
        await d.load("t")
        async with d.working():
            event = await d.wait_for(EventKind.TASK_REQUEUED, "t")
        assert (event.data["setback"], event.data["wait_ms"]) == ("refused", 500_000)
        assert (await d.task("t")).attempt == 1


async def test_one_cause_may_be_limited_below_the_attempts(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, attempts=5, retries=RetriesSection(refused=2)) as d:
        d.model.turns["t"] = [refused]
        await d.load("t")
        async with d.working():
            failed = await d.wait_for(EventKind.TASK_FAILED, "t")
        assert "for the 2nd time; the limit is retries.refused" in failed.data["why"]
        assert (await d.task("t")).attempt == 2


async def test_an_expired_lease_of_nobody_alive_is_told_and_bounded(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, attempts=2, lease_s=5) as d:
        await d.load("t")
        for state in (TaskState.QUEUED, TaskState.FAILED):
            held = await d.store.queue.claim(WORKER)
            await d.store.client.zadd(d.store.keys.of("lease"), {f"{held.token}:t": 1})
            await d.chores.reap()
            assert (await d.task("t")).state is state
        told = [(str(event.kind), event.data.get("setback")) for event in await _all_events(d)]
        assert told == [("task.queued", "lease_expired"), ("task.failed", "lease_expired")]


async def test_leases_that_ran_out_while_nobody_could_renew_them_cost_no_attempt(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with daemonlet(valkey_url, project_id, attempts=1, clock=clock) as d:
        chores = Chores(replace(d.shop, clock=clock), d.fleet, lease_s=60, on_deadline=d.fleet.drain)
        await d.load("slept", "hung")
        await chores.heartbeat()
        await d.store.queue.claim(WORKER)
        clock.ms += 3_600_000
        await chores.heartbeat()  # The first after the machine slept.
        await d.store.queue.claim(WORKER)
        await chores.reap()
        slept = await d.task("slept")
        assert (slept.state, slept.attempt, slept.setback) == (TaskState.QUEUED, 0, "absent")
        for _ in range(4):
            clock.ms += 20_000
            await chores.heartbeat()
        await chores.reap()
        hung = await d.task("hung")
        assert (hung.state, hung.setback) == (TaskState.FAILED, "lease_expired")


async def _all_events(d: Daemonlet) -> list[Event]:
    async with d.working():
        await d.wait_for(EventKind.TASK_FAILED, "t")
    return [event for event in d.hub.recent if event.task == "t"]


async def test_what_runs_anyway_runs_after_a_failure(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        d.model.turns |= {"t": [refused], "report": [[create("src/r.py", "R = 1\n"), finish()]]}
        await d.load("t")
        spec = TaskSpec(
            TaskId("report"),
            "report",
            tags=("backend",),
            needs=(TaskId("t"),),
            on_need_failed=OnNeedFailed.RUN,
        )
        await d.store.queue.load([spec])
        async with d.working():
            await d.wait_until("report", TaskState.DONE)
        assert (await d.task("t")).state is TaskState.FAILED
