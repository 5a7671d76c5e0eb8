"""Pages of a review: flags, what checks said of single tests, and who wrote which line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from agentcoord.cli.boundary import CommandError
from agentcoord.domain.listed import listed
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import harmless, one_line, plural
from agentcoord.wire.protocol import ExitCode

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from pathlib import Path

    from agentcoord.wire.answers import BlamedLineView
    from agentcoord.wire.task_views import FlagView, TestsView

_NAMES_SHOWN = 5
_listed = partial(listed, most=_NAMES_SHOWN)


def flag_lines(flags: Sequence[FlagView]) -> list[Line]:
    """One line a flag, with its place; those that hold a task from landing stand out."""
    lines: list[Line] = []
    for flag in flags:
        place = f"{flag['path']}:{flag['line']}" if flag["line"] else flag["path"]
        sign = Span("! ", Tone.WARN) if flag["holds"] else Span("· ", Tone.MUTED)
        lines.append((sign, Span(one_line(f"{place}: {flag['kind']}: {flag['words']}"))))
    return lines


def tests_lines(tests: TestsView | None) -> list[Line]:
    """Whose failures these are, a line a group that is not empty."""
    if tests is None:
        return []
    groups = (
        ("fail and did not before", tests["new_failures"], Tone.BAD),
        ("failed before and still do", tests["old_failures"], Tone.WARN),
        ("failed before and pass now", tests["fixed"], Tone.GOOD),
        ("are flaky", tests["flaky"], Tone.WARN),
        ("ran before and did not now", tests["gone"], Tone.WARN),
    )
    return [
        (Span(f"  {plural(len(names), 'test')} {words}: ", tone), Span(one_line(_listed(names))))
        for words, names, tone in groups
        if names
    ]


def blame_page(lines: Sequence[BlamedLineView]) -> list[Line]:
    """`agentcoord blame PATH`."""
    width = max((len(line["task"] or "-") for line in lines), default=1)
    digits = len(str(len(lines)))
    return [
        (
            Span(f"{line['task'] or '-':<{width}} ", Tone.PLAIN if line["task"] else Tone.MUTED),
            Span(f"{number:>{digits}}  ", Tone.MUTED),
            Span(harmless(line["text"])),
        )
        for number, line in enumerate(lines, 1)
    ]


def path_inside(path: str, *, folder: Path, root: Path) -> str:
    """The path as the project names it, also by way of links. Raises CommandError when it lies outside."""
    upper, name = os.path.split(folder / path)
    # A link that is the last part stays: whoever reads the file says that it is one.
    real = f"{os.path.realpath(upper)}/{name}"
    inside = os.path.relpath(real, os.path.realpath(root))
    if inside.split(os.sep, 1)[0] == os.pardir:
        raise CommandError(
            f"{path} lies outside the project",
            exit_code=ExitCode.USAGE,
            mend="give a path inside the project",
        )
    return inside
