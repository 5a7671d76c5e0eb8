"""A project's store as a whole: isolation, settings, cleaning up, and servers that don't answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from store_kit import LEASE_MS, NIGHT_MS, HandClock, claim, land, load, open_store, spec, states

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.domain.usage import UsdMicros
from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store import Caps, CleanupOutcome, LockOutcome, Store, unix_url
from agentcoord.store.client import CONNECTIONS, connected
from agentcoord.store.scripts import calling
from agentcoord.store.task_reading import TaskReader


async def _fill(store: Store) -> None:
    """Leave something under every kind of key."""
    await load(store, spec("a", writes=["x.py"]), spec("b", "a"), spec("c", tags=["testing"]))
    held = await claim(store)
    assert (await store.locks.acquire("x.py", held, timeout_s=1)).outcome is LockOutcome.TAKEN
    task = held.task.id
    await store.ledger.reserve("r", run="run", task=task, day="day", amount=UsdMicros(5), caps=Caps())
    await store.events.append([Event(EventKind.DAEMON_STARTED, NIGHT_MS)])
    await store.questions.ask(task, "Which?", "the first", NIGHT_MS)
    await store.set_setting("run", "r20261122-211530")


async def test_projects_on_one_server_do_not_see_each_other(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    other_id = ProjectId(f"{project_id}-2")
    async with (
        open_store(valkey_url, project_id, clock) as store,
        open_store(valkey_url, other_id, clock) as other,
    ):
        await _fill(store)
        await _fill(other)
        assert await other.locks.release_all(TaskId("a")) == ("x.py",)
        await other.queue.cancel(TaskId("a"), why="")
        assert [lock.task for lock in await store.locks.holders()] == ["a"]
        assert (await states(store))["a"] is TaskState.RUNNING
        assert store.events.epoch != other.events.epoch
        totals = await store.ledger.totals(run="run", day="day")
        assert totals.run_reserved_usd_micros == 5


async def test_every_key_lies_under_the_projects_prefix(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        before = {str(k) async for k in store.client.scan_iter(count=1000)}
        await _fill(store)
        made = {str(k) async for k in store.client.scan_iter(count=1000)} - before
        assert len(made) > 15
        assert {k for k in made if not k.startswith(f"agentcoord:{{{project_id}}}:")} == set()


async def test_cleaning_everything_removes_this_project_and_no_other(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    # A pattern that forgot to escape would take the second project for the first.
    odd, like_odd = ProjectId(f"{project_id}-[ab]*"), ProjectId(f"{project_id}-a1")
    async with open_store(valkey_url, odd, clock) as store, open_store(valkey_url, like_odd, clock) as other:
        await _fill(store)
        await _fill(other)
        count = len([k async for k in other.client.scan_iter(match=other.keys.scan_pattern)])
        outcome = await store.cleanup(everything=True)
        assert outcome.keys > 15
        left = [k async for k in store.client.scan_iter(match=store.keys.scan_pattern)]
        assert left == [store.keys.of("fence")]
        assert len([k async for k in other.client.scan_iter(match=other.keys.scan_pattern)]) == count
        await load(store, spec("a"))
        assert (await claim(store)).task.id == "a"


@pytest.mark.parametrize(
    ("mine", "its"),
    [
        ("p", "p2"),
        ("p2", "p"),
        ("p*", "p2"),
        ("?", "p"),
        ("[a-z]", "p"),
        ("p\\", "p"),
        ("p}:t:{q", "q"),
        ("p^", "p-"),
        ("P", "p"),
    ],
)
async def test_thousands_of_keys_go_and_a_neighbours_all_stay(
    valkey_url: str, project_id: ProjectId, mine: str, its: str
) -> None:
    clock = HandClock()
    own, neighbours = ProjectId(f"{project_id}{mine}"), ProjectId(f"{project_id}{its}")
    async with (
        open_store(valkey_url, own, clock) as store,
        open_store(valkey_url, neighbours, clock) as other,
    ):
        await store.queue.load([spec(f"t{n}") for n in range(1500)])
        await store.memory.begin()
        await _fill(other)
        before = await _dump(other)
        outcome = await store.cleanup(everything=True)
        assert outcome.keys >= 3000
        assert await _dump(other) == before
        assert await store.queue.all() == []
        assert await _keys_of(store) <= {store.keys.of("fence")}


async def _keys_of(store: Store) -> set[str]:
    """Looked up without the pattern, which is what is being tested."""
    return {str(k) async for k in store.client.scan_iter(count=1000) if str(k).startswith(store.keys.prefix)}


async def _dump(store: Store) -> dict[str, bytes | None]:
    """Every key of the project with what is in it."""
    raw = {key: await store.client.dump(key) for key in await _keys_of(store)}
    assert len(raw) > 15
    return raw


async def test_a_store_works_on_after_everything_was_cleaned(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _fill(store)
        epoch = store.events.epoch
        await store.queue.set_paused(True)
        await store.cleanup(everything=True)
        assert not store.queue.paused
        assert [e.seq for e in await store.events.append([Event(EventKind.CLEANED, 1)])] == [1]
        assert store.events.epoch != epoch


async def test_routes_that_came_up_after_everything_was_cleaned_are_served(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for tag in ("backend", "docs", "testing"):  # Each time one route, but another one.
            await load(store, spec("a", tags=[tag]))
            assert (await claim(store)).task.spec.tags == (tag,)
            await store.cleanup(everything=True)


async def test_tokens_go_on_growing_after_everything_was_cleaned(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        before = (await claim(store)).token
        await store.cleanup(everything=True)
        await load(store, spec("a"))
        assert (await claim(store)).token > before


async def test_a_raised_fence_is_passed_and_never_lowered(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await store.raise_fence(FencingToken(41))
        await store.raise_fence(FencingToken(7))
        await load(store, spec("a"))
        assert (await claim(store)).token == 42


async def test_cleaning_takes_only_what_the_dead_left(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("dead", priority=5), spec("alive"), spec("over"))
        dead = await claim(store)
        clock.time_ms += LEASE_MS // 2
        alive, over = await claim(store), await claim(store)
        for held, path in ((dead, "d.py"), (alive, "a.py"), (over, "o.py")):
            await store.locks.acquire(path, held, timeout_s=1)
            await store.ledger.reserve(
                f"call-{path}", run="r", task=held.task.id, day="d", amount=UsdMicros(10), caps=Caps()
            )
        await land(store, over)
        clock.time_ms += LEASE_MS // 2
        assert await store.cleanup(everything=False) == CleanupOutcome(locks=2, leases=1, reservations=2)
        assert [lock.path for lock in await store.locks.holders()] == ["a.py"]
        assert await store.ledger.open_reservations() == {"call-a.py": "alive"}
        assert (await states(store))["dead"] is TaskState.QUEUED
        await store.queue.verify(alive)
        assert await store.cleanup(everything=False) == CleanupOutcome()


async def test_cleaning_leaves_the_money_of_who_is_handed_a_task_meanwhile(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"))
        listed, go_on = asyncio.Event(), asyncio.Event()
        store.queue.reader = _HeldUp(store, listed, go_on)
        async with asyncio.TaskGroup() as group:
            cleaning = group.create_task(store.cleanup(everything=False))
            await listed.wait()
            held = await claim(store)
            task, amount = held.task.id, UsdMicros(10)
            await store.ledger.reserve("call", run="r", task=task, day="d", amount=amount, caps=Caps())
            go_on.set()
        assert (await cleaning).reservations == 0
        assert await store.ledger.open_reservations() == {"call": "a"}


class _HeldUp(TaskReader):
    """Has read all tasks, and is held up before it tells."""

    def __init__(self, store: Store, listed: asyncio.Event, go_on: asyncio.Event) -> None:
        super().__init__(store.client, store.keys, store.queue.scripts)
        self.listed, self.go_on = listed, go_on

    async def all(self) -> list[Task]:
        found = await TaskReader.all(self)
        self.listed.set()
        await self.go_on.wait()
        return found


async def test_settings_outlive_the_store(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await store.get_setting("run") is None
        await store.set_setting("run", "r1")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await store.get_setting("run") == "r1"


async def test_a_server_that_is_not_there_is_said_in_words(project_id: ProjectId, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="Redis cannot be reached to open the store") as told:
        async with open_store(f"unix://{tmp_path}/nobody.sock", project_id, HandClock()):
            pass
    assert "agentcoordd" in told.value.mend


async def test_a_url_that_is_none_is_said_in_words(project_id: ProjectId) -> None:
    with pytest.raises(StoreError, match=r"redis\.url is not usable"):
        async with open_store("http://example", project_id, HandClock()):
            pass


@pytest.mark.one_server
async def test_a_socket_path_with_any_letters_makes_a_usable_url(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ü s%20?#") / "v.sock"
    path.symlink_to(valkey_url.removeprefix("unix://"))
    async with open_store(unix_url(str(path)), project_id, HandClock()) as store:
        await store.ping()


async def test_more_calls_than_connections_wait_their_turn(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            for i in range(100):
                group.create_task(store.set_setting(f"s{i}", str(i)))
        assert await store.get_setting("s99") == "99"


async def test_nobody_waits_for_a_connection_while_later_ones_are_served(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        served = 0
        everybody_once = asyncio.Event()

        async def again_and_again() -> None:
            nonlocal served
            while not everybody_once.is_set():
                await store.ping()
                served += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(3 * CONNECTIONS):
                group.create_task(again_and_again())
            while served < 500:
                await store.ping()
            before = served
            await asyncio.gather(*(store.ping() for _ in range(CONNECTIONS)))  # noqa: TID251 - all at once.
            # Each of them stood behind those that asked before it, and behind nobody else.
            assert served - before < 8 * CONNECTIONS
            everybody_once.set()


async def test_a_store_tells_how_often_it_asked_and_what_it_holds_open(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await claim(store)
        before = store.usage.round_trips
        for _ in range(5):
            await store.ping()
        assert store.usage.round_trips == before + 5
        async with asyncio.TaskGroup() as crowd:
            for _ in range(4 * CONNECTIONS):
                crowd.create_task(store.ping())
        assert store.usage.round_trips == before + 5 + 4 * CONNECTIONS
        is_cluster = "cluster" in valkey_url
        # A cluster's client also asks its nodes about one another, beside our bound.
        assert 1 < store.usage.connections_idle <= (2 * CONNECTIONS if is_cluster else CONNECTIONS)
        assert store.usage.connections_used == (not is_cluster)  # The dispatcher keeps one.
        before = store.usage.round_trips
        await load(store, spec("b"))
        await claim(store)
        assert before < store.usage.round_trips <= before + 4


async def test_a_connection_that_cannot_be_had_takes_no_room(project_id: ProjectId, tmp_path: Path) -> None:
    async with connected(f"unix://{tmp_path}/nobody.sock") as client:
        for _ in range(2 * CONNECTIONS):
            with pytest.raises(StoreUnavailableError, match=r"refused|No such file"):
                async with calling("ping"):
                    await client.ping()


async def test_a_cancellation_during_any_call_is_never_swallowed(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        answered = asyncio.Event()

        async def call_then_wait() -> None:
            await store.set_setting("name", "value")
            answered.set()
            await asyncio.Event().wait()

        spins = 0
        async with asyncio.timeout(15):
            while not answered.is_set():  # Each time cancelled a little later, until after the answer.
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(call_then_wait())
                    for _ in range(spins):
                        await asyncio.sleep(0)
                    task.cancel()
                assert task.cancelled()
                spins += 1 + spins // 10
        await store.ping()
