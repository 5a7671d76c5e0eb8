"""The mark of the memory: without it no money is set aside; with everything put back, all goes on."""

from __future__ import annotations

import pytest
from store_kit import HandClock, claim, land, load, open_store, spec, states

from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Caps, Store
from agentcoord.store.memory import RestoredTask

_S = TaskState


async def _lose_everything(store: Store) -> None:
    names = [k async for k in store.client.scan_iter(match=store.keys.scan_pattern, count=1000)]
    for name in names:
        await store.client.unlink(name)


async def _reserve(store: Store, name: str) -> None:
    amount = UsdMicros(5)
    await store.ledger.reserve(name, run="r", task=TaskId("a"), day="d", amount=amount, caps=Caps())


async def test_a_store_without_a_plan_has_nothing_to_lose(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _lose_everything(store)
        await store.memory.check()
        await _reserve(store, "one")
        await store.memory.begin()
        mark = store.memory.mark
        await store.memory.begin()
        assert store.memory.mark == mark != ""
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert store.memory.mark == mark


async def test_a_lost_memory_refuses_money_in_every_way(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await store.memory.begin()
        await _reserve(store, "before")
        await _lose_everything(store)
        ledger = store.ledger
        for use in (
            store.memory.check,
            store.memory.begin,
            lambda: store.memory.rows(["a"]),
            lambda: _reserve(store, "after"),
            lambda: ledger.settle("before", actual=UsdMicros(1), usage=NO_USAGE, model="m"),
            lambda: ledger.mark_started("before"),
            lambda: ledger.release("before"),
            lambda: ledger.end(["before"]),
        ):
            store.memory.lost.clear()
            with pytest.raises(StoreUnavailableError, match="has lost what this project had"):
                await use()
            assert store.memory.lost.is_set()
        assert list(ledger.mirror.open) == ["before"]


async def test_what_is_put_back_goes_on_as_it_was(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a", writes=["a.py"]), spec("b", "a"), spec("c", priority=1, title="ü" * 300))
        await store.memory.begin()
        mark = store.memory.mark
        held = await claim(store)
        await land(store, held, "a.py")
        await store.queue.park(await claim(store), why="a question")
        await store.queue.retry(TaskId("b"))
        history = await store.queue.history(TaskId("b"))
        rows = {row.id: row for row in await store.memory.rows(["a", "b", "c", "unknown"])}
        assert sorted(rows) == ["a", "b", "c"]
        await _lose_everything(store)
        await store.raise_fence(FencingToken(held.token))
        await load(store, spec("z"))  # What came into the wiped server does not stay.
        back = [
            RestoredTask(rows["a"], _S.DONE, ready=False, undone_needs=(), open_needs=0),
            RestoredTask(rows["b"], _S.BLOCKED, ready=False, undone_needs=("c",), open_needs=1),
            RestoredTask(rows["c"], _S.QUEUED, ready=True, undone_needs=(), open_needs=0),
        ]
        hashes = {"settings": {"run": "r"}, "spend:run:r": {"spent": "7", "reserved": "0"}}
        for _ in range(2):  # A crash in between has it done again.
            await store.memory.restore(mark, back, hashes, questions=[(3, "b")])
        assert await states(store) == {"a": _S.DONE, "b": _S.BLOCKED, "c": _S.QUEUED}
        assert (await store.queue.history(TaskId("b")), len(history)) == (history, 2)
        counts = await store.queue.counts()
        assert (counts[_S.DONE], counts[_S.BLOCKED], counts[_S.QUEUED]) == (1, 1, 1)
        assert (await store.ledger.totals(run="r", day="d")).run_spent_usd_micros == 7
        await _reserve(store, "again")
        again = await claim(store)
        assert (again.task.id, again.task.spec.title) == ("c", "ü" * 300)
        assert again.token > held.token
        await land(store, again)
        assert (await states(store))["b"] is _S.QUEUED
        assert await store.questions.ask(TaskId("b"), "Next?", "no", 1) == 4


async def test_of_what_is_on_the_disk_no_sum_is_remembered(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        mirror = store.ledger.mirror
        for name in ("a", "b"):
            await _reserve(store, name)
            await store.ledger.settle(name, actual=UsdMicros(7), usage=Usage(1, 0, 0, 0, 2), model="m")
        assert set(mirror.spent.values()) == {14}
        assert set(mirror.tokens_spent.values()) == {6}
        names = sorted(mirror.spent)
        mirror.forget_kept({name: {"spent": "13", "tokens_spent": "6"} for name in names})
        assert (sorted(mirror.spent), mirror.tokens_spent) == (names, {})
        mirror.forget_kept(await store.memory.hashes(names))
        assert mirror.spent == {}
