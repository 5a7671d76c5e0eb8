"""A cap that is nearly spent is told once, from what the store's books say."""

from __future__ import annotations

from daemon_kit import daemonlet

from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.budget_watch import BudgetWatch
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.store import Caps


async def test_a_cap_that_is_nearly_spent_is_told_once_a_cap(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        ledger, task = d.store.ledger, TaskId("t")
        budget = BudgetSection(run_usd=1.0, task_usd=0.5, day_usd=0)
        watch = BudgetWatch(d.store, d.runs, budget, d.hub, d.shop.clock)

        async def spend(name: str, micros: int) -> list[str]:
            amount = UsdMicros(micros)
            day = d.runs.day()
            refusal = await ledger.reserve(
                name, run=d.runs.run, task=task, day=day, amount=amount, caps=Caps()
            )
            assert refusal is None
            await ledger.settle(name, actual=amount, usage=NO_USAGE, model="m")
            await watch.look({task, TaskId("unknown")})
            return [
                str(event.data["scope"]) for event in d.hub._waiting if event.kind is EventKind.BUDGET_WARNED
            ]

        assert await spend("one", 399_999) == []
        assert await spend("two", 1) == ["task"]
        assert await spend("three", 400_000) == ["task", "run"]
        assert await spend("four", 50_000) == ["task", "run"], "each once"
