"""The ledger: no cap is ever passed, whatever runs at once, crashes or is repeated."""

from __future__ import annotations

import asyncio

import pytest
from store_kit import HandClock, load, open_store, spec, task_of

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros
from agentcoord.store import Caps, CapScope, Refusal, Spend, Store
from agentcoord.store.budget_ledger import INTERRUPTED_MODEL

USAGE = Usage(1, 2, 3, 4, 5)


def usd(micros: int) -> UsdMicros:
    return UsdMicros(micros)


async def _reserve(
    store: Store, name: str, amount: int, caps: Caps, *, task: str = "t", run: str = "run", day: str = "day"
) -> Refusal | None:
    return await store.ledger.reserve(
        name, run=run, task=TaskId(task), day=day, amount=usd(amount), caps=caps
    )


async def _settle(store: Store, name: str, actual: int, model: str = "m") -> None:
    await store.ledger.settle(name, actual=usd(actual), usage=USAGE, model=model)


async def test_a_settled_call_replaces_what_was_reserved(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await _reserve(store, "a", 100, Caps()) is None
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (0, 100)
        assert (totals.day_spent_usd_micros, totals.day_reserved_usd_micros) == (0, 100)
        await _settle(store, "a", 30)
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (30, 0)
        assert (totals.day_spent_usd_micros, totals.day_reserved_usd_micros) == (30, 0)
        assert totals.usage == USAGE
        assert await store.ledger.open_reservations() == {}


async def test_a_reservation_of_nothing_can_be_given_up_and_settled(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for name in ("a", "b"):
            assert await _reserve(store, name, 0, Caps()) is None
        await store.ledger.release("a")
        await _settle(store, "b", 0)
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (0, 0)
        assert await store.ledger.open_reservations() == {}


async def test_the_same_reservation_and_settlement_count_once(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for _ in range(2):
            assert await _reserve(store, "a", 60, Caps(run=usd(100))) is None
        for _ in range(2):
            await _settle(store, "a", 50)
        await store.ledger.release("a")
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (50, 0)
        assert totals.usage == USAGE


@pytest.mark.parametrize(
    ("caps", "scope"),
    [
        (Caps(run=usd(100)), CapScope.RUN),
        (Caps(task=usd(100)), CapScope.TASK),
        (Caps(day=usd(100)), CapScope.DAY),
        (Caps(run=usd(500), task=usd(100), day=usd(100)), CapScope.TASK),
    ],
)
async def test_a_reservation_that_could_pass_a_cap_is_refused_and_changes_nothing(
    valkey_url: str, project_id: ProjectId, caps: Caps, scope: CapScope
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _reserve(store, "a", 60, caps)
        await _settle(store, "a", 40)
        assert await _reserve(store, "b", 50, caps) is None
        assert await _reserve(store, "c", 11, caps) == Refusal(scope, usd(100), usd(40), usd(50))
        assert await _reserve(store, "d", 10, caps) is None
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_reserved_usd_micros, totals.day_reserved_usd_micros) == (60, 60)


async def test_caps_are_of_their_own_run_task_and_day(valkey_url: str, project_id: ProjectId) -> None:
    caps = Caps(run=usd(100), task=usd(100), day=usd(100))
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await _reserve(store, "a", 100, caps) is None
        assert await _reserve(store, "b", 100, caps, task="u", run="next", day="tomorrow") is None
        for change in ({"task": "v", "run": "r3"}, {"task": "v", "day": "d3"}, {"run": "r3", "day": "d3"}):
            assert await _reserve(store, "c", 1, caps, **change) is not None


async def test_many_at_once_never_pass_the_cap(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(_reserve(store, f"r{i}", 7, Caps(run=usd(100)), task=f"t{i % 6}"))
                for i in range(60)
            ]
        granted = [one for one in asked if await one is None]
        assert len(granted) == 14
        assert (await store.ledger.totals(run="run", day="day")).run_reserved_usd_micros == 98


async def test_a_released_reservation_makes_room(valkey_url: str, project_id: ProjectId) -> None:
    caps = Caps(run=usd(100))
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _reserve(store, "a", 100, caps)
        await store.ledger.mark_started("a")
        await store.ledger.release("a")
        await store.ledger.release("a")
        assert await _reserve(store, "b", 100, caps) is None


async def test_totals_are_told_apart_by_task_and_by_model(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for name, task, model in (("a", "t|1", "haiku"), ("b", "t|1", "sonnet"), ("c", "u", "sonnet")):
            await _reserve(store, name, 50, Caps(), task=task)
            await _settle(store, name, 10, model)
        await _reserve(store, "d", 50, Caps(), task="v")
        totals = await store.ledger.totals(run="run", day="day")
        by_task = await store.ledger.by_task("run")
        assert by_task == {"t|1": Spend(usd(20), USAGE + USAGE), "u": Spend(usd(10), USAGE)}
        assert list(by_task) == ["t|1", "u"]
        asked = [TaskId(task) for task in ("v", "u", "nobody", "t|1")]
        assert await store.ledger.spenders("run", asked) == {"u", "t|1"}
        assert totals.by_model == {"haiku": Spend(usd(10), USAGE), "sonnet": Spend(usd(20), USAGE + USAGE)}
        assert await store.ledger.by_task("other") == {}
        assert await store.ledger.spenders("other", asked) == await store.ledger.spenders("run", []) == set()


async def test_what_is_read_of_a_run_all_the_time_does_not_grow_with_its_tasks(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        sizes = []
        for n in range(20):
            await _reserve(store, f"r{n}", 50, Caps(), task=f"t{n}")
            await _settle(store, f"r{n}", 10, "haiku")
            sizes.append(len(await store.client.hgetall(store.keys.run_spend("run"))))
        assert sizes == [sizes[0]] * 20
        assert len(await store.ledger.by_task("run")) == 20


async def test_what_a_crash_left_before_its_answer_is_booked_as_sent_and_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        for name in ("begun", "given up", "sent"):
            refused = await store.ledger.reserve(
                name,
                run="run",
                task=TaskId("t"),
                day="day",
                amount=usd(50),
                tokens=500,
                caps=Caps(),
                worker="w",
                sent_amount=usd(7),
                sent_tokens=70,
            )
            assert refused is None
        await store.ledger.mark_started("begun")
        await store.ledger.release("given up")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await store.ledger.reconcile(()) == ("begun", "sent")
        assert await store.ledger.reconcile(()) == ()
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (57, 0)
        assert (totals.day_spent_usd_micros, totals.day_reserved_usd_micros) == (57, 0)
        assert (totals.run_tokens, totals.run_tokens_reserved) == (570, 0)
        assert totals.by_model == {INTERRUPTED_MODEL: Spend(usd(57), NO_USAGE)}
        assert totals.by_worker == {"w": Spend(usd(57), NO_USAGE)}
        assert (await task_of(store, "t")).cost_usd_micros == 57


async def test_what_a_crash_left_is_released_or_assumed_billed(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for name in ("begun", "live", "waiting"):
            await _reserve(store, name, 50, Caps())
        await store.ledger.mark_started("begun")
        await store.ledger.mark_started("nobody")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await store.ledger.reconcile({"live"}) == ("begun", "waiting")
        assert await store.ledger.reconcile({"live"}) == ()
        assert await store.ledger.open_reservations() == {"live": "t"}
        totals = await store.ledger.totals(run="run", day="day")
        assert (totals.run_spent_usd_micros, totals.run_reserved_usd_micros) == (50, 50)
        assert totals.by_model == {INTERRUPTED_MODEL: Spend(usd(50), NO_USAGE)}


async def test_large_sums_stay_exact(valkey_url: str, project_id: ProjectId) -> None:
    many = 123_456_789_012_345
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await _reserve(store, "a", many, Caps(run=usd(many)))
        assert await _reserve(store, "b", 1, Caps(run=usd(many))) == Refusal(
            CapScope.RUN, usd(many), usd(0), usd(many)
        )
        await _settle(store, "a", many - 1)
        assert (await store.ledger.totals(run="run", day="day")).day_spent_usd_micros == many - 1
