"""What becomes of a task when its needs end: by rules, thousands at once, and over a crash in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
from msgspec import structs
from redis import Redis
from store_kit import HandClock, claim, evalsha_calls, land, load, open_store, spec, states, task_of
from store_observer import assert_every_task_is_in_its_place

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed, TaskSpec
from agentcoord.store import LoadOutcome, Store
from agentcoord.store.spreading import EndedByNeed

_S = TaskState
MANY = 5_000


def ruled(rule: OnNeedFailed, name: str, *needs: str, priority: int = 3) -> TaskSpec:
    return structs.replace(spec(name, *needs, priority=priority), on_need_failed=rule)


def skipping(name: str, *needs: str) -> TaskSpec:
    return ruled(OnNeedFailed.SKIP, name, *needs)


def running_anyway(name: str, *needs: str, priority: int = 3) -> TaskSpec:
    return ruled(OnNeedFailed.RUN, name, *needs, priority=priority)


@asynccontextmanager
async def observed(url: str, project: ProjectId) -> AsyncIterator[Store]:
    """A store whose tasks are all found in their places at the end."""
    async with open_store(url, project, HandClock()) as store:
        yield store
        with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape") as client:
            assert_every_task_is_in_its_place(client, store.keys.prefix)


async def test_each_dependent_goes_by_its_own_rule(valkey_url: str, project_id: ProjectId) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(
            store,
            spec("a", priority=5),
            spec("fails", "a"),
            skipping("skipped", "a"),
            running_anyway("runs", "a"),
        )
        await store.queue.fail(await claim(store), why="red")
        assert await states(store) == {
            "a": _S.FAILED,
            "fails": _S.FAILED,
            "skipped": _S.CANCELLED,
            "runs": _S.QUEUED,
        }
        skipped, fallen = await task_of(store, "skipped"), await task_of(store, "fails")
        assert (skipped.word, skipped.why, skipped.dead_need) == (
            "skipped",
            "skipped: needs a, which failed",
            "a",
        )
        assert (fallen.word, fallen.why, fallen.dead_need) == ("failed", "needs a, which failed", "a")
        held = await claim(store)
        assert (held.task.id, held.task.spec.on_need_failed) == ("runs", OnNeedFailed.RUN)


async def test_a_rule_is_asked_at_each_step_of_a_chain(valkey_url: str, project_id: ProjectId) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(
            store,
            spec("a", priority=5),
            skipping("b", "a"),
            spec("c", "b"),
            running_anyway("d", "c"),
            spec("e", "d"),
        )
        ended: list[EndedByNeed] = []
        store.queue.spreader.on_ended = ended.append
        await store.queue.cancel(TaskId("a"), why="not tonight")
        assert await states(store) == {
            "a": _S.CANCELLED,
            "b": _S.CANCELLED,
            "c": _S.FAILED,
            "d": _S.QUEUED,
            "e": _S.BLOCKED,
        }
        assert (await task_of(store, "b")).why == "skipped: needs a, which was cancelled"
        assert (await task_of(store, "c")).why == "needs b, which was skipped"
        assert not (await task_of(store, "a")).skipped
        assert ended == [
            EndedByNeed(TaskId("b"), TaskId("a"), _S.CANCELLED),
            EndedByNeed(TaskId("c"), TaskId("b"), _S.FAILED),
        ]


async def test_what_runs_anyway_waits_until_every_need_has_ended(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a", priority=5), spec("b"), running_anyway("report", "a", "b"))
        await store.queue.fail(await claim(store), why="red")
        assert (await states(store))["report"] is _S.BLOCKED
        await land(store, await claim(store))
        assert (await claim(store)).task.id == "report"


async def test_what_runs_anyway_waits_again_for_a_need_that_is_tried_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a"), running_anyway("report", "a"), spec("above", "report"))
        await store.queue.fail(await claim(store), why="red")
        assert (await states(store))["report"] is _S.QUEUED
        assert await store.queue.retry(TaskId("a"))
        assert (await states(store))["report"] is _S.BLOCKED
        await land(store, await claim(store))
        assert (await states(store))["report"] is _S.QUEUED
        await land(store, await claim(store))
        assert (await states(store))["above"] is _S.QUEUED


async def test_a_need_tried_again_does_not_disturb_what_ran_anyway(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a", priority=1), running_anyway("report", "a", priority=5))
        await store.queue.cancel(TaskId("a"), why="later")
        held = await claim(store)
        assert await store.queue.retry(TaskId("a"))
        await land(store, held)
        await land(store, await claim(store))
        assert await states(store) == {"a": _S.DONE, "report": _S.DONE}


async def test_what_was_skipped_comes_back_with_its_need(valkey_url: str, project_id: ProjectId) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a"), spec("b"), skipping("c", "a", "b"), spec("d", "c"))
        await store.queue.fail(await claim(store), why="red")
        await store.queue.cancel(TaskId("b"), why="no")
        assert not await store.queue.retry(TaskId("c"))
        assert await store.queue.retry(TaskId("a"))
        assert (await task_of(store, "c")).why == "skipped: needs b, which failed or was cancelled"
        assert await store.queue.retry(TaskId("b"))
        assert [(await states(store))[name] for name in "cd"] == [_S.BLOCKED, _S.BLOCKED]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (OnNeedFailed.FAIL, _S.FAILED),
        (OnNeedFailed.SKIP, _S.CANCELLED),
        (OnNeedFailed.RUN, _S.QUEUED),
    ],
)
async def test_a_task_added_to_a_running_plan_upon_a_dead_need_goes_by_its_rule(
    valkey_url: str, project_id: ProjectId, rule: OnNeedFailed, state: TaskState
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a"), spec("b"))
        await store.queue.fail(await claim(store), why="red")
        await load(store, ruled(rule, "late", "a"))
        assert (await states(store))["late"] is state
        assert await store.queue.retry(TaskId("a"))
        assert (await states(store))["late"] is _S.BLOCKED
        await land(store, await claim(store))
        assert (await states(store))["late"] is _S.QUEUED


async def test_the_rule_may_be_edited_until_a_need_has_ended_without_a_result(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("a"), spec("b"), spec("top", "a", "b"))
        assert (await store.queue.load([skipping("top", "a", "b")])).changed == ("top",)
        assert (await store.queue.load([running_anyway("top", "a", "b")])).changed == ("top",)
        await store.queue.cancel(TaskId("a"), why="no")
        assert await store.queue.load([spec("top", "a", "b")]) == LoadOutcome(unchanged=(TaskId("top"),))
        assert (await task_of(store, "top")).spec.on_need_failed is OnNeedFailed.RUN


async def test_thousands_that_need_one_task_are_released_in_bounded_calls(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("hub"), *(spec(f"t{i}", "hub") for i in range(MANY)))
        held = await claim(store)
        before = await evalsha_calls(store)
        await store.queue.complete(held, [], current=_S.RUNNING)
        async with asyncio.timeout(15):
            while (await store.queue.counts())[_S.QUEUED] < MANY:
                pass  # The dispatcher releases them beside its calls.
        assert await evalsha_calls(store) - before >= MANY // 1000


async def test_thousands_of_needs_of_one_task_are_counted_down(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        names = [f"t{i}" for i in range(MANY)]
        await load(store, *(spec(name) for name in names), spec("top", *names), running_anyway("sum", *names))
        assert (await task_of(store, "top")).open_needs == MANY
        await land(store, await claim(store))
        assert (await task_of(store, "top")).open_needs == MANY - 1
        await store.queue.cancel(TaskId("t1"), why="no")
        top, total = await task_of(store, "top"), await task_of(store, "sum")
        assert (top.state, top.open_needs) == (_S.FAILED, MANY - 1)
        assert (total.state, total.open_needs) == (_S.BLOCKED, MANY - 2)
        assert await store.queue.retry(TaskId("t1"))
        assert (await task_of(store, "top")).state is _S.BLOCKED
        assert (await task_of(store, "sum")).open_needs == MANY - 1


async def test_thousands_fall_and_come_back_in_bounded_calls(valkey_url: str, project_id: ProjectId) -> None:
    async with observed(valkey_url, project_id) as store:
        await load(store, spec("hub"), *(spec(f"t{i}", "hub") for i in range(MANY)), spec("roof", "t0"))
        before = await evalsha_calls(store)
        fallen = await store.queue.fail(await claim(store), why="red")
        assert len(fallen) == MANY + 1
        assert await evalsha_calls(store) - before >= MANY // 1000
        assert await store.queue.retry(TaskId("hub"))
        counts = await store.queue.counts()
        assert (counts[_S.BLOCKED], counts[_S.QUEUED], counts[_S.FAILED]) == (MANY + 1, 1, 0)


async def _cut_short(store: Store, most: int = 100) -> None:
    """Carry waves on by one call, as a daemon does that dies after it."""
    ended, left = await store.queue.spreader.once(most)
    assert len(ended) <= most
    assert left == 1


@pytest.mark.parametrize("rule", list(OnNeedFailed))
async def test_a_crash_between_two_calls_leaves_nobody_waiting_for_ever(
    valkey_url: str, project_id: ProjectId, rule: OnNeedFailed
) -> None:
    """The whole fan has heard of the end, the return and the second end, wherever each was cut short."""
    async with observed(valkey_url, project_id) as store:
        plan = [spec("hub", priority=5), *(ruled(rule, f"t{i}", "hub") for i in range(700))]
        await load(store, *plan, *(spec(f"over-{i}", f"t{i}") for i in range(700)))
        held = await claim(store)
        with nobody_told(store):
            await store.queue.fail(held, why="red")
        await _cut_short(store)
        assert await store.queue.reap() == ()
        expected = {OnNeedFailed.FAIL: _S.FAILED, OnNeedFailed.SKIP: _S.CANCELLED}.get(rule, _S.QUEUED)
        assert (await store.queue.counts())[expected] >= 700
        assert await store.queue.retry(TaskId("hub"))
        counts = await store.queue.counts()
        assert (counts[_S.QUEUED], counts[_S.BLOCKED]) == (1, 1400)
        await land(store, await claim(store))
        counts = await store.queue.counts()
        assert (counts[_S.QUEUED], counts[_S.BLOCKED]) == (700, 700)


class _Silent:
    """Stands where scripts are run, and says that nothing is left: as if the process had died before."""

    async def run(self, *_: object) -> list[object]:
        return [[], 0, 0]


@contextmanager
def nobody_told(store: Store) -> Iterator[None]:
    """Inside, waves begin and nobody carries them on."""
    queue = store.queue
    spreader, taking, spread = queue.spreader, queue.taking, queue.dispatcher.spread
    queue.spreader = replace(spreader, scripts=_Silent(), most=0)  # type: ignore[arg-type]  # all that it needs
    queue.taking = replace(taking, spreader=queue.spreader)
    queue.dispatcher.spread = queue.spreader.finish
    yield
    queue.spreader, queue.taking, queue.dispatcher.spread = spreader, taking, spread


async def test_a_done_need_waits_its_turn_behind_a_wave_that_began_before(
    valkey_url: str, project_id: ProjectId
) -> None:
    """Ended, brought back and done before all had heard of the first: the counts are right all the same."""
    async with observed(valkey_url, project_id) as store:
        tasks = [running_anyway(f"r{i}", "hub") for i in range(300)] + [
            spec(f"f{i}", "hub") for i in range(300)
        ]
        await load(store, spec("hub", priority=5), *tasks)
        held = await claim(store)
        spreader = store.queue.spreader
        with nobody_told(store):
            await store.queue.fail(held, why="red")
            assert (await spreader.once(450))[1] == 1
            assert await store.queue.retry(TaskId("hub"))
            await load(store, running_anyway("late", "hub"), spec("later", "hub"))
            await land(store, await claim(store))
        await store.queue.reap()
        counts = await store.queue.counts()
        assert (counts[_S.QUEUED], counts[_S.DONE]) == (602, 1)


async def test_loading_five_thousand_tasks_again_changes_nothing_even_while_they_run(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        plan = [spec("first", priority=5)]
        plan += [spec(f"t{i}", *([f"t{i - 1}"] if i % 7 else []), "first") for i in range(MANY)]
        assert len((await store.queue.load(plan)).added) == MANY + 1
        await land(store, await claim(store))
        for i in range(20):
            held = await claim(store)
            if i % 3 == 0:
                await land(store, held)
            elif i % 3 == 1:
                await store.queue.fail(held, why="red")
        before = await store.queue.all()
        assert await store.queue.load(plan) == LoadOutcome(unchanged=tuple(each.id for each in plan))
        assert await store.queue.all() == before


async def test_a_load_that_a_crash_cut_short_is_completed_by_loading_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with observed(valkey_url, project_id) as store:
        plan = [spec(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(2500)]
        await store.queue.load(plan[:1000])
        await land(store, await claim(store))
        outcome = await store.queue.load(plan)
        assert (len(outcome.added), len(outcome.unchanged), len(outcome.changed)) == (1500, 1000, 0)
        assert (await claim(store)).task.id == "t1"


async def test_many_needs_are_loaded_in_bounded_calls(valkey_url: str, project_id: ProjectId) -> None:
    async with observed(valkey_url, project_id) as store:
        base = [spec(f"b{i}") for i in range(100)]
        names = [each.id for each in base]
        before = await evalsha_calls(store)
        await load(store, *base, *(spec(f"t{i}", *names) for i in range(200)))
        assert await evalsha_calls(store) - before >= 200 * 100 // 4000
        assert (await task_of(store, "t199")).open_needs == 100
