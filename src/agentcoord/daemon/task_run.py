"""One claim, from the first word to the end: converse, prove, land, or hand the task back.

Theory of operation. The fleet calls `TaskRunner.run(claim)`, once a claim, and every way out of
it leaves the task in a state that the store knows: done, queued again, parked or failed. A lost
lease leaves it to whoever owns it now. The private copy and the transcript stay when the task
will be resumed, and go when it ended. A cancelled run leaves the task with its claim, which the
fleet hands back; storing an end and landing are never torn by a cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial
from typing import assert_never

import structlog

from agentcoord.agent.loop import AgentLoop, ClaimsFinished, Interrupted
from agentcoord.agent.replies import begun_on_nothing
from agentcoord.daemon.attempt_ends import AttemptEnds, Ended, parked
from agentcoord.daemon.declared_files import take_declared
from agentcoord.daemon.handing_back import HAND_BACK_TIMEOUT_S, set_back
from agentcoord.daemon.landing_line import Offer
from agentcoord.daemon.left_behind import left_behind
from agentcoord.daemon.permissions import as_let_land, is_let_land, spend_permission
from agentcoord.daemon.proofs import Held, Landed, LandingSteps, Red
from agentcoord.daemon.task_files import SUMMARY_NAME
from agentcoord.daemon.task_setup import copy_for, make_loop
from agentcoord.daemon.task_turns import TaskTurns
from agentcoord.daemon.time_spent import Stretch
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.worker_row import TaskAtHand, WorkerRow
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet, LandedFile
from agentcoord.domain.ids import TaskId
from agentcoord.domain.ladder import Rung
from agentcoord.domain.listed import listed
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.errors import (
    AgentError,
    LandingRefusedError,
    LeaseLostError,
    LlmError,
    ReviewError,
    SandboxError,
    StoreError,
    WorkspaceError,
)
from agentcoord.review.checks import feedback
from agentcoord.workspace.pool import Workspace

log = structlog.get_logger("task")


class TaskRunner:
    """Runs one claim of a worker."""

    def __init__(self, shop: Workshop, row: WorkerRow, turns: TaskTurns) -> None:
        self._shop = shop
        self._row = row
        self._turns = turns
        self._ends = AttemptEnds(shop, row.spec.name)
        self._flag_book = shop.prover.flagging.book
        self._begun_on: tuple[Offer, ...] = ()
        """What others were about to land when the private copy was made, and it shows already."""

    async def run(self, claim: Claim) -> None:
        """Work on the claim until the task is somewhere else. Raises StoreError when the store is away.

        Cancelled, it lets go of the private copy and leaves the claim to `hand_back`.
        """
        claim = await as_let_land(self._flag_book, claim)
        shop, task = self._shop, claim.task
        rung = shop.retries.rung_of(task)
        at = shop.board.began(self._row, claim, rung.model)
        open_ones = shop.store.ledger.mirror.unclosed
        at.left_open = frozenset(name for name, each in open_ones.items() if each.task == task.id)
        try:
            ended = await self._run_held(claim, at, rung)
            if ended is not None:
                await to_its_end(self._end(claim, ended))
        except LeaseLostError as error:
            # Whoever took the lease away has told why: a person, or the reaper.
            log.warning("lease_lost", task=task.id, error=str(error))
        finally:
            shop.board.ended(self._row, at)

    async def hand_back(self, claim: Claim, why: str) -> None:
        """Queue the task of a cancelled run again, unless the claim has ended. Bounded; raises nothing."""
        try:
            async with asyncio.timeout(HAND_BACK_TIMEOUT_S):
                await self._end(claim, self._ends.set_back(claim.task, Setback.STOPPED, why))
        except (StoreError, TimeoutError) as error:
            # A lost lease means that it ended; else the next start of the daemon queues it again.
            log.info("not_handed_back", task=claim.task.id, error=repr(error))

    async def _run_held(self, claim: Claim, at: TaskAtHand, rung: Rung) -> Ended | None:
        """Return how the claim ends; None when it is done and stored already."""
        shop, task = self._shop, claim.task
        try:
            record = await shop.lander.landed(task.id, since_ms=task.queued_at_ms)
        except (WorkspaceError, OSError) as error:
            return await self._ends.broken(task, "the landing journal cannot be read", error)
        if record is not None:
            # Landed, and then the daemon died before saying so.
            await to_its_end(self._finish(claim, at, record.files, ()))
            return None
        await shop.store.locks.release_all(task.id)  # An earlier claim's; they carry a stale token.
        with at.time_spent.on(Stretch.DECLARED):
            await take_declared(shop, at, claim)  # Before the copy, so that it has what others landed.
        if shop.stopping.is_set():
            return await self._ends.of_outcome(task, Interrupted())
        try:
            self._begun_on = shop.prover.offers_of(task.spec.writes)
            ahead = [offer.staged for offer in self._begun_on]
            with at.time_spent.on(Stretch.COPY):
                workspace = await copy_for(shop, at, task, ahead)
        except (WorkspaceError, OSError) as error:
            return await self._ends.without_copy(task, error)
        keep = True
        try:
            if workspace.resumed:
                self._begun_on = ()
            elif await is_let_land(self._flag_book, task.id):
                # What a person let land is gone: nothing else lands under that permission.
                await spend_permission(self._flag_book, task.id)
                mend = f"agentcoord retry {task.id}"
                return parked(f"the change that you let land is gone: its private copy was needed ({mend})")
            self._emit(
                EventKind.TASK_CLAIMED,
                task.id,
                token=claim.token,
                attempt=task.attempt,
                resumed=workspace.resumed,
                model=rung.model,
                effort=rung.effort,
            )
            ended = await self._attempt(claim, at, workspace, rung)
            keep = ended is not None and ended.keep_copy
            return ended
        finally:
            await to_its_end(self._let_go(task.id, workspace, keep=keep))

    async def _let_go(self, task: TaskId, workspace: Workspace, *, keep: bool) -> None:
        try:
            await self._release_locks(task)
        finally:
            with contextlib.suppress(OSError):  # The binding's file stays; the slot is free all the same.
                await self._shop.pool.release(workspace, keep=keep)

    async def _release_locks(self, task: TaskId) -> None:
        try:
            released = await self._shop.store.locks.release_all(task)
        except StoreError as error:
            # They are for efficiency, and end with the lease.
            log.warning("locks_not_released", task=task, error=str(error))
        else:
            if released:
                self._emit(EventKind.LOCKS_RELEASED, task, paths=list(released))

    async def _attempt(self, claim: Claim, at: TaskAtHand, workspace: Workspace, rung: Rung) -> Ended | None:
        try:
            with at.time_spent.on(Stretch.BRIEFING):
                loop = await make_loop(self._shop, at, claim, workspace, rung)
            return await self._converse(claim, at, workspace, loop)
        except (AgentError, LlmError, ReviewError, SandboxError, WorkspaceError, OSError) as error:
            return await self._ends.of_error(claim.task, error)

    async def _converse(
        self, claim: Claim, at: TaskAtHand, workspace: Workspace, loop: AgentLoop
    ) -> Ended | None:
        """Converse and prove in turn until the task ends one way or another."""
        settings, last_red = self._shop.settings, ""
        for check_round in range(settings.models.check_rounds + 1):
            async with self._turns.conversing(at):
                outcome = await loop.run()
            if not isinstance(outcome, ClaimsFinished):
                return await self._ends.of_outcome(claim.task, outcome)
            async with self._turns.proving(at):
                verdict = await self._prove(claim, at, workspace, outcome)
            match verdict:
                case Landed():
                    await spend_permission(self._flag_book, claim.task.id)
                    return None
                case Held() if verdict.patch and not all(offer.landed for offer in self._begun_on):
                    why = "it was begun on another task's work, which has not landed"
                    # What it has learnt is paid for: the same conversation goes on, in another copy.
                    await loop.reject(begun_on_nothing(verdict.patch), fresh_copy=True)
                    return self._ends.set_back(claim.task, Setback.TREE_MOVED, why, keep_copy=False)
                case Held():
                    await self._keep_patch(claim.task.id, verdict.patch)
                    return parked(verdict.why)
                case Red():
                    await spend_permission(self._flag_book, claim.task.id)
                    report, red_before = verdict.report, self._shop.prover.red_before
                    words = await asyncio.to_thread(feedback, report, red_before=red_before)
                    # Into the transcript first: the next attempt is told from it what was red.
                    await loop.reject(words)
                    names = ", ".join(each.name for each in report.red)
                    print_of_it = await asyncio.to_thread(report.fingerprint)
                    if print_of_it == last_red:
                        why = f"the same checks failed twice alike: {names}"
                        return self._ends.set_back(claim.task, Setback.UNPROVEN, why)
                    last_red = print_of_it
                case str():
                    names = verdict
                    await loop.reject(verdict)
                case _:
                    assert_never(verdict)
            if check_round == settings.models.check_rounds:
                why = f"not proven after {check_round + 1} tries: {names}"
                return self._ends.set_back(claim.task, Setback.UNPROVEN, why)
            await self._back_to_running(claim, at)
        raise AssertionError("the last round returns")

    async def _prove(
        self, claim: Claim, at: TaskAtHand, workspace: Workspace, claimed: ClaimsFinished
    ) -> Landed | Red | Held | str:
        """Prove and land; a text is what the worker must mend before anything can be checked."""
        shop, queue, task = self._shop, self._shop.store.queue, claim.task
        with at.time_spent.on(Stretch.CHANGES):
            changes = await workspace.changes()
        await self._keep_summary(task.id, claimed, changes)
        await queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
        self._emit(EventKind.TASK_CHECKING, task.id, files=list(changes.paths))
        shop.board.set_state(at, at.state, "running the checks")
        refused = [each for each in changes.refused if shop.rules.allows(each.partition(": ")[0])]
        if refused:
            rows = "\n".join(refused)
            return f"These files never land, whatever the scope says. Take them back:\n{rows}"
        if not changes.landable:
            outside = listed(changes.out_of_scope, 10)
            told = f" (outside it you wrote: {outside})" if outside else ""
            return f"Nothing changed inside the project's scope{told}; done means that some did."

        async def begin_landing() -> None:
            await queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
            self._emit(EventKind.TASK_LANDING, task.id)
            shop.board.set_state(at, at.state, "landing")

        async def back_to_checking() -> None:
            await queue.move(claim, TaskState.LANDING, TaskState.CHECKING)
            await queue.count(claim, Setback.TREE_MOVED)

        async def finish(files: tuple[LandedFile, ...], merged: tuple[str, ...]) -> None:
            await self._finish(claim, at, files, merged)

        async def offered() -> None:
            await self._release_locks(task.id)  # Whoever takes one of these files now begins with the offer.

        steps = LandingSteps(offered, begin_landing, back_to_checking, partial(queue.renew, claim), finish)
        try:
            return await shop.prover.prove_and_land(claim, workspace, changes, steps, at.time_spent)
        except LandingRefusedError as error:
            return Held(error.message)

    async def _finish(
        self, claim: Claim, at: TaskAtHand, files: tuple[LandedFile, ...], merged: tuple[str, ...]
    ) -> None:
        """Say done, after the files are in the tree."""
        queue, task = self._shop.store.queue, claim.task
        current = await queue.get(task.id)
        if current is not None and current.state is TaskState.RUNNING:
            await queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
            await queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
        await queue.complete(claim, files)
        self._emit(
            EventKind.TASK_DONE,
            task.id,
            files=[each.path for each in files],
            lines_added=sum(each.lines_added for each in files),
            lines_removed=sum(each.lines_removed for each in files),
            merged=list(merged),
            cost_usd_micros=at.cost_usd_micros,
            time_spent_ms=at.time_spent.to_dict(),
        )

    async def _end(self, claim: Claim, ended: Ended) -> None:
        worker = self._row.spec.name
        await set_back(self._shop, claim, ended.setback, ended.verdict, ended.why, worker=worker)

    async def _back_to_running(self, claim: Claim, at: TaskAtHand) -> None:
        await self._shop.store.queue.move(claim, TaskState.CHECKING, TaskState.RUNNING)
        await self._shop.store.queue.count(claim, Setback.CHECKS_RED)
        self._shop.board.set_state(at, at.state, "mending what the checks found")

    async def _keep_summary(self, task: TaskId, claimed: ClaimsFinished, changes: ChangeSet) -> None:
        """Store what the worker says it did, for the report; it counts for nothing else."""
        words = {"summary": claimed.summary, "decisions": [*claimed.decisions, *left_behind(changes)]}
        path = self._shop.transcripts / task / SUMMARY_NAME
        await asyncio.to_thread(path.write_text, json.dumps(words), encoding="utf-8")

    async def _keep_patch(self, task: TaskId, patch: str) -> None:
        if patch:
            path = self._shop.transcripts / task / "conflict.patch"
            await asyncio.to_thread(path.write_text, patch, encoding="utf-8", errors="surrogateescape")

    def _emit(self, kind: EventKind, task: TaskId, **data: object) -> None:
        self._shop.hub.emit(kind, task=task, worker=self._row.spec.name, **data)
