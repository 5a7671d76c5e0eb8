"""Fakes of what the agent room does not own: the model, the private copy, the sandbox, the person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agentcoord.agent.ports import CommandResult, FileText, KeepOutput, WriteOutcome
from agentcoord.agent.prompts import Briefing
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import Change, ChangeKind, ChangeSet, FileVersion
from agentcoord.domain.ids import TaskId, WorkerName
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.domain.worker import Role
from agentcoord.errors import WorkspaceError
from agentcoord.llm.api import Block, PaidTurn, Progress, SpendRefused, StopReason, Turn, TurnRequest

TURN_USAGE = Usage(input_tokens=10, output_tokens=5)
TURN_COST = UsdMicros(70)

Answer = Turn | SpendRefused | BaseException


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def call_block(call_id: str, tool: str, **arguments: object) -> Block:
    return {"type": "tool_use", "id": call_id, "name": tool, "input": arguments}


def edit_block(call_id: str, command: str, path: str, **arguments: object) -> Block:
    return call_block(call_id, "str_replace_based_edit_tool", command=command, path=path, **arguments)


def finish_block(call_id: str, summary: str = "Did it.", **arguments: object) -> Block:
    return call_block(call_id, "finish_task", summary=summary, **arguments)


def turn_of(*blocks: Block, stop: StopReason = StopReason.TOOL_USE) -> Turn:
    return Turn(tuple(blocks), stop, TURN_USAGE, "claude-test", "req_1")


def end_turn(*blocks: Block) -> Turn:
    return turn_of(*blocks, stop=StopReason.END_TURN)


class ScriptedGateway:
    """Answers with what the test lined up, and keeps each request as the bytes it would be sent as."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[TurnRequest] = []
        self.sent: list[bytes] = []
        self.before_answer: Callable[[], None] = lambda: None

    async def take_turn(self, request: TurnRequest, progress: Progress) -> PaidTurn | SpendRefused:
        self.requests.append(request)
        self.sent.append(conversation_bytes(request.system, request.messages))
        self.before_answer()
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, SpendRefused):
            return answer
        return PaidTurn(answer, TURN_COST, answer.usage)


def conversation_bytes(system: Sequence[Block], messages: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps([list(system), list(messages)]).encode()


class MemoryFiles:
    """A private copy in memory. Scope: everything but `outside/`."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self.base = dict(texts or {})
        self.texts = dict(self.base)
        self.newlines: dict[str, str] = {}
        self.optimistic: set[str] = set()
        self.listings = 0
        self.changes_asked = 0
        self.on_read: Callable[[str], Awaitable[None]] | None = None
        self.fail_writes_with: BaseException | None = None

    async def read_text(self, path: str) -> FileText:
        if self.on_read is not None:
            await self.on_read(path)
        if path.startswith("/") or ".." in path.split("/"):
            raise WorkspaceError(f"{path} leads out of the repository")
        if any(name.startswith(f"{path}/") for name in self.texts):
            raise WorkspaceError(f"{path} is a folder")
        if path not in self.texts:
            raise FileNotFoundError(2, "No such file or directory", path)
        text = self.texts[path]
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return FileText(text, digest, self.newlines.get(path, "\n"))

    async def write_text(self, path: str, text: str, *, newline: str = "\n") -> WriteOutcome:
        if self.fail_writes_with is not None:
            raise self.fail_writes_with
        if path.startswith("outside/"):
            raise WorkspaceError(f"{path} is outside the scope")
        self.texts[path] = text
        self.newlines[path] = newline
        return WriteOutcome.WRITTEN_OPTIMISTICALLY if path in self.optimistic else WriteOutcome.WRITTEN

    async def list_dir(self, path: str) -> Sequence[str]:
        prefix = "" if path in ("", ".") else f"{path}/"
        names = set()
        for name in self.texts:
            if name.startswith(prefix):
                first, slash, _ = name.removeprefix(prefix).partition("/")
                names.add(first + slash)
        if not names:
            raise FileNotFoundError(2, "No such file or directory", path)
        return sorted(names)

    async def list_files(self) -> Sequence[str]:
        self.listings += 1
        return sorted(self.texts)

    async def changes(self) -> ChangeSet:
        self.changes_asked += 1
        changed = []
        for path, text in sorted(self.texts.items()):
            if self.base.get(path) != text:
                new = FileVersion(hashlib.sha256(text.encode()).hexdigest(), len(text), 0o644)
                kind = ChangeKind.MODIFIED if path in self.base else ChangeKind.ADDED
                changed.append(Change(path, kind, None, new))
        return ChangeSet(landable=tuple(changed))


class FakeShell:
    """Runs commands by asking the test what they do."""

    def __init__(self, run: Callable[[str], CommandResult | BaseException] | None = None) -> None:
        self.commands: list[str] = []
        self.timeouts_s: list[float] = []
        self._run = run or (lambda command: CommandResult(0, f"ran {command}\n", False, False, 12))

    async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> CommandResult:
        self.commands.append(command)
        self.timeouts_s.append(timeout_s)
        result = self._run(command)
        if isinstance(result, BaseException):
            raise result
        return result


class RecordingReporter:
    """Keeps what the agent tells."""

    def __init__(self) -> None:
        self.events: list[tuple[EventKind, dict[str, object]]] = []
        self.words: list[str] = []
        self.pieces: list[str] = []

    def event(self, kind: EventKind, **data: object) -> None:
        json.dumps(data)  # The event log stores JSON.
        self.events.append((kind, data))

    def doing(self, words: str) -> None:
        self.words.append(words)

    def text(self, piece: str) -> None:
        self.pieces.append(piece)

    def of(self, kind: EventKind) -> list[dict[str, object]]:
        return [data for each, data in self.events if each is kind]


class MemoryQuestions:
    """A person who answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.given: list[tuple[str, str]] = []

    async def ask(self, question: str, default: str) -> None:
        self.asked.append((question, default))

    async def answers(self) -> Sequence[tuple[str, str]]:
        return tuple(self.given)

    async def told(self, count: int) -> None:
        del self.given[:count]


class StillClock:
    """A clock that ticks a quarter of a second at each look; nothing here sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return round(self.now_s * 1000)

    def monotonic(self) -> float:
        self.now_s += 0.25
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def make_briefing(**changes: Any) -> Briefing:
    fields: dict[str, Any] = {
        "project_name": "shop",
        "role": Role.TESTING_ENGINEER,
        "worker": WorkerName("Testing-Engineer-1"),
        "instructions": "Use tabs.",
        "task": TaskSpec(
            id=TaskId("unit-tests"),
            title="Add missing unit tests",
            description="Cover the cart.",
            writes=("tests/test_cart.py",),
            check="python -m unittest tests.test_cart",
        ),
        "checks": {"tests": "python -m unittest"},
        "scope": ("src/**", "tests/**"),
        "protect": ("src/secret.py",),
        "sight": ("**",),
        "needs_notes": (),
        "repo_map": "2 files\n./: a.py b.py",
        "rejections": (),
        "rejected_diff": "",
        "earlier_attempt": "",
    }
    return Briefing(**{**fields, **changes})
