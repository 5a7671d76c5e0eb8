"""The file tools as a worker has them: real private copy, scope, locks of a real store, and redaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentcoord.agent.ports import CommandResult, KeepOutput
from agentcoord.agent.tools.contract import ToolInputError, ToolResult
from agentcoord.agent.tools.registry import Toolbox
from agentcoord.clock import SystemClock
from agentcoord.daemon.adapters import LockedFiles
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.worker_row import FleetBoard, TaskAtHand
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role, worker_of
from agentcoord.store import Store
from agentcoord.workspace.pool import Workspace
from workspace_kit import World

EDITOR = "str_replace_based_edit_tool"
TASK = TaskId("attack")


class NoShell:
    """Stands where commands would run; file tools ask for none."""

    async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> CommandResult:
        raise AssertionError(f"a file tool ran {command!r} within {timeout_s} s")


class NoQuestions:
    """Stands where the owner would be asked; file tools ask nothing."""

    async def ask(self, question: str, default: str) -> None:
        raise AssertionError(f"a file tool asked {question!r}, assuming {default!r}")

    async def answers(self) -> Sequence[tuple[str, str]]:
        return ()

    async def told(self, count: int) -> None:
        raise AssertionError(f"a file tool said that {count} answers were told")


@dataclass
class Tools:
    """One worker's tools on its copy."""

    world: World
    ws: Workspace
    box: Toolbox

    async def call(self, tool: str, arguments: dict[str, object]) -> ToolResult:
        """Do what the loop does with a call of the model's."""
        found = self.box.find(tool)
        assert found is not None
        try:
            prepared = found.prepare(arguments)
        except ToolInputError as error:
            return ToolResult(error.message, is_error=True)
        return await self.box.run(prepared)

    async def edit(self, command: str, path: str, **arguments: object) -> ToolResult:
        return await self.call(EDITOR, {"command": command, "path": path, **arguments})


@asynccontextmanager
async def tools_in(world: World, url: str, project: ProjectId) -> AsyncIterator[Tools]:
    """Claim a task, take its copy, and hand out its tools."""
    clock = SystemClock()
    async with Store.open(url, project, clock=clock) as store:
        spec = TaskSpec(
            id=TASK, title="Attack", description="x", priority=3, tags=("backend",), needs=(), writes=()
        )
        await store.queue.load([spec])
        worker = worker_of("Mallory", Role.BACKEND_ENGINEER, ("backend",))
        claim = await store.queue.claim(worker)
        ws = await world.pool.acquire(TASK, 1, fresh=False)
        hub, board, at = EventHub(store.events, clock), FleetBoard(clock), TaskAtHand(worker, claim)
        files = LockedFiles(ws, world.rules, store.locks, claim, hub, board, at)
        box = Toolbox(
            shell=NoShell(), files=files, questions=NoQuestions(), command_timeout_s=5.0, call_deadline_s=30.0
        )
        yield Tools(world, ws, box)
        await world.pool.release(ws, keep=False)
