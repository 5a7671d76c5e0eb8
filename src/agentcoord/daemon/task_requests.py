"""What clients may ask of one task: another try, its end, an answer to its question, what it changed.

Separate from `requests`, which is about the daemon and its workers, and from `reviewing`, which is about what
has landed.
"""

from __future__ import annotations

from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.params import Answer, Params, no_such_task, number_of, refused, task_id_of, text_of
from agentcoord.daemon.reviewing import Reviewing
from agentcoord.daemon.task_views import FILES_SHOWN
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import RpcError
from agentcoord.wire.protocol import PIECE_CHARS, ExitCode, RpcCode
from agentcoord.workspace.names import runs_on_your_machine
from agentcoord.workspace.patches import Diff

WHOLE_PIECE_CHARS = PIECE_CHARS // 3
"""Fewer: where one of them is no character, all that are not ASCII are escaped on their way."""


class TaskRequests:
    """Answers `retry`, `cancel`, `answer` and `diff`. Raises RpcError and what the store raises."""

    def __init__(self, shop: Workshop, fleet: Fleet, reviewing: Reviewing) -> None:
        self._shop = shop
        self._fleet = fleet
        self._reviewing = reviewing
        self._read_now: tuple[tuple[TaskId, bool], Diff] | None = None
        """The diff that somebody reads in pieces: making it anew for each takes long."""

    async def retry(self, params: Params) -> Answer:
        """Bring a task back that ended or waits for a person."""
        task = await self._find(task_id_of(params))
        if not await self._shop.store.queue.retry(task.id):
            raise await self._not_retried(task)
        self._shop.hub.emit(EventKind.TASK_QUEUED, task=task.id, why="asked for again")
        self._shop.board.touch()
        return await self._state_of(task.id)

    async def _not_retried(self, task: Task) -> RpcError:
        """Say what forbids to try a task again."""
        if task.state in (TaskState.FAILED, TaskState.CANCELLED):
            for need_id in task.spec.needs:
                need = await self._shop.store.queue.get(need_id)
                if need is not None and need.state in (TaskState.FAILED, TaskState.CANCELLED):
                    return refused(
                        f"{task.id} needs {need.id}, which is {need.word}",
                        mend=f"agentcoord retry {need.id}, which brings back what ended because of it",
                    )
        return refused(
            f"{task.id} is {task.word}; only failed, cancelled, skipped and parked tasks can be tried again"
        )

    async def cancel(self, params: Params) -> Answer:
        """End a task that has not landed."""
        task_id = task_id_of(params)
        why = text_of(params, "why", default="") or "cancelled by you"
        # A task that is landing is either cancelled before its files go in, or it is done by then.
        async with self._shop.prover.between_landings():
            task = await self._find(task_id)
            if task.state not in ENDED_STATES and await self._reviewing.has_landed(task):
                raise refused(
                    f"the files of {task_id} have landed; it will be done as soon as a worker is free",
                    mend=f"agentcoord undo {task_id}",
                )
            if not await self._shop.store.queue.cancel(task_id, why=why):
                raise refused(f"{task_id} is {(await self._find(task_id)).state} already")
        self._fleet.interrupt(task_id)
        self._shop.hub.emit(EventKind.TASK_CANCELLED, task=task_id, why=why)
        self._shop.board.touch()
        return await self._state_of(task_id)

    async def answer(self, params: Params) -> Answer:
        """Answer the question that a task asked."""
        task = await self._find(task_id_of(params))
        if task.state in ENDED_STATES:
            again = "" if task.state is TaskState.DONE else f"agentcoord retry {task.id}, then answer"
            raise refused(
                f"{task.id} is {task.word} already; nobody would read the answer",
                mend=again or "agentcoord status lists what needs you",
            )
        if not await self._shop.store.questions.answer(task.id, text_of(params, "text")):
            raise RpcError(
                f"{task.id} has no open question",
                code=RpcCode.NOT_FOUND,
                exit_code=ExitCode.NOT_FOUND,
                mend="agentcoord status lists what needs you",
            )
        return {"id": task.id}

    async def diff(self, params: Params) -> Answer:
        """What a task has landed, a piece at a time."""
        task_id = task_id_of(params)
        task = await self._shop.store.queue.get(task_id)
        if task is None:
            await self._reviewing.known_to_journal(task_id)
        offset = number_of(params, "offset", default=0, least=0)
        since_ms, whole = task.queued_at_ms if task else 0, params.get("whole") is True
        kept = self._read_now if offset else None
        if kept is not None and kept[0] == (task_id, whole):
            diff = kept[1]
        elif whole:
            diff = await self._shop.lander.whole_diff(task_id, since_ms=since_ms)
        else:
            diff = Diff(await self._shop.lander.diff(task_id, since_ms=since_ms), whole=False)
        text = diff.text
        following = offset + (WHOLE_PIECE_CHARS if whole else PIECE_CHARS)
        if offset or following < len(text):
            self._read_now = ((task_id, whole), diff) if following < len(text) else None
        runs_here = [path for path in task.files if runs_on_your_machine(path)] if task else []
        return {
            "text": text[offset:following],
            "next_offset": following if following < len(text) else None,
            "runs_here": runs_here[:FILES_SHOWN],
            "whole": diff.whole,
        }

    async def _find(self, task_id: TaskId) -> Task:
        task = await self._shop.store.queue.get(task_id)
        if task is None:
            raise no_such_task(task_id)
        return task

    async def _state_of(self, task_id: TaskId) -> Answer:
        return {"id": task_id, "state": str((await self._find(task_id)).state)}
