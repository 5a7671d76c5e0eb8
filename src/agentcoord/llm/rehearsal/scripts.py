"""What the rehearsed model will say: scripts, read from TOML and checked whole.

Separate from the server because it is pure but for reading files. A script belongs to a task;
turn n answers the request that has n assistant messages so far, so that a conversation which
was killed and resumed gets the same turns. `docs/reference/rehearsal-scripts.md` documents the
format; the key lists here and there are held together by a test.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcoord.errors import RehearsalScriptError
from agentcoord.llm.api import StopReason
from agentcoord.llm.rehearsal.faults import Fault, FaultKind
from agentcoord.values import dataclass

ANY_TASK = "*"
"""The script with this task plays for every task that has none of its own."""
SCRIPT_KEYS = frozenset({"task", "turn"})
ANSWER_KEYS = frozenset(
    {"text", "thinking", "tool", "block", "stop_reason", "thinking_ms", "stream_ms", "fault"}
)
TURN_KEYS = ANSWER_KEYS | {"when"}
WHEN_KEYS = ANSWER_KEYS | {"last_result_contains"}
TOOL_KEYS = frozenset({"name", "input"})
FAULT_KEYS = frozenset({"kind", "times", "retry_after_s", "ms", "after"})
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_STOP_REASONS = frozenset(StopReason) - {StopReason.UNKNOWN}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for."""

    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant message."""

    text: str = ""
    thinking: str = ""
    tools: tuple[ToolCall, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ()
    """Further content blocks, sent as they stand."""
    stop_reason: str = ""
    """Empty: `tool_use` when there are tools, else `end_turn`."""
    thinking_ms: int = 0
    """Before the first byte."""
    stream_ms: int = 0
    """Spread over the stream."""
    fault: Fault | None = None

    @property
    def effective_stop_reason(self) -> str:
        return self.stop_reason or ("tool_use" if self.tools else "end_turn")


@dataclass(frozen=True, slots=True)
class When:
    """An answer that is given instead if the newest user message holds some words."""

    last_result_contains: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """A turn and its variants; the first that matches is played, else the base."""

    answer: Answer
    whens: tuple[When, ...] = ()

    def answer_to(self, last_result: str) -> Answer:
        """Return what is said after `last_result`, the text of the newest user message."""
        for when in self.whens:
            if when.last_result_contains in last_result:
                return when.answer
        return self.answer


@dataclass(frozen=True, slots=True)
class Script:
    """All turns of one task's conversation."""

    task: str
    turns: tuple[ScriptedTurn, ...]

    def answer_to(self, turn: int, last_result: str) -> Answer:
        """Return the answer of turn `turn`, counted from 0; beyond the last, a plain end."""
        if turn < len(self.turns):
            return self.turns[turn].answer_to(last_result)
        return Answer(text="I have nothing left to do.")

    def answers_of(self, turn: int) -> Sequence[Answer]:
        """Return every way turn `turn` can go."""
        if turn >= len(self.turns):
            return ()
        scripted = self.turns[turn]
        return (scripted.answer, *(when.answer for when in scripted.whens))


def load_scripts(path: Path) -> dict[str, Script]:
    """Read one script file, or all `*.toml` of a folder, by task.

    Raises RehearsalScriptError with every problem of every file.
    """
    paths = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not paths:
        raise RehearsalScriptError(f"{path} holds no script (*.toml)")
    scripts: dict[str, Script] = {}
    problems: list[str] = []
    for file in paths:
        try:
            raw = tomllib.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(f"{file.name}: {error}")
            continue
        reading = _Reading(file.name, problems)
        script = reading.script(raw)
        if script.task in scripts:
            problems.append(f"{file.name}: a second script for the task {script.task!r}")
        scripts[script.task] = script
    if problems:
        raise RehearsalScriptError(f"{problems[0]} ({len(problems)} in all)", problems)
    return scripts


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one file; adds to `problems` instead of raising."""

    source: str
    problems: list[str]

    def script(self, raw: Mapping[str, Any]) -> Script:
        self._check_keys(raw, SCRIPT_KEYS, "the file")
        task = self._value(raw, "task", str, "the file", "")
        if not task:
            self._problem("the file", 'needs `task`, a task id or "*"')
        turns = [
            self._turn(turn, f"turn {n}") for n, turn in enumerate(self._tables(raw, "turn", "the file"))
        ]
        return Script(task, tuple(turns))

    def _turn(self, raw: Mapping[str, Any], where: str) -> ScriptedTurn:
        self._check_keys(raw, TURN_KEYS, where)
        whens = []
        for n, when in enumerate(self._tables(raw, "when", where)):
            place = f"{where}, when {n}"
            self._check_keys(when, WHEN_KEYS, place)
            words = self._value(when, "last_result_contains", str, place, "")
            if not words:
                self._problem(place, "needs `last_result_contains`")
            whens.append(When(words, self._answer(when, place)))
        return ScriptedTurn(self._answer(raw, where), tuple(whens))

    def _answer(self, raw: Mapping[str, Any], where: str) -> Answer:
        tools = [
            self._tool(tool, f"{where}, tool {n}") for n, tool in enumerate(self._tables(raw, "tool", where))
        ]
        blocks = self._tables(raw, "block", where)
        for block in blocks:
            if not isinstance(block.get("type"), str):
                self._problem(where, "a block needs a `type`")
        stop_reason = self._value(raw, "stop_reason", str, where, "")
        if stop_reason and stop_reason not in _STOP_REASONS:
            self._problem(
                where, f"unknown stop_reason {stop_reason!r}; one of {', '.join(sorted(_STOP_REASONS))}"
            )
        return Answer(
            text=self._value(raw, "text", str, where, ""),
            thinking=self._value(raw, "thinking", str, where, ""),
            tools=tuple(tools),
            blocks=tuple(blocks),
            stop_reason=stop_reason,
            thinking_ms=self._count(raw, "thinking_ms", where),
            stream_ms=self._count(raw, "stream_ms", where),
            fault=self._fault(raw.get("fault"), where),
        )

    def _tool(self, raw: Mapping[str, Any], where: str) -> ToolCall:
        self._check_keys(raw, TOOL_KEYS, where)
        name = self._value(raw, "name", str, where, "")
        if not _TOOL_NAME.fullmatch(name):
            self._problem(where, "`name` must be 1 to 64 letters, digits, `_` or `-`")
        arguments = self._value(raw, "input", dict, where, {})
        try:
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            self._problem(where, f"`input` cannot be JSON: {error}")
        return ToolCall(name, arguments)

    def _fault(self, raw: object, where: str) -> Fault | None:
        if raw is None:
            return None
        table: Mapping[str, Any] = raw if isinstance(raw, dict) else {"kind": raw}
        self._check_keys(table, FAULT_KEYS, f"{where}, fault")
        kind = self._value(table, "kind", str, where, "")
        if kind not in set(FaultKind):
            self._problem(where, f"unknown fault {kind!r}; one of {', '.join(FaultKind)}")
            return None
        standard = Fault(FaultKind(kind))
        return Fault(
            kind=FaultKind(kind),
            times=self._count(table, "times", where, standard.times),
            retry_after_s=self._share(table, "retry_after_s", where, standard.retry_after_s, 86_400),
            ms=self._count(table, "ms", where, standard.ms),
            after=self._share(table, "after", where, standard.after, 1),
        )

    def _tables(self, raw: Mapping[str, Any], key: str, where: str) -> Sequence[Mapping[str, Any]]:
        value = raw.get(key, [])
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            return value
        self._problem(where, f"`{key}` must be tables")
        return []

    def _count(self, raw: Mapping[str, Any], key: str, where: str, default: int = 0) -> int:
        value: int = self._value(raw, key, int, where, default)
        if value < 0:
            self._problem(where, f"`{key}` must not be negative")
        return value

    def _share(self, raw: Mapping[str, Any], key: str, where: str, default: float, top: float) -> float:
        value = raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= top:
            self._problem(where, f"`{key}` must be a number from 0 to {top:g}")
            return default
        return float(value)

    def _value(self, raw: Mapping[str, Any], key: str, kind: type, where: str, default: Any) -> Any:
        value = raw.get(key, default)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        self._problem(where, f"`{key}` must be of type {kind.__name__}")
        return default

    def _check_keys(self, raw: Mapping[str, Any], known: frozenset[str], where: str) -> None:
        for key in sorted(raw.keys() - known):
            self._problem(where, f"unknown key {key!r}; known: {', '.join(sorted(known))}")

    def _problem(self, where: str, words: str) -> None:
        self.problems.append(f"{self.source}: {where}: {words}")
