"""From a worker's change set to the user's tree: stage, check, land, or say why not.

Theory of operation. A change is put on top of the user's tree as it is now, in a proof copy of
its own, and the checks run there; so what was proven is exactly what will land. The first
try is made without the landing lock, so that several workers' checks run side by side. If the
tree moved meanwhile (another landing, the user's edit), the proof is void: it is made again
while holding the lock, where only the user can still interfere, a bounded number of times.
From the word that landing begins to the word done nothing is torn: a cancelled worker is let go of
afterwards, and whoever would end a task at a person's word waits for `between_landings()`.
Deliberately absent: the conversation with the worker, which `task_run` leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agentcoord.daemon.adapters import policy_for
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet, LandedFile
from agentcoord.domain.task import Claim
from agentcoord.review.checks import CheckBook, CheckOutcome, CheckReport, commands_for
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import Limits, Result
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.pool import MergeConflict, ProofTree, Staged, Workspace, WorkspacePool
from agentcoord.workspace.repository import Repository

PROOFS_PER_LANDING = 5
"""How often a proof is made again because the tree moved, before the task is parked."""


@dataclass(frozen=True, slots=True)
class Landed:
    files: tuple[LandedFile, ...]
    merged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Red:
    report: CheckReport


@dataclass(frozen=True, slots=True)
class Held:
    """Needs a person: a conflict, a suspicious change, or a tree that never stands still."""

    why: str
    patch: str = ""


@dataclass(frozen=True, slots=True)
class LandingSteps:
    """What the prover calls at the moments that only its caller can act on."""

    begin_landing: Callable[[], Awaitable[None]]
    """Checking becomes landing. Raises LeaseLostError."""
    back_to_checking: Callable[[], Awaitable[None]]
    verify: Callable[[], Awaitable[None]]
    """Raises LeaseLostError when the claim's token is stale."""
    finish: Callable[[tuple[LandedFile, ...], tuple[str, ...]], Awaitable[None]]
    """Says done, with what landed and what of it was merged."""


class Prover:
    """Runs checks in proof copies and lands what they prove."""

    def __init__(
        self,
        *,
        repo: Repository,
        pool: WorkspacePool,
        lander: Lander,
        sandbox: Sandbox,
        toolchains: Collection[Path],
        book: CheckBook,
        project_checks: Mapping[str, str],
        check_timeout_s: float,
        hub: EventHub,
        redactor: Redactor,
    ) -> None:
        self._repo = repo
        self._pool = pool
        self._lander = lander
        self._sandbox = sandbox
        self._toolchains = tuple(toolchains)
        self._book = book
        self._project_checks = dict(project_checks)
        self._limits = Limits(timeout_s=check_timeout_s)
        self._hub = hub
        self._redactor = redactor
        self._landing = asyncio.Lock()
        """Held from a task's second proof on, so that no other task's landing voids it."""
        self._swapping = asyncio.Lock()
        """Held from "landing" to "done" in the store: briefly, and by nobody who runs checks."""
        self.red_before: frozenset[str] = frozenset()
        """Names of the checks that the untouched tree fails."""
        self.baseline: CheckReport | None = None
        self.merges = 0

    async def run_baseline(self) -> CheckReport:
        """Run the project's checks once on the tree as it is."""
        async with self._pool.proof() as proof:
            await proof.sync()
            report = await self._check(proof, list(self._project_checks.items()), "", None)
        await asyncio.to_thread(self._book.store, "baseline", report)
        self.adopt_baseline(report)
        self._hub.emit(
            EventKind.BASELINE_ENDED,
            ok=report.ok,
            checks={outcome.name: outcome.exit_code for outcome in report.outcomes},
        )
        return report

    def adopt_baseline(self, report: CheckReport) -> None:
        """Take a report, just made or kept from before a restart, as this run's baseline."""
        self.baseline = report
        self.red_before = frozenset(outcome.name for outcome in report.red)

    async def prove_and_land(
        self, claim: Claim, workspace: Workspace, changes: ChangeSet, steps: LandingSteps
    ) -> Landed | Red | Held:
        """Prove `changes` on the tree as it will be, and land them.

        Raises LeaseLostError, LandingRefusedError, SandboxError; then nothing has landed.
        """
        moved: tuple[str, ...] = ()
        async with AsyncExitStack() as held, self._pool.proof() as proof:
            for proof_number in range(PROOFS_PER_LANDING):
                staged = await proof.stage(workspace, changes)
                if isinstance(staged, MergeConflict):
                    return Held(f"the same lines changed under it: {', '.join(staged.paths)}", staged.patch)
                if staged.held:
                    return Held(f"it empties or shrinks {', '.join(staged.held)} by over 80%")
                report = await self._check(
                    proof, commands_for(claim.task.spec.check, self._project_checks), staged.tree_hash, claim
                )
                await asyncio.to_thread(self._book.store, claim.task.id, report)
                if not report.ok:
                    return Red(report)
                if proof_number == 0:
                    await held.enter_async_context(self._landing)
                moved = await proof.moved(staged.stamp)
                if not moved:
                    landed = await to_its_end(self._land(claim, staged, steps))
                    if isinstance(landed, Landed):
                        return landed
                    moved = landed.paths
        return Held(f"the tree changed {PROOFS_PER_LANDING} times during its checks: {', '.join(moved[:5])}")

    @asynccontextmanager
    async def between_landings(self) -> AsyncIterator[None]:
        """While inside, no task is between "landing" and "done". Hold it briefly."""
        async with self._swapping:
            yield

    async def _land(self, claim: Claim, staged: Staged, steps: LandingSteps) -> Landed | TreeMoved:
        async with self._swapping:
            await steps.begin_landing()
            outcome = await self._lander.land(
                claim.task.id, claim.token, claim.task.spec.title, staged, verify=steps.verify
            )
            if isinstance(outcome, TreeMoved):
                await steps.back_to_checking()
                return outcome
            self.merges += len(staged.merged)
            await steps.finish(outcome, staged.merged)
        return Landed(outcome, staged.merged)

    async def _check(
        self, proof: ProofTree, commands: list[tuple[str, str]], tree_hash: str, claim: Claim | None
    ) -> CheckReport:
        policy = policy_for(proof, self._repo, self._toolchains)

        async def run(command: str) -> Result:
            result = await self._sandbox.run(command, policy, self._limits)
            return Result(
                exit_code=result.exit_code,
                output=self._redactor.clean(result.output),
                truncated=result.truncated,
                dropped_bytes=result.dropped_bytes,
                killed_by=result.killed_by,
                duration_ms=result.duration_ms,
            )

        def tell(outcome: CheckOutcome) -> None:
            self._hub.emit(
                EventKind.TASK_CHECKED,
                task=claim.task.id if claim else None,
                worker=claim.task.worker if claim else None,
                check=outcome.name,
                exit_code=outcome.exit_code,
                ms=outcome.duration_ms,
                ok=outcome.ok,
            )

        return await self._book.run(commands, tree_hash=tree_hash, run=run, on_outcome=tell)
