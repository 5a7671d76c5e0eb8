"""The agent's ports, made of the real rooms: shell, files, reporter, questions for one task.

Here and nowhere else the agent's narrow view meets workspace, sandbox, store and hub. Each
adapter belongs to one task and one claim, and holds no state beyond that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from agentcoord.agent.ports import CommandResult, FileText, KeepOutput, WriteOutcome, keep_nothing
from agentcoord.clock import Clock
from agentcoord.daemon.copy_quota import CopyQuota
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.kept_output import FIRST_PART_S, KeptOutput, keep_in_parts
from agentcoord.daemon.live_output import LiveOutput
from agentcoord.daemon.time_spent import Stretch
from agentcoord.daemon.worker_row import FleetBoard, TaskAtHand
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet
from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerState
from agentcoord.errors import WorkspaceError
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import KilledBy, Limits, Policy
from agentcoord.store.file_locks import FileLocks, LockAnswer, LockOutcome
from agentcoord.store.questions import QuestionBook
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.pool import Workspace
from agentcoord.workspace.scope import ScopeRules

READ_LIMIT_BYTES = 10 * 1024 * 1024
LOCK_WAIT_S = 20.0
SAYS_CHARS = 2_000
"""The end of what the model says at this moment, kept for whoever looks."""
TOLD_WAIT_MS = 100
"""A lock that is taken sooner was free, and the time was the round trip's."""


class SandboxedShell:
    """Runs the worker's commands in the sandbox, secrets cut out of what comes back."""

    def __init__(
        self,
        sandbox: Sandbox,
        policy: Policy,
        redactor: Redactor,
        *,
        quota: CopyQuota | None = None,
        show: Callable[[str], None] = lambda _: None,
        first_part_s: float = FIRST_PART_S,
    ) -> None:
        """`show` is given the end of what a command prints while it runs.

        `first_part_s`: for how long it must run until a first part of that is kept.
        """
        self._sandbox = sandbox
        self._policy = policy
        self._redactor = redactor
        self._quota = quota
        self._show = show
        self._first_part_s = first_part_s

    async def run(self, command: str, *, timeout_s: float, keep: KeepOutput = keep_nothing) -> CommandResult:
        live, kept = LiveOutput(self._redactor, self._show), KeptOutput(self._redactor)

        def hear(piece: bytes) -> None:
            live(piece)
            kept(piece)

        limits, ended = Limits(timeout_s=timeout_s), asyncio.Event()
        quota, free, told = self._quota, None, ""
        if quota is not None:
            free = await quota.free()
            limits = replace(limits, disk_growth_bytes=quota.left_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_in_parts(kept, keep, ended, first_part_s=self._first_part_s))
                try:
                    result = await self._sandbox.run(command, self._policy, limits, on_output=hear)
                finally:
                    ended.set()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        if quota is not None:
            told = await quota.note(free)
        return CommandResult(
            exit_code=result.exit_code,
            output=self._redactor.clean(result.told) + told,
            truncated=result.truncated,
            timed_out=result.killed_by is KilledBy.TIMEOUT,
            duration_ms=result.duration_ms,
        )


class LockedFiles:
    """The private copy behind scope rules and file locks."""

    def __init__(
        self,
        workspace: Workspace,
        rules: ScopeRules,
        locks: FileLocks,
        claim: Claim,
        hub: EventHub,
        board: FleetBoard,
        at: TaskAtHand,
    ) -> None:
        self._workspace = workspace
        self._rules = rules
        self._locks = locks
        self._claim = claim
        self._hub = hub
        self._board = board
        self._at = at

    async def read_text(self, path: str) -> FileText:
        self._refuse_unseen(path)
        raw = await asyncio.to_thread(self._workspace.files.read_bytes, path, limit=READ_LIMIT_BYTES)
        if b"\0" in raw:
            raise WorkspaceError(f"{path} is a binary file")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WorkspaceError(f"{path} is not UTF-8 text (byte {error.start})") from error
        crlf = raw.count(b"\r\n")
        newline = "\r\n" if crlf * 2 > raw.count(b"\n") else "\n"
        # Only a file that is CRLF throughout may be normalised and written back without loss.
        if newline == "\r\n" and crlf == raw.count(b"\n"):
            text = text.replace("\r\n", "\n")
        else:
            newline = "\n"
        return FileText(text, hashlib.sha256(raw).hexdigest(), newline)

    async def write_text(self, path: str, text: str, *, newline: str = "\n") -> WriteOutcome:
        reason = self._rules.refusal(path)
        if reason:
            raise WorkspaceError(f"{path} may never be changed by a worker: {reason}")
        self._refuse_unseen(path)
        if not self._rules.allows(path):
            raise WorkspaceError(f"{path} is outside this project's scope; write only inside it")
        outcome = await self._take_lock(path)
        body = text.replace("\n", newline) if newline != "\n" else text
        try:
            content = body.encode("utf-8")
        except UnicodeEncodeError as error:
            raise WorkspaceError(
                f"the text holds a character that UTF-8 cannot carry: {error.reason}"
            ) from error
        await asyncio.to_thread(self._workspace.files.write_bytes, path, content)
        return outcome

    def _refuse_unseen(self, path: str) -> None:
        if not self._rules.shows(path):
            raise WorkspaceError(_unseen(path))

    async def _take_lock(self, path: str) -> WriteOutcome:
        started_doing = self._at.doing
        self._board.set_state(self._at, WorkerState.WAITING, f"for the lock of {path}")
        try:
            with self._at.time_spent.on(Stretch.LOCK):
                answer = await self._locks.acquire(path, self._claim, timeout_s=LOCK_WAIT_S)
        finally:
            self._board.set_state(self._at, WorkerState.WORKING, started_doing)
        tell_of_lock(self._hub, self._at.spec.name, self._claim.task.id, path, answer)
        if answer.outcome in {LockOutcome.TAKEN, LockOutcome.ALREADY_HELD}:
            return WriteOutcome.WRITTEN
        return WriteOutcome.WRITTEN_OPTIMISTICALLY

    async def list_dir(self, path: str) -> Sequence[str]:
        names = await asyncio.to_thread(self._workspace.files.list_dir, path)
        if self._rules.shows_all:
            return names
        below = "" if path in ("", ".") else f"{path.rstrip('/')}/"
        shown = await self.list_files()
        seen = [
            name
            for name in names
            if (
                any(each.startswith(below + name) for each in shown)
                if name.endswith("/")
                else self._rules.shows(below + name)
            )
        ]
        if names and not seen:
            raise WorkspaceError(_unseen(path))
        return seen

    async def list_files(self) -> Sequence[str]:
        files = await self._workspace.list_files()
        return files if self._rules.shows_all else tuple(path for path in files if self._rules.shows(path))

    async def changes(self) -> ChangeSet:
        return await self._workspace.changes()


def _unseen(path: str) -> str:
    return f"{path} is out of sight: this project's owner does not let workers read it"


def tell_of_lock(hub: EventHub, worker: str, task: TaskId, path: str, answer: LockAnswer) -> None:
    """Tell that a lock was taken, and of a wait that was one."""
    if answer.outcome is LockOutcome.TAKEN:
        hub.emit(EventKind.LOCK_TAKEN, task=task, worker=worker, path=path)
    taken_at_once = answer.outcome is LockOutcome.TAKEN and answer.waited_ms < TOLD_WAIT_MS
    if answer.outcome is not LockOutcome.ALREADY_HELD and not taken_at_once:
        hub.emit(
            EventKind.LOCK_WAITED,
            task=task,
            worker=worker,
            path=path,
            holder=answer.holder,
            outcome=str(answer.outcome),
            ms=answer.waited_ms,
        )


class TaskReporter:
    """Tells the hub and the task's row what the agent does."""

    def __init__(self, hub: EventHub, board: FleetBoard, at: TaskAtHand, task: TaskId) -> None:
        self._hub = hub
        self._board = board
        self._at = at
        self._task = task

    def event(self, kind: EventKind, **data: object) -> None:
        if kind is EventKind.TASK_TURN:
            self._at.turns += 1
            cost = data.get("cost_usd_micros", 0)
            self._at.cost_usd_micros += cost if isinstance(cost, int) else 0
            self._board.touch()
        self._hub.emit(kind, task=self._task, worker=self._at.spec.name, **data)

    def doing(self, words: str) -> None:
        self._board.set_state(self._at, WorkerState.WORKING, words)
        self._at.says = ""

    def printed(self, end: str) -> None:
        """Show the end of what the running command has printed by now."""
        self._at.says = end

    def text(self, piece: str) -> None:
        self._at.says = (self._at.says + piece)[-SAYS_CHARS:]


class TaskQuestions:
    """Questions of one task, kept in the store until a person answers."""

    def __init__(self, book: QuestionBook, hub: EventHub, at: TaskAtHand, task: TaskId, clock: Clock) -> None:
        self._book = book
        self._hub = hub
        self._at = at
        self._task = task
        self._clock = clock

    async def ask(self, question: str, default: str) -> None:
        await self._book.ask(self._task, question, default, self._clock.now_ms())
        self._hub.emit(
            EventKind.QUESTION_ASKED,
            task=self._task,
            worker=self._at.spec.name,
            question=question,
            default=default,
        )

    async def answers(self) -> Sequence[tuple[str, str]]:
        return await self._book.answers(self._task)

    async def told(self, count: int) -> None:
        await self._book.answers(self._task, told=count)
