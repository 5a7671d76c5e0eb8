"""The loop, the gateway and the real SDK against each fault: what was done, booked and asked again."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent_fakes import FakeShell, MemoryFiles, MemoryQuestions, RecordingReporter, make_briefing

from agentcoord.agent.loop import AgentLoop, ClaimsFinished, LoopLimits, LoopOutcome
from agentcoord.agent.transcript import Transcript
from agentcoord.clock import SystemClock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import LlmAuthError, LlmError, LlmRequestError, LlmSpendLimitError
from agentcoord.llm.api import Capabilities, StreamTimeouts
from agentcoord.llm.client import AnthropicModel
from agentcoord.llm.gateway import LedgerRefusal, PaidModel
from agentcoord.llm.pacing import Governor, PacingSettings
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.rehearsal import serve
from agentcoord.llm.rehearsal.books import Books
from agentcoord.llm.rehearsal.faults import Fault, FaultKind
from agentcoord.llm.rehearsal.scripts import Answer, Script, ScriptedTurn, ToolCall

HAIKU = "claude-haiku-5-5"
TURNS = 4
"""Of an undisturbed attempt: three files and the claim."""
SILENT = frozenset({FaultKind.STALL, FaultKind.STREAM_STALL})

ASKED_AGAIN = (
    FaultKind.RATE_LIMIT,
    FaultKind.RATE_LIMIT_BARE,
    FaultKind.OVERLOADED,
    FaultKind.SERVER_ERROR,
    FaultKind.GATEWAY_TIMEOUT,
)
"""The server said no: the same is asked once more, and nothing is booked for it."""
PAID_AND_ASKED_AGAIN = (
    FaultKind.RESET,
    FaultKind.STALL,
    FaultKind.EMPTY_BODY,
    FaultKind.HTML_BODY,
    FaultKind.STREAM_OVERLOADED,
    FaultKind.STREAM_API_ERROR,
    FaultKind.DROP,
    FaultKind.STREAM_STALL,
    FaultKind.TRUNCATE,
    FaultKind.MALFORMED_TOOL_JSON,
    FaultKind.CUT_TOOL_JSON,
)
"""An answer had begun, or nobody said that the prompt was not read: it is booked, and the same is asked once
more."""
ANSWERS = {
    FaultKind.LATENCY: TURNS,
    FaultKind.UNKNOWN_EVENT: TURNS,
    FaultKind.UNKNOWN_BLOCK: TURNS,
    FaultKind.MAX_TOKENS: TURNS,
    FaultKind.PAUSE_TURN: TURNS,
    FaultKind.REFUSAL: TURNS + 1,
    FaultKind.EMPTY_END_TURN: TURNS + 1,
    FaultKind.CONTEXT_EXCEEDED: 3 + TURNS,
    FaultKind.PROMPT_TOO_LONG: 2 + TURNS,
}
"""Turns of an attempt in which the third is such an answer. A turn that says something counts as one of the
script; one that says nothing does not; a new conversation begins the script anew."""
ENDS_IT: dict[FaultKind, type[LlmError]] = {
    FaultKind.SPEND_CAP: LlmSpendLimitError,
    FaultKind.USAGE_LIMIT: LlmSpendLimitError,
    FaultKind.BILLING: LlmSpendLimitError,
    FaultKind.UNAUTHENTICATED: LlmAuthError,
    FaultKind.FORBIDDEN: LlmAuthError,
    FaultKind.INVALID_REQUEST: LlmRequestError,
}


@dataclass
class PlainLedger:
    """A ledger without caps; every reservation is closed once and was enough."""

    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    released: int = 0

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
        self.open[reservation] = (amount, tokens)
        return None

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        amount, tokens = self.open.pop(reservation)
        assert actual <= amount
        assert usage.total_tokens <= tokens
        self.settled.append(actual)

    async def release(self, reservation: str) -> None:
        del self.open[reservation]
        self.released += 1

    async def mark_started(self, reservation: str) -> None:
        assert reservation in self.open


@dataclass
class Attempt:
    """What an attempt left behind."""

    outcome: LoopOutcome | LlmError
    transcript: Transcript
    ledger: PlainLedger
    books: Books

    @property
    def requests(self) -> int:
        return self.books.requests


def create(path: str) -> Answer:
    arguments = {"command": "create", "path": path, "file_text": f"NAME = {path!r}\n"}
    return Answer(f"I write {path}.", "Which file?", (ToolCall("str_replace_based_edit_tool", arguments),))


async def attempt_under(kind: FaultKind, path: Path) -> Attempt:
    """Play an attempt whose third turn meets the fault once."""
    third = create("src/c.py")
    fault = Fault(kind, retry_after_s=0.05, ms=1)
    answers = [
        create("src/a.py"),
        create("src/b.py"),
        Answer(third.text, third.thinking, third.tools, fault=fault),
        Answer("Done.", tools=(ToolCall("finish_task", {"summary": "Three files.", "decisions": []}),)),
    ]
    scripts = {"unit-tests": Script("unit-tests", tuple(map(ScriptedTurn, answers)))}
    timeouts = StreamTimeouts(first_byte_s=1.0, between_events_s=1.0) if kind in SILENT else StreamTimeouts()
    ledger, clock, ids = PlainLedger(), SystemClock(), itertools.count()
    transcript = Transcript.open(path)
    async with (
        serve(scripts) as server,
        AnthropicModel.open(
            api_key="k",
            auth_token=None,
            base_url=server.base_url,
            timeouts=timeouts,
            capabilities=Capabilities(),
        ) as model,
    ):
        await model.warm_up()
        pacing = PacingSettings(first_backoff_s=0.01, max_backoff_s=0.05)
        paid = PaidModel(
            model,
            governor=Governor(clock=clock, settings=pacing),
            ledger=ledger,
            prices=PriceList.load(),
            clock=clock,
            new_id=lambda: str(next(ids)),
            run="r1",
            day=lambda: "2026-11-22",
        )
        loop = AgentLoop(
            gateway=paid.for_task(TaskId("unit-tests"), None),
            shell=FakeShell(),
            files=MemoryFiles({"src/old.py": "x = 1\n"}),
            reporter=RecordingReporter(),
            questions=MemoryQuestions(),
            transcript=transcript,
            briefing=make_briefing(),
            model=HAIKU,
            effort="low",
            clock=clock,
            limits=LoopLimits(),
            stopping=asyncio.Event(),
        )
        outcome: LoopOutcome | LlmError
        try:
            outcome = await loop.run()
        except LlmError as error:
            outcome = error
        assert ledger.open == {}
        return Attempt(outcome, transcript, ledger, server.books)


def test_every_fault_has_its_place_in_this_contract() -> None:
    groups = (ASKED_AGAIN, PAID_AND_ASKED_AGAIN, ANSWERS, ENDS_IT)
    assert sorted(kind for group in groups for kind in group) == sorted(FaultKind)


@pytest.mark.parametrize("kind", ASKED_AGAIN)
async def test_what_was_refused_costs_nothing_and_is_asked_once_more(kind: FaultKind, tmp_path: Path) -> None:
    found = await attempt_under(kind, tmp_path / "attempt.jsonl")
    assert isinstance(found.outcome, ClaimsFinished)
    assert (found.transcript.turns, found.requests) == (TURNS, TURNS + 1)
    assert (len(found.ledger.settled), found.ledger.released) == (TURNS, 1)
    assert sum(found.ledger.settled) == found.books.total_usd_micros


@pytest.mark.parametrize("kind", PAID_AND_ASKED_AGAIN)
async def test_an_answer_that_broke_is_booked_no_lower_than_the_provider_has_it_and_asked_once_more(
    kind: FaultKind, tmp_path: Path
) -> None:
    found = await attempt_under(kind, tmp_path / "attempt.jsonl")
    assert isinstance(found.outcome, ClaimsFinished)
    assert (found.transcript.turns, found.requests) == (TURNS, TURNS + 1)
    assert (len(found.ledger.settled), found.ledger.released) == (TURNS + 1, 0)
    assert sum(found.ledger.settled) >= found.books.total_usd_micros
    assert found.transcript.cost_usd_micros == sum(found.ledger.settled), "a broken try is its turn's"


@pytest.mark.parametrize("kind", list(ANSWERS))
async def test_an_odd_answer_is_one_that_the_loop_has_an_answer_to(kind: FaultKind, tmp_path: Path) -> None:
    found = await attempt_under(kind, tmp_path / "attempt.jsonl")
    assert isinstance(found.outcome, ClaimsFinished)
    refused = kind is FaultKind.PROMPT_TOO_LONG
    assert (found.transcript.turns, found.requests) == (ANSWERS[kind], ANSWERS[kind] + refused)
    assert (len(found.ledger.settled), found.ledger.released) == (found.transcript.turns, int(refused))
    assert sum(found.ledger.settled) == found.books.total_usd_micros


@pytest.mark.parametrize("kind", list(ENDS_IT))
async def test_what_asking_again_cannot_help_is_raised_at_once_and_costs_nothing(
    kind: FaultKind, tmp_path: Path
) -> None:
    found = await attempt_under(kind, tmp_path / "attempt.jsonl")
    assert type(found.outcome) is ENDS_IT[kind]
    assert (found.transcript.turns, found.requests) == (2, 3)
    assert (len(found.ledger.settled), found.ledger.released) == (2, 1)
    assert sum(found.ledger.settled) == found.books.total_usd_micros
