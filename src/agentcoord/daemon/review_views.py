"""Views of what a person reviews: checks and their tests, flags, and who wrote which line.

Separate from `snapshot`, which shows the run as it goes. Reads only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentcoord.review.blame import BlamedLine, blame
from agentcoord.review.checks import CheckReport
from agentcoord.review.flags import Flag
from agentcoord.review.verdict import Verdict
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.journal import Journal

if TYPE_CHECKING:
    from agentcoord.wire.answers import BlameView
    from agentcoord.wire.task_views import CheckView, FlagView, TestsView

CHECK_OUTPUT_CHARS = 4_000
TESTS_SHOWN = 50
BLAMED_LINES = 1_000
"""How many lines one answer carries."""
BLAMED_CHARS = 500


async def blame_view(root: Path, journal_home: Path, path: str, offset: int) -> BlameView:
    """Who wrote the lines of a file of the user's tree, from line `offset` on.

    Raises FileNotFoundError, and ReviewError or WorkspaceError for a file that cannot be blamed.
    """

    def blamed() -> list[BlamedLine]:
        journal = Journal(journal_home)
        current = SafeTree(root).read_bytes(path, limit=MAX_LANDED_FILE_BYTES)
        return blame(path, journal.load(), journal.blobs.read, current)

    lines = await asyncio.to_thread(blamed)
    following = offset + BLAMED_LINES
    return {
        "path": path,
        "lines": [
            {"task": each.task or None, "text": each.text[:BLAMED_CHARS]} for each in lines[offset:following]
        ],
        "next_offset": following if following < len(lines) else None,
    }


def check_views(report: CheckReport | None) -> list[CheckView]:
    return [
        {
            "name": each.name,
            "command": each.command,
            "exit_code": each.exit_code,
            "ok": each.ok,
            "ms": each.duration_ms,
            "output": each.output[-CHECK_OUTPUT_CHARS:],
            "excused": each.excused,
            "tests": tests_view(each.verdict) if each.verdict else None,
        }
        for each in (report.outcomes if report else ())
    ]


def tests_view(verdict: Verdict) -> TestsView:
    return {
        "ran": verdict.ran,
        "ran_before": verdict.ran_before,
        "new_failures": list(verdict.new[:TESTS_SHOWN]),
        "old_failures": list(verdict.before[:TESTS_SHOWN]),
        "fixed": list(verdict.fixed[:TESTS_SHOWN]),
        "flaky": list(verdict.flaky[:TESTS_SHOWN]),
        "gone": list(verdict.gone[:TESTS_SHOWN]),
    }


def flag_views(flags: Sequence[Flag]) -> list[FlagView]:
    return [
        {
            "kind": str(each.kind),
            "path": each.path,
            "line": each.line,
            "words": each.words,
            "holds": each.holds,
        }
        for each in flags
    ]
