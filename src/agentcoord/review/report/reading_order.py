"""In which order to review: what could hurt most comes first, and says why. Pure.

Flags come from facts that the daemon saw (files, declared writes, checks, the diff), never from
what a worker says of itself. Separate so that the report and the review screen agree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from agentcoord.domain.globs import glob_matches
from agentcoord.domain.listed import listed
from agentcoord.review.report.words import count
from agentcoord.values import dataclass

LARGE_LINES: Final = 300
MANY_FILES: Final = 10
_NAMES_SHOWN: Final = 3
_listed = partial(listed, most=_NAMES_SHOWN)
_CI: Final = re.compile(
    r"(^|/)(\.github/|\.gitlab-ci|\.circleci/|Jenkinsfile|azure-pipelines|\.pre-commit-config|Makefile$|"
    r"Dockerfile|tox\.ini$|noxfile)"
)
_LOCK: Final = re.compile(
    r"(^|/)(poetry\.lock|uv\.lock|Pipfile\.lock|package-lock\.json|yarn\.lock|pnpm-lock\.yaml|Cargo\.lock|"
    r"go\.sum|requirements[\w.-]*\.txt|pyproject\.toml|package\.json|Cargo\.toml|go\.mod|setup\.(py|cfg))$"
)
_TEST: Final = re.compile(r"(^|/)(tests?|spec|__tests__)/|(^|/)(test_[^/]*|[^/]*(_test|\.test|\.spec))\.\w+$")
_SKIP: Final = re.compile(
    r"@?\b(pytest\.mark\.(skip|skipif|xfail)|unittest\.(skip\w*|expectedFailure)|pytest\.skip\()|"
    r"\b(it|test|describe)\.(skip|todo)\(|\bxit\(|#\[ignore\]|\bt\.Skip\("
)
_ASSERTS: Final = re.compile(r"\b(assert\w*|expect|should|require\.\w+)\b")
_QUIETED: Final = re.compile(r"#\s*(noqa|type:\s*ignore|nosec|pragma: no cover)|eslint-disable|@ts-ignore")


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look closely."""

    weight: int
    words: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is looked at of one landed task."""

    task: str
    files: Sequence[str]
    writes: Sequence[str]
    """The globs that its plan declared; empty: it declared none."""
    lines_added: int
    lines_removed: int
    checked: bool
    """Whether any check ran."""
    attempt: int
    merged: Collection[str] = ()
    diff: str = ""
    flags: Sequence[Flag] | None = None
    """Where the daemon saw that a change makes its checks say less; None: it did not look."""


def told_flags(raw: Sequence[Mapping[str, Any]] | None) -> tuple[Flag, ...] | None:
    """Flags as the daemon tells them; those that may hold a landing weigh more."""
    if raw is None:
        return None
    found = []
    for each in raw:
        line = f":{each['line']}" if each.get("line") else ""
        place = f" ({each['path']}{line})" if each.get("path") else ""
        found.append(Flag(55 if each.get("holds") else 25, f"{each.get('words', 'a flag')}{place}"))
    return tuple(found)


def flags_of(change: Change) -> tuple[Flag, ...]:
    """Every reason to look closely at a change, the weightiest first."""
    return tuple(sorted(_flags(change), key=lambda flag: -flag.weight))


def score_of(change: Change) -> int:
    """The weight of all flags, and a little for size, so that equals are ordered too."""
    size = min(9, (change.lines_added + change.lines_removed) // 50)
    return sum(flag.weight for flag in _flags(change)) + size


def by_risk(changes: Iterable[Change]) -> list[Change]:
    """The changes, riskiest first; equals keep their order."""
    return sorted(changes, key=lambda change: -score_of(change))


def _flags(change: Change) -> Iterable[Flag]:
    if not change.checked:
        yield Flag(60, "landed without any check")
    skipped, weakened, quieted = _test_changes(change.diff)
    if change.flags is not None:
        # The daemon compared both trees; what a diff alone suggests would only repeat it.
        yield from change.flags
        skipped = weakened = quieted = []
    if skipped:
        yield Flag(50, f"skips tests in {_listed(skipped)}")
    if weakened:
        yield Flag(45, f"takes more assertions out than it puts in: {_listed(weakened)}")
    outside = _outside(change)
    if outside:
        yield Flag(40, f"writes outside its declared files: {_listed(outside)}")
    if found := [path for path in change.files if _CI.search(path)]:
        yield Flag(35, f"changes how things are built or checked: {_listed(found)}")
    if found := [path for path in change.files if _LOCK.search(path)]:
        yield Flag(30, f"changes dependencies or packaging: {_listed(found)}")
    if quieted:
        yield Flag(20, f"silences a linter or type checker in {_listed(quieted)}")
    if change.merged:
        yield Flag(20, f"was merged with other changes in {_listed(sorted(change.merged))}")
    if change.lines_added + change.lines_removed > LARGE_LINES:
        yield Flag(15, f"large: +{change.lines_added} -{change.lines_removed}")
    if len(change.files) > MANY_FILES:
        yield Flag(10, f"wide: {count(len(change.files), 'file')}")
    if change.lines_removed > 2 * change.lines_added and change.lines_removed > 50:
        yield Flag(10, f"mostly takes away: -{change.lines_removed}")
    if not any(_TEST.search(path) for path in change.files) and any(_is_code(p) for p in change.files):
        yield Flag(8, "changes code and no test")
    if change.attempt > 1:
        yield Flag(5, f"needed {count(change.attempt, 'attempt')}")


def _outside(change: Change) -> list[str]:
    if not change.writes:
        return []
    return [path for path in change.files if not any(glob_matches(glob, path) for glob in change.writes)]


def _test_changes(diff: str) -> tuple[list[str], list[str], list[str]]:
    """Files of a unified diff that skip tests, that lose assertions, and that silence a tool."""
    skipped: list[str] = []
    quieted: list[str] = []
    balance: dict[str, int] = {}
    path = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            path = line[4:].split("\t")[0].removeprefix("b/")
        elif line.startswith("--- ") or line[:1] not in "+-":
            continue
        elif line.startswith("+"):
            if _SKIP.search(line) and path not in skipped:
                skipped.append(path)
            if _QUIETED.search(line) and path not in quieted:
                quieted.append(path)
            balance[path] = balance.get(path, 0) + bool(_ASSERTS.search(line))
        else:
            balance[path] = balance.get(path, 0) - bool(_ASSERTS.search(line))
    weakened = [path for path, change in balance.items() if change < 0 and _TEST.search(path)]
    return skipped, weakened, quieted


def _is_code(path: str) -> bool:
    return PurePosixPath(path).suffix not in (
        "",
        ".md",
        ".rst",
        ".txt",
        ".toml",
        ".json",
        ".yml",
        ".yaml",
        ".cfg",
    )
