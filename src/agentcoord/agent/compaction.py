"""Beginning a conversation anew before it outgrows the model: a summary takes the place of what was said.

Theory of operation. Conversations are append-only, because thinking is bound to what came before it and
because each change would miss the cache; so making room means a new conversation. Near the limit the
model is asked, at the end of the old one (whose prefix is in the cache), for what it needs to go on.
The new one opens with the task as before, that summary, the files that differ (as we see them, not as
it remembers), and the last exchanges with their results trimmed. Where no summary can be had, because
the window is full already or the model does something else, an account from the transcript stands in.
Deliberately absent: deciding when; the loop asks `is_due`.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.agent import replies
from agentcoord.agent.outcomes import LoopLimits
from agentcoord.agent.patience import Patience
from agentcoord.agent.ports import Files
from agentcoord.agent.prompts import prompt_text
from agentcoord.agent.retrospect import account_of, recent_exchanges
from agentcoord.agent.transcript import Transcript
from agentcoord.llm.api import Message, PaidTurn, StopReason, Turn

SUMMARY_MAX_TOKENS = 8_000
_SUMMARY_CHARS = 24_000
_LEAST_REPLIES = 2
"""A conversation with fewer turns would be no shorter after it."""
_RECENT_TURNS = 2
_RECENT_RESULT_CHARS = 1_500
_FILES_SHOWN = 100
_TELLING = frozenset({StopReason.END_TURN, StopReason.STOP_SEQUENCE, StopReason.MAX_TOKENS})


class Compaction:
    """Makes room in one attempt's conversation."""

    def __init__(
        self, *, transcript: Transcript, files: Files, patience: Patience, limits: LoopLimits
    ) -> None:
        self._transcript = transcript
        self._files = files
        self._patience = patience
        self._limits = limits

    def is_possible(self) -> bool:
        """Whether there is enough in the conversation for a summary to be shorter."""
        return self._transcript.replies >= _LEAST_REPLIES

    def is_due(self) -> bool:
        return self.is_possible() and self._transcript.size_tokens() >= self._limits.compact_at_tokens

    def asking(self) -> list[Message]:
        """Return the conversation with the request for a summary at its end."""
        messages = self._transcript.messages
        return [*messages[:-1], _with_words(messages[-1], prompt_text("summarise"))]

    async def begin_anew(self, paid: PaidTurn | None) -> None:
        """Replace the conversation; `paid` is the model's answer to `asking`, or None without one."""
        transcript = self._transcript
        summary = summary_of(paid.turn) if paid is not None else ""
        if not summary:
            summary = account_of([*transcript.earlier, transcript.messages]) or "Nothing was changed so far."
        recent = recent_exchanges(transcript.messages, turns=_RECENT_TURNS, result_chars=_RECENT_RESULT_CHARS)
        changes = await self._files.changes()
        opening = transcript.opening["content"]
        text = replies.begun_anew(summary, changes.paths[:_FILES_SHOWN], recent)
        message = {"role": "user", "content": [*opening, {"type": "text", "text": text}]}
        await transcript.add_compaction(message, paid, self._patience.to_dict())


def summary_of(turn: Turn) -> str:
    """Return the words of a turn that summarises; empty when it does something else."""
    if turn.stop_reason not in _TELLING:
        return ""
    words = "\n\n".join(str(b["text"]).strip() for b in turn.content if b.get("type") == "text")
    return words.strip()[:_SUMMARY_CHARS]


def _with_words(message: Message, words: str) -> Message:
    """Add a request to the newest user message: into its last result, else as text of its own.

    Text blocks after results would make empty turns.
    """
    blocks: Sequence[dict[str, object]] = message["content"]
    last = blocks[-1]
    if last.get("type") == "tool_result" and isinstance(last["content"], str):
        blocks = [*blocks[:-1], {**last, "content": replies.with_notes(last["content"], [words])}]
    else:
        blocks = [*blocks, {"type": "text", "text": words}]
    return {"role": "user", "content": blocks}
