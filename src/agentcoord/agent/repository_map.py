"""A map of the repository within a bound of tokens: the most useful thing in a first turn.

Pure. Small repositories are listed whole; larger ones lose names in crowded folders first, then
depth, so that every part of the tree stays visible as long as there is room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

CHARS_PER_TOKEN = 3
"""On the safe side for paths, which take more tokens a character than prose."""
_NAMES_STEPS = (10_000, 60, 25, 10, 4)
"""Most names shown a folder, tried in turn."""
_DEPTH_STEPS = (6, 4, 3, 2, 1)
"""Then folders deeper than this are counted into the one above, tried in turn."""


def repository_map(files: Sequence[str], *, token_bound: int) -> str:
    """Return one line a folder with the names in it, within about `token_bound` tokens.

    `files` are paths relative to the repository. The first line counts them. Empty when there are none.
    """
    if not files:
        return ""
    chars_bound = max(token_bound, 0) * CHARS_PER_TOKEN
    folders = _names_by_folder(files)
    drawing = ""
    for names_shown in _NAMES_STEPS:
        drawing = _draw(folders, len(files), names_shown)
        if len(drawing) <= chars_bound:
            return drawing
    for depth in _DEPTH_STEPS:
        drawing = _draw_counts(files, depth)
        if len(drawing) <= chars_bound:
            return drawing
    return _cut_lines(drawing, chars_bound)


def _names_by_folder(files: Sequence[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = defaultdict(list)
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        folders[folder].append(name)
    return dict(sorted(folders.items()))


def _draw(folders: dict[str, list[str]], file_count: int, names_shown: int) -> str:
    lines = [_headline(file_count)]
    for folder, names in folders.items():
        shown = " ".join(names[:names_shown])
        more = len(names) - names_shown
        lines.append(f"{folder or '.'}/: {shown}" + (f" (+{more} more)" if more > 0 else ""))
    return "\n".join(lines)


def _draw_counts(files: Sequence[str], depth: int) -> str:
    """Only folders down to `depth`, each with the number of files in and below it."""
    counts: dict[str, int] = defaultdict(int)
    for path in files:
        folders = path.split("/")[:-1]
        counts["/".join(folders[:depth]) or "."] += 1
    lines = [_headline(len(files))]
    lines += [
        f"{folder}/: {count} file{'s' if count != 1 else ''}" for folder, count in sorted(counts.items())
    ]
    return "\n".join(lines)


def _headline(file_count: int) -> str:
    return f"{file_count} file{'s' if file_count != 1 else ''}"


def _cut_lines(drawing: str, chars_bound: int) -> str:
    """Keep whole lines from the top, and say how many went."""
    lines = drawing.split("\n")
    kept: list[str] = []
    used = 0
    for line in lines:
        room_for_words = 40
        if used + len(line) + 1 > chars_bound - room_for_words:
            break
        kept.append(line)
        used += len(line) + 1
    left = len(lines) - len(kept)
    if not kept:
        return lines[0][:chars_bound]
    return "\n".join([*kept, f"(+{left} more folders)"])
