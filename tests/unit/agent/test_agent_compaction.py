"""Making room: a summary takes the place of a conversation that grew too long, whatever the model says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_fakes import (
    TURN_COST,
    Answer,
    FakeShell,
    MemoryFiles,
    MemoryQuestions,
    RecordingReporter,
    ScriptedGateway,
    StillClock,
    call_block,
    edit_block,
    end_turn,
    finish_block,
    make_briefing,
    text_block,
    turn_of,
)

from agentcoord.agent.loop import AgentLoop, ClaimsFinished, GaveUp, GiveUpKind, LoopLimits, OutOfMoney
from agentcoord.agent.ports import CommandResult
from agentcoord.agent.transcript import Transcript
from agentcoord.agent.window import ContextWindow
from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmContextWindowError
from agentcoord.llm.api import Progress, SpendRefused, StopReason, Turn, TurnRequest

WRITE = edit_block("w1", "create", "src/new.py", file_text="x = 1\n")
LONG = Usage(input_tokens=1_000, cache_read_tokens=89_500, output_tokens=500)
SUMMARY = end_turn(text_block("Plan: half done. `src/new.py` is written. Left: tests."))


def long(turn: Turn) -> Turn:
    """The same turn, at whose end the conversation fills what is allowed."""
    return replace(turn, usage=LONG)


class Attempt:
    """One attempt on fakes."""

    def __init__(self, path: Path, *answers: Answer, limits: LoopLimits | None = None) -> None:
        self.gateway = ScriptedGateway(*answers)
        self.files = MemoryFiles({"src/a.py": "a = 1\n"})
        self.reporter = RecordingReporter()
        self.path = path
        self.limits = limits or LoopLimits()
        self.output = ""
        self.reopen(*answers)

    def reopen(self, *answers: Answer) -> None:
        self.gateway.answers = list(answers)
        self.transcript = Transcript.open(self.path)
        self.loop = AgentLoop(
            gateway=self.gateway,
            shell=FakeShell(lambda command: CommandResult(0, self.output or command, False, False, 12)),
            files=self.files,
            reporter=self.reporter,
            questions=MemoryQuestions(),
            transcript=self.transcript,
            briefing=make_briefing(),
            model="claude-test",
            effort="medium",
            clock=StillClock(),
            limits=self.limits,
            stopping=asyncio.Event(),
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempt-1.jsonl"


def last_words(request: TurnRequest) -> str:
    """The newest words of a request: a text, or a result."""
    block = request.messages[-1]["content"][-1]
    return str(block.get("text") or block["content"])


async def test_near_the_limit_the_model_summarises_and_a_new_conversation_goes_on(path: Path) -> None:
    attempt = Attempt(
        path,
        turn_of(WRITE),
        long(turn_of(call_block("b1", "bash", command="make test"))),
        SUMMARY,
        turn_of(finish_block("f")),
    )
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    before, asking, after = attempt.gateway.requests[1:]
    assert asking.messages[: len(before.messages)] == before.messages, "its prefix is in the cache"
    assert (asking.system, asking.tools, asking.effort) == (before.system, before.tools, before.effort)
    assert asking.max_tokens == 8_000
    assert "about to be replaced by a summary" in last_words(asking)
    assert asking.messages[-1]["content"][-1]["type"] == "tool_result", "no text after results"
    [only] = after.messages
    assert only["content"][0] == attempt.transcript.opening["content"][0]
    told = last_words(after)
    assert "Left: tests." in told
    assert "- `src/new.py`" in told
    assert "make test" in told
    assert "about to be replaced" not in told
    assert attempt.transcript.turns == 4
    assert attempt.transcript.cost_usd_micros == 4 * TURN_COST


async def test_the_transcript_keeps_both_conversations_and_a_restart_goes_on_with_the_new(path: Path) -> None:
    attempt = Attempt(path, turn_of(WRITE), long(turn_of(call_block("b1", "bash", command="ls"))), SUMMARY)
    with pytest.raises(IndexError):
        await attempt.loop.run()
    sent = attempt.gateway.sent[-1]
    attempt.reopen(turn_of(finish_block("f")))
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    assert attempt.gateway.sent[-1] == sent
    [earlier] = attempt.transcript.earlier
    assert [b["id"] for m in earlier for b in m["content"] if b["type"] == "tool_use"] == ["w1", "b1"]


@pytest.mark.parametrize(
    "useless",
    [
        turn_of(call_block("b9", "bash", command="rm x")),
        turn_of(text_block("No."), stop=StopReason.REFUSAL),
        end_turn(),
        turn_of(text_block("x"), stop=StopReason.CONTEXT_WINDOW),
    ],
)
async def test_a_model_that_does_not_summarise_is_replaced_by_the_facts(path: Path, useless: Turn) -> None:
    attempt = Attempt(
        path,
        turn_of(WRITE),
        long(turn_of(call_block("b1", "bash", command="make test"))),
        useless,
        turn_of(finish_block("f")),
    )
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    told = last_words(attempt.gateway.requests[-1])
    assert "- `src/new.py` (1 edit)" in told
    assert "- `make test`: exit code 0" in told
    assert attempt.transcript.turns == 4, "what was paid counts"


async def test_a_conversation_that_fills_the_window_early_is_begun_anew_without_the_model(path: Path) -> None:
    full = turn_of(text_block("I was just"), stop=StopReason.CONTEXT_WINDOW)
    attempt = Attempt(path, turn_of(WRITE), full, turn_of(finish_block("f")))
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    assert len(attempt.gateway.requests[-1].messages) == 1
    assert "src/new.py" in last_words(attempt.gateway.requests[-1])


TOO_LONG = LlmContextWindowError("prompt is too long")


async def test_a_prompt_that_the_server_refuses_as_too_long_is_begun_anew_without_the_model(
    path: Path,
) -> None:
    attempt = Attempt(path, turn_of(WRITE), turn_of(call_block("b", "bash", command="ls")), TOO_LONG)
    attempt.gateway.answers.append(turn_of(finish_block("f")))
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    assert len(attempt.gateway.requests[-1].messages) == 1
    assert "src/new.py" in last_words(attempt.gateway.requests[-1])
    assert attempt.transcript.turns == 3


async def test_a_request_for_a_summary_that_does_not_fit_any_more_is_replaced_by_the_facts(
    path: Path,
) -> None:
    looks = long(turn_of(call_block("b1", "bash", command="make test")))
    attempt = Attempt(path, turn_of(WRITE), looks, TOO_LONG, turn_of(finish_block("f")))
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    assert "- `src/new.py` (1 edit)" in last_words(attempt.gateway.requests[-1])


async def test_an_opening_that_does_not_fit_ends_the_attempt_with_its_cause(path: Path) -> None:
    outcome = await Attempt(path, TOO_LONG).loop.run()
    assert isinstance(outcome, GaveUp)
    assert outcome.kind is GiveUpKind.CONTEXT_WINDOW


async def test_a_small_window_makes_short_results_answers_and_conversations(path: Path) -> None:
    limits = ContextWindow(16_000).limits(max_turns=60)
    look = turn_of(call_block("b1", "bash", command="make test"))
    size = Usage(input_tokens=7_000, output_tokens=200)
    attempt = Attempt(path, turn_of(WRITE), replace(look, usage=size), limits=limits)
    attempt.gateway.answers += [SUMMARY, turn_of(finish_block("f"))]
    attempt.output = "line of output\n" * 5_000
    assert isinstance(await attempt.loop.run(), ClaimsFinished)
    assert {request.max_tokens for request in attempt.gateway.requests} == {1_280}
    result = attempt.transcript.earlier[0][-1]["content"][0]["content"]
    assert len(result) < 8_000
    assert "Plan: half done" in last_words(attempt.gateway.requests[-1])


@pytest.mark.parametrize("tokens", [8_000, 16_384, 32_768, 131_072, 200_000, 1_000_000])
def test_the_parts_of_a_window_fit_into_it(tokens: int) -> None:
    window = ContextWindow(tokens)
    limits = window.limits(max_turns=60)
    one_result = limits.result_chars / 4
    assert limits.compact_at_tokens + limits.max_tokens_grown + one_result <= tokens
    assert window.map_tokens + window.instruction_bytes / 4 < limits.compact_at_tokens / 2


def test_a_roomy_window_changes_nothing_and_a_setting_goes_before_all() -> None:
    assert ContextWindow().limits(max_turns=60) == LoopLimits()
    assert ContextWindow(1_000_000).limits(max_turns=60) == LoopLimits()
    chosen = ContextWindow(1_000_000).limits(max_turns=60, compact_at_tokens=400_000)
    assert chosen.compact_at_tokens == 400_000


async def test_a_window_that_is_full_again_and_again_ends_the_attempt(path: Path) -> None:
    turns: list[Turn] = []
    for n in range(6):
        view = edit_block(f"v{n}", "view", "src/a.py", view_range=[1, n + 1])
        turns += [
            turn_of(view, stop=StopReason.MAX_TOKENS),
            turn_of(text_block("x"), stop=StopReason.CONTEXT_WINDOW),
        ]
    attempt = Attempt(path, *turns)
    outcome = await attempt.loop.run()
    assert isinstance(outcome, GaveUp)
    assert outcome.kind is GiveUpKind.CONTEXT_WINDOW
    assert attempt.transcript.turns == 6


async def test_a_conversation_whose_opening_is_too_long_does_not_summarise_for_ever(path: Path) -> None:
    views = [long(turn_of(edit_block(f"v{n}", "view", "src/a.py", view_range=[1, n + 1]))) for n in range(4)]
    attempt = Attempt(
        path, views[0], views[1], SUMMARY, views[2], views[3], SUMMARY, turn_of(finish_block("f"))
    )
    with pytest.raises(IndexError):
        await attempt.loop.run()
    summaries = ["about to be replaced" in last_words(r) for r in attempt.gateway.requests]
    assert summaries[:7] == [False, False, True, False, False, True, False]


async def test_a_summary_that_no_cap_leaves_room_for_is_an_outcome(path: Path) -> None:
    refused = SpendRefused("task", 600_000, 599_000)
    attempt = Attempt(path, turn_of(WRITE), long(turn_of(call_block("b", "bash", command="ls"))), refused)
    assert await attempt.loop.run() == OutOfMoney(refused)
    assert attempt.transcript.earlier == []


async def test_what_the_model_says_is_handed_on_while_it_speaks_and_bounded(path: Path) -> None:
    class TalkingGateway(ScriptedGateway):
        async def take_turn(self, request: TurnRequest, progress: Progress) -> Any:
            assert progress.on_text is not None
            for _ in range(30):
                progress.on_text("y" * 1_000)
            return await super().take_turn(request, progress)

    attempt = Attempt(path)
    attempt.gateway = TalkingGateway()
    attempt.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    await attempt.loop.run()
    said = "".join(attempt.reporter.pieces)
    assert said.count("y") == 2 * 20_000
    assert said.count("more follows in the transcript") == 2
