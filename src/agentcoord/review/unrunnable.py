"""Checks that cannot run on the untouched tree: their program is missing, whatever a task does.

Separate from `checks` because such a report says nothing of anybody's change: it is the machine's, or
the settings', and every task would meet the same. Told by the shell's exit codes, which npm passes on, and by
what Python says of a module that `-m` names and that is not installed.
"""

from __future__ import annotations

import re
from typing import Final

from agentcoord.review.checks import CheckOutcome, CheckReport

EXIT_CODES: Final = {126: "it cannot be executed", 127: "there is no such command"}
_NO_MODULE: Final = re.compile(r"\S*python[\d.]*: No module named '?([\w.]+)'?")
_SAID_CHARS: Final = 200


def why_unrunnable(baseline: CheckReport | None) -> str:
    """Say which checks could not even run on the untouched tree, and the mend; empty when all could."""
    found = [each for each in baseline.outcomes if _could_not_run(each)] if baseline else []
    if not found:
        return ""
    return (
        f"{'; '.join(map(_told, found))}: install what is missing where commands in the sandbox see it, or "
        "correct the command under [checks] (agentcoord doctor looks there), then agentcoordd restart and "
        "agentcoord ctl resume"
    )


def _could_not_run(outcome: CheckOutcome) -> bool:
    return (outcome.exit_code in EXIT_CODES and not outcome.timed_out) or _lacks_its_module(outcome)


def _lacks_its_module(outcome: CheckOutcome) -> bool:
    found = _NO_MODULE.fullmatch(_last_line(outcome))
    return found is not None and bool(re.search(rf"\s-m\s+{re.escape(found[1])}(\s|$)", outcome.command))


def _last_line(outcome: CheckOutcome) -> str:
    return next((line.strip() for line in reversed(outcome.output.splitlines()) if line.strip()), "")


def _told(outcome: CheckOutcome) -> str:
    words = _last_line(outcome)[:_SAID_CHARS] or EXIT_CODES[outcome.exit_code]
    return (
        f"the check {outcome.name} cannot run on the untouched tree: "
        f"`{outcome.command}` ended with {outcome.exit_code} ({words})"
    )
