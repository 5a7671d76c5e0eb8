"""Ended tasks are read once, and what is remembered of them is never other than what the server has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_hex

import pytest
from redis import Redis
from server_kit import private_folder, running, start, stop, valkey_binary
from store_kit import HandClock, claim, in_the_end, land, load, open_store, spec

from agentcoord.domain.files import FileLines
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import ENDED_STATES, ReviewState, TaskState
from agentcoord.domain.task import Claim, Task
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Caps, Store
from agentcoord.store.memory import RestoredTask
from agentcoord.store.scripts import ScriptName
from agentcoord.store.setback_records import HISTORY_LINES
from agentcoord.store.task_reading import MANY, READ_BATCH, SHORT_CHARACTERS, TaskReader

_S = TaskState
Change = Callable[[Store, Claim], Awaitable[object]]


def hashes_read(url: str) -> int:
    """How many hashes the server has handed out whole, since ever."""
    return calls_of(url, "hgetall")


def calls_of(url: str, command: str) -> int:
    with Redis.from_url(url) as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


async def _retry_that_is_told_later(store: Store, _: Claim) -> None:
    """What needs it and another dead task stays as it ended, with the other for a cause."""
    retried = ("fails", TaskState.FAILED, Setback.ASKED, "asked for again", HISTORY_LINES)
    await store.queue.scripts.run(ScriptName.RETRY, *store.queue.spreader.args(0), *retried)
    read = {task.id: task for task in await store.queue.all()}
    assert (read[TaskId("both")].dead_need, read[TaskId("fails")].state) == ("fails", _S.QUEUED)
    await store.queue.spreader.finish()


async def _lose_and_restore(store: Store, _: Claim) -> None:
    """The whole memory, and one task comes back in another state."""
    await store.memory.begin()
    rows = await store.memory.rows(["lands"])
    fields = {**rows[0].fields, "review": "accepted"}
    row = replace(rows[0], fields=fields)
    back = [RestoredTask(row, _S.DONE, ready=False, undone_needs=(), open_needs=0)]
    mark = store.memory.mark
    await store.client.flushall()
    await store.memory.restore(mark, back, {})


async def _begin_again_with_the_same_names(store: Store, _: Claim) -> None:
    await store.cleanup(everything=True)
    await load(store, spec("lands"), spec("fails"))


async def _settle_late(store: Store, claim: Claim) -> None:
    await store.ledger.settle("late", actual=UsdMicros(3), usage=Usage(1, 0, 0, 0, 2), model="m")


CHANGES: dict[str, Change] = {
    "accepted": lambda s, _: s.queue.set_review(TaskId("lands"), ReviewState.ACCEPTED),
    "trimmed": lambda s, _: s.queue.set_landed(TaskId("lands"), [FileLines("b.py", 1, 0)]),
    "rejected": lambda s, _: s.queue.reject(TaskId("lands"), why="no"),
    "tried again": lambda s, _: s.queue.retry(TaskId("alone")),
    "its cause changed": _retry_that_is_told_later,
    "turned late": lambda s, c: s.queue.count_turn(c),
    "paid for late": _settle_late,
    "counted late": lambda s, c: s.queue.count(c, Setback.UNPROVEN),
    "restored": _lose_and_restore,
    "begun anew": _begin_again_with_the_same_names,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_an_ended_task_is_read(change: str, valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(
            store, spec("lands", priority=5), spec("fails", priority=4), spec("cancelled"), spec("alone")
        )
        await load(store, spec("both", "fails", "cancelled"), spec("waits", "lands"))
        held = await claim(store)
        await store.ledger.reserve(
            "late", run="r", task=held.task.id, day="d", amount=UsdMicros(5), caps=Caps()
        )
        await land(store, held, "a.py", "b.py")
        await store.queue.cancel(TaskId("waits"), why="not needed")
        await store.queue.fail(await claim(store), why="red")
        await store.queue.cancel(TaskId("cancelled"), why="not wanted")
        await store.queue.cancel(TaskId("alone"), why="not wanted")
        before = await store.queue.all()
        assert {task.state for task in before} <= ENDED_STATES
        await CHANGES[change](store, held)
        after = await store.queue.all()
        assert after == await TaskReader(store.client, store.keys, store.queue.scripts).all()
        assert after != before


async def test_ended_tasks_are_read_once_and_those_under_way_each_time(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, *(spec(f"t{n}") for n in range(20)))
        for _ in range(18):
            await land(store, await claim(store))
        held = await claim(store)
        first = await store.queue.all()
        before = hashes_read(valkey_url)
        again = await store.queue.all()
        assert hashes_read(valkey_url) - before == 2
        assert again == first
        assert all(task is other for task, other in zip(first, again, strict=True))
        await land(store, held)
        now = await store.queue.all()
        assert [task.state for task in now] == [_S.DONE] * 19 + [_S.QUEUED]
        assert now == await TaskReader(store.client, store.keys, store.queue.scripts).all()


async def test_a_server_that_has_gone_back_is_read_anew(project_id: ProjectId) -> None:
    """Killed, it has lost all since it last saved; `revised` does not say so, but it is another process."""
    with private_folder() as folder:
        begin = partial(start, valkey_binary(), folder)
        server = begin()
        try:
            async with open_store(f"unix://{server.socket_path}", project_id, HandClock()) as store:
                await load(store, spec("a"), spec("b"))
                held = await claim(store)
                await asyncio.to_thread(server.client.save)
                await land(store, held)
                assert [task.state for task in await store.queue.all()] == [_S.DONE, _S.QUEUED]
                await asyncio.to_thread(stop, server)
                server = await asyncio.to_thread(begin)
                seen = await in_the_end(store.queue.all)
                assert [task.state for task in seen] == [_S.RUNNING, _S.QUEUED]
        finally:
            await asyncio.to_thread(stop, server)


async def test_many_readers_at_once_share_what_they_read(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, *(spec(f"t{n}") for n in range(MANY)))
        for n in range(MANY):
            await store.queue.cancel(TaskId(f"t{n}"), why="not needed")
        before = hashes_read(valkey_url)
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(store.queue.all()) for _ in range(20)]
        assert hashes_read(valkey_url) - before == MANY
        first, *others = (reader.result() for reader in readers)
        assert all(task is other for tasks in others for task, other in zip(first, tasks, strict=True))
        await store.queue.retry(TaskId("t7"))
        again = await store.queue.all()
        assert [n for n in range(MANY) if again[n] is not first[n]] == [7]


async def test_many_tasks_by_name_are_read_in_pieces(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("first"), spec("last"))
        names = ["first", *(f"gone{n}" for n in range(READ_BATCH)), "last"]
        before = calls_of(valkey_url, "mget")
        assert [task.id for task in await store.queue.reader.read(names)] == ["first", "last"]
        assert calls_of(valkey_url, "mget") - before == 2


class SlowReader(TaskReader):
    """Reads when it may, or fails then."""

    async def read(self, ids: Sequence[str]) -> list[Task]:
        self.reads += 1
        await self.may_read.wait()
        if self.fails:
            raise StoreUnavailableError("away")
        return await super().read(ids)

    def __init__(self, store: Store, *, fails: bool) -> None:
        super().__init__(store.client, store.keys, store.queue.scripts)
        self.may_read = asyncio.Event()
        self.fails = fails
        self.reads = 0


@pytest.mark.parametrize("fails", [False, True])
async def test_where_a_reader_leaves_or_fails_the_others_share_what_follows(
    fails: bool, valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, *(spec(f"t{n}") for n in range(MANY)))
        for n in range(MANY):
            await store.queue.cancel(TaskId(f"t{n}"), why="not needed")
        reader = SlowReader(store, fails=fails)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_read_or_refused(reader))
            while reader.reads == 0:  # noqa: ASYNC110 - for a moment, and nobody tells of it
                await asyncio.sleep(0)
            others = [group.create_task(_read_or_refused(reader)) for _ in range(3)]
            filling = reader._filling
            assert filling is not None
            while len(filling.over._waiters) < len(others):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            if not fails:
                first.cancel()
            reader.may_read.set()
        told = [each.result() for each in others]
        if fails:
            assert (told, reader.reads) == ([["away"]] * 3, 1)
        else:
            assert (len(told[0]), reader.reads) == (MANY, 2)
            assert all(task is same for each in told[1:] for task, same in zip(told[0], each, strict=True))


async def _read_or_refused(reader: TaskReader) -> list[object]:
    try:
        return [*await reader.all()]
    except StoreUnavailableError as error:
        return [error.message]


async def test_a_server_that_was_another_in_between_is_read_anew(project_id: ProjectId) -> None:
    """It is the same process as before, and has meanwhile taken over what the other one knew."""
    with private_folder() as folder:
        homes = [folder / "a", folder / "b"]
        for home in homes:
            home.mkdir()
        with running(valkey_binary(), homes[0]) as one, running(valkey_binary(), homes[1]) as other:
            there = folder / "s"
            there.symlink_to(one.socket_path)
            async with open_store(f"unix://{there}", project_id, HandClock()) as store:
                await load(store, spec("a"))
                await land(store, await claim(store))
                assert [task.state for task in await store.queue.all()] == [_S.DONE]
                for server in (other, one):
                    there.unlink()
                    there.symlink_to(server.socket_path)
                    for each in (one, other):
                        each.client.client_kill_filter(_type="normal", skipme=True)
                    await in_the_end(store.ping)
                one.client.hset(store.keys.task("a"), "state", _S.LANDING)
                assert [task.state for task in await store.queue.all()] == [_S.LANDING]


async def test_a_task_that_has_not_ended_is_made_anew_when_anything_of_it_is_stored_otherwise(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", title=token_hex(2 * SHORT_CHARACTERS)), spec("c"))
        first = {task.id: task for task in await store.queue.all()}
        again = {task.id: task for task in await store.queue.all()}
        assert again == first
        assert [again[TaskId(name)] is first[TaskId(name)] for name in "abc"] == [True, False, True]
        await load(store, spec("a", title="another"))
        held = await claim(store)
        await store.queue.count_turn(held)
        now = {task.id: task for task in await store.queue.all()}
        assert now[TaskId("a")].spec.title == "another"
        assert now[held.task.id].state is not first[held.task.id].state
        assert now[held.task.id].turns == 1
        assert [*now.values()] == await TaskReader(store.client, store.keys, store.queue.scripts).all()
        assert (await store.queue.get(TaskId("c"))) is now[TaskId("c")]
        # What is stored beside the description counts as well.
        await store.client.hset(store.keys.task(TaskId("c")), "why", "x" * SHORT_CHARACTERS)
        assert (await store.queue.get(TaskId("c"))) is not (await store.queue.get(TaskId("c")))
        await store.cleanup(everything=True)
        assert await store.queue.get(TaskId("c")) is None
