"""Caps on tokens: in the same reservation as those on money, and just as hard."""

from __future__ import annotations

import asyncio
import json

import pytest
from store_kit import HandClock, open_store

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.usage import NO_USAGE, CapUnit, Usage, UsdMicros
from agentcoord.store import Caps, CapScope, Refusal, Spend, Store
from agentcoord.store.budget_ledger import INTERRUPTED_MODEL
from agentcoord.store.spend_mirror import Reserved

TOKENS = CapUnit.TOKENS


async def _reserve(
    store: Store, name: str, tokens: int, caps: Caps, *, amount: int = 1, task: str = "t", worker: str = "w"
) -> Refusal | None:
    return await store.ledger.reserve(
        name,
        run="run",
        task=TaskId(task),
        day="day",
        amount=UsdMicros(amount),
        tokens=tokens,
        caps=caps,
        worker=worker,
    )


async def _settle(store: Store, name: str, usage: Usage) -> None:
    await store.ledger.settle(name, actual=UsdMicros(1), usage=usage, model="m")


async def test_every_kind_of_token_counts_and_replaces_what_was_reserved(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await _reserve(store, "a", 100, Caps()) is None
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_tokens, totals.run_tokens_reserved, totals.day_tokens_reserved) == (0, 100, 100)
        await _settle(store, "a", Usage(1, 2, 3, 4, 5))
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_tokens, totals.run_tokens_reserved) == (15, 0)
        assert (totals.day_tokens, totals.day_tokens_reserved) == (15, 0)
        assert await store.ledger.task_spent(TaskId("t")) == {CapUnit.USD_MICROS: 1, TOKENS: 15}


@pytest.mark.parametrize(
    ("caps", "scope"),
    [
        (Caps(run_tokens=100), CapScope.RUN),
        (Caps(task_tokens=100), CapScope.TASK),
        (Caps(day_tokens=100), CapScope.DAY),
    ],
)
async def test_a_reservation_that_could_pass_a_cap_on_tokens_is_refused_and_changes_nothing(
    valkey_url: str, project_id: ProjectId, caps: Caps, scope: CapScope
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _reserve(store, "a", 60, caps)
        await _settle(store, "a", Usage(input_tokens=40))
        assert await _reserve(store, "b", 50, caps) is None
        assert await _reserve(store, "c", 11, caps) == Refusal(scope, 100, 40, 50, TOKENS)
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_reserved_usd_micros, totals.run_tokens_reserved) == (1, 50)
        assert await _reserve(store, "d", 10, caps) is None


async def test_money_is_not_reserved_where_tokens_are_refused_nor_the_other_way_round(
    valkey_url: str, project_id: ProjectId
) -> None:
    caps = Caps(run=UsdMicros(100), run_tokens=100)
    async with open_store(valkey_url, project_id, HandClock()) as store:
        tokens_refused = await _reserve(store, "a", 101, caps, amount=50)
        money_refused = await _reserve(store, "b", 50, caps, amount=101)
        assert [each.unit for each in (tokens_refused, money_refused) if each] == [TOKENS, CapUnit.USD_MICROS]
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_reserved_usd_micros, totals.run_tokens_reserved) == (0, 0)


async def test_many_at_once_never_pass_a_cap_on_tokens(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(_reserve(store, f"r{i}", 7, Caps(run_tokens=100), task=f"t{i % 6}"))
                for i in range(60)
            ]
        assert sum(one.result() is None for one in asked) == 14


async def test_what_a_crash_left_gives_its_tokens_back_or_counts_them_all(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _reserve(store, "begun", 50, Caps())
        await _reserve(store, "waiting", 30, Caps())
        await store.ledger.mark_started("begun")
        await store.ledger.reconcile(())
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_tokens, totals.run_tokens_reserved) == (50, 0)
        assert totals.usage == NO_USAGE
        assert totals.by_model == {INTERRUPTED_MODEL: Spend(UsdMicros(1), NO_USAGE)}


@pytest.mark.parametrize("later", ["", ',"0",""'])
async def test_what_an_earlier_version_reserved_is_settled_and_given_up_all_the_same(
    valkey_url: str, project_id: ProjectId, later: str
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for name in ("a", "b", "c"):
            await _reserve(store, name, 0, Caps(), amount=10)
            old = f'["run","t","day","10","0"{later}]'
            await store.client.hset(store.keys.of("reservations"), name, old)
            assert Reserved.from_stored(json.loads(old)) == Reserved("run", "t", "day", 10)
        await store.ledger.release("a")
        await _settle(store, "b", Usage(output_tokens=5))
        assert await store.ledger.reconcile(()) == ("c",)
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_reserved_usd_micros, totals.run_tokens, totals.run_tokens_reserved) == (0, 5, 0)


async def test_totals_are_told_apart_by_worker(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for name, worker in (("a", "Architect"), ("b", "Architect"), ("c", ""), ("d", "Testing-Engineer-1")):
            await _reserve(store, name, 50, Caps(), worker=worker)
            await _settle(store, name, Usage(output_tokens=5))
        totals = await store.ledger.totals(run="run", day="day")
        assert totals.by_worker == {
            "Architect": Spend(UsdMicros(2), Usage(output_tokens=10)),
            "Testing-Engineer-1": Spend(UsdMicros(1), Usage(output_tokens=5)),
        }
