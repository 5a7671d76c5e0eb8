"""Lines added and removed: the fewest, and what git tells of an ordinary edit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.line_counts import lines_changed

CONTENTS = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n"]), max_size=14).map(b"".join)


def fewest(before: bytes, after: bytes) -> tuple[int, int]:
    """By the table of all beginnings, in which the longest common part grows line by line."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    above = [0] * (len(new) + 1)
    for mine in old:
        row = [0]
        for number, theirs in enumerate(new):
            row.append(above[number] + 1 if mine == theirs else max(row[number], above[number + 1]))
        above = row
    return len(new) - above[-1], len(old) - above[-1]


@given(CONTENTS, CONTENTS)
def test_any_two_texts_differ_by_the_fewest_lines(before: bytes, after: bytes) -> None:
    assert lines_changed(before, after) == fewest(before, after)


def test_an_edit_is_told_as_git_tells_it(tmp_path: Path) -> None:
    before = b"".join(b"line %d\n" % n for n in range(100)) + b"}\n}\n"
    after = before.replace(b"line 40\n", b"another\nline\n").replace(b"line 70\nline 71\n", b"") + b"last"
    (tmp_path / "before").write_bytes(before)
    (tmp_path / "after").write_bytes(after)
    words = ["git", "diff", "--no-index", "--numstat", "before", "after"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).stdout.split()
    assert lines_changed(before, after) == (int(said[0]), int(said[1])) == (3, 3)


def test_a_text_that_is_another_altogether_is_told_at_once() -> None:
    before = b"".join(b"old %d\n" % n for n in range(50_000))
    assert lines_changed(before, before.replace(b"old", b"new") + b"more") == (50_001, 50_000)
    assert lines_changed(b"", b"a\nb") == (2, 0)
    assert lines_changed(b"a\nb", b"") == (0, 2)


def test_what_would_take_too_long_is_counted_by_git_and_a_binary_one_not_at_all() -> None:
    before = b"".join(b"%d\n" % (n * n % 97) for n in range(2_000))
    after = b"".join(b"%d\n" % (n * n * n % 97) for n in range(2_000))
    assert lines_changed(before, after) is None
    pairs = [
        Pair("long", before, after),
        Pair("binary", b"\0a\n", b"b\n"),
        Pair("new", None, b"a\nb\n"),
        Pair("same", b"a\n", b"a\n"),
    ]
    counts = count_lines(pairs)
    assert counts.keys() == {"long", "binary", "new"}
    assert (counts["binary"], counts["new"]) == ((0, 0), (2, 0))
    added, removed = counts["long"]
    assert added == removed > 1000
