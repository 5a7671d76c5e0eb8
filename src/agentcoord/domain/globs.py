"""Matching a path against a glob in linear steps: `*`, `?` and `[...]` within a name, `**` across folders.

Not `fnmatch` or a gitignore library: they build regular expressions, and a glob with many stars makes
those backtrack for hours, holding the interpreter's lock. Here each star is retried at most once a
character. Deliberately absent: negation, which is the business of a list of globs (`workspace.scope`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

EVERYTHING = ("**",)
"""The list of globs that names every file."""
_Item = TypeVar("_Item")
_Part = TypeVar("_Part")


def glob_matches(glob: str, path: str) -> bool:
    """Whether `glob` names `path` or a folder above it; with a `/` at its end, only the latter.

    Without a `/` the glob is matched against names at any depth, else against the whole path.
    """
    parts = [part for part in glob.split("/") if part]
    if "/" not in glob.rstrip("/"):
        parts = ["**", *parts]
    if glob.endswith("/"):
        parts = [*parts, "*"]  # A folder is meant, so something must lie below it.
    names = path.split("/")
    # A trailing `**` makes whatever lies below a matching folder match too.
    return _wild_match(parts, names, _is_double_star, _name_matches) or _wild_match(
        [*parts, "**"], names, _is_double_star, _name_matches
    )


def _name_matches(pattern: str, name: str) -> bool:
    return _wild_match(_pieces(pattern), name, _is_star, _character_matches)


def _wild_match(
    parts: Sequence[_Part],
    items: Sequence[_Item],
    is_star: Callable[[_Part], bool],
    matches_one: Callable[[_Part, _Item], bool],
) -> bool:
    """Match a sequence against parts, of which a star takes any number of items.

    The greedy two-pointer walk: only the last star seen is ever widened, which suffices because an
    earlier one cannot do better. At most parts times items steps.
    """
    part = item = 0
    star, resume = -1, 0
    while item < len(items):
        if part < len(parts) and is_star(parts[part]):
            star, resume = part, item
            part += 1
        elif part < len(parts) and matches_one(parts[part], items[item]):
            part += 1
            item += 1
        elif star >= 0:
            resume += 1
            part, item = star + 1, resume
        else:
            return False
    return all(is_star(rest) for rest in parts[part:])


def _pieces(pattern: str) -> list[str]:
    """Split a name's pattern into single characters, `?`, `*` and whole `[...]` sets."""
    pieces = []
    position = 0
    while position < len(pattern):
        end = pattern.find("]", position + 2) if pattern[position] == "[" else -1
        stop = position + 1 if end == -1 else end + 1
        pieces.append(pattern[position:stop])
        position = stop
    return pieces


def _character_matches(piece: str, character: str) -> bool:
    if piece == "?":
        return True
    if len(piece) == 1:
        return piece == character
    members = piece[1:-1]
    is_negated = members[0] in "!^" and len(members) > 1
    if is_negated:
        members = members[1:]
    return _in_set(members, character) != is_negated


def _in_set(members: str, character: str) -> bool:
    position = 0
    while position < len(members):
        is_range = position + 2 < len(members) and members[position + 1] == "-"
        low, high = members[position], members[position + 2] if is_range else members[position]
        if low <= character <= high:
            return True
        position += 3 if is_range else 1
    return False


def _is_star(piece: str) -> bool:
    return piece == "*"


def _is_double_star(part: str) -> bool:
    return part == "**"
