"""Running checks in a proof copy: in the sandbox, secrets cut out, each outcome told.

Separate from `proving`, which decides when a proof is needed and what it is worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from agentcoord.config.sections import ChecksSection
from agentcoord.daemon.copy_policy import policy_for
from agentcoord.daemon.event_hub import EventHub
from agentcoord.domain.events import EventKind
from agentcoord.domain.task import Claim
from agentcoord.review.check_runs import CheckRuns
from agentcoord.review.checks import CheckBook, CheckOutcome, CheckReport
from agentcoord.review.junit import Cases
from agentcoord.review.surroundings import surroundings_of
from agentcoord.review.verdict import KnownTests
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import Limits, Result
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.pool import ProofTree
from agentcoord.workspace.repository import Repository


class ProofChecks:
    """Runs the checks of one project."""

    def __init__(
        self,
        *,
        repo: Repository,
        sandbox: Sandbox,
        toolchains: Collection[Path],
        book: CheckBook,
        checks: ChecksSection,
        hub: EventHub,
        redactor: Redactor,
    ) -> None:
        self._repo = repo
        self._sandbox = sandbox
        self._toolchains = tuple(toolchains)
        self._book = book
        self._checks = checks
        self._limits = Limits(timeout_s=checks.timeout_s)
        self._hub = hub
        self._redactor = redactor

    async def run(
        self,
        proof: ProofTree,
        commands: list[tuple[str, str]],
        tree_hash: str,
        *,
        claim: Claim | None,
        known: KnownTests,
        on_top_of: int = 0,
    ) -> tuple[CheckReport, Mapping[tuple[str, str], Cases]]:
        """Return the report, and the tests of those checks that ran and reported them.

        `tree_hash` empty: stored verdicts are not used. `claim` None: for nobody, as the baseline is.
        `on_top_of`: so many changes of other tasks are in the tree that have not landed yet.
        Raises SandboxError: nothing ran.
        """
        policy = policy_for(proof, self._repo, self._toolchains)

        async def run_one(command: str, env: Mapping[str, str]) -> Result:
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
                on_top_of=on_top_of,
            )

        runs = CheckRuns(
            run_one,
            SafeTree(proof.root),
            known=lambda: known,
            junit_files=self._checks.junit_files,
            excuse_pre_existing=self._checks.pre_existing == "allow",
        )

        async def check(name: str, command: str) -> CheckOutcome:
            outcome = await runs.check(name, command)
            return replace(outcome, rewrote=await proof.rewritten())

        report = await self._book.run(
            commands,
            tree_hash=tree_hash,
            surroundings=await asyncio.to_thread(surroundings_of, policy, timeout_s=self._limits.timeout_s),
            run=check,
            on_outcome=tell,
        )
        return report, runs.cases
