"""Merging and comparing contents."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentcoord.workspace.diffs import Pair, count_lines, merge, unified_diff
from workspace_kit import LINES


def test_edits_in_different_places_merge() -> None:
    ours = LINES.replace(b"line 2\n", b"ours\n")
    theirs = LINES.replace(b"line 17\n", b"theirs\n")
    assert merge(base=LINES, ours=ours, theirs=theirs) == ours.replace(b"line 17\n", b"theirs\n")


def test_edits_in_the_same_place_conflict() -> None:
    ours, theirs = LINES.replace(b"line 2\n", b"a\n"), LINES.replace(b"line 2\n", b"b\n")
    assert merge(base=LINES, ours=ours, theirs=theirs) is None


def test_many_conflicts_are_a_conflict_and_no_failure() -> None:
    base = b"".join(b"%d\n\n\n\n\n" % n for n in range(300))
    assert merge(base=base, ours=base.replace(b"1", b"x"), theirs=base.replace(b"1", b"y")) is None


def test_binary_contents_conflict_and_line_ends_and_odd_bytes_are_kept() -> None:
    assert merge(base=b"\0a", ours=b"\0b", theirs=b"\0c") is None
    crlf = LINES.replace(b"\n", b"\r\n")
    ours = crlf.replace(b"line 2\r", b"ours \xe9\r")
    assert merge(base=crlf, ours=ours, theirs=crlf + b"end") == ours + b"end"


@pytest.mark.parametrize("same", ["ours", "theirs", "both"])
def test_a_side_that_did_not_change_takes_the_other(same: str) -> None:
    base, new = b"\0base", b"\0new"
    ours = base if same == "ours" else new
    theirs = base if same == "theirs" else new
    assert merge(base=base, ours=ours, theirs=theirs) == new


def test_the_patch_applies_with_git_for_added_modified_and_removed_files(tmp_path: Path) -> None:
    pairs = [
        Pair("src/a b.py", LINES, LINES + b"more\n"),
        Pair("new/ü.py", None, b"new\n"),
        Pair("gone.py", b"gone\n", None),
        Pair("no-newline", b"x", b"y"),
    ]
    for pair in pairs:
        if pair.before is not None:
            (tmp_path / pair.path).parent.mkdir(exist_ok=True)
            (tmp_path / pair.path).write_bytes(pair.before)
    patch = unified_diff(pairs)
    assert "diff --git a/new/ü.py b/new/ü.py" in patch
    subprocess.run(["git", "apply", "-p1", "-"], input=patch.encode(), cwd=tmp_path, check=True)
    for pair in pairs:
        path = tmp_path / pair.path
        assert (path.read_bytes() if path.exists() else None) == pair.after


def test_lines_are_counted_for_every_kind_and_every_name() -> None:
    counts = count_lines(
        [
            Pair("a", LINES, LINES.replace(b"line 3\n", b"x\ny\n")),
            Pair("d/new\nline", None, b"1\n2\n"),
            Pair("old", b"1\n", None),
            Pair("x\udcff", b"1\n", b"2\n"),
            Pair("binary", b"\0a", b"\0b"),
        ]
    )
    assert counts == {"a": (2, 1), "d/new\nline": (2, 0), "old": (0, 1), "x\udcff": (1, 1), "binary": (0, 0)}


def test_a_patch_of_millions_of_characters_is_cut_and_says_so() -> None:
    patch = unified_diff([Pair("a.txt", None, b"".join(b"%099d\n" % n for n in range(21_000)))])
    assert len(patch) < 2_000_100
    assert patch.endswith("# ... cut after 2000000 characters\n")
