"""Check runs: the project's own commands, their exit codes, and what a worker is told of them.

The daemon alone decides from these whether a task is done. A check is green when it exits 0
within its time, and by nothing else. Where the commands run is the caller's: a function that
runs one command in the sandbox is handed in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentcoord.errors import ReviewError
from agentcoord.sandbox.policy import KilledBy, Result

RunCommand = Callable[[str], Awaitable[Result]]
"""Runs one command on the tree under check."""
FEEDBACK_CHARS = 6_000
"""Of one red check, for the worker."""
_FAILING_LINE = re.compile(
    r"(?i)\b(error|fail(ed|ure)?|traceback|assert\w*|exception|panic|expected|undefined|cannot)\b"
)
_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|\d+(\.\d+)?\s?m?s\b|\b\d+\.\d+\b|/tmp/\S+")


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One command's run."""

    name: str
    command: str
    exit_code: int
    output: str
    duration_ms: int
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out


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
        """A hash of which checks failed and how, blind to times, addresses and temporary paths."""
        parts = [
            f"{each.name}:{each.exit_code}:{_VOLATILE.sub('', failing_lines(each.output))}"
            for each in self.red
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def failing_lines(output: str, *, most: int = 40) -> str:
    """Return the lines that look like failures, in order."""
    return "\n".join([line for line in output.splitlines() if _FAILING_LINE.search(line)][:most])


def feedback(report: CheckReport, *, red_before: frozenset[str]) -> str:
    """Say to a worker what is red: failing lines first, then the end of the output.

    `red_before` names the checks that the untouched tree fails too.
    """
    parts = ["The checks ran on the tree as it would be after your change. Red:"]
    for each in report.red:
        how = "took too long and was stopped" if each.timed_out else f"exit code {each.exit_code}"
        parts.append(f"\n## {each.name}: {how}\n$ {each.command}")
        if each.name in red_before:
            parts.append("(This check was red before you began; it must be green to land.)")
        lines = failing_lines(each.output, most=15)
        if lines:
            parts.append(f"Failing lines:\n{lines[: FEEDBACK_CHARS // 3]}")
        parts.append(f"End of the output:\n{each.output[-FEEDBACK_CHARS // 2 :]}")
    parts.append("\nMend it, then call finish_task again. Do not weaken or skip tests.")
    return "\n".join(parts)


class CheckBook:
    """Runs checks, and keeps every report on disk: a verdict per tree and command, an output per claim.

    Identical tree and command: a stored green verdict is used instead of a second run. A red one is
    run again, because it may be flaky and costs only time.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._green: dict[tuple[str, str], CheckOutcome] = {}
        self.runs = 0
        """Commands really run since the start."""
        self.run_ms = 0

    async def run(
        self,
        commands: Sequence[tuple[str, str]],
        *,
        tree_hash: str,
        run: RunCommand,
        on_outcome: Callable[[CheckOutcome], None],
    ) -> CheckReport:
        """Run (name, command) pairs in order, stopping at nothing, and report all.

        Raises what `run` raises (SandboxError: nothing ran).
        """
        outcomes = []
        for name, command in commands:
            outcome = self._green.get((tree_hash, command))
            if outcome is None:
                outcome = _outcome_of(name, command, await run(command))
                self.runs += 1
                self.run_ms += outcome.duration_ms
            if outcome.ok and tree_hash:
                if len(self._green) > 10_000:
                    self._green.clear()
                self._green[tree_hash, command] = outcome
            outcomes.append(outcome)
            on_outcome(outcome)
        return CheckReport(tuple(outcomes), tree_hash)

    def store(self, key: str, report: CheckReport) -> None:
        """Write the report under `key` (a task id or `baseline`), replacing the one before. Blocking."""
        path = self._path(key)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(
            json.dumps(
                {"tree_hash": report.tree_hash, "outcomes": [asdict(each) for each in report.outcomes]}
            ),
            encoding="utf-8",
            errors="backslashreplace",
        )
        temporary.replace(path)

    def stored(self, key: str) -> CheckReport | None:
        """Read what `store` wrote; None when there is nothing. Blocking."""
        try:
            raw = json.loads(self._path(key).read_text(encoding="utf-8"))
            return CheckReport(tuple(_outcome_from(each) for each in raw["outcomes"]), raw["tree_hash"])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise ReviewError(
                f"the stored check report of {key} is damaged", mend="run the checks again"
            ) from error

    def _path(self, key: str) -> Path:
        return self._home / f"{key}.json"


def commands_for(task_check: str, project_checks: Mapping[str, str]) -> list[tuple[str, str]]:
    """The task's own check first, then the project's, by name and command."""
    own = [("task", task_check)] if task_check else []
    return own + list(project_checks.items())


def _outcome_of(name: str, command: str, result: Result) -> CheckOutcome:
    return CheckOutcome(
        name=name,
        command=command,
        exit_code=result.exit_code,
        output=result.output,
        duration_ms=result.duration_ms,
        timed_out=result.killed_by is KilledBy.TIMEOUT,
    )


def _outcome_from(raw: dict[str, Any]) -> CheckOutcome:
    return CheckOutcome(**raw)
