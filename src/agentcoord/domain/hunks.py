"""Unified diffs as values: files, hunks, and a name for each hunk, the same on both ends. Pure.

Hunks are read by the line counts of their `@@` headers, so that a removed line which itself begins with
`-- ` is not mistaken for the header of the next file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from agentcoord.values import dataclass

KEY_CHARS: Final = 12
_HEADER: Final = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MARKS: Final = ("", " ", "+", "-", "\\")
"""How a line within a hunk may begin; anything else ends the hunk, whatever its header said."""
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f"}
_NOWHERE: Final = "/dev/null"


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk of one file. Line numbers begin at 1; a side without lines has the number before it."""

    path: str
    header: str
    lines: tuple[str, ...]
    """As in the diff, each with its mark."""
    old_start: int
    old_count: int
    new_start: int
    new_count: int
    whole: bool = True
    """False when its lines end before its header's counts are met: it was cut, or written by hand."""

    @property
    def key(self) -> str:
        """Names the hunk: the same text at the same place of the same file, and no other."""
        text = "\0".join((self.path, self.header, *self.lines))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_CHARS]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff says of one file."""

    path: str
    headers: tuple[str, ...]
    """All lines before the first hunk; of a binary file there are no others."""
    hunks: tuple[Hunk, ...]


def read_diff(text: str) -> list[FileDiff]:
    """Read a unified diff as git writes it; no line is lost, whatever it is."""
    files: list[FileDiff] = []
    headers: list[str] = []
    hunks: list[Hunk] = []
    lines = text.removesuffix("\n").split("\n") if text else []
    at = 0
    while at < len(lines):
        line = lines[at]
        if found := _HEADER.match(line):
            body = list(_body(lines, at + 1, found))
            hunks.append(_hunk(_path_of(headers), found, line, body))
            at += 1 + len(body)
            continue
        if line.startswith("diff ") or (line.startswith("--- ") and (hunks or _has_names(headers))):
            if headers:
                files.append(FileDiff(_path_of(headers), tuple(headers), tuple(hunks)))
            headers, hunks = [], []
        headers.append(line)
        at += 1
    if headers:
        files.append(FileDiff(_path_of(headers), tuple(headers), tuple(hunks)))
    return files


def _has_names(headers: list[str]) -> bool:
    return any(line.startswith("+++ ") for line in headers)


def _body(lines: list[str], at: int, found: re.Match[str]) -> Iterator[str]:
    """The lines of the hunk whose header was matched, as far as its counts go."""
    old_left, new_left = _count(found[2]), _count(found[4])
    for line in lines[at:]:
        mark = line[:1]
        if mark == "\\":
            yield line
            continue
        if (old_left <= 0 and new_left <= 0) or mark not in _MARKS:
            return
        old_left -= mark != "+"
        new_left -= mark != "-"
        yield line


def _counts(body: list[str]) -> tuple[int, int]:
    marks = [line[:1] for line in body if line[:1] != "\\"]
    return sum(mark != "+" for mark in marks), sum(mark != "-" for mark in marks)


def _hunk(path: str, found: re.Match[str], header: str, body: list[str]) -> Hunk:
    counts = _count(found[2]), _count(found[4])
    whole = _counts(body) == counts
    return Hunk(path, header, tuple(body), int(found[1]), counts[0], int(found[3]), counts[1], whole)


def _count(text: str | None) -> int:
    return 1 if text is None else int(text)


def _path_of(headers: list[str]) -> str:
    """The file's path, without `a/` or `b/`; from the `diff` line where a binary file has no other."""
    for mark in ("+++ ", "--- "):
        for line in headers:
            if line.startswith(mark) and (name := _unquoted(line[4:].rstrip("\t"))) != _NOWHERE:
                return name.partition("/")[2]
    for line in headers:
        if line.startswith("diff --git "):
            return _unquoted(line.removeprefix("diff --git ").split(" b/")[-1])
    return ""


def _unquoted(name: str) -> str:
    """A path as git quotes it, when it does."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    raw = bytearray()
    rest = re.finditer(r"\\([0-7]{3})|\\(.)|([^\\]+)", name[1:-1])
    for octal, escape, plain in (found.groups() for found in rest):
        if octal is not None:
            raw.append(int(octal, 8))
        else:
            raw += (_ESCAPES.get(escape, escape) if escape is not None else plain).encode("utf-8", "replace")
    return raw.decode("utf-8", "replace")
