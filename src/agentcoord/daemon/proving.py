"""From a worker's change set to the user's tree: stage, check, land, or say why not.

Theory of operation. A change is put on top of the user's tree as it will be when those before it have
landed (`landing_line`), in a proof copy of its own, and the checks run there, beside theirs; so what was
proven is exactly what will land. When it is its turn, the tree is compared with what the checks saw. If
it is another (somebody before it did not land, the user edited), the proof is void and is made again;
the user can do so a bounded number of times. Red or held counts only when all that it was put on top of
has landed: else it may not be the task's own fault.
A proof stands although the tree is another when nothing differs but files that no check reads. A change
that tampers with the checks is held for a person even when they are green.
From the word that landing begins to the word done nothing is torn: a cancelled worker is let go of
afterwards, and whoever would end a task at a person's word waits for `between_landings()`.
Deliberately absent: the conversation with the worker, which `task_run` leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from agentcoord.config.sections import ChecksSection
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.flagging import Flagging
from agentcoord.daemon.landing_line import LandingLine, Offer, Place
from agentcoord.daemon.proof_checks import ProofChecks
from agentcoord.daemon.proofs import Held, Landed, LandingSteps, Proof, Red
from agentcoord.daemon.time_spent import Stretch, TimeSpent
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet
from agentcoord.domain.globs import glob_matches
from agentcoord.domain.ids import TaskId
from agentcoord.domain.listed import listed
from agentcoord.domain.task import Claim
from agentcoord.errors import ChecksCannotRunError
from agentcoord.review.check_runs import judged
from agentcoord.review.checks import BASELINE, CheckBook, CheckOutcome, CheckReport, commands_for
from agentcoord.review.flag_book import FlagBook
from agentcoord.review.junit import Cases
from agentcoord.review.unrunnable import why_unrunnable
from agentcoord.review.verdict import KnownTests
from agentcoord.sandbox.backend import Sandbox
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.pool import MergeConflict, ProofTree, Staged, Workspace, WorkspacePool
from agentcoord.workspace.repository import Repository

PROOFS_PER_LANDING = 5
"""How often a proof is made because the tree moved by another hand than ours, before the task is parked."""
MOST_PROOFS = 1_000
"""Of one landing, whatever made them void. Each that is not counted above is one less before it in line, or
one such proof of theirs; this only bounds what cannot go on for ever."""


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
        self._pool = pool
        self._lander = lander
        self._book = book
        self._proof_checks = ProofChecks(
            repo=repo,
            sandbox=sandbox,
            toolchains=toolchains,
            book=book,
            checks=checks,
            hub=hub,
            redactor=redactor,
        )
        self.flagging = Flagging(flags, checks)
        self._checks = checks
        self._hub = hub
        self._line = LandingLine(self._is_read)
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
            commands = list(self._checks.commands.items())
            known = KnownTests()
            report, cases = await self._proof_checks.run(proof, commands, "", claim=None, known=known)
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

    def offers_of(self, writes: Sequence[str]) -> tuple[Offer, ...]:
        """What will land in files that `writes` (paths and globs) names, and what that was put on top of."""
        return self._line.offers_of(lambda path: any(glob_matches(glob, path) for glob in writes))

    async def run_on(self, proof: ProofTree, commands: list[tuple[str, str]]) -> CheckReport:
        """Run checks on what a proof copy shows, for a person. Raises SandboxError: nothing ran."""
        report, _ = await self._proof_checks.run(proof, commands, "", claim=None, known=self._known)
        return report

    async def prove_and_land(
        self,
        claim: Claim,
        workspace: Workspace,
        changes: ChangeSet,
        steps: LandingSteps,
        spent: TimeSpent,
    ) -> Landed | Red | Held:
        """Prove `changes` on the tree as it will be, and land them.

        Raises LeaseLostError, LandingRefusedError, SandboxError, ChecksCannotRunError; then nothing has
        landed.
        """
        # Red must be known as ours or as there before. Awaited without a proof copy, which it may need.
        with spent.on(Stretch.BASELINE):
            await self._baseline_settled.wait()
        if why := why_unrunnable(self.baseline):
            raise ChecksCannotRunError(why)
        moved: tuple[str, ...] = ()
        times_moved = 0
        last: Proof | None = None
        async with self._line.stand() as place:
            for _ in range(MOST_PROOFS):
                made = await self._prove_in_line(claim, workspace, changes, place, last, steps, spent)
                if made is None:
                    continue  # What it counted on will not land.
                with spent.on(Stretch.LINE):
                    goes_on = isinstance(made, Proof) and made.refusal is None
                    stands = await (place.first() if goes_on else place.stepped_out())
                if stands and isinstance(made, Proof):
                    made = await self._judged_now(claim, workspace, changes, made)
                if isinstance(made, Proof):
                    last = made
                refusal = made.refusal if isinstance(made, Proof) else made
                if stands and refusal is not None:
                    return refusal
                if not goes_on:
                    place.step_in()
                if not stands or not goes_on:
                    continue
                assert isinstance(made, Proof)
                landed = await self._confirm_and_land(claim, made, place, steps, spent)
                if isinstance(landed, Landed):
                    return landed
                moved, times_moved = landed.paths, times_moved + 1
                if times_moved == PROOFS_PER_LANDING:
                    break
        return Held(f"the tree changed again and again during its checks: {listed(moved, 5)}")

    async def _prove_in_line(
        self,
        claim: Claim,
        workspace: Workspace,
        changes: ChangeSet,
        place: Place,
        last: Proof | None,
        steps: LandingSteps,
        spent: TimeSpent,
    ) -> Proof | Held | None:
        """Put the change on top of those before it and run its checks; Held: it does not fit there.

        None when one of those before it will not land: begin again.
        """
        with spent.on(Stretch.LINE):
            await place.offers_before()
        async with AsyncExitStack() as held:
            with spent.on(Stretch.PROOF_COPY):
                proof = await held.enter_async_context(self._pool.proof())
            before = place.shown_before()
            if before is None:
                return None  # Somebody begins anew, and may need this very copy for it.
            with spent.on(Stretch.STAGING):
                ahead = tuple(offer.staged for offer in before)
                staged = await proof.stage(workspace, changes, ahead=ahead)
            if isinstance(staged, MergeConflict):
                place.counts_on = before
                return Held(staged.why, staged.patch)
            place.show(staged, before)
            await steps.offered()
            with spent.on(Stretch.CHECKS_AGAIN if last is not None else Stretch.CHECKS):
                made = await place.unless_void(self._prove(claim, proof, staged, last, len(ahead)))
            if made is not None and made.report.ok:
                why = await self._why_held(claim, workspace, changes, staged, made.report)
                made = replace(made, why_held=why)
            return made

    async def _prove(
        self, claim: Claim, proof: ProofTree, staged: Staged, last: Proof | None, on_top_of: int
    ) -> Proof:
        """Run the checks on what is staged, unless they said all there is to say of it already."""
        if last is not None and await asyncio.to_thread(self._is_same_to_checks, last.staged, staged):
            return replace(last, staged=staged)
        commands = commands_for(claim.task.spec.check, self._checks.commands)
        known = self._known
        report, cases = await self._proof_checks.run(
            proof, commands, staged.tree_hash, claim=claim, known=known, on_top_of=on_top_of
        )
        await asyncio.to_thread(self._book.store, claim.task.id, report)
        return Proof(staged, report, cases, known)

    async def _judged_now(self, claim: Claim, workspace: Workspace, changes: ChangeSet, made: Proof) -> Proof:
        """The proof as it is to be judged now that those before it have landed: what their landings have
        shown of the tests is known now, and was not when its checks ran."""
        known = self._known
        if made.known is known or not made.cases:
            return made
        outcomes: list[CheckOutcome] = []
        excuse = self._checks.pre_existing == "allow"
        for outcome in made.report.outcomes:
            cases = made.cases.get((outcome.name, outcome.command))
            again = partial(judged, outcome, cases, known, excuse=excuse) if cases is not None else None
            outcomes.append(outcome if again is None else await asyncio.to_thread(again))
        report = replace(made.report, outcomes=tuple(outcomes))
        made = replace(made, report=report, known=known, why_held="")
        await asyncio.to_thread(self._book.store, claim.task.id, report)
        if report.ok:
            why = await self._why_held(claim, workspace, changes, made.staged, report)
            made = replace(made, why_held=why)
        return made

    async def _why_held(
        self, claim: Claim, workspace: Workspace, changes: ChangeSet, staged: Staged, report: CheckReport
    ) -> str:
        return await self.flagging.why_held(claim.task, workspace, changes, staged, report, self.baseline)

    async def _confirm_and_land(
        self, claim: Claim, made: Proof, place: Place, steps: LandingSteps, spent: TimeSpent
    ) -> Landed | TreeMoved:
        """Land if the tree is what the checks saw, but for the task's own files."""
        with spent.on(Stretch.LANDING):
            staged = await self._pool.confirmed(made.staged)
        if isinstance(staged, TreeMoved):
            return staged
        landed = await to_its_end(self._land(claim, staged, place, steps, spent))
        if isinstance(landed, Landed):
            await self._learn(claim.task.id, made.cases)
        return landed

    def _is_read(self, staged: Staged) -> bool:
        """Whether a check may read any of the files that are staged."""
        return not all(self._is_unread(file.path) for file in staged.files)

    def _is_unread(self, path: str) -> bool:
        return any(glob_matches(glob, path) for glob in self._checks.unread_files)

    def _is_same_to_checks(self, one: Staged, other: Staged) -> bool:
        """Whether two trees differ in nothing but files that no check reads."""
        if [(file.path, file.new) for file in one.files] != [(file.path, file.new) for file in other.files]:
            return False
        return all(
            self._is_unread(path)
            for path in one.stamp.files.keys() | other.stamp.files.keys()
            if not _is_same_file(one, other, path)
        )

    async def unlearn(self, task: TaskId) -> None:
        """The landing of `task` was taken back: what it had mended is excused again."""
        await self._know(self._known.without(task))

    async def _learn(self, task: TaskId, cases: Mapping[tuple[str, str], Cases]) -> None:
        """Take over what the tests do on the tree as it has become: what is green now is excused no more."""
        known = self._known
        for (name, command), each in cases.items():
            if self._checks.commands.get(name) == command:
                known = known.with_run(name, command, each, task=task)
        await self._know(known)

    async def _know(self, known: KnownTests) -> None:
        if known == self._known:
            return
        self._known = known
        with suppress(OSError):  # It is known all the same, until the daemon ends.
            await asyncio.to_thread(self._book.store_known, known)

    @asynccontextmanager
    async def between_landings(self) -> AsyncIterator[None]:
        """While inside, no task is between "landing" and "done". Hold it briefly."""
        async with self._swapping:
            yield

    async def _land(
        self, claim: Claim, staged: Staged, place: Place, steps: LandingSteps, spent: TimeSpent
    ) -> Landed | TreeMoved:
        async with self._swapping:
            await steps.begin_landing()
            with spent.on(Stretch.LANDING):
                outcome = await self._lander.land(
                    claim.task.id, claim.token, claim.task.spec.title, staged, verify=steps.verify
                )
            if isinstance(outcome, TreeMoved):
                await steps.back_to_checking()
                return outcome
            place.has_landed()
            self.merges += len(staged.merged)
            await steps.finish(outcome, staged.merged)
        return Landed(outcome, staged.merged)


def _is_same_file(one: Staged, other: Staged, path: str) -> bool:
    before, after = one.stamp.files.get(path), other.stamp.files.get(path)
    if before is None or after is None:
        return before is after
    return (before.kind, before.executable, before.sha256) == (after.kind, after.executable, after.sha256)
