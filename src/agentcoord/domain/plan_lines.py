"""Where things stand in the text of a TOML plan: the lines of its tasks and their keys.

Separate from `plan` because the standard TOML reader forgets positions: this scans the text
a second time, for positions alone, and never decides what a value is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from agentcoord.values import dataclass

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=")


@dataclass(frozen=True, slots=True)
class KeyLines:
    """The line of a task's header and of each of its keys, counted from 1."""

    header: int
    keys: Mapping[str, int] = field(default_factory=dict)

    def of(self, key: str) -> int:
        """The line of `key`; the header's when the key is not written."""
        return self.keys.get(key, self.header)


@dataclass(frozen=True, slots=True)
class TomlLines:
    """Where the parts of a TOML plan stand."""

    plan: KeyLines
    tasks: list[KeyLines]
    tables: Mapping[str, int]
    """The first line of every top-level table, by its name."""


def locate_toml(text: str) -> TomlLines:
    """Find the `[plan]` and every `[[task]]` header of valid TOML `text`, and the keys below them."""
    plan_keys: dict[str, int] = {}
    tables: dict[str, int] = {}
    tasks: list[KeyLines] = []
    keys: dict[str, int] | None = None
    closer = ""
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not closer and depth <= 0:
            header = _HEADER.match(line)
            if header:
                name = header[1].strip("\"' ")
                tables.setdefault(name, number)
                keys = {"plan": plan_keys}.get(name)
                if name == "task" and line.lstrip().startswith("[["):
                    keys = {}
                    tasks.append(KeyLines(number, keys))
                continue
            key = _KEY.match(line)
            if key:
                (tables if keys is None else keys).setdefault(key[1], number)
        closer, depth = _scan(line, closer, max(depth, 0))
    return TomlLines(KeyLines(tables.get("plan", 0), plan_keys), tasks, tables)


def _scan(line: str, closer: str, depth: int) -> tuple[str, int]:
    """Follow one line: return the multi-line quote still open, and the bracket depth of a value."""
    at = 0
    while at < len(line):
        if closer:
            end = line.find(closer, at)
            if end < 0:
                return closer, depth
            at, closer = end + len(closer), ""
            continue
        char = line[at]
        if line.startswith(('"""', "'''"), at):
            closer = line[at : at + 3]
            at += 3
            continue
        if char in "\"'":
            at = _skip_string(line, at)
            continue
        if char == "#":
            break
        depth += (char in "[{") - (char in "]}")
        at += 1
    return closer, depth


def _skip_string(line: str, start: int) -> int:
    """Return the position after the one-line string that starts at `start`."""
    quote = line[start]
    at = start + 1
    while at < len(line):
        if quote == '"' and line[at] == "\\":
            at += 2
            continue
        if line[at] == quote:
            return at + 1
        at += 1
    return at
