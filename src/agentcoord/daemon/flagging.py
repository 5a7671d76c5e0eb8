"""Holding a green change for a person when it makes its own checks say less.

Separate from `proving`, which finds out whether the checks are green. What is flagged is noted for
the review in any case; `checks.on_tamper` says whether it keeps the change from landing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from agentcoord.config.sections import ChecksSection
from agentcoord.domain.files import ChangeSet
from agentcoord.domain.listed import listed
from agentcoord.domain.task import Task
from agentcoord.errors import WorkspaceError
from agentcoord.review.checks import CheckReport, commands_for
from agentcoord.review.flag_book import FlagBook, fingerprint_of, why_held
from agentcoord.review.flags import ChangedFile, Flag, FlagKind, in_order
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.pool import Staged, Workspace

_TESTS_NAMED = 3


class Flagging:
    """Finds, notes and judges the flags of changes that are about to land."""

    def __init__(self, book: FlagBook, checks: ChecksSection) -> None:
        self.book = book
        self._checks = checks

    async def why_held(
        self,
        task: Task,
        workspace: Workspace,
        changes: ChangeSet,
        staged: Staged,
        report: CheckReport,
        baseline: CheckReport | None,
    ) -> str:
        """Note what is flagged; return why a person must decide, empty when nobody needs to.

        `report` is of the tree with the change, `baseline` of the one without any. Raises WorkspaceError when
        the copy changed meanwhile.
        """
        commands = [command for _, command in commands_for(task.spec.check, self._checks.commands)]
        found = await asyncio.to_thread(_find_flags, await _contents(workspace, changes), commands)
        shrunk = [Flag(FlagKind.SHRUNK, path, 0, "it loses over 80% of what it held") for path in staged.held]
        fewer = _fewer_tests(report, staged.stamp.files.keys())
        flags = in_order([*found, *shrunk, *fewer, *await _rewrites(workspace, report, baseline)])
        noted = await asyncio.to_thread(
            self.book.note, task.id, task.attempt, fingerprint_of(changes.landable), flags
        )
        if noted.permitted:
            return ""
        if self._checks.on_tamper != "hold":
            flags = tuple(flag for flag in flags if flag.kind is FlagKind.SHRUNK)
        return why_held(task.id, flags) if any(flag.holds for flag in flags) else ""


def _find_flags(files: Sequence[ChangedFile], commands: Collection[str]) -> tuple[Flag, ...]:
    from agentcoord.review.tamper import find_flags  # See `later`. Blocking, as the rest of it.

    return find_flags(files, commands)


def _fewer_tests(report: CheckReport, there: Collection[str]) -> Iterator[Flag]:
    """Flags for checks that run fewer tests than before, of files that are still there."""
    for outcome in report.outcomes:
        verdict = outcome.verdict
        if verdict is None or verdict.ran >= verdict.ran_before:
            continue
        gone = [test for test in verdict.gone if "::" not in test or test.partition("::")[0] in there]
        if gone:
            yield Flag(
                FlagKind.TESTS_GONE,
                gone[0].partition("::")[0],
                0,
                f"{outcome.name} ran {verdict.ran_before} tests before and now runs {verdict.ran}; "
                f"not run any more: {listed(gone, _TESTS_NAMED)}",
            )


async def _rewrites(workspace: Workspace, report: CheckReport, baseline: CheckReport | None) -> list[Flag]:
    """Flags for files that checks wrote over, the weighty ones first."""
    from agentcoord.review.rewrites import is_generated, rewrites  # Slow to import: see `later`.

    flags = []
    for flag in in_order(rewrites(report, baseline)):
        with suppress(FileNotFoundError, WorkspaceError):  # A new file is what its maker says of it.
            if flag.kind is FlagKind.REWRITTEN and is_generated(await workspace.base_bytes(flag.path)):
                flag = replace(flag, kind=FlagKind.UPDATED)  # noqa: PLW2901
        flags.append(flag)
    return flags


async def _contents(workspace: Workspace, changes: ChangeSet) -> list[ChangedFile]:
    """What the worker was given and what it made of it, for every file that would land."""
    files = []
    for change in changes.landable:
        before = None if change.base is None else await workspace.base_bytes(change.path)
        try:
            after = await asyncio.to_thread(
                workspace.files.read_bytes, change.path, limit=MAX_LANDED_FILE_BYTES
            )
        except FileNotFoundError as error:
            raise WorkspaceError(f"{change.path!r} vanished from the copy during its checks") from error
        files.append(ChangedFile(change.path, before, after))
    return files
