"""Workers without a project: the real loop, client, governor and prices, on tools that answer at once.

What the model says is scripted by the rehearsal server, and every tool result has a fixed size, so that
a conversation is the same each time, whoever drives it. Deliberately absent: measuring.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentcoord.agent.loop import AgentLoop, ClaimsFinished, LoopLimits
from agentcoord.agent.ports import CommandResult, FileText, KeepOutput, WriteOutcome
from agentcoord.agent.prompts import Briefing
from agentcoord.agent.transcript import Transcript
from agentcoord.clock import SystemClock
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import Change, ChangeKind, ChangeSet, FileVersion
from agentcoord.domain.ids import TaskId, WorkerName
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.domain.worker import Role
from agentcoord.llm.api import Capabilities, Model, Progress, StreamTimeouts, Turn, TurnRequest
from agentcoord.llm.client import AnthropicModel
from agentcoord.llm.gateway import LedgerRefusal, PaidModel
from agentcoord.llm.pacing import Governor, PacingSettings
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.rehearsal import Options
from agentcoord.llm.rehearsal.rate_limits import Limits
from agentcoord.llm.rehearsal.scripts import Answer, Script, ScriptedTurn, ToolCall

CHANGED = ChangeSet(
    landable=(Change("src/a.py", ChangeKind.MODIFIED, None, FileVersion("0" * 64, 1, 0o644)),)
)
UNLIMITED = Options(latency_scale=0, limits=Limits(10**7, 10**11, 10**11))
"""A server that answers at once and never says no."""
WORDS = "the parser reads one record a line and keeps what it cannot understand as it came "


def prose(tokens: int) -> str:
    """Text of about so many tokens, by the rehearsal server's count of four bytes each."""
    return (WORDS * (tokens * 4 // len(WORDS) + 1))[: tokens * 4]


def conversation(task: str, turns: int, said_tokens: int) -> Script:
    """A script of `turns` turns, the last of which claims to be finished."""
    words = prose(said_tokens // 2)
    steps = (ToolCall("bash", {"command": f"step {n} # {words}"}) for n in range(turns - 1))
    answers = [Answer(text=words, tools=(step,)) for step in steps]
    answers.append(Answer(text="Done.", tools=(ToolCall("finish_task", {"summary": "Did it."}),)))
    return Script(task, tuple(ScriptedTurn(answer) for answer in answers))


@dataclass(slots=True)
class FixedShell:
    """Every command prints the same number of characters."""

    output: str
    before: Callable[[str], None] = field(default=lambda _: None)

    async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> CommandResult:
        self.before(command)
        return CommandResult(0, self.output, False, False, 1)


class FixedFiles:
    """A private copy of which one file differs."""

    async def read_text(self, path: str) -> FileText:
        return FileText("a = 1\n", "0" * 64, "\n")

    async def write_text(self, path: str, text: str, *, newline: str = "\n") -> WriteOutcome:
        return WriteOutcome.WRITTEN

    async def list_dir(self, path: str) -> Sequence[str]:
        return ["a.py"]

    async def list_files(self) -> Sequence[str]:
        return ["src/a.py"]

    async def changes(self) -> ChangeSet:
        return CHANGED


class SilentReporter:
    """Nobody watches."""

    def event(self, kind: EventKind, **data: object) -> None:
        pass

    def doing(self, words: str) -> None:
        pass

    def text(self, piece: str) -> None:
        pass


class NoQuestions:
    """Nobody answers."""

    async def ask(self, question: str, default: str) -> None:
        pass

    async def answers(self) -> Sequence[tuple[str, str]]:
        return ()

    async def told(self, count: int) -> None:
        pass


@dataclass(slots=True)
class OpenLedger:
    """A ledger without caps that adds up."""

    spent_usd_micros: int = 0
    on_settled: Callable[[], None] = field(default=lambda: None)
    """Called for each turn that is paid."""

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        tokens: int,
        caps: Any,
        worker: str,
        sent_amount: UsdMicros,
        sent_tokens: int,
    ) -> LedgerRefusal | None:
        return None

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        self.spent_usd_micros += actual
        self.on_settled()

    async def release(self, reservation: str) -> None:
        pass

    async def mark_started(self, reservation: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class OneBreakpoint:
    """A model that is asked with a single cache mark, at the end of the system prompt or of everything."""

    model: Model
    at_the_end: bool

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        mark = {"cache_control": {"type": "ephemeral"}}
        if self.at_the_end:
            *before, last = request.messages
            content = [*last["content"][:-1], {**last["content"][-1], **mark}]
            marked = replace(request, messages=[*before, {**last, "content": content}])
        else:
            marked = replace(request, system=[*request.system[:-1], {**request.system[-1], **mark}])
        return await self.model.take_turn(marked, progress)


@asynccontextmanager
async def opened_model(base_url: str, *, caching: bool) -> AsyncIterator[AnthropicModel]:
    async with AnthropicModel.open(
        api_key="bench",
        auth_token=None,
        base_url=base_url,
        timeouts=StreamTimeouts(first_byte_s=600.0, between_events_s=600.0),
        capabilities=Capabilities(cache_control=caching),
    ) as model:
        await model.warm_up()
        yield model


def paid_model(model: Model, ledger: OpenLedger, *, workers: int) -> PaidModel:
    """The fleet's model, with a governor that lets all workers call at once."""
    clock, ids = SystemClock(), itertools.count()
    settings = PacingSettings(max_concurrency=max(workers, 64), start_gap_s=0.0)
    return PaidModel(
        model,
        governor=Governor(clock=clock, settings=settings),
        ledger=ledger,
        prices=PriceList.load(),
        clock=clock,
        new_id=lambda: str(next(ids)),
        run="bench",
        day=lambda: "2026-11-22",
    )


def agent_loop(
    paid: PaidModel, task: str, folder: Path, shell: FixedShell, *, model: str, instructions: str
) -> AgentLoop:
    """The loop of one worker, with its transcript in `folder`."""
    return AgentLoop(
        gateway=paid.for_task(TaskId(task), None),
        shell=shell,
        files=FixedFiles(),
        reporter=SilentReporter(),
        questions=NoQuestions(),
        transcript=Transcript.open(folder / f"{task}.jsonl"),
        briefing=Briefing(
            project_name="bench",
            role=Role.BACKEND_ENGINEER,
            worker=WorkerName("Backend-Engineer-1"),
            instructions=instructions,
            task=TaskSpec(id=TaskId(task), title="Mend the parser", description=prose(200)),
            checks={"tests": "python -m pytest -q"},
            scope=("src/**",),
            sight=("**",),
            protect=(),
            needs_notes=(),
            repo_map="src/: a.py",
            rejections=(),
            rejected_diff="",
            earlier_attempt="",
        ),
        model=model,
        effort="medium",
        clock=SystemClock(),
        limits=LoopLimits(max_turns=1_000, same_call_limit=1_000, idle_turn_limit=1_000),
        stopping=asyncio.Event(),
    )


async def play(loop: AgentLoop) -> None:
    """Drive a conversation to its claim."""
    outcome = await loop.run()
    assert isinstance(outcome, ClaimsFinished), outcome


def without_proxies() -> None:
    """Loopback needs none."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
