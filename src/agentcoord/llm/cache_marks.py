"""Where cache breakpoints go in a request, without touching the caller's blocks.

Separate from the client because it is pure. One mark ends the system prompt (shared by all
workers of a project, so it lives an hour), and one each ends the two most recent user turns:
the newer writes the cache, the older is where it is surely read. That is three of the four
that the API allows. Deliberately absent: marks on tools; they come before the system prompt
and are covered by its mark.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.llm.api import Block, Message

_SYSTEM_MARK = {"type": "ephemeral", "ttl": "1h"}
_TURN_MARK = {"type": "ephemeral", "ttl": "5m"}
_MARKED_USER_TURNS = 2


def with_cache_marks(
    system: Sequence[Block], messages: Sequence[Message]
) -> tuple[list[Block], list[Message]]:
    """Return copies that carry the marks; blocks that get none are handed on as they are."""
    marked_messages = list(messages)
    user_turns = [n for n, message in enumerate(messages) if message["role"] == "user"]
    for n in user_turns[-_MARKED_USER_TURNS:]:
        content = messages[n]["content"]
        if isinstance(content, list) and content:
            marked_messages[n] = {**messages[n], "content": _mark_last(content, _TURN_MARK)}
    return _mark_last(system, _SYSTEM_MARK), marked_messages


def _mark_last(blocks: Sequence[Block], mark: dict[str, str]) -> list[Block]:
    if not blocks:
        return []
    return [*blocks[:-1], {**blocks[-1], "cache_control": dict(mark)}]
