"""Check runs: the project's own commands, their exit codes, and what a worker is told of them.

The daemon alone decides from these whether a task is done. A check is green when it exits 0
within its time and reports no new failure: code under test can end its run with any code. A red
one lets a task land only when its tests were reported one by one and all that failed did so before
the task (see `verdict` and docs/decisions/0006-verdicts.md). Where the commands run is the
caller's: a function that runs one check is handed in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentcoord.clock import Clock
from agentcoord.errors import ReviewError
from agentcoord.review.green_shelf import GreenShelf
from agentcoord.review.verdict import KnownTests, Verdict
from agentcoord.values import dataclass

RunCheck = Callable[[str, str], Awaitable["CheckOutcome"]]
"""Runs one check, by its name and command, on the tree under check."""
BASELINE = "+baseline"
"""The key of the baseline's report; no task can be called so."""
_KNOWN = "+known-tests"
FEEDBACK_CHARS = 6_000
"""Of one red check, for the worker."""
_TESTS_TOLD = 15
_FAILING_LINE = re.compile(
    r"(?i)\b(error|fail(ed|ure)?|traceback|assert\w*|exception|panic|expected|undefined|cannot)\b"
)
_PLACE = re.compile(r"(^\s*\S*\w\.\w+):\d+(?::\d+)?", re.MULTILINE)
"""`src/shop.py:12:5`: the file, and where in it."""
_LINES_COMPARED = 200
OWN_CHECK = "task"
"""The name of a check that a task brings along: no baseline knows it."""
CUT_SHORT = "Error: something under test ended the run before pytest could report, so no test is proven."
_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|(?<!\d)\d++(\.\d++)?\s?m?s\b|\b\d++\.\d++\b|/tmp/\S+")
"""Each digit is looked at a bounded number of times: a failing test may print a number of any length."""


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One command's run."""

    name: str
    command: str
    exit_code: int
    output: str
    duration_ms: int
    timed_out: bool = False
    verdict: Verdict | None = None
    """None when the command reports no single tests."""
    excused: bool = False
    """Red for nothing but tests that were red before the task."""
    cut_short: bool = False
    """The run was ended from within, with 0, before pytest could report."""
    rewrote: tuple[str, ...] | None = None
    """Files of the tree that it left with another content: what later checks see there does not land. None:
    nobody looked."""

    @property
    def green(self) -> bool:
        fails = self.verdict is not None and bool(self.verdict.new)
        return self.exit_code == 0 and not self.timed_out and not fails and not self.cut_short

    @property
    def ok(self) -> bool:
        """Whether a task may land on it."""
        return self.green or self.excused


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All checks on one tree. With no checks at all it is green, and says so to nobody as proof."""

    outcomes: tuple[CheckOutcome, ...]
    tree_hash: str

    @property
    def ok(self) -> bool:
        return all(outcome.ok for outcome in self.outcomes)

    @property
    def red(self) -> tuple[CheckOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    def fingerprint(self) -> str:
        """A hash of which checks failed and how, blind to times, addresses, line numbers and temporary paths.

        What linters say names a place and often no failure, so such lines count too.
        """
        parts = [f"{each.name}:{each.exit_code}:{_how_it_failed(each)}" for each in self.red]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _how_it_failed(outcome: CheckOutcome) -> str:
    lines = [
        line for line in outcome.output.splitlines() if _FAILING_LINE.search(line) or _PLACE.search(line)
    ]
    said = "\n".join(lines[:_LINES_COMPARED])
    return _VOLATILE.sub("", _PLACE.sub(r"\1", said))


def failing_lines(output: str, *, most: int = 40) -> str:
    """Return the lines that look like failures, in order."""
    return "\n".join([line for line in output.splitlines() if _FAILING_LINE.search(line)][:most])


def feedback(report: CheckReport, *, red_before: frozenset[str]) -> str:
    """Say to a worker what is red: failing tests and lines first, then the end of the output.

    `red_before` names the checks that the untouched tree fails too.
    """
    parts = ["The checks ran on the tree as it would be after your change. Red:"]
    for each in report.red:
        how = "took too long and was stopped" if each.timed_out else f"exit code {each.exit_code}"
        how = "ended before pytest could report" if each.cut_short else how
        parts.append(f"\n## {each.name}: {how}\n$ {each.command}")
        if each.verdict is not None:
            parts += _words_of_tests(each.verdict)
        elif each.name in red_before:
            parts.append("(This check was red before you began; it must be green to land.)")
        lines = failing_lines(each.output, most=15)
        if lines:
            parts.append(f"Failing lines:\n{lines[: FEEDBACK_CHARS // 3]}")
        parts.append(f"End of the output:\n{each.output[-FEEDBACK_CHARS // 2 :]}")
    parts.append("\nMend it, then call finish_task again. Do not weaken or skip tests.")
    return "\n".join(parts)


def _words_of_tests(verdict: Verdict) -> list[str]:
    """Whose failures these are, a bounded number of each."""
    parts = []
    if verdict.new:
        shown = [f"- {test}: {verdict.words.get(test, '')}" for test in verdict.new[:_TESTS_TOLD]]
        parts.append(f"{len(verdict.new)} tests fail that did not fail before:\n" + "\n".join(shown))
    if verdict.gone:
        parts.append(
            f"{len(verdict.gone)} tests were run before and are not any more: "
            + ", ".join(verdict.gone[:_TESTS_TOLD])
        )
    if verdict.before:
        parts.append(
            f"{len(verdict.before)} tests failed before you began and still do; they are not yours: "
            + ", ".join(verdict.before[:_TESTS_TOLD])
        )
    return parts


class CheckBook:
    """Runs checks, and keeps every report on disk: a verdict per tree and command, an output per claim.

    Identical tree, command and surroundings: a stored green verdict is used instead of a second
    run, also after a restart. A red one is run again, because it may be flaky and costs only time.
    """

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._green = GreenShelf(home / "green", clock)
        self.runs = 0
        """Checks really run since the start."""
        self.run_ms = 0

    async def run(
        self,
        commands: Sequence[tuple[str, str]],
        *,
        tree_hash: str,
        surroundings: str,
        run: RunCheck,
        on_outcome: Callable[[CheckOutcome], None],
    ) -> CheckReport:
        """Run (name, command) pairs in order, stopping at nothing, and report all.

        `tree_hash` empty: every check is run. `surroundings` names what a check sees beside the
        tree. Raises what `run` raises (SandboxError: nothing ran).
        """
        outcomes = []
        for name, command in commands:
            outcome = None
            key = f"{tree_hash}\n{surroundings}\n{command}" if tree_hash else ""
            raw = await asyncio.to_thread(self._green.find, key) if key else None
            if raw is not None:
                outcome = outcome_from({**raw, "name": name})
            if outcome is None:
                outcome = await run(name, command)
                self.runs += 1
                self.run_ms += outcome.duration_ms
                if key and outcome.green:
                    await asyncio.to_thread(self._keep_green, key, outcome)
            outcomes.append(outcome)
            on_outcome(outcome)
        return CheckReport(tuple(outcomes), tree_hash)

    def _keep_green(self, key: str, outcome: CheckOutcome) -> None:
        self._green.keep(key, asdict(outcome))

    def store(self, key: str, report: CheckReport) -> None:
        """Write the report under `key` (a task's id, or BASELINE), replacing the one before. Blocking."""
        self._write(
            key, {"tree_hash": report.tree_hash, "outcomes": [asdict(each) for each in report.outcomes]}
        )

    def stored(self, key: str) -> CheckReport | None:
        """Read what `store` wrote; None when there is nothing. Blocking."""
        try:
            raw = json.loads(self._path(key).read_text(encoding="utf-8"))
            return CheckReport(tuple(outcome_from(each) for each in raw["outcomes"]), raw["tree_hash"])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise ReviewError(
                f"the stored check report of {key} is damaged", mend="run the checks again"
            ) from error

    def store_known(self, known: KnownTests) -> None:
        """Write the tests of the baseline, as landings have brought them up to date. Blocking."""
        self._write(_KNOWN, known.to_dict())

    def stored_known(self) -> KnownTests:
        """Read what `store_known` wrote; knows nothing when there is nothing, or it is damaged. Blocking."""
        try:
            return KnownTests.from_dict(json.loads(self._path(_KNOWN).read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError, TypeError):
            return KnownTests()

    def _write(self, key: str, value: Mapping[str, object]) -> None:
        path = self._path(key)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(value), encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)

    def _path(self, key: str) -> Path:
        return self._home / f"{key}.json"


def commands_for(task_check: str, project_checks: Mapping[str, str]) -> list[tuple[str, str]]:
    """The task's own check first, then the project's, by name and command."""
    own = [(OWN_CHECK, task_check)] if task_check else []
    return own + list(project_checks.items())


def outcome_from(raw: Mapping[str, Any]) -> CheckOutcome:
    """Read what `asdict` made of an outcome. Raises TypeError, KeyError or ValueError for anything else."""
    verdict = raw.get("verdict")
    if verdict is not None:
        facts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in verdict.items()
        }
        verdict = Verdict(**facts)
    rewrote = raw.get("rewrote")
    return CheckOutcome(**{**raw, "verdict": verdict, "rewrote": None if rewrote is None else tuple(rewrote)})
