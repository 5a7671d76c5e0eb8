"""Running the tool calls of one turn: each is prepared, counted, run, reported and answered.

A call that cannot run (unknown tool, malformed input, the same thing again) becomes an error result
here and counts against its own bound. Deliberately absent: the transcript and the claim to be
finished; those are the loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agentcoord.agent import replies
from agentcoord.agent.outcomes import GiveUpKind, LoopLimits
from agentcoord.agent.patience import Patience
from agentcoord.agent.ports import Reporter
from agentcoord.agent.tools.contract import PreparedCall, ToolInputError, ToolResult
from agentcoord.agent.tools.registry import Toolbox
from agentcoord.clock import Clock
from agentcoord.domain.events import EventKind
from agentcoord.llm.api import Block
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class ReadyCall:
    """One `tool_use` block with what became of it so far: a call to run, or its answer already."""

    tool_use_id: str
    tool: str
    prepared: PreparedCall | None
    answer: ToolResult | None = None

    @property
    def may_run_beside_others(self) -> bool:
        return self.prepared is None or self.prepared.read_only


class CallRunner:
    """Runs calls with one conversation's toolbox and patience."""

    def __init__(
        self, toolbox: Toolbox, reporter: Reporter, clock: Clock, patience: Patience, limits: LoopLimits
    ) -> None:
        self._toolbox = toolbox
        self._reporter = reporter
        self._clock = clock
        self._patience = patience
        self._limits = limits
        self._side_by_side = asyncio.Semaphore(limits.parallel_calls)

    def only_reads(self, block: Block) -> bool:
        """Whether a `tool_use` block may run beside others; one that cannot run at all may."""
        tool = self._toolbox.find(str(block.get("name", "")))
        try:
            return tool is None or tool.prepare(arguments_of(block.get("input"))).read_only
        except ToolInputError:
            return True

    def prepare(self, block: Block) -> ReadyCall:
        """Check one `tool_use` block, counting what is wrong with it."""
        tool_use_id, name, arguments = str(block["id"]), str(block.get("name", "")), block.get("input")
        tool = self._toolbox.find(name)
        if tool is None:
            self._patience.count(GiveUpKind.UNKNOWN_TOOL)
            text = replies.unknown_tool(name, self._toolbox.names)
            return ReadyCall(tool_use_id, name, None, ToolResult(text, is_error=True))
        self._patience.forget(GiveUpKind.UNKNOWN_TOOL)
        try:
            prepared = tool.prepare(arguments_of(arguments))
        except ToolInputError as error:
            self._patience.count(GiveUpKind.MALFORMED_CALL)
            return ReadyCall(
                tool_use_id, name, None, ToolResult(replies.malformed(error.message), is_error=True)
            )
        self._patience.forget(GiveUpKind.MALFORMED_CALL)
        times = self._patience.count_call(name, arguments)
        if times >= self._limits.same_call_limit:
            self._patience.count(GiveUpKind.SAME_CALL)
            return ReadyCall(tool_use_id, name, None, ToolResult(replies.repeated(times), is_error=True))
        self._patience.forget(GiveUpKind.SAME_CALL)
        return ReadyCall(tool_use_id, name, prepared)

    async def run(self, call: ReadyCall) -> ToolResult:
        """Run one call, and report it. SandboxError and StoreError pass through."""
        if call.prepared is None:
            assert call.answer is not None, "a call is either to run or answered"
            self._report(call.tool, "not run", call.answer, 0)
            return call.answer
        self._reporter.doing(call.prepared.doing)
        started = self._clock.monotonic()
        result = await self._toolbox.run(call.prepared)
        self._report(
            call.tool, call.prepared.doing, result, round((self._clock.monotonic() - started) * 1000)
        )
        return result

    async def run_side_by_side(self, calls: Sequence[ReadyCall]) -> list[ToolResult]:
        """Run read-only calls at the same time, bounded; results in the order of the calls."""

        async def run_bounded(call: ReadyCall) -> ToolResult:
            async with self._side_by_side:
                return await self.run(call)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run_bounded(call)) for call in calls]
        except ExceptionGroup as errors:
            # The loop's caller knows one error at a time; what came first stands for all.
            raise _first(errors) from errors
        return [task.result() for task in tasks]

    def _report(self, tool: str, summary: str, result: ToolResult, ms: int) -> None:
        self._reporter.event(EventKind.TASK_TOOL, tool=tool, summary=summary, is_error=result.is_error, ms=ms)


def arguments_of(raw: object) -> Mapping[str, object]:
    """Return a call's input as a mapping. Raises ToolInputError when it is none."""
    if not isinstance(raw, dict):
        raise ToolInputError("it must be an object")
    return raw


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    first: Exception = errors
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
