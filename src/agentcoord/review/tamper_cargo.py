"""Tamper rules for what a Cargo.toml says of its tests.

Separate from `tamper_config`, which goes by lines: here the same line is honest work in one table
(a `[[bench]]` of Criterion's needs `harness = false`) and ends all tests of another.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

_SWITCHES = {"test": True, "doctest": True, "harness": True}
_TESTED = ("test", "bin", "lib")
_LISTS = ("members", "default-members", "exclude")
_LINES = re.compile(r"\b(?:doctest|test|autotests|harness)\s*=\s*false|\bexclude\b")


def cargo_change(before: str, after: str) -> str:
    """Say what of it makes `cargo test` run less; empty for nothing."""
    old, new = _read(before), _read(after)
    if old is None or new is None:
        lines = set(after.splitlines()) - set(before.splitlines())
        said = next((line.strip() for line in sorted(lines) if _LINES.search(line)), "")
        return f"it says {said[:80]}" if said else ""
    if left_out := _left_out(old, new):
        return left_out
    was = dict(_facts(old))
    for place, value in _facts(new):
        switch = place.rpartition(" ")[2]
        if switch in ("path", "required-features"):
            target = place.rpartition(" ")[0]
            if f"{target} there" in was and was.get(place) != value:
                return f"{place} is now {value}"
        elif value is False and was.get(place, True) is not False:
            return f"{place} is false"
    return ""


def _left_out(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which members a workspace has no more."""
    was, now = ({key: set(_words(each, key)) for key in _LISTS} for each in (old, new))
    for key in ("members", "default-members"):
        if gone := was[key] - now[key]:
            return f"{key} of the workspace are without {min(gone)}"
    if now["default-members"] and not was["default-members"]:
        return "default-members of the workspace narrow what is tested"
    more = now["exclude"] - was["exclude"]
    return f"the workspace excludes {min(more)}" if more else ""


def _words(manifest: dict[str, Any], key: str) -> list[str]:
    workspace = manifest.get("workspace")
    found = workspace.get(key) if isinstance(workspace, dict) else None
    return [str(each) for each in found] if isinstance(found, list) else []


def _facts(manifest: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What decides which tests are run, by table, name and key."""
    package = manifest.get("package")
    if isinstance(package, dict):
        yield "package autotests", package.get("autotests", True)
    for kind in _TESTED:
        tables = manifest.get(kind, [])
        for table in tables if isinstance(tables, list) else [tables]:
            if not isinstance(table, dict):
                continue
            target = f"{kind} {table['name']}" if kind != "lib" and "name" in table else kind
            yield f"{target} there", True
            for key, default in _SWITCHES.items():
                yield f"{target} {key}", table.get(key, default)
            if kind == "test":
                yield f"{target} path", table.get("path")
                yield f"{target} required-features", table.get("required-features")


def _read(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
