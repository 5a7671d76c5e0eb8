"""Conversations are read in pieces, whatever is in them, and however far they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentcoord.wire.transcript_steps import PIECE_STEPS_CHARS, STEPS_A_RECORD, TEXT_CHARS, read_piece


def turn(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 85}
    return {
        "kind": "turn",
        "turn": {"content": list(blocks), "stop_reason": "tool_use", "model": "m", "usage": usage},
        **more,
    }


def test_every_kind_of_record_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    edit = {"command": "str_replace", "path": "x.py", "old_str": "a", "new_str": "b"}
    records = [
        {"kind": "opening", "message": {"content": [{"type": "text", "text": "Do it."}]}},
        turn(
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "I edit."},
            {"type": "tool_use", "id": "t1", "name": "str_replace_based_edit_tool", "input": edit},
            {"type": "redacted_thinking", "data": "x"},
        ),
        {"kind": "began", "ids": ["t1"]},
        {"kind": "results", "blocks": [{"tool_use_id": "t1", "content": "No.", "is_error": True}]},
        turn(void=True, reply="Say more."),
        {"kind": "user", "text": "Go on."},
        {"kind": "compaction", "message": {"content": "In short."}},
        {"kind": "from a later version"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "7\nnonsense\n")
    piece = read_piece(path, 0)
    assert [(s["kind"], s["title"], s["text"]) for s in piece.steps] == [
        ("asked", "the task", "Do it."),
        ("turn", "m tool_use", ""),
        ("thought", "", "Hm."),
        ("said", "", "I edit."),
        ("ran", "edit x.py", "command: str_replace\npath: x.py\nold_str: a\nnew_str: b"),
        ("result", "", "No."),
        ("turn", "m tool_use", ""),
        ("asked", "the daemon", "Say more."),
        ("asked", "the daemon", "Go on."),
        ("asked", "the conversation goes on from a summary", "In short."),
    ]
    assert piece.context_tokens == 100
    assert [s["is_error"] for s in piece.steps if s["kind"] == "result"] == [True]


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = json.dumps({"kind": "user", "text": "one"}) + "\n"
    path.write_text(whole + whole[:10])
    piece = read_piece(path, 0)
    assert ([s["text"] for s in piece.steps], piece.next_offset, piece.more) == (["one"], len(whole), False)
    path.write_text(whole * 2)
    assert [s["text"] for s in read_piece(path, piece.next_offset).steps] == ["one"]


def test_a_file_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"kind": "user", "text": "new"}) + "\n")
    assert [s["text"] for s in read_piece(path, 10_000).steps] == ["new"]
    assert read_piece(tmp_path / "none", 10_000).next_offset == 0


def test_pieces_are_bounded_and_join_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = "x" * (TEXT_CHARS * 3)
    path.write_text("".join(json.dumps({"kind": "user", "text": f"{i} {long}"}) + "\n" for i in range(60)))
    texts: list[str] = []
    offset, more, pieces = 0, True, 0
    while more:
        piece = read_piece(path, offset)
        texts += [step["text"] for step in piece.steps]
        assert sum(len(step["text"]) for step in piece.steps) <= PIECE_STEPS_CHARS + TEXT_CHARS
        offset, more, pieces = piece.next_offset, piece.more, pieces + 1
    assert [text.split()[0] for text in texts] == [str(i) for i in range(60)]
    assert all(len(text) <= TEXT_CHARS for text in texts)
    assert pieces > 1
    many = [{"type": "text", "text": "x"}] * 500
    path.write_text(json.dumps(turn(*many)) + "\n")
    assert len(read_piece(path, 0).steps) == STEPS_A_RECORD
