"""What the service would refuse about a conversation, and what a script reads from it.

Separate from `validation` because these rules hold between messages. Messages of one role in a
row are merged first, as the service does. Thinking is checked against what this server issued
for the same beginning; a beginning it never saw is taken on trust.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from agentcoord.llm.rehearsal.prefix_cache import blocks_of, canonical
from agentcoord.llm.rehearsal.problems import Problem

_TASK_LINE = re.compile(r"^Task id:[ \t]*(\S+)", re.MULTILINE)
_THINKING_TYPES = ("thinking", "redacted_thinking")
_MAX_ISSUED = 10_000

Turn = tuple[str, list[dict[str, Any]]]
"""Role and blocks, after merging."""


def merged(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Return the conversation with messages of one role in a row joined."""
    turns: list[Turn] = []
    for message in messages:
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks_of(message["content"]))
        else:
            turns.append((message["role"], blocks_of(message["content"])))
    return turns


def task_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the id in the line `Task id: ...` of the first user message; None without one."""
    found = _TASK_LINE.search(text_of(messages[0]["content"]))
    return found[1] if found else None


def turns_so_far(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return how many assistant messages the conversation holds."""
    return sum(message["role"] == "assistant" for message in messages)


def text_of(content: Any) -> str:
    """Return all text of a message, that of tool results included, one block a line."""
    texts = []
    for block in blocks_of(content):
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "tool_result":
            texts.append(text_of(block.get("content") or ""))
    return "\n".join(texts)


def check_conversation(messages: Sequence[Mapping[str, Any]], *, may_continue: bool) -> Problem | None:
    """Return the first rule between messages that is broken, or None.

    `may_continue`: the final message is an assistant's that was paused, to be taken up again.
    """
    turns = merged(messages)
    for n, (role, blocks) in enumerate(turns):
        following = turns[n + 1][1] if n + 1 < len(turns) else None
        previous = turns[n - 1][1] if n else []
        problem = (
            _check_calls(blocks, following, n)
            if role == "assistant"
            else _check_results(blocks, _ids(previous, "tool_use", "id"), n)
        )
        if problem is not None:
            return problem
    if turns[-1][0] == "assistant" and not may_continue:
        return Problem(
            400,
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message.",
        )
    return None


def _ids(blocks: Sequence[Mapping[str, Any]], kind: str, key: str) -> list[str]:
    return [str(block.get(key)) for block in blocks if block["type"] == kind]


def _check_calls(
    blocks: Sequence[Mapping[str, Any]], following: Sequence[Mapping[str, Any]] | None, n: int
) -> Problem | None:
    """Every call must be answered by the next user message."""
    called = _ids(blocks, "tool_use", "id")
    repeated = [name for name, count in Counter(called).items() if count > 1]
    if repeated:
        return Problem(400, f"messages.{n}: `tool_use` ids must be unique: {repeated[0]}")
    answered = set() if following is None else set(_ids(following, "tool_result", "tool_use_id"))
    if missing := [call for call in called if call not in answered]:
        return Problem(
            400,
            f"messages.{n}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}",
        )
    return None


def _check_results(blocks: Sequence[Mapping[str, Any]], called: Sequence[str], n: int) -> Problem | None:
    """Results come first, once each, for calls of the previous message."""
    results = _ids(blocks, "tool_result", "tool_use_id")
    for result in results:
        if result not in called:
            return Problem(
                400, f"messages.{n}: unexpected `tool_use_id` found in `tool_result` blocks: {result}"
            )
    if len(set(results)) < len(results):
        return Problem(400, f"messages.{n}: each tool_use must have a single result")
    kinds = [block["type"] == "tool_result" for block in blocks[: len(results)]]
    if not all(kinds):
        return Problem(400, f"messages.{n}: `tool_result` blocks must come first in the content")
    return None


class IssuedThinking:
    """Remembers the thinking that was issued, by the conversation it answered. Bounded."""

    def __init__(self) -> None:
        self._issued: OrderedDict[bytes, list[list[str]]] = OrderedDict()

    def note(self, messages: Sequence[Mapping[str, Any]], answer: Sequence[Mapping[str, Any]]) -> None:
        """`answer` was begun in reply to `messages`."""
        variants = self._issued.setdefault(_digest(messages), [])
        if (thinking := _thinking_of(answer)) not in variants:
            variants.append(thinking)
        self._issued.move_to_end(_digest(messages))
        while len(self._issued) > _MAX_ISSUED:
            self._issued.popitem(last=False)

    def check(self, messages: Sequence[Mapping[str, Any]]) -> Problem | None:
        """Refuse if the latest assistant message's thinking is not as it was issued."""
        latest = max((n for n, m in enumerate(messages) if m["role"] == "assistant"), default=None)
        if latest is None:
            return None
        variants = self._issued.get(_digest(messages[:latest]))
        if variants is None or _thinking_of(blocks_of(messages[latest]["content"])) in variants:
            return None
        return Problem(
            400,
            f"messages.{latest}: `thinking` or `redacted_thinking` blocks in the latest assistant message "
            "cannot be modified. These blocks must remain as they were in the original response.",
        )


def _thinking_of(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    return [canonical(block) for block in blocks if block["type"] in _THINKING_TYPES]


def _digest(messages: Sequence[Mapping[str, Any]]) -> bytes:
    running = hashlib.sha256()
    for message in messages:
        running.update(f"{message['role']}\0".encode())
        for block in blocks_of(message["content"]):
            running.update(f"{canonical(block)}\0".encode("utf-8", "surrogatepass"))
    return running.digest()
