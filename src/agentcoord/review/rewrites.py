"""Flags for files of the tree that a check has written over: what later checks saw there does not land.

Theory of operation. A worker's test can mend what a later check, or a later test, looks at; the tree that
lands is the one from before. So a check that leaves a file with another content, and did not so on the tree
without the task, is flagged: weightily where the file is code, lightly where it is such as tools write on
many an honest day (data, snapshots, lists of locked versions, what says of itself that it is generated), or
where the command is there to write (`ruff check --fix`). It is shown first in review and holds nothing: a
script that mends as it looks, a build that is kept in the tree, or one such test that has landed would
hold every later task of a night. Nothing is put back: a build goes by times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentcoord.review.checks import CheckReport
from agentcoord.review.flags import Flag, FlagKind

_CODE: Final = re.compile(
    r"\.(py|pyi|pyx|js|mjs|cjs|jsx|ts|mts|cts|tsx|vue|svelte|go|rs|java|kt|kts|scala|groovy|rb|php|c|h|cc|cpp|cxx"
    r"|hpp|hh|cs|fs|swift|m|mm|dart|ex|exs|erl|hs|ml|clj|cljs|lua|pl|pm|r|jl|zig|nim|sh|bash|zsh|ps1|sql"
    r"|toml|ini|cfg|gradle|cmake|mk|proto)$"
    r"|(^|/)(makefile|gnumakefile|justfile|rakefile|gemfile|dockerfile|package\.json|tsconfig[\w.-]*\.json)$",
    re.IGNORECASE,
)
_KEPT_BY_TOOLS: Final = re.compile(
    r"(^|/)(__snapshots__|snapshots|__generated__|generated)/|(\.|_)(pb|gen|generated)\.\w+$|_pb2(_grpc)?\.pyi?$",
    re.IGNORECASE,
)
_WRITES: Final = re.compile(
    r"(?<![\w-])(black|isort|prettier|gofmt|goimports|rustfmt|clang-format|autopep8|yapf|spotless\w*|protoc"
    r"|format|fmt|fix|codegen|gen|generate)\b"
    r"|--(fix|write|in-?place|snapshot-update|update-?snapshots?|accept)\b"
)
"""A command that is there to write into the tree. It stands in the user's settings or plan."""
_SAYS_GENERATED: Final = re.compile(rb"(?i)\b(auto-?)?generated\b|do not edit")
_HEAD_BYTES: Final = 1000


def rewrites(report: CheckReport, baseline: CheckReport | None) -> Iterator[Flag]:
    """Yield a flag for each file that a check of `report` wrote over and none of `baseline` did.

    Where there is no baseline, or nobody looked at that, all of them are light.
    """
    before = _before(baseline)
    flagged: set[str] = set(before or ())
    for outcome in report.outcomes:
        for path in outcome.rewrote or ():
            if path not in flagged:
                flagged.add(path)
                weighs = before is not None and _is_suspicious(path, outcome.command)
                kind = FlagKind.REWRITTEN if weighs else FlagKind.UPDATED
                yield Flag(
                    kind, path, 0, f"{outcome.name} wrote over it; what checks saw there does not land"
                )


def is_generated(content: bytes) -> bool:
    """Whether a file says of itself that a program made it."""
    return _SAYS_GENERATED.search(content[:_HEAD_BYTES]) is not None


def _before(baseline: CheckReport | None) -> frozenset[str] | None:
    """What checks write over without any task; None: nobody looked."""
    if baseline is None or any(outcome.rewrote is None for outcome in baseline.outcomes):
        return None
    return frozenset(path for outcome in baseline.outcomes for path in outcome.rewrote or ())


def _is_suspicious(path: str, command: str) -> bool:
    is_code = _CODE.search(path) is not None and _KEPT_BY_TOOLS.search(path) is None
    return is_code and _WRITES.search(command) is None
