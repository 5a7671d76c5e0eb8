"""Running one check in a copy of the tree and finding out whose its failures are.

Theory of operation. A plain pytest command is asked for JUnit XML in the copy; for other runners
the configuration may name the files they write. A red run is held against the baseline. Tests
that failed anew are run once more, alone: those that pass now may be flaky, or may only fail
beside others, so the whole check is run a second time, and that run counts. Deliberately absent:
the order of checks and stored verdicts (`checks`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from agentcoord.errors import ReviewError, WorkspaceError
from agentcoord.review.checks import CUT_SHORT, OWN_CHECK, CheckOutcome
from agentcoord.review.junit import JUNIT_BYTES, Cases, joined, read_junit
from agentcoord.review.pytest_command import ADD_OPTIONS, JUNIT_NAME, alone_command, is_pytest
from agentcoord.review.verdict import KnownTests, judge, only_pre_existing
from agentcoord.sandbox.policy import KilledBy, Result
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.threads import run_to_end

RunCommand = Callable[[str, Mapping[str, str]], Awaitable[Result]]
"""Runs one command with additions to its environment, on the tree under check."""
KnownNow = Callable[[], KnownTests]
"""What tests did before; asked after each run, because another task may have landed meanwhile."""
RERUN_MOST = 20
"""More new failures than this are no flakiness."""
MOST_JUNIT_FILES = 500
_USAGE_ERROR = 4
"""pytest's exit code for a command line that it does not understand."""
_Signatures = Mapping[str, tuple[int, int, int]]
_NO_CASES = Cases({}, {})


class _Report(NamedTuple):
    """What a run left of its tests."""

    cases: Cases | None
    """None when it wrote nothing, or nothing that can be trusted."""
    written: bool


class CheckRuns:
    """Runs the checks of one proof in one copy. Not for two checks at once."""

    def __init__(
        self,
        run: RunCommand,
        files: SafeTree,
        *,
        known: KnownNow,
        junit_files: Sequence[str] = (),
        excuse_pre_existing: bool = True,
    ) -> None:
        """`junit_files`: globs, relative to the copy, of what other runners than pytest write."""
        self._run = run
        self._files = files
        self._known = known
        self._junit_files = tuple(junit_files)
        self._excuse = excuse_pre_existing
        self.cases: dict[tuple[str, str], Cases] = {}
        """Of each check that reported its tests, by name and command; the newest run's."""

    async def check(self, name: str, command: str) -> CheckOutcome:
        """Run and judge one check. Raises what the run raises."""
        outcome = await self._judged(name, command)
        verdict = outcome.verdict
        if outcome.ok or outcome.timed_out or verdict is None or not 0 < len(verdict.new) <= RERUN_MOST:
            return outcome
        suspects = frozenset(verdict.new)
        alone = await asyncio.to_thread(alone_command, command, suspects, self._is_there)
        if alone is None:
            return outcome
        cases = (await self._run_once(alone))[1].cases
        if cases is None or not suspects <= cases.ran - cases.failed:
            return outcome
        second = await self._judged(name, command)
        if second.verdict is None:
            return second
        flaky = tuple(sorted(suspects - set(second.verdict.new)))
        return replace(
            second,
            verdict=replace(second.verdict, flaky=flaky),
            duration_ms=outcome.duration_ms + second.duration_ms,
        )

    async def _judged(self, name: str, command: str) -> CheckOutcome:
        result, report = await self._run_once(command)
        cases = report.cases
        outcome = CheckOutcome(
            name=name,
            command=command,
            exit_code=result.exit_code,
            output=result.output,
            duration_ms=result.duration_ms,
            timed_out=result.killed_by is KilledBy.TIMEOUT,
        )
        known = self._known()
        if cases is None:
            # Whoever ends pytest from within leaves no report and the code of their choice.
            if not outcome.green:
                return outcome
            if not known.of(name, command):
                may_be_cut = name == OWN_CHECK and not report.written and _leaves_reports(known)
                return await self._unless_cut_short(outcome) if may_be_cut else outcome
            cases = _NO_CASES
        self.cases[name, command] = cases
        excuse = self._excuse and result.killed_by is KilledBy.NOBODY
        # With tens of thousands of tests this takes a while.
        return await asyncio.to_thread(judged, outcome, cases, known, excuse=excuse)

    async def _unless_cut_short(self, outcome: CheckOutcome) -> CheckOutcome:
        """Whether pytest leaves a report where its tests are found and none is run: then this run had to."""
        if not is_pytest(outcome.command):
            return outcome
        _, report = await self._run_once(outcome.command, options=f"{ADD_OPTIONS} --collect-only")
        if report.cases is None:
            return outcome
        return replace(outcome, cut_short=True, output=f"{outcome.output}\n{CUT_SHORT}\n")

    async def _run_once(self, command: str, *, options: str = ADD_OPTIONS) -> tuple[Result, _Report]:
        with_pytest = is_pytest(command)
        before = await run_to_end(self._make_ready)
        result = await self._run(command, {"PYTEST_ADDOPTS": options} if with_pytest else {})
        report = await run_to_end(self._read_reports, before, with_pytest=with_pytest)
        refused = with_pytest and report.cases is None and result.exit_code == _USAGE_ERROR
        if refused and options == ADD_OPTIONS:
            # It may be our options that it does not know: a plugin can be switched off.
            result = await self._run(command, {})
        return result, report

    def _is_there(self, word: str) -> bool:
        try:
            return self._files.exists(word)
        except WorkspaceError:
            return False  # It leads out of the copy.

    def _make_ready(self) -> _Signatures:
        _remove(self._files.root / JUNIT_NAME)
        return self._signatures()

    def _read_reports(self, before: _Signatures, *, with_pytest: bool) -> _Report:
        """Read what this run has written."""
        names = [name for name, signature in self._signatures().items() if before.get(name) != signature]
        if with_pytest and self._files.exists(JUNIT_NAME):
            names.append(JUNIT_NAME)
        try:
            parts = [read_junit(self._files.read_bytes(name, limit=JUNIT_BYTES)) for name in names]
        except (ReviewError, WorkspaceError, OSError):
            parts = []
        _remove(self._files.root / JUNIT_NAME)
        return _Report(joined(parts) if parts else None, bool(names))

    def _signatures(self) -> _Signatures:
        found: dict[str, tuple[int, int, int]] = {}
        for glob in self._junit_files:
            for path in self._files.root.glob(glob):
                with contextlib.suppress(OSError):
                    facts = path.lstat()
                    name = path.relative_to(self._files.root).as_posix()
                    found[name] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
                if len(found) >= MOST_JUNIT_FILES:
                    return found
        return found


def judged(outcome: CheckOutcome, cases: Cases, known: KnownTests, *, excuse: bool) -> CheckOutcome:
    """Hold the tests of a run against what is known; `excuse`: being red before is a reason to be red."""
    verdict = judge(cases, known.of(outcome.name, outcome.command))
    if outcome.verdict is not None:
        verdict = replace(verdict, flaky=outcome.verdict.flaky)
    command, code = outcome.command, outcome.exit_code
    excused = excuse and not outcome.timed_out and only_pre_existing(command, code, outcome.output, verdict)
    return replace(outcome, verdict=verdict, excused=excused)


def _leaves_reports(known: KnownTests) -> bool:
    """Whether pytest has reported in this project before: some end their runs by a hook, or tell too much."""
    return any(name != OWN_CHECK and is_pytest(command) for name, command in known.checks())


def _remove(path: Path) -> None:
    """Remove a file of ours; what a command put there instead is no report, and is left."""
    with contextlib.suppress(OSError):
        path.unlink()
