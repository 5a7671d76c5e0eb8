"""What a person decides about changes: undo, accept, let land, and asking who wrote a line.

The requests of the control socket that end in a landing or take one back; separate from the others
because each of them must leave journal and store of one mind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agentcoord.daemon.params import (
    Answer,
    Params,
    bad_params,
    no_such_task,
    number_of,
    refused,
    task_id_of,
    text_of,
    texts_of,
)
from agentcoord.daemon.rejections import ask_again
from agentcoord.daemon.review_views import blame_view
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.task_caps import caps_of
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.graph import dependents_of
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task
from agentcoord.domain.usage import usd
from agentcoord.errors import RpcError
from agentcoord.wire.protocol import PIECE_CHARS, ExitCode, RpcCode
from agentcoord.workspace.landing import UndoOutcome

if TYPE_CHECKING:
    from agentcoord.wire.answers import RejectView, UndoView

MOST_REASON_CHARS = 4_000
MS_A_DAY = 24 * 3600 * 1000


class Reviewing:
    """Answers the requests of a review."""

    def __init__(self, shop: Workshop, views: Views, on_asked: Callable[[], None]) -> None:
        """`on_asked` hears that there is work again."""
        self._shop = shop
        self._views = views
        self._on_asked = on_asked
        self._rejecting = asyncio.Lock()

    async def blame(self, params: Params) -> Answer:
        path = text_of(params, "path")
        offset = number_of(params, "offset", default=0, least=0)
        try:
            return await blame_view(self._shop.repo.root, self._views.journal_home, path, offset)
        except FileNotFoundError as error:
            raise RpcError(
                f"there is no file {path!r} in the project",
                code=RpcCode.NOT_FOUND,
                exit_code=ExitCode.NOT_FOUND,
                mend="give a path inside the project",
            ) from error

    async def land(self, params: Params) -> Answer:
        """Let a change that was held for its flags land as it is: nothing of it is made anew."""
        task, book = await self._find(task_id_of(params)), self._shop.prover.flagging.book
        noted = await asyncio.to_thread(book.of, task.id)
        if task.state is not TaskState.PARKED or noted is None or not any(f.holds for f in noted.flags):
            raise refused(f"{task.id} is {task.word}, and no change of it is held for its flags")
        await asyncio.to_thread(book.set_permitted, task.id, permitted=True)
        why = "you let its flagged change land"
        if not await self._shop.store.queue.retry(task.id, why=why):
            await asyncio.to_thread(book.set_permitted, task.id, permitted=False)
            raise refused(f"{task.id} cannot go on: a task that it needs has ended without a result")
        self._shop.hub.emit(EventKind.TASK_QUEUED, task=task.id, why=why)
        self._shop.board.touch()
        return {"id": task.id, "state": str((await self._find(task.id)).state)}

    async def undo(self, params: Params) -> Answer:
        if params.get("all") is True:
            return {"tasks": await self._undo_all()}
        task_id = task_id_of(params)
        if await self._shop.store.queue.get(task_id) is None:
            return {**await self._undo_by_journal(task_id)}
        task = await self._find(task_id)
        # The journal knows what stands in the tree, even if the store missed that it landed.
        if task.review is ReviewState.UNDONE:
            there = await self._shop.lander.has_rest(task.id, since_ms=task.queued_at_ms)
            if there and params.get("yes") is not True:
                await self._refuse_with_dependents(task)
            return {**await self._undo_rest(task.id, task.queued_at_ms)}
        if not await self._stands(task):
            raise refused(f"{task.id} is {task.word}: there is nothing of it to undo")
        if params.get("yes") is not True:
            await self._refuse_with_dependents(task)
        return {**await self._undo_one(task)}

    async def reject(self, params: Params) -> Answer:
        """Take back what a task landed, unless that is undone already; put it in line with the reason."""
        reason = text_of(params, "reason").strip()
        if not 0 < len(reason) <= MOST_REASON_CHARS:
            raise bad_params(f"reason must be a text of at most {MOST_REASON_CHARS} characters")
        despite = texts_of(params, "despite")
        async with self._rejecting:
            task = await self._find(task_id_of(params))
            if task.state is not TaskState.DONE:
                raise refused(f"{task.id} is {task.word}; only a done task can be rejected")
            landed = await self._landed_on_top(task)
            unnamed = [each for each in landed if each.id not in despite]
            if unnamed:
                also = " ".join(f"--despite {each.id}" for each in landed)
                raise refused(
                    f"tasks that need {task.id} have landed on top of it: {_ids(landed)}",
                    mend=f"undo or reject them first, or leave them as they are: "
                    f"agentcoord reject {task.id} --reason ... {also}",
                    problems=[f"{each.id}: {each.spec.title}" for each in unnamed],
                )
            return {**await to_its_end(self._reject(task, reason, [each.id for each in landed]))}

    async def _reject(self, task: Task, reason: str, despite: Sequence[TaskId]) -> RejectView:
        outcome = await self._shop.lander.undo(task.id, since_ms=task.queued_at_ms, rejected=reason)
        if not outcome.conflicts:
            await self._shop.prover.unlearn(task.id)
            why_not = await ask_again(self._shop.store, task.id, reason)
            if task.review is ReviewState.UNDONE:
                outcome = UndoOutcome()  # That was told when it was undone.
            restored, merged = list(outcome.restored), list(outcome.merged)
            if why_not:
                if task.review is not ReviewState.UNDONE:
                    self._tell_undone(task.id, outcome)
                self._shop.board.touch()
                raise refused(f"{task.id} is undone, but cannot be asked for again: {why_not}")
            self._shop.hub.emit(
                EventKind.TASK_REJECTED,
                task=task.id,
                reason=reason,
                restored=restored,
                merged=merged,
                despite=list(despite),
            )
            self._on_asked()
            self._shop.board.touch()
        now = await self._find(task.id)
        cap = caps_of(now, self._shop.settings.budget).task
        return {
            **_undo_view(task.id, outcome),
            "state": str(now.state),
            "spent_usd": usd(now.cost_usd_micros),
            "cap_usd": None if cap is None else usd(cap),
        }

    async def accept(self, params: Params) -> Answer:
        if params.get("all") is True:
            ready = [
                task
                for task in await self._shop.store.queue.all()
                if task.state is TaskState.DONE and task.review is ReviewState.UNREVIEWED
            ]
            for task in ready:
                await self._accept_one(task)
            return {"tasks": [task.id for task in ready]}
        task = await self._find(task_id_of(params))
        if task.state is not TaskState.DONE or task.review is ReviewState.UNDONE:
            raise refused(f"{task.id} is {task.word}; only a done task can be accepted")
        await self._accept_one(task)
        return {"id": task.id, "review": str(ReviewState.ACCEPTED)}

    async def _accept_one(self, task: Task) -> None:
        await self._shop.store.queue.set_review(task.id, ReviewState.ACCEPTED)
        await self._shop.lander.accept(task.id, since_ms=task.queued_at_ms)
        self._shop.hub.emit(EventKind.TASK_ACCEPTED, task=task.id)
        self._shop.board.touch()

    async def compact(self, tasks: Sequence[Task]) -> int:
        """Drop what undoing would take of work accepted long ago; return how many landings that were.

        What the store calls accepted is noted in the journal first, should a crash have come between.
        """
        for task in tasks:
            if task.review is ReviewState.ACCEPTED:
                await self._shop.lander.accept(task.id, since_ms=task.queued_at_ms)
        keep_days = self._shop.settings.undo.keep_days
        if keep_days == 0:
            return 0
        return (await self._shop.lander.compact(keep_ms=keep_days * MS_A_DAY)).landings

    async def _undo_all(self) -> list[UndoView]:
        """Take back all that landed and was not accepted, newest first, each as far as it can be.

        Of what was undone before, that which was not in the tree then and is back; what is in the way of
        that is only told of a task that is named.
        """
        tasks = {task.id: task for task in await self._shop.store.queue.all()}
        history = await self._shop.lander.history()
        newest_first = [
            tasks[record.task]
            for record in reversed(history)
            if record.task in tasks
            and record.stands(since_ms=tasks[record.task].queued_at_ms)
            and tasks[record.task].review is not ReviewState.ACCEPTED
        ]
        views = [await self._undo_one(task) for task in {task.id: task for task in newest_first}.values()]
        told = {view["id"] for view in views}
        for name in dict.fromkeys(record.task for record in reversed(history)):
            task = tasks.get(name)
            if task is not None and name not in told and task.review is ReviewState.UNDONE:
                outcome = await self._shop.lander.undo_rest(task.id, since_ms=task.queued_at_ms)
                if outcome.restored or outcome.merged:
                    self._tell_undone(task.id, outcome)
                    self._shop.board.touch()
                    views.append(_undo_view(task.id, outcome))
        return views

    async def _undo_one(self, task: Task) -> UndoView:
        outcome = await self._shop.lander.undo(task.id, since_ms=task.queued_at_ms)
        if not outcome.conflicts:
            await self._shop.prover.unlearn(task.id)
            if task.state is TaskState.DONE:
                await self._shop.store.queue.set_review(task.id, ReviewState.UNDONE)
            self._tell_undone(task.id, outcome)
            self._shop.board.touch()
        return _undo_view(task.id, outcome)

    async def _undo_by_journal(self, task_id: TaskId) -> UndoView:
        """Take back what a task landed that the store has forgotten: `cleanup --all` drops tasks."""
        await self.known_to_journal(task_id)
        if await self._shop.lander.landed(task_id) is None:
            return await self._undo_rest(task_id, 0)
        outcome = await self._shop.lander.undo(task_id)
        if not outcome.conflicts:
            await self._shop.prover.unlearn(task_id)
            self._tell_undone(task_id, outcome)
        return _undo_view(task_id, outcome)

    async def _undo_rest(self, task_id: TaskId, since_ms: int) -> UndoView:
        """Take out what was not in the tree when the task was undone, and is back."""
        outcome = await self._shop.lander.undo_rest(task_id, since_ms=since_ms)
        if not (outcome.restored or outcome.merged or outcome.conflicts):
            raise refused(f"{task_id} is undone: there is nothing of it to undo")
        if not outcome.conflicts:
            self._tell_undone(task_id, outcome)
            self._shop.board.touch()
        return _undo_view(task_id, outcome)

    def _tell_undone(self, task: TaskId, outcome: UndoOutcome) -> None:
        self._shop.hub.emit(
            EventKind.TASK_UNDONE,
            task=task,
            restored=list(outcome.restored),
            merged=list(outcome.merged),
        )

    async def known_to_journal(self, task_id: TaskId) -> None:
        """Raise RpcError unless the journal knows a landing of a task of this name."""
        if all(record.task != task_id for record in await self._shop.lander.history()):
            raise no_such_task(task_id)

    async def _refuse_with_dependents(self, task: Task) -> None:
        """Undoing what others were built on is asked for twice: first they are listed."""
        landed = await self._landed_on_top(task)
        if landed:
            raise refused(
                f"tasks that need {task.id} have landed on top of it: {_ids(landed)}",
                mend=f"undo them first, or take back {task.id} alone: agentcoord undo {task.id} --yes",
                problems=[f"{each.id}: {each.spec.title}" for each in landed],
            )

    async def _landed_on_top(self, task: Task) -> list[Task]:
        """The tasks that need it, directly or through others, and whose change stands in the tree."""
        tasks = {str(each.id): each for each in await self._shop.store.queue.all()}
        names = dependents_of({name: each.spec.needs for name, each in tasks.items()}, [task.id])
        dependents = [tasks[name] for name in sorted(names) if name != task.id and name in tasks]
        return [
            each for each in dependents if each.review is not ReviewState.UNDONE and await self._stands(each)
        ]

    async def has_landed(self, task: Task) -> bool:
        """Whether the journal knows a landing of the task's own that stands."""
        return await self._shop.lander.landed(task.id, since_ms=task.queued_at_ms) is not None

    async def _stands(self, task: Task) -> bool:
        return task.state is TaskState.DONE or await self.has_landed(task)

    async def _find(self, task_id: TaskId) -> Task:
        task = await self._shop.store.queue.get(task_id)
        if task is None:
            raise no_such_task(task_id)
        return task


def _ids(tasks: Sequence[Task]) -> str:
    return ", ".join(each.id for each in tasks)


def _undo_view(task: TaskId, outcome: UndoOutcome) -> UndoView:
    return {
        "id": task,
        "restored": list(outcome.restored),
        "merged": list(outcome.merged),
        "gone": list(outcome.gone),
        "absent": list(outcome.absent),
        "conflicts": list(outcome.conflicts),
        "patch": outcome.patch[:PIECE_CHARS],
    }
