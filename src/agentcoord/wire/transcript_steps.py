"""A conversation's records as steps that people read: what was asked, said, thought, run, answered.

Separate from the agent, which writes the records and goes on from them: whoever only looks on needs a
line's meaning and no more, and gets long texts cut. Reads by byte offset, because the file only grows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentcoord.values import dataclass

if TYPE_CHECKING:
    from agentcoord.wire.task_views import StepView

TEXT_CHARS: Final = 8_000
"""Longer texts of one step are cut in the middle."""
STEPS_A_RECORD: Final = 24
PIECE_BYTES: Final = 256 * 1024
"""How much of a file is read at once; one line at least."""
PIECE_STEPS_CHARS: Final = 400_000
_CUT: Final = "\n[...]\n"
_ARGUMENTS: Final = ("command", "path", "pattern", "query", "question", "summary")
"""Which argument of a call says most, the first that is there."""
_EDITS: Final = {"str_replace": "edit"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a conversation."""

    steps: list[StepView]
    next_offset: int
    more: bool
    """Whether more is there already."""
    context_tokens: int
    """How much the newest of these turns filled of the window; 0: no turn is among them."""


def read_piece(path: Path, offset: int) -> Piece:
    """Read the whole lines from a byte offset on. Blocking.

    A file that is shorter than the offset was begun anew, and is read from its beginning. One that is
    not there is empty. Raises OSError when it cannot be read.
    """
    steps: list[StepView] = []
    context_tokens = chars = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return Piece(steps, 0, more=False, context_tokens=0)
    with file:
        begin = offset if offset <= file.seek(0, 2) else 0
        end = file.seek(begin)
        while end - begin < PIECE_BYTES and chars < PIECE_STEPS_CHARS:
            line = file.readline()
            if not line.endswith(b"\n"):
                return Piece(steps, end, more=False, context_tokens=context_tokens)
            end += len(line)
            record = _record_of(line)
            found = list(_steps_of(record))[:STEPS_A_RECORD]
            chars += sum(len(step["text"]) for step in found)
            steps += found
            context_tokens = _context_of(record) or context_tokens
        return Piece(steps, end, more=True, context_tokens=context_tokens)


def _record_of(line: bytes) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _steps_of(record: Mapping[str, Any]) -> Iterator[StepView]:
    match record.get("kind"):
        case "opening" | "compaction":
            title = "the task" if record["kind"] == "opening" else "the conversation goes on from a summary"
            yield from _said_by_user(record.get("message") or {}, title)
        case "turn":
            yield from _turn(record)
        case "results":
            for block in record.get("blocks") or ():
                text = _text_of(block.get("content"))
                call = str(block.get("tool_use_id", ""))
                yield _step("result", "", text, is_error=bool(block.get("is_error")), call=call)
        case "user":
            yield _step("asked", "the daemon", str(record.get("text", "")))
        case _:
            return


def _turn(record: Mapping[str, Any]) -> Iterator[StepView]:
    turn = record.get("turn") or {}
    yield _step("turn", f"{turn.get('model', '')} {turn.get('stop_reason', '')}".strip(), "")
    for block in turn.get("content") or ():
        match block.get("type"):
            case "text":
                yield _step("said", "", str(block.get("text", "")))
            case "thinking":
                yield _step("thought", "", str(block.get("thinking", "")))
            case "tool_use":
                yield _call(block)
            case _:
                pass
    if record.get("void") and record.get("reply"):
        yield _step("asked", "the daemon", str(record["reply"]))


def _call(block: Mapping[str, Any]) -> StepView:
    """A tool call: its most telling argument in the title, all of them in the text."""
    arguments = block.get("input") or {}
    telling = next((str(arguments[name]) for name in _ARGUMENTS if arguments.get(name)), "")
    name = str(block.get("name", ""))
    if name == "str_replace_based_edit_tool":
        command = str(arguments.get("command", ""))
        name, telling = _EDITS.get(command, command), str(arguments.get("path", ""))
    text = "\n".join(f"{argument}: {value}" for argument, value in arguments.items())
    return _step("ran", f"{name} {telling}".strip(), text, call=str(block.get("id", "")))


def _said_by_user(message: Mapping[str, Any], title: str) -> Iterator[StepView]:
    yield _step("asked", title, _text_of(message.get("content")))


def _text_of(content: object) -> str:
    """The text of a message's or a result's content, in either shape that the API takes."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(each.get("text", "")) for each in blocks if isinstance(each, dict))


def _context_of(record: Mapping[str, Any]) -> int:
    usage = (record.get("turn") or {}).get("usage") or {}
    return sum(int(number) for name, number in usage.items() if str(name).endswith("_tokens"))


def _step(kind: str, title: str, text: str, *, is_error: bool = False, call: str = "") -> StepView:
    if len(text) > TEXT_CHARS:
        half = (TEXT_CHARS - len(_CUT)) // 2
        text = text[:half] + _CUT + text[-half:]
    first_line = title.split("\n", 1)[0]
    return {"kind": kind, "title": first_line[:500], "text": text, "is_error": is_error, "call": call}
