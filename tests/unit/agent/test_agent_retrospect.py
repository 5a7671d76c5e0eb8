"""What the next attempt is told of those before it: facts from their transcripts."""

from __future__ import annotations

from pathlib import Path

from agent_fakes import TURN_COST, call_block, edit_block, end_turn, finish_block, text_block, turn_of

from agentcoord.agent.replies import tool_result
from agentcoord.agent.retrospect import account_of, earlier_attempts
from agentcoord.agent.transcript import Transcript
from agentcoord.llm.api import Block


async def write_attempt(folder: Path, number: int, *turns: tuple[Block, str, bool]) -> Transcript:
    """Write a transcript in which each call got the given result."""
    transcript = Transcript.open(folder / f"attempt-{number}.jsonl")
    await transcript.add_opening(
        [text_block("s")], {"role": "user", "content": [text_block("Task id: t")]}, "h"
    )
    for call, result, is_error in turns:
        await transcript.add_turn(turn_of(text_block(f"I call {call['id']}."), call), TURN_COST)
        await transcript.add_results([tool_result(call["id"], result, is_error=is_error)])
    return transcript


def edit(call_id: str, path: str) -> Block:
    return edit_block(call_id, "str_replace", path, old_str="a", new_str="b")


async def test_the_next_attempt_learns_files_commands_claim_and_what_was_red(tmp_path: Path) -> None:
    await write_attempt(
        tmp_path,
        1,
        (edit("e1", "src/a.py"), "done", False),
        (edit("e2", "src/a.py"), "done", False),
        (edit("e3", "src/b.py"), "old_str does not occur", True),
        (call_block("b1", "bash", command="make\ntest"), "exit code 2 (0.1 s)\nE: boom", False),
        (finish_block("f1", "I mended it."), "tests: exit code 1\nFAILED test_x", True),
    )
    told = earlier_attempts(tmp_path, 2, "the same checks failed twice alike: tests")
    assert told.startswith("### Attempt 1: 5 turns. It ended so: the same checks failed twice alike: tests.")
    assert "- `src/a.py` (2 edits)" in told
    assert "src/b.py" not in told
    assert "- `make test`: exit code 2 (0.1 s)" in told
    assert "It said that it was finished: I mended it." in told
    assert "FAILED test_x" in told
    assert "Its last words: I call f1." in told


async def test_a_claim_made_in_words_and_its_verdict_are_told_too(tmp_path: Path) -> None:
    transcript = await write_attempt(tmp_path, 1, (edit("e1", "src/a.py"), "done", False))
    await transcript.add_turn(end_turn(text_block("All done.")), TURN_COST)
    await transcript.add_user("tests: exit code 1")
    told = account_of([transcript.messages])
    assert "It said that it was finished: All done." in told
    assert "tests: exit code 1" in told


async def test_all_earlier_attempts_are_told_newest_first_and_bounded(tmp_path: Path) -> None:
    for number in (1, 2):
        await write_attempt(tmp_path, number, (finish_block("f"), "x" * 9_000, True))
    told = earlier_attempts(tmp_path, 3, "red")
    assert told.index("### Attempt 2") < told.index("### Attempt 1")
    assert len(told) < 9_000


async def test_what_a_compaction_ended_counts_too(tmp_path: Path) -> None:
    transcript = await write_attempt(tmp_path, 1, (edit("e1", "src/a.py"), "done", False))
    await transcript.add_compaction({"role": "user", "content": [text_block("on")]}, None)
    assert "src/a.py" in earlier_attempts(tmp_path, 2, "why")


def test_a_transcript_that_is_gone_leaves_why_and_a_first_attempt_nothing(tmp_path: Path) -> None:
    assert earlier_attempts(tmp_path, 1, "") == ""
    assert earlier_attempts(tmp_path, 2, "the model refused") == (
        "### Attempt 1: 0 turns. It ended so: the model refused."
    )
    (tmp_path / "attempt-1.jsonl").write_text("garbage\nmore\n")
    assert "the model refused" in earlier_attempts(tmp_path, 2, "the model refused")
