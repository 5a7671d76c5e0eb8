"""What the checks say of a task without some hunks, in words for a person who is about to decide. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentcoord.tui.text import one_line, plural

OUTPUT_LINES: Final = 8


def subset_words(answer: Mapping[str, Any]) -> str:
    """The verdict, a line a check, and the last lines of a red one."""
    count = plural(len(answer["hunks"]), "hunk")
    if answer["state"] == "broken":
        return f"It could not be tried without {count}: {answer['why']}"
    lines = []
    for check in answer["checks"]:
        sign = "✔" if check["ok"] else "▲" if check.get("excused") else "✗"
        lines.append(
            f"{sign} {one_line(check['name'])}: exit {check['exit_code']}, {check['ms'] / 1000:.1f} s"
        )
        if not check["ok"] and not check.get("excused"):
            output = str(check["output"]).strip().splitlines()[-OUTPUT_LINES:]
            lines += [f"    {one_line(line)}" for line in output]
    if not lines:
        lines = ["There are no checks: nothing speaks for it."]
    verdict = "Green" if answer["state"] == "green" else "Red"
    files = ", ".join(answer["files"])
    return "\n".join([f"{verdict} without {count}, in a private copy.", f"Changes {files}.", *lines])


def taken_words(answer: Mapping[str, Any]) -> str:
    """What came of it."""
    return f"{plural(len(answer['hunks']), 'hunk')} taken out of {answer['id']}: {', '.join(answer['files'])}"
