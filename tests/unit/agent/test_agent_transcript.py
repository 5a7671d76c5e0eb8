"""The transcript: what is on disk is what is re-sent, byte for byte, whatever happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from agent_fakes import (
    TURN_COST,
    TURN_USAGE,
    call_block,
    conversation_bytes,
    end_turn,
    text_block,
    turn_of,
)

from agentcoord.agent.replies import tool_result
from agentcoord.agent.transcript import Transcript
from agentcoord.agent.transcript_records import sendable_content
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import AgentError
from agentcoord.llm.api import Block, Message, PaidTurn, StopReason

SYSTEM: list[Block] = [{"type": "text", "text": "rules é \ud83d\ude00"}]
FIRST: Message = {"role": "user", "content": [{"type": "text", "text": "Task id: a"}]}
THOUGHT: Block = {
    "type": "thinking",
    "thinking": "hm",
    "signature": "c2ln",
    "z_unknown": {"b": 1, "a": [1.5, None]},
}


@pytest.fixture
async def opened(tmp_path: Path) -> Transcript:
    transcript = Transcript.open(tmp_path / "night" / "a.jsonl")
    await transcript.add_opening(SYSTEM, FIRST, "hash")
    return transcript


def state_of(transcript: Transcript) -> tuple[object, ...]:
    return (
        conversation_bytes(transcript.system, transcript.messages),
        transcript.turns,
        transcript.usage,
        transcript.cost_usd_micros,
        transcript.pending_turn,
        transcript.unanswered(),
        transcript.prompt_hash,
        transcript.patience,
        transcript.outcome_unknown(),
        conversation_bytes([], [m for messages in transcript.earlier for m in messages]),
        transcript.size_tokens(),
    )


def assert_reopens_alike(transcript: Transcript) -> None:
    assert state_of(Transcript.open(transcript.path)) == state_of(transcript)


def test_a_missing_file_is_an_empty_transcript(tmp_path: Path) -> None:
    transcript = Transcript.open(tmp_path / "none.jsonl")
    assert transcript.messages == []
    assert transcript.turns == 0
    assert transcript.unanswered() == []
    assert not transcript.path.exists()


async def test_a_conversation_reopens_byte_for_byte_after_every_record(opened: Transcript) -> None:
    assert_reopens_alike(opened)
    calls = (call_block("t1", "bash", command="ls \x7f é"), call_block("t2", "search", pattern="x"))
    await opened.add_turn(turn_of(THOUGHT, text_block("I look."), *calls), TURN_COST)
    assert_reopens_alike(opened)
    await opened.add_began(["t1"])
    assert_reopens_alike(opened)
    await opened.add_results([tool_result("t1", "a\nb")], {"growth": 1})
    assert_reopens_alike(opened)
    await opened.add_results([tool_result("t2", "no", is_error=True)])
    assert_reopens_alike(opened)
    await opened.add_turn(end_turn(text_block("Done.")), TURN_COST)
    assert_reopens_alike(opened)
    await opened.add_user("Red.")
    assert_reopens_alike(opened)
    assert [message["role"] for message in opened.messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert opened.messages[1]["content"][0] == THOUGHT


async def test_a_compaction_begins_anew_keeps_both_and_counts_its_turn(opened: Transcript) -> None:
    await opened.add_turn(turn_of(call_block("t1", "bash", command="ls")), TURN_COST)
    await opened.add_began(["t1"])
    before = list(opened.messages)
    opening = opened.opening
    summary = PaidTurn(end_turn(text_block("So far.")), UsdMicros(30), TURN_USAGE)
    anew: Message = {"role": "user", "content": [text_block("Task id: a"), text_block("So far.")]}
    await opened.add_compaction(anew, summary, {"growth": 1})
    assert_reopens_alike(opened)
    assert (opened.messages, opened.earlier) == ([anew], [before])
    assert opened.opening == opening
    assert (opened.turns, opened.cost_usd_micros) == (2, TURN_COST + 30)
    assert opened.pending_turn is None
    await opened.add_turn(end_turn(text_block("On.")), TURN_COST)
    await opened.add_compaction(anew, None)
    assert_reopens_alike(opened)
    assert len(opened.earlier) == 2
    assert opened.turns == 3


async def test_the_size_is_what_the_server_counted_and_an_estimate_of_what_came_after(
    opened: Transcript,
) -> None:
    start = opened.size_tokens()
    assert 0 < start < 100
    usage = Usage(input_tokens=1_000, cache_read_tokens=50_000, output_tokens=300)
    await opened.add_turn(replace(end_turn(text_block("x")), usage=usage), TURN_COST)
    assert opened.size_tokens() - 51_300 < 10
    await opened.add_user("y" * 3_000)
    assert 52_300 < opened.size_tokens() < 52_400
    assert_reopens_alike(opened)


async def test_only_a_call_that_had_begun_has_an_unknown_outcome(opened: Transcript) -> None:
    calls = (call_block("t1", "bash", command="a"), call_block("t2", "bash", command="b"))
    await opened.add_turn(turn_of(*calls), TURN_COST)
    assert not opened.outcome_unknown()
    await opened.add_began(["t1"])
    assert opened.outcome_unknown()
    assert (opened.has_begun("t1"), opened.has_begun("t2")) == (True, False)
    await opened.add_results([tool_result("t1", "done")])
    assert not opened.outcome_unknown()


async def test_counts_add_up(opened: Transcript) -> None:
    tries = Usage(input_tokens=100)
    await opened.add_turn(end_turn(text_block("a")), TURN_COST)
    await opened.add_user("go on")
    await opened.add_turn(end_turn(text_block("b")), UsdMicros(30), usage=tries)
    assert opened.turns == 2
    assert opened.usage == TURN_USAGE + tries
    assert opened.cost_usd_micros == 100


async def test_a_torn_last_line_is_dropped_and_later_records_stay_readable(opened: Transcript) -> None:
    before = state_of(opened)
    with opened.path.open("ab") as file:
        file.write(b'{"kind":"user","text":"half')
    reopened = Transcript.open(opened.path)
    assert state_of(reopened) == before
    await reopened.add_user("whole")
    assert_reopens_alike(reopened)
    assert reopened.messages[-1]["content"][0]["text"] == "whole"


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0\0\n", b"{}\n", b"[1]\n", b'{"kind":"turn","turn":{}}\n', b"7\n"]
)
async def test_an_unreadable_last_record_is_dropped_whole(opened: Transcript, garbage: bytes) -> None:
    before = state_of(opened)
    with opened.path.open("ab") as file:
        file.write(garbage)
    assert state_of(Transcript.open(opened.path)) == before


async def test_every_cut_of_the_file_reopens_as_a_prefix_of_the_conversation(opened: Transcript) -> None:
    await opened.add_turn(turn_of(call_block("t1", "bash", command="ls")), TURN_COST)
    await opened.add_results([tool_result("t1", "ok")])
    raw = opened.path.read_bytes()
    whole = [json.dumps(message) for message in opened.messages]
    cut_path = opened.path.with_name("cut.jsonl")
    for length in range(len(raw)):
        cut_path.write_bytes(raw[:length])
        messages = [json.dumps(message) for message in Transcript.open(cut_path).messages]
        assert messages == whole[: len(messages)]


async def test_damage_before_the_end_is_refused(opened: Transcript) -> None:
    await opened.add_user("more")
    lines = opened.path.read_bytes().split(b"\n")
    opened.path.write_bytes(b"\n".join([lines[0][:-5], *lines[1:]]))
    with pytest.raises(AgentError, match="line 1"):
        Transcript.open(opened.path)


async def test_unanswered_lists_only_calls_without_a_result(opened: Transcript) -> None:
    calls = [call_block(f"t{n}", "bash", command=str(n)) for n in range(3)]
    await opened.add_turn(turn_of(*calls), TURN_COST)
    assert [block["id"] for block in opened.unanswered()] == ["t0", "t1", "t2"]
    await opened.add_results([tool_result("t1", "ok")])
    assert [block["id"] for block in opened.unanswered()] == ["t0", "t2"]
    await opened.add_results([tool_result("t0", "ok"), tool_result("t2", "ok")])
    assert opened.unanswered() == []
    assert opened.pending_turn is None
    assert len(opened.messages) == 3


async def test_a_void_turn_is_paid_for_but_not_in_the_conversation(opened: Transcript) -> None:
    await opened.add_turn(end_turn(), TURN_COST, void=True, reply="Go on.")
    assert opened.turns == 1
    assert opened.cost_usd_micros == TURN_COST
    assert [message["role"] for message in opened.messages] == ["user", "user"]
    assert_reopens_alike(opened)


async def test_later_changes_to_a_block_do_not_reach_the_conversation(opened: Transcript) -> None:
    block = text_block("said")
    await opened.add_turn(end_turn(block), TURN_COST)
    block["text"] = "forged"
    assert opened.messages[-1]["content"][0]["text"] == "said"


async def test_the_file_is_for_its_owner_alone(opened: Transcript) -> None:
    assert opened.path.stat().st_mode & 0o777 == 0o600


async def test_half_a_surrogate_pair_survives_the_disk(opened: Transcript) -> None:
    await opened.add_turn(end_turn(text_block("lone \ud800")), TURN_COST)
    assert_reopens_alike(opened)


def test_blank_text_is_not_sent_back() -> None:
    turn = turn_of(text_block(" \n"), call_block("t", "bash", command="ls"))
    assert [block["type"] for block in sendable_content(turn)] == ["tool_use"]


def test_a_turn_of_thinking_alone_cannot_be_sent_back() -> None:
    assert sendable_content(turn_of(THOUGHT, stop=StopReason.MAX_TOKENS)) == []


def test_an_unsigned_thought_at_a_cut_is_not_sent_back() -> None:
    cut = {"type": "thinking", "thinking": "and th", "signature": ""}
    turn = turn_of(THOUGHT, text_block("So far."), cut, stop=StopReason.MAX_TOKENS)
    assert sendable_content(turn) == [THOUGHT, text_block("So far.")]


async def test_what_a_call_printed_is_known_until_the_next_one_begins(opened: Transcript) -> None:
    path = opened.path
    await opened.add_turn(turn_of(call_block("b1", "bash", command="a")), TURN_COST)
    await opened.add_began(["b1"])
    await opened.add_output("first line\n")
    for number in range(400):
        await opened.add_output(f"line {number:03d} " + "x" * 190 + "\n")
    reopened = Transcript.open(path)
    assert reopened.printed == opened.printed
    assert reopened.printed.startswith("first line\nline 000")
    assert reopened.printed.endswith("x\n")
    assert "line 399" in reopened.printed
    assert reopened.printed.count("[...]") == 1
    assert len(reopened.printed) < 25_000
    assert reopened.messages == opened.messages
    await opened.add_began(["b2"])
    assert Transcript.open(path).printed == ""
