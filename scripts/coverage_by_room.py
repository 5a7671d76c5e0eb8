#!/usr/bin/env python3
"""Prints how many branches of each room the tests took, and the lines that they never ran.

Reads what `make coverage` has counted, the daemons and commands included that tests start. Exits 1 when one
of the rooms that a night hangs on is below 90 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

ROOMS: Final = ("store", "workspace", "agent", "daemon")
LEAST_PERCENT: Final = 90.0
PACKAGE: Final = "src/agentcoord/"


def main() -> int:
    """Report, and return 1 when a room is below its least."""
    files = counted_files()
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, counted in sorted(files.items()):
        room = name.removeprefix(PACKAGE).split("/")[0]
        if room not in ROOMS:
            continue
        summary = counted["summary"]
        totals[room][0] += summary["covered_branches"]
        totals[room][1] += summary["num_branches"]
        missing = _spans(counted["missing_lines"])
        if missing:
            print(f"{name.removeprefix(PACKAGE)}: {missing}")
    below = False
    for room in ROOMS:
        taken, all_branches = totals[room]
        percent = 100 * taken / all_branches if all_branches else 0.0
        below = below or percent < LEAST_PERCENT
        print(f"{room:10} {percent:5.1f} % of {all_branches} branches")
    return 1 if below else 0


def counted_files() -> dict[str, Any]:
    """What coverage counted, a file each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        words = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(words, check=True)
        found: dict[str, Any] = json.loads(report.read_text())["files"]
    return found


def _spans(lines: list[int]) -> str:
    """`[1, 2, 3, 7]` as `1-3, 7`."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in spans)


if __name__ == "__main__":
    sys.exit(main())
