"""What was done so far, told from a transcript: for the next attempt, and for a conversation begun anew.

Facts only, from what was called and what came back: no model is asked. Pure but for `earlier_attempts`,
which reads files. Deliberately absent: judging; the one who reads it decides what to do otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from agentcoord.agent.tools import bash, editor, finish
from agentcoord.agent.transcript import Transcript
from agentcoord.errors import AgentError
from agentcoord.llm.api import Block, Message
from agentcoord.values import dataclass

_COMMANDS_SHOWN = 8
_COMMAND_CHARS = 200
_VERDICT_CHARS = 3_000
_WORDS_CHARS = 1_500
_FILES_SHOWN = 40
_ATTEMPT_CHARS = 5_500
"""Of the newest attempt; the ones before it share what is left of a briefing's bound."""
_OLDER_ATTEMPT_CHARS = 2_500
_WRITES = frozenset({"create", "str_replace", "insert"})


@dataclass(slots=True)
class _Deeds:
    """What one walk over the messages finds."""

    files: dict[str, int] = field(default_factory=dict)
    """Edits that worked, by path."""
    commands: list[str] = field(default_factory=list)
    verdict: str = ""
    """What came back for the newest claim to be finished."""
    claim: str = ""
    words: str = ""
    """The newest words of the model itself."""


def account_of(conversations: Sequence[Sequence[Message]]) -> str:
    """Tell what happened in `conversations`, oldest first; empty when nothing did."""
    deeds = _Deeds()
    for messages in conversations:
        _walk(messages, deeds)
    parts = []
    if deeds.files:
        listed = [
            f"- `{path}` ({count} edit{'s' if count != 1 else ''})" for path, count in deeds.files.items()
        ]
        parts.append("Files it edited:\n" + "\n".join(listed[:_FILES_SHOWN]))
    if deeds.commands:
        parts.append("Its last commands:\n" + "\n".join(deeds.commands[-_COMMANDS_SHOWN:]))
    if deeds.claim:
        parts.append(f"It said that it was finished: {deeds.claim[:_WORDS_CHARS]}")
    if deeds.verdict:
        parts.append("What came back for that:\n" + _head(deeds.verdict, _VERDICT_CHARS))
    if deeds.words and deeds.words != deeds.claim:
        parts.append(f"Its last words: {deeds.words[:_WORDS_CHARS]}")
    return "\n\n".join(parts)


def earlier_attempts(folder: Path, attempt: int, why: str) -> str:
    """Tell of the attempts before `attempt` from their transcripts in `folder`, newest first. Blocking.

    `why` is how the newest ended. A transcript that is gone or cannot be read tells nothing; empty for
    a first attempt.
    """
    told = []
    for number in range(attempt - 1, 0, -1):
        newest = number == attempt - 1
        ended = f" It ended so: {why}." if newest and why else ""
        try:
            transcript = Transcript.open(folder / f"attempt-{number}.jsonl")
        except (AgentError, OSError):
            transcript = Transcript(folder / "unreadable")
        account = account_of([*transcript.earlier, transcript.messages])
        if not (ended or account):
            continue
        head = f"### Attempt {number}: {transcript.turns} turns.{ended}"
        text = f"{head}\n\n{account}".rstrip()
        told.append(_head(text, _ATTEMPT_CHARS if newest else _OLDER_ATTEMPT_CHARS))
    return "\n\n".join(told)


def recent_exchanges(messages: Sequence[Message], *, turns: int, result_chars: int) -> str:
    """Write out the last `turns` turns as text, each result cut at `result_chars`."""
    starts = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    rows: list[str] = []
    for message in messages[starts[-turns] if len(starts) >= turns else 1 :]:
        for block in message["content"]:
            match block.get("type"):
                case "text":
                    rows.append(f"{_speaker(message)}: {_head(str(block['text']).strip(), result_chars)}")
                case "tool_use":
                    rows.append(f"you called {_call_words(block)}")
                case "tool_result":
                    rows.append("it answered: " + _head(_result_text(block).strip(), result_chars))
                case _:
                    continue
    return "\n".join(rows)


def _walk(messages: Sequence[Message], deeds: _Deeds) -> None:
    results = {
        str(block["tool_use_id"]): block
        for message in messages
        for block in message["content"]
        if block.get("type") == "tool_result"
    }
    claimed_by_words = False
    for position, message in enumerate(messages):
        if message["role"] == "user":
            texts = [str(b["text"]) for b in message["content"] if b.get("type") == "text"]
            if claimed_by_words and texts:
                deeds.verdict = "\n".join(texts)
            continue
        calls = [b for b in message["content"] if b.get("type") == "tool_use"]
        words = "\n".join(str(b["text"]) for b in message["content"] if b.get("type") == "text").strip()
        deeds.words = words or deeds.words
        claimed_by_words = bool(words) and not calls and position > 0
        if claimed_by_words:
            deeds.claim = words
        for call in calls:
            _note_call(call, results.get(str(call.get("id"))), deeds)


def _note_call(call: Block, result: Block | None, deeds: _Deeds) -> None:
    arguments = call.get("input")
    if not isinstance(arguments, dict):
        return
    text = "" if result is None else _result_text(result)
    match call.get("name"):
        case bash.NAME if "command" in arguments:
            command = " ".join(str(arguments["command"]).split())[:_COMMAND_CHARS]
            outcome = text.split("\n", 1)[0][:80] or "no outcome"
            deeds.commands.append(f"- `{command}`: {outcome}")
        case editor.NAME if arguments.get("command") in _WRITES:
            if result is not None and not result.get("is_error"):
                path = str(arguments.get("path", ""))[:300]
                deeds.files[path] = deeds.files.get(path, 0) + 1
        case finish.NAME:
            deeds.claim = str(arguments.get("summary", "")).strip()
            deeds.verdict = text
        case _:
            return


def _call_words(call: Block) -> str:
    arguments = call.get("input")
    if not isinstance(arguments, dict):
        return str(call.get("name"))
    shown = {key: _head(str(value), 200) for key, value in arguments.items()}
    return f"{call.get('name')} with " + ", ".join(f"{key}={value!r}" for key, value in shown.items())


def _speaker(message: Message) -> str:
    return "you said" if message["role"] == "assistant" else "you were told"


def _result_text(block: Block) -> str:
    content = block.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


def _head(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]} [cut: {len(text) - chars} more characters]"
