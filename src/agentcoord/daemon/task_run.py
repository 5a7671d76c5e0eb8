"""One claim, from the first word to the end: converse, prove, land, or hand the task back.

Theory of operation. The worker's coroutine calls `TaskRunner.run(claim)` and every way out of
it leaves the task in a state that the store knows: done, queued again, parked or failed. A lost
lease leaves it to whoever owns it now. The private copy and the transcript stay when the task
will be resumed, and go when it ended. A cancelled run leaves the task with its claim, which the
fleet hands back; storing an end and landing are never torn by a cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from typing import assert_never

import structlog

from agentcoord.agent.loop import (
    AgentLoop,
    ClaimsFinished,
    GaveUp,
    Interrupted,
    OutOfMoney,
)
from agentcoord.daemon.declared_files import take_declared
from agentcoord.daemon.machine_faults import fault_of
from agentcoord.daemon.pausing import pause
from agentcoord.daemon.proofs import Held, Landed, LandingSteps, Red
from agentcoord.daemon.task_setup import make_loop
from agentcoord.daemon.time_spent import Stretch
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.worker_row import WorkerRow
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import TaskId
from agentcoord.domain.ladder import Rung, rung_for
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task
from agentcoord.errors import (
    AgentCoordError,
    AgentError,
    LandingRefusedError,
    LeaseLostError,
    LlmAuthError,
    LlmError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
    ReviewError,
    SandboxError,
    StoreError,
    WorkspaceError,
)
from agentcoord.review.checks import feedback
from agentcoord.store.budget_ledger import CapScope
from agentcoord.workspace.pool import Workspace

HAND_BACK_TIMEOUT_S = 10.0
RETRY_DELAY_MS = 30_000
SUMMARY_NAME = "summary.json"

log = structlog.get_logger("task")


@dataclass(slots=True)
class _Ended:
    """How a claim ends in the store."""

    state: TaskState
    why: str
    counts_attempt: bool = True
    delay_ms: int = 0
    keep_copy: bool = False
    """The task goes on later from where it is."""


class TaskRunner:
    """Runs the claims of one worker, one at a time."""

    def __init__(self, shop: Workshop, row: WorkerRow) -> None:
        self._shop = shop
        self._row = row

    async def run(self, claim: Claim) -> None:
        """Work on the claim until the task is somewhere else. Raises StoreError when the store is away.

        Cancelled, it lets go of the private copy and leaves the claim to `hand_back`.
        """
        claim = await self._as_let_land(claim)
        shop, task = self._shop, claim.task
        rung = rung_for(task.attempt, shop.settings.models.rungs)
        shop.board.began(self._row, claim, rung.model)
        try:
            ended = await self._run_held(claim, rung)
            if ended is not None:
                await to_its_end(self._end(claim, ended))
        except LeaseLostError as error:
            # Whoever took the lease away has told why: a person, or the reaper.
            log.warning("lease_lost", task=task.id, error=str(error))
        finally:
            shop.board.ended(self._row)

    async def hand_back(self, claim: Claim, why: str) -> None:
        """Queue the task of a cancelled run again, unless the claim has ended. Bounded; raises nothing."""
        try:
            async with asyncio.timeout(HAND_BACK_TIMEOUT_S):
                await self._end(claim, _Ended(TaskState.QUEUED, why, counts_attempt=False, keep_copy=True))
        except (StoreError, TimeoutError) as error:
            # A lost lease means that it ended; else the next start of the daemon queues it again.
            log.info("not_handed_back", task=claim.task.id, error=repr(error))

    async def _run_held(self, claim: Claim, rung: Rung) -> _Ended | None:
        """Return how the claim ends; None when it is done and stored already."""
        shop, task = self._shop, claim.task
        try:
            record = await shop.lander.landed(task.id, since_ms=task.queued_at_ms)
        except (WorkspaceError, OSError) as error:
            return await self._broken(task, "the landing journal cannot be read", error)
        if record is not None:
            # Landed, and then the daemon died before saying so.
            await to_its_end(self._finish(claim, record.files, ()))
            return None
        await shop.store.locks.release_all(task.id)  # An earlier claim's; they carry a stale token.
        await take_declared(shop, self._row, claim)  # Before the copy, so that it has what others landed.
        if shop.stopping.is_set():
            return await self._ended_by(task, Interrupted())
        try:
            with self._row.time_spent.on(Stretch.COPY):
                workspace = await shop.pool.acquire(task.id, task.attempt, fresh=False)
        except (WorkspaceError, OSError) as error:
            return await self._without_copy(error)
        keep = True
        try:
            if not workspace.resumed and await self._is_let_land(task.id):
                return await self._lost_before_landing(task)
            self._emit(
                EventKind.TASK_CLAIMED,
                task.id,
                token=claim.token,
                attempt=task.attempt,
                resumed=workspace.resumed,
                model=rung.model,
                effort=rung.effort,
            )
            ended = await self._attempt(claim, workspace, rung)
            keep = ended is not None and ended.keep_copy
            return ended
        finally:
            await to_its_end(self._let_go(task.id, workspace, keep=keep))

    async def _let_go(self, task: TaskId, workspace: Workspace, *, keep: bool) -> None:
        try:
            released = await self._shop.store.locks.release_all(task)
            if released:
                self._emit(EventKind.LOCKS_RELEASED, task, paths=list(released))
        except StoreError as error:
            # They are for efficiency, and end with the lease.
            log.warning("locks_not_released", task=task, error=str(error))
        finally:
            with contextlib.suppress(OSError):  # The binding's file stays; the slot is free all the same.
                await self._shop.pool.release(workspace, keep=keep)

    async def _attempt(self, claim: Claim, workspace: Workspace, rung: Rung) -> _Ended | None:
        try:
            with self._row.time_spent.on(Stretch.BRIEFING):
                loop = await make_loop(self._shop, self._row, claim, workspace, rung)
            return await self._converse(claim, workspace, loop)
        except SandboxError as error:
            return await self._without_sandbox(error)
        except LlmRetryableError as error:
            return _Ended(
                TaskState.QUEUED,
                f"the model cannot be reached: {error.message}",
                counts_attempt=False,
                delay_ms=RETRY_DELAY_MS,
                keep_copy=True,
            )
        except (LlmSpendLimitError, LlmAuthError) as error:
            await pause(self._shop, error.message)  # Every other task would meet the same.
            return _Ended(TaskState.PARKED, error.message, keep_copy=True)
        except LlmRequestError as error:
            return self._failed_attempt(
                claim.task, f"the model's server refused the request: {error.message}"
            )
        except LlmError as error:
            return self._failed_attempt(claim.task, f"the call to the model failed: {error.message}")
        except (WorkspaceError, OSError) as error:
            return await self._broken(claim.task, "the private copy failed", error)
        except (AgentError, ReviewError) as error:
            return await self._broken(claim.task, "the attempt broke", error)

    async def _converse(self, claim: Claim, workspace: Workspace, loop: AgentLoop) -> _Ended | None:
        """Converse and prove in turn until the task ends one way or another."""
        settings, last_red = self._shop.settings, ""
        for check_round in range(settings.models.check_rounds + 1):
            outcome = await loop.run()
            if not isinstance(outcome, ClaimsFinished):
                return await self._ended_by(claim.task, outcome)
            await self._keep_summary(claim.task.id, outcome)
            verdict = await self._prove(claim, workspace)
            match verdict:
                case Landed():
                    await self._spend_permission(claim.task.id)
                    return None
                case Held():
                    await self._keep_patch(claim.task.id, verdict.patch)
                    return _Ended(TaskState.PARKED, verdict.why, keep_copy=True)
                case Red():
                    await self._spend_permission(claim.task.id)
                    words = feedback(verdict.report, red_before=self._shop.prover.red_before)
                    # Into the transcript first: the next attempt is told from it what was red.
                    await loop.reject(words)
                    names = ", ".join(each.name for each in verdict.report.red)
                    print_of_it = verdict.report.fingerprint()
                    if print_of_it == last_red:
                        return self._failed_attempt(
                            claim.task, f"the same checks failed twice alike: {names}"
                        )
                    last_red = print_of_it
                case str():
                    names = verdict
                    await loop.reject(verdict)
                case _:
                    assert_never(verdict)
            if check_round == settings.models.check_rounds:
                return self._failed_attempt(claim.task, f"not proven after {check_round + 1} tries: {names}")
            await self._back_to_running(claim)
        raise AssertionError("the last round returns")

    async def _prove(self, claim: Claim, workspace: Workspace) -> Landed | Red | Held | str:
        """Prove and land; a text is what the worker must mend before anything can be checked."""
        shop, queue, task = self._shop, self._shop.store.queue, claim.task
        with self._row.time_spent.on(Stretch.CHANGES):
            changes = await workspace.changes()
        await queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
        self._emit(EventKind.TASK_CHECKING, task.id, files=list(changes.paths))
        shop.board.set_state(self._row, self._row.state, "running the checks")
        refused = [each for each in changes.refused if shop.rules.allows(each.partition(": ")[0])]
        if refused:
            listed = "\n".join(refused)
            return f"These files never land, whatever the scope says. Take them back:\n{listed}"
        if not changes.landable:
            outside = (
                f" (outside it you wrote: {', '.join(changes.out_of_scope[:10])})"
                if changes.out_of_scope
                else ""
            )
            return f"Nothing changed inside the project's scope{outside}; done means that some did."

        async def begin_landing() -> None:
            await queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
            self._emit(EventKind.TASK_LANDING, task.id)
            shop.board.set_state(self._row, self._row.state, "landing")

        async def back_to_checking() -> None:
            await queue.move(claim, TaskState.LANDING, TaskState.CHECKING)

        async def verify() -> None:
            await queue.verify(claim)

        async def finish(files: tuple[LandedFile, ...], merged: tuple[str, ...]) -> None:
            await self._finish(claim, files, merged)

        steps = LandingSteps(begin_landing, back_to_checking, verify, finish)
        try:
            return await shop.prover.prove_and_land(claim, workspace, changes, steps, self._row.time_spent)
        except LandingRefusedError as error:
            return Held(error.message)

    async def _finish(self, claim: Claim, files: tuple[LandedFile, ...], merged: tuple[str, ...]) -> None:
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
            cost_usd_micros=self._row.cost_usd_micros,
            time_spent_ms=self._row.time_spent.to_dict(),
        )

    async def _as_let_land(self, claim: Claim) -> Claim:
        """The claim, on the attempt whose flagged change a person lets land, if there is one.

        Its private copy and its transcript go by that attempt; its last turn is the claim to be
        finished, which is simply heard again.
        """
        noted = await asyncio.to_thread(self._shop.prover.flagging.book.of, claim.task.id)
        if noted is None or not noted.permitted:
            return claim
        return replace(claim, task=replace(claim.task, attempt=noted.attempt))

    async def _is_let_land(self, task: TaskId) -> bool:
        noted = await asyncio.to_thread(self._shop.prover.flagging.book.of, task)
        return noted is not None and noted.permitted

    async def _lost_before_landing(self, task: Task) -> _Ended:
        """What a person let land is gone: nothing else lands under that permission."""
        await self._spend_permission(task.id)
        return _Ended(
            TaskState.PARKED,
            f"the change that you let land is gone: its private copy was needed (agentcoord retry {task.id})",
        )

    async def _spend_permission(self, task: TaskId) -> None:
        """A person's word to land a flagged change is good for one try."""
        if await self._is_let_land(task):
            await asyncio.to_thread(self._shop.prover.flagging.book.set_permitted, task, permitted=False)

    async def _ended_by(self, task: Task, outcome: GaveUp | OutOfMoney | Interrupted) -> _Ended:
        match outcome:
            case Interrupted():
                return _Ended(TaskState.QUEUED, "the daemon stopped", counts_attempt=False, keep_copy=True)
            case OutOfMoney():
                refused = outcome.refused
                why = f"{refused.in_words} is reached"
                self._emit(EventKind.BUDGET_REACHED, task.id, scope=refused.scope, unit=str(refused.unit))
                if refused.scope != CapScope.TASK and not self._shop.store.queue.paused:
                    # Nothing new is claimed; tasks under way go on until they end or meet the cap themselves.
                    await pause(self._shop, why)
                return _Ended(TaskState.PARKED, why, keep_copy=True)
            case GaveUp():
                return self._failed_attempt(task, outcome.why)
            case _:
                assert_never(outcome)

    def _failed_attempt(self, task: Task, why: str) -> _Ended:
        """The next attempt with the next model, or the end."""
        if task.attempt < self._shop.settings.models.attempts:
            return _Ended(TaskState.QUEUED, why)
        return _Ended(TaskState.FAILED, why)

    async def _broken(self, task: Task, doing: str, error: AgentCoordError | OSError) -> _Ended:
        """The attempt failed, unless the machine is at fault, which no other attempt would mend."""
        return await self._machine_fault(error) or self._failed_attempt(task, f"{doing}: {error}")

    async def _without_copy(self, error: AgentCoordError | OSError) -> _Ended:
        return await self._machine_fault(error) or _Ended(TaskState.PARKED, f"no private copy: {error}")

    async def _machine_fault(self, error: AgentCoordError | OSError) -> _Ended | None:
        """Hold the whole run when every task would meet the same; the task costs no attempt."""
        fault = await asyncio.to_thread(fault_of, error, self._shop.repo.root, self._shop.transcripts)
        if fault is None:
            return None
        await pause(self._shop, fault)  # Every other task would meet the same.
        return _Ended(TaskState.QUEUED, fault, counts_attempt=False, keep_copy=True)

    async def _without_sandbox(self, error: SandboxError) -> _Ended:
        """Nothing falls back: the task waits, and so does the run where no sandbox works any more."""
        report = await self._shop.sandbox.probe()
        if report.ok:
            return _Ended(TaskState.PARKED, f"the sandbox refused: {error.message}", keep_copy=True)
        why = f"no sandbox works here: {'; '.join(report.reasons) or error.message}"
        mend = f"{report.mend}, then " if report.mend else ""
        # Every other task would meet the same. What was mended is found out at a start.
        await pause(self._shop, f"{why}: {mend}agentcoordd restart and agentcoord ctl resume")
        return _Ended(TaskState.QUEUED, why, counts_attempt=False, keep_copy=True)

    async def _end(self, claim: Claim, ended: _Ended) -> None:
        queue, task = self._shop.store.queue, claim.task
        match ended.state:
            case TaskState.QUEUED:
                await queue.requeue(
                    claim, why=ended.why, counts_attempt=ended.counts_attempt, delay_ms=ended.delay_ms
                )
                self._emit(EventKind.TASK_REQUEUED, task.id, why=ended.why)
            case TaskState.PARKED:
                await queue.park(claim, why=ended.why)
                self._emit(EventKind.TASK_PARKED, task.id, why=ended.why)
            case TaskState.FAILED:
                dependents = await queue.fail(claim, why=ended.why)
                self._emit(EventKind.TASK_FAILED, task.id, why=ended.why)
                for dependent in dependents:
                    self._emit(EventKind.TASK_FAILED, dependent, why=f"{task.id}, which it needs, failed")
            case _:
                raise AssertionError(f"a claim does not end as {ended.state}")

    async def _back_to_running(self, claim: Claim) -> None:
        await self._shop.store.queue.move(claim, TaskState.CHECKING, TaskState.RUNNING)
        self._shop.board.set_state(self._row, self._row.state, "mending what the checks found")

    async def _keep_summary(self, task: TaskId, claimed: ClaimsFinished) -> None:
        """Store what the worker says it did, for the report; it counts for nothing else."""
        words = {"summary": claimed.summary, "decisions": list(claimed.decisions)}
        path = self._shop.transcripts / task / SUMMARY_NAME
        await asyncio.to_thread(path.write_text, json.dumps(words), encoding="utf-8")

    async def _keep_patch(self, task: TaskId, patch: str) -> None:
        if patch:
            path = self._shop.transcripts / task / "conflict.patch"
            await asyncio.to_thread(path.write_text, patch, encoding="utf-8", errors="surrogateescape")

    def _emit(self, kind: EventKind, task: TaskId, **data: object) -> None:
        self._shop.hub.emit(kind, task=task, worker=self._row.spec.name, **data)
