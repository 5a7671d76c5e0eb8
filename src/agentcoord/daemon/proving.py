"""From a worker's change set to the user's tree: stage, check, land, or say why not.

Theory of operation. A change is put on top of the user's tree as it is now, in a proof copy of
its own, and the checks run there; so what was proven is exactly what will land. The first
try is made without the landing lock, so that several workers' checks run side by side. If the
tree moved meanwhile (another landing, the user's edit), the proof is void: it is made again
while holding the lock, where only the user can still interfere, a bounded number of times.
A proof stands although the tree moved when nothing moved but files that no check reads. A change that
tampers with the checks is held for a person even when they are green.
From the word that landing begins to the word done nothing is torn: a cancelled worker is let go of
afterwards, and whoever would end a task at a person's word waits for `between_landings()`.
Deliberately absent: the conversation with the worker, which `task_run` leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agentcoord.config.sections import ChecksSection
from agentcoord.daemon.adapters import policy_for
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.flagging import Flagging
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet, LandedFile
from agentcoord.domain.globs import glob_matches
from agentcoord.domain.task import Claim
from agentcoord.review.check_runs import CheckRuns
from agentcoord.review.checks import BASELINE, CheckBook, CheckOutcome, CheckReport, commands_for
from agentcoord.review.flag_book import FlagBook
from agentcoord.review.junit import Cases
from agentcoord.review.surroundings import surroundings_of
from agentcoord.review.verdict import KnownTests
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import Limits, Result
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.files import SafeTree
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
class _Proof:
    """What the checks said of one tree."""

    staged: Staged
    report: CheckReport
    cases: Mapping[tuple[str, str], Cases]
    """Of the checks that ran for it and reported their tests."""


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
        flags: FlagBook,
        checks: ChecksSection,
        hub: EventHub,
        redactor: Redactor,
    ) -> None:
        self._repo = repo
        self._pool = pool
        self._lander = lander
        self._sandbox = sandbox
        self._toolchains = tuple(toolchains)
        self._book = book
        self.flagging = Flagging(flags, checks)
        self._checks = checks
        self._limits = Limits(timeout_s=checks.timeout_s)
        self._hub = hub
        self._redactor = redactor
        self._landing = asyncio.Lock()
        """Held from a task's second proof on, so that no other task's landing voids it."""
        self._swapping = asyncio.Lock()
        """Held from "landing" to "done" in the store: briefly, and by nobody who runs checks."""
        self.red_before: frozenset[str] = frozenset()
        """Names of the checks that the untouched tree fails."""
        self.baseline: CheckReport | None = None
        self._known = KnownTests()
        """What each test did on the user's tree, as far as it has been seen."""
        self._baseline_settled = asyncio.Event()
        self._baseline_settled.set()
        self.merges = 0

    def expect_baseline(self) -> None:
        """A baseline is wanted: hold proofs back until `settle_baseline()`."""
        self._baseline_settled.clear()

    def settle_baseline(self) -> None:
        """The baseline is known, or cannot be had now: proofs may go on."""
        self._baseline_settled.set()

    async def run_baseline(self) -> CheckReport:
        """Run the project's checks once on the tree as it is."""
        async with self._pool.proof() as proof:
            await proof.sync()
            report, cases = await self._check(proof, list(self._checks.commands.items()), "", None)
        known = KnownTests()
        for (name, command), each in cases.items():
            known = known.with_run(name, command, each)
        await asyncio.to_thread(self._book.store, BASELINE, report)
        await asyncio.to_thread(self._book.store_known, known)
        self.adopt_baseline(report, known)
        self._hub.emit(
            EventKind.BASELINE_ENDED,
            ok=report.ok,
            checks={outcome.name: outcome.exit_code for outcome in report.outcomes},
        )
        return report

    def adopt_baseline(self, report: CheckReport, known: KnownTests) -> None:
        """Take a report, just made or kept from before a restart, as this run's baseline."""
        self.baseline = report
        self.red_before = frozenset(outcome.name for outcome in report.red)
        self._known = known

    async def prove_and_land(
        self, claim: Claim, workspace: Workspace, changes: ChangeSet, steps: LandingSteps
    ) -> Landed | Red | Held:
        """Prove `changes` on the tree as it will be, and land them.

        Raises LeaseLostError, LandingRefusedError, SandboxError; then nothing has landed.
        """
        # Red must be known as ours or as there before. Awaited without a proof copy, which it may need.
        await self._baseline_settled.wait()
        moved: tuple[str, ...] = ()
        proven: _Proof | None = None
        async with AsyncExitStack() as held, self._pool.proof() as proof:
            for proof_number in range(PROOFS_PER_LANDING):
                staged = await proof.stage(workspace, changes)
                if isinstance(staged, MergeConflict):
                    return Held(f"the same lines changed under it: {', '.join(staged.paths)}", staged.patch)
                proven = await self._prove(claim, proof, staged, proven)
                if not proven.report.ok:
                    return Red(proven.report)
                why = await self.flagging.why_held(claim.task, workspace, changes, staged, proven.report)
                if why:
                    return Held(why)
                if proof_number == 0:
                    await held.enter_async_context(self._landing)
                moved = await proof.moved(staged.stamp)
                if not moved:
                    landed = await to_its_end(self._land(claim, staged, steps))
                    if isinstance(landed, Landed):
                        await self._learn(proven.cases)
                        return landed
                    moved = landed.paths
        return Held(f"the tree changed {PROOFS_PER_LANDING} times during its checks: {', '.join(moved[:5])}")

    async def _prove(self, claim: Claim, proof: ProofTree, staged: Staged, last: _Proof | None) -> _Proof:
        """Run the checks on what is staged, unless they said all there is to say of it already."""
        if last is not None and await asyncio.to_thread(self._is_same_to_checks, last.staged, staged):
            return replace(last, staged=staged)
        commands = commands_for(claim.task.spec.check, self._checks.commands)
        report, cases = await self._check(proof, commands, staged.tree_hash, claim)
        await asyncio.to_thread(self._book.store, claim.task.id, report)
        return _Proof(staged, report, cases)

    def _is_same_to_checks(self, one: Staged, other: Staged) -> bool:
        """Whether two trees differ in nothing but files that no check reads."""
        if [(file.path, file.new) for file in one.files] != [(file.path, file.new) for file in other.files]:
            return False
        return all(
            any(glob_matches(glob, path) for glob in self._checks.unread_files)
            for path in one.stamp.files.keys() | other.stamp.files.keys()
            if not _is_same_file(one, other, path)
        )

    async def _learn(self, cases: Mapping[tuple[str, str], Cases]) -> None:
        """Take over what the tests do on the tree as it has become: what is green now is excused no more."""
        known = self._known
        for (name, command), each in cases.items():
            if self._checks.commands.get(name) == command:
                known = known.with_run(name, command, each)
        if known is not self._known:
            self._known = known
            with suppress(OSError):  # It is known all the same, until the daemon ends.
                await asyncio.to_thread(self._book.store_known, known)

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
    ) -> tuple[CheckReport, Mapping[tuple[str, str], Cases]]:
        policy = policy_for(proof, self._repo, self._toolchains)

        async def run(command: str, env: Mapping[str, str]) -> Result:
            result = await self._sandbox.run(
                command, replace(policy, env={**policy.env, **env}), self._limits
            )
            return replace(result, output=self._redactor.clean(result.told))

        def tell(outcome: CheckOutcome) -> None:
            verdict = outcome.verdict
            self._hub.emit(
                EventKind.TASK_CHECKED,
                task=claim.task.id if claim else None,
                worker=claim.task.worker if claim else None,
                check=outcome.name,
                exit_code=outcome.exit_code,
                ms=outcome.duration_ms,
                ok=outcome.ok,
                excused=outcome.excused,
                new_failures=len(verdict.new) if verdict else 0,
                old_failures=len(verdict.before) if verdict else 0,
                flaky=len(verdict.flaky) if verdict else 0,
            )

        runs = CheckRuns(
            run,
            SafeTree(proof.root),
            known=(lambda: self._known) if claim else KnownTests,
            junit_files=self._checks.junit_files,
            excuse_pre_existing=self._checks.pre_existing == "allow",
        )
        report = await self._book.run(
            commands,
            tree_hash=tree_hash,
            surroundings=await asyncio.to_thread(surroundings_of, policy, timeout_s=self._limits.timeout_s),
            run=runs.check,
            on_outcome=tell,
        )
        return report, runs.cases


def _is_same_file(one: Staged, other: Staged, path: str) -> bool:
    before, after = one.stamp.files.get(path), other.stamp.files.get(path)
    if before is None or after is None:
        return before is after
    return (before.kind, before.executable, before.sha256) == (after.kind, after.executable, after.sha256)
