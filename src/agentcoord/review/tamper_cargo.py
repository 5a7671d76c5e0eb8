"""Tamper rules for what a Cargo.toml says of its tests.

Separate from `tamper_config`, which goes by lines: here the same line is honest work in one table
(a `[[bench]]` of Criterion's needs `harness = false`) and ends all tests of another.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from posixpath import normpath
from typing import Any

_SWITCHES = {"test": True, "doctest": True, "harness": True}
_TESTED = ("test", "bin", "lib")
_LISTS = ("members", "default-members", "exclude")
_MOST_GLOBS = 20
"""Others match nothing: each path is compared with each."""
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
        elif switch == "harness" and not place.startswith("lib") and f"{place[:-8]} there" not in was:
            continue  # What a new target is run by takes nothing from the others.
        elif value is False and was.get(place, True) is not False:
            return f"{place} is false"
    return ""


def _left_out(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which members a workspace has no more."""
    was, now = ({key: set(_words(each, key)) for key in _LISTS} for each in (old, new))
    if gone := _not_covered(was["members"], now["members"]):
        return f"members of the workspace are without {gone}"
    if was["default-members"] or now["default-members"]:
        # Where nothing is said, a package at the root is all that is tested; without one all members are.
        tested, tests = (
            each["default-members"] or ({"."} if "package" in manifest else each["members"])
            for each, manifest in ((was, old), (now, new))
        )
        if gone := _not_covered(tested if "package" in new else tested - {"."}, tests):
            return f"default-members of the workspace narrow what is tested: without {gone}"
    for path in sorted(now["exclude"] - was["exclude"]):
        if not was["members"] or not _not_covered({path}, was["members"]):
            return f"the workspace excludes {path}"
    return ""


def _not_covered(paths: Collection[str], by: Collection[str]) -> str:
    """The first of the paths that is neither among the others nor matched by one of them; empty for none."""
    globs = [each for each in sorted(by) if "*" in each or "?" in each][:_MOST_GLOBS]
    for path in sorted(paths):
        if path not in by and not any(_matches(path, glob) for glob in globs):
            return path
    return ""


def _matches(path: str, glob: str) -> bool:
    same_depth = path.count("/") == glob.count("/")
    return (same_depth or "**" in glob) and fnmatchcase(path, glob)


def _words(manifest: dict[str, Any], key: str) -> list[str]:
    workspace = manifest.get("workspace")
    found = workspace.get(key) if isinstance(workspace, dict) else None
    return [normpath(str(each)) for each in found] if isinstance(found, list) else []


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
