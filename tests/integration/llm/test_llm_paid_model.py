"""The whole way: gateway, governor, SDK and server; our settled dollars against the server's books."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.llm.api import Capabilities, PaidTurn, Progress, StreamTimeouts, TurnRequest
from agentcoord.llm.client import AnthropicModel
from agentcoord.llm.gateway import LedgerRefusal, PaidModel
from agentcoord.llm.pacing import Governor, PacingSettings
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.rehearsal import Options, serve
from agentcoord.llm.rehearsal.faults import Dice, Fault, FaultKind
from agentcoord.llm.rehearsal.scripts import Answer, Script, ScriptedTurn, ToolCall

HAIKU = "claude-haiku-5-5"
TURNS = 6
WORK = Answer("Looking at it. " * 20, "Hm. " * 30, (ToolCall("bash", {"command": "ls " * 40}),))


class CountingLedger:
    """A ledger without caps that checks that every reservation was enough."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        self.spent = 0

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        tokens: int,
        caps: Any,
        worker: str,
        sent_amount: UsdMicros,
        sent_tokens: int,
    ) -> LedgerRefusal | None:
        self.open[reservation] = amount
        return None

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        assert actual <= self.open.pop(reservation)
        self.spent += actual

    async def release(self, reservation: str) -> None:
        self.open.pop(reservation, None)

    async def mark_started(self, reservation: str) -> None:
        assert reservation in self.open


async def play_a_night(scripts: dict[str, Script], options: Options) -> tuple[int, int, int, list[str]]:
    """Six conversations at once; return our dollars, the server's, the turns, and the faults met."""
    ledger, clock, ids = CountingLedger(), SystemClock(), itertools.count()
    async with (
        serve(scripts, options=options) as server,
        AnthropicModel.open(
            api_key="k",
            auth_token=None,
            base_url=server.base_url,
            timeouts=StreamTimeouts(),
            capabilities=Capabilities(),
        ) as model,
    ):
        paid = PaidModel(
            model,
            governor=Governor(clock=clock, settings=PacingSettings(first_backoff_s=0.01, max_backoff_s=0.05)),
            ledger=ledger,
            prices=PriceList.load(),
            clock=clock,
            new_id=lambda: str(next(ids)),
            run="r1",
            day=lambda: "2026-11-22",
        )

        async def converse(task: str) -> int:
            gateway = paid.for_task(TaskId(task), None)
            messages: list[dict[str, Any]] = [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": f"Task id: {task}\n" + "Do it. " * 300}],
                }
            ]
            for turn in range(TURNS):
                request = TurnRequest(
                    HAIKU,
                    [{"type": "text", "text": "Be careful. " * 300}],
                    list(messages),
                    [{"type": "bash_20250124", "name": "bash"}],
                    4_000,
                )
                answer = await gateway.take_turn(request, Progress())
                assert isinstance(answer, PaidTurn)
                messages.append({"role": "assistant", "content": list(answer.turn.content)})
                calls = [block for block in answer.turn.content if block["type"] == "tool_use"]
                if not calls:
                    return turn + 1
                results = [
                    {"type": "tool_result", "tool_use_id": c["id"], "content": "line\n" * 100} for c in calls
                ]
                messages.append({"role": "user", "content": results})
            return TURNS

        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(converse(task)) for task in scripts]
        assert ledger.open == {}
        turns = sum(call.result() for call in calls)
        faults = [record.fault for record in server.books.records if record.fault]
        return ledger.spent, server.books.total_usd_micros, turns, faults


def scripts_of(*turns: Answer) -> dict[str, Script]:
    return {f"t{n}": Script(f"t{n}", tuple(map(ScriptedTurn, turns))) for n in range(6)}


async def test_an_undisturbed_night_costs_by_our_ledger_what_the_servers_books_say() -> None:
    ours, theirs, turns, faults = await play_a_night(scripts_of(*[WORK] * 5, Answer("Done.")), Options())
    assert ours == theirs > 0
    assert turns == 36
    assert faults == []


async def test_a_stormy_night_ends_and_is_never_booked_below_the_servers_books() -> None:
    storm = dict.fromkeys(
        (
            FaultKind.OVERLOADED,
            FaultKind.RATE_LIMIT_BARE,
            FaultKind.DROP,
            FaultKind.RESET,
            FaultKind.TRUNCATE,
            FaultKind.STREAM_OVERLOADED,
        ),
        0.06,
    )
    options = Options(dice=Dice(storm, seed=11))
    ours, theirs, turns, faults = await play_a_night(scripts_of(*[WORK] * 5, Answer("Done.")), options)
    assert turns == 36
    assert len(faults) >= 6
    assert ours >= theirs > 0


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.TRUNCATE, FaultKind.STREAM_API_ERROR])
async def test_a_broken_stream_is_booked_and_the_turn_comes_all_the_same(kind: FaultKind) -> None:
    broken = Answer(WORK.text, WORK.thinking, WORK.tools, fault=Fault(kind, times=2))
    ours, theirs, turns, faults = await play_a_night(
        {"t0": scripts_of(broken, Answer("Done."))["t0"]}, Options()
    )
    assert (turns, faults) == (2, [str(kind)] * 2)
    assert ours >= theirs
