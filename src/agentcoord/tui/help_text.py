"""The help screen's words: keys, the filter, and what the signs mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentcoord.tui.glyphs import TASK_LEGEND, WORKER_LEGEND
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import wrap

KEYS: Final = (
    (
        "Everywhere",
        (
            ("?", "this help"),
            ("q Esc", "leave this view; the daemon and its workers go on"),
            ("!", "next task that needs you"),
            ("p", "pause: claim nothing new; again: resume"),
            ("j k g G", "down, up, first, last; also the arrows, Home and End"),
            ("Ctrl+P", "command palette: themes and more"),
        ),
    ),
    (
        "Main view",
        (
            ("Tab 1 2 3", "next pane; workers, tasks, events"),
            ("Enter", "open the task, or watch the worker"),
            ("a r y u R", "answer its question, retry, accept, undo, reject the task"),
            ("v", "review what landed, riskiest first"),
            ("Space *", "mark this task, all shown; a key is then for all marked"),
            (":", "a command; Tab completes, the arrows bring lines back"),
            ("/ s", "filter the tasks (Enter keeps it, Esc clears it); sort them"),
            ("d", "diff of the task; there ] and [ are next and previous file"),
            ("x", "in workers: kill it, its task goes back; else: cancel the task"),
            ("l L", "the daemon's log: of the selected task or worker; all of it"),
            ("f", "follow the newest event"),
        ),
    ),
    (
        "Worker",
        (
            ("z e", "fold or unfold calls and results; its events instead"),
            ("] [ f", "next and previous worker; follow"),
            ("/ n N c", "search, next and previous match; copy"),
        ),
    ),
    (
        "Log",
        (
            ("f L b", "follow; info, warnings or errors; of one task or all"),
            ("/ n N", "search, next and previous match; Esc ends the search"),
        ),
    ),
    (
        "Replay",
        (
            ("Space + -", "play or pause, faster, slower: 1 to 1000 times"),
            (". ,", "stop at the next event, at the one before"),
            ("← → Home End", "back and on by a fiftieth, begin and end; also by mouse"),
            ("t", "go to a time: 04:30, +10m, -30s, 50%"),
        ),
    ),
    (
        "Review",
        (
            ("y r u", "accept; reject with a reason, for which it is done again; undo"),
            ("n N } {", "next and previous task, next and previous file"),
            ("J K + -", "next and previous hunk; accept it, reject it"),
            ("t", "try it without the rejected hunks: checks first, then you decide"),
            ("s c", "side by side and back; comment: a further task follows your words"),
        ),
    ),
    (
        "Filter",
        (
            ("state:failed,parked", "in any of these states; state:review: done, not judged"),
            ("tag:testing", "with this tag"),
            ("worker:backend", "of this worker"),
            ("re:^api|cli", "by a regular expression, in id, title or reason"),
            ("word", "with the word in id, title or reason"),
            ("!state:done", "not: any term may be turned round"),
        ),
    ),
)
_KEY_CELLS: Final = 21
_LEAST_CELLS: Final = 20
_SIGNS_A_LINE: Final = 5


def help_lines(width: int, first: str = "") -> list[Line]:
    """The whole help, for a view of so many cells; the part with the title `first` before all others."""
    lines: list[Line] = []
    room = max(_LEAST_CELLS, width - _KEY_CELLS - 4)
    for title, keys in sorted(KEYS, key=lambda part: part[0] != first):
        lines.append((Span(f" {title}", Tone.TITLE),))
        for key, text in keys:
            for i, part in enumerate(wrap(text, room)):
                lines.append((Span(f"   {key if i == 0 else '':<{_KEY_CELLS}}", Tone.ACCENT), Span(part)))
        lines.append(())
    for title, legend in (("Tasks", TASK_LEGEND), ("Workers", WORKER_LEGEND)):
        lines += _legend(title, legend)
    return lines


def _legend(title: str, legend: Sequence[tuple[Span, str]]) -> list[Line]:
    """Signs and words, some a line."""
    lines: list[Line] = []
    for start in range(0, len(legend), _SIGNS_A_LINE):
        spans = [Span(f" {title if start == 0 else '':<9}", Tone.TITLE)]
        for glyph, word in legend[start : start + _SIGNS_A_LINE]:
            spans += [glyph, Span(f" {word:<10}")]
        lines.append(tuple(spans))
    return lines
