"""Comparing and merging contents with git's own tools, in a private folder with no configuration.

Contents come in and go out as bytes; no file of the user or of a worker is touched.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcoord.values import dataclass
from agentcoord.workspace.git import GitFailedError, run_isolated_git
from agentcoord.workspace.line_counts import lines_changed

_PROBED_BYTES = 8000
"""As much as git looks at to call a content binary."""
_PATCH_CHARS = 2_000_000
"""A longer patch is cut, and says so."""
_ONE_SIDED = re.compile(rb'^diff --git ("?)([ab])/(.*) \1\2/\3$', re.MULTILINE)
_MERGE_FAILED = range(128, 256)
_DIFF = ("diff", "--no-index", "--no-prefix", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")


@dataclass(frozen=True, slots=True)
class Pair:
    """One path before and after; None where there is no file."""

    path: str
    before: bytes | None
    after: bytes | None
    executable: bool = False
    """Only of a file that is new."""


def is_binary(content: bytes) -> bool:
    """Whether git would call the content binary."""
    return b"\0" in content[:_PROBED_BYTES]


def merge(*, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Merge three contents as `git merge-file` does; None for a conflict or a binary one."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if is_binary(base) or is_binary(ours) or is_binary(theirs):
        return None
    with _private_folder() as folder:
        for name, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            (folder / name).write_bytes(content)
        try:
            return run_isolated_git(["merge-file", "-p", "-q", "ours", "base", "theirs"], cwd=folder)
        except GitFailedError as error:
            if error.exit_code in _MERGE_FAILED and "binary" not in error.stderr:
                raise
            return None  # The exit code is the number of conflicts.


def unified_diff(pairs: Iterable[Pair]) -> str:
    """Return one patch for all pairs, with `a/` and `b/`, as git writes it, for people to read."""
    text = _patch(pairs).decode("utf-8", "replace")
    if len(text) > _PATCH_CHARS:
        text = text[:_PATCH_CHARS] + f"\n# ... cut after {_PATCH_CHARS} characters\n"
    return text


def whole_patch(pairs: Iterable[Pair]) -> str:
    """Return the patch with which `git apply` makes the same bytes: binary ones as well, and nothing cut.

    Bytes that are no UTF-8 are surrogates in it, as `surrogateescape` has them.
    """
    return _patch(pairs, "--binary").decode("utf-8", "surrogateescape")


def _patch(pairs: Iterable[Pair], *options: str) -> bytes:
    with _private_folder() as folder:
        _lay_out(folder, pairs)
        patch = run_isolated_git([*_DIFF, *options, "a", "b"], cwd=folder, expected=(0, 1))
    # Of an added file git calls both sides b/, of a removed one a/; readers expect one of each.
    return _ONE_SIDED.sub(rb"diff --git \1a/\3 \1b/\3", patch)


def count_lines(pairs: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    """Return the lines added and removed of each path that differs; a binary one counts 0 and 0."""
    counts: dict[str, tuple[int, int]] = {}
    left = []
    for pair in pairs:
        before, after = pair.before or b"", pair.after or b""
        if pair.before == pair.after:
            continue
        if is_binary(before) or is_binary(after):
            counts[pair.path] = 0, 0
        elif (changed := lines_changed(before, after)) is not None:
            counts[pair.path] = changed
        else:
            left.append(pair)
    return counts | _counted_by_git(left) if left else counts


def _counted_by_git(pairs: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    with _private_folder() as folder:
        _lay_out(folder, pairs)
        said = run_isolated_git([*_DIFF, "--numstat", "-z", "a", "b"], cwd=folder, expected=(0, 1))
    return dict(_read_numstat(said))


def _read_numstat(said: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Read `added TAB removed TAB NUL old NUL new NUL` records; both names, as folders are compared."""
    fields = iter(said.split(b"\0"))
    for counts in fields:
        if not counts:
            continue
        added, removed, _ = counts.split(b"\t", 2)
        old, new = next(fields), next(fields)
        path = new if new.startswith(b"b/") else old
        yield os.fsdecode(path[2:]), (_number(added), _number(removed))


def _number(field: bytes) -> int:
    return int(field) if field.isdigit() else 0


def _lay_out(folder: Path, pairs: Iterable[Pair]) -> None:
    for side in ("a", "b"):
        (folder / side).mkdir()
    for pair in pairs:
        for side, content in (("a", pair.before), ("b", pair.after)):
            if content is not None:
                path = folder / side / pair.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                if pair.executable and side == "b":
                    path.chmod(0o755)


@contextmanager
def _private_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agentcoord-diff-") as name:
        yield Path(name)
