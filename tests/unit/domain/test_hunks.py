"""Reading diffs: files, hunks, and their names."""

from __future__ import annotations

from agentcoord.domain.hunks import read_diff
from agentcoord.workspace.diffs import Pair, unified_diff

LINES = b"".join(b"line %d\n" % n for n in range(40))


def test_git_s_own_diffs_are_read_whole() -> None:
    after = LINES.replace(b"line 3\n", b"-- three\n").replace(b"line 30\n", b"")
    text = unified_diff(
        [
            Pair("src/a b.py", LINES, after),
            Pair('we"ird\t\xe4.py', None, b"+++ no header\nno end"),
            Pair("data.bin", b"\0a", b"\0b"),
        ]
    )
    files = {file.path: file for file in read_diff(text)}
    assert set(files) == {"src/a b.py", 'we"ird\t\xe4.py', "data.bin"}
    first, second = files["src/a b.py"].hunks
    assert (first.old_start, first.old_count, first.new_start, first.new_count) == (1, 7, 1, 7)
    assert "+-- three" in first.lines
    assert (second.old_start, second.old_count, second.new_count) == (28, 7, 6)
    (created,) = files['we"ird\t\xe4.py'].hunks
    assert (created.old_start, created.old_count, created.new_start, created.new_count) == (0, 0, 1, 2)
    assert created.lines == ("++++ no header", "+no end", "\\ No newline at end of file")
    assert files["data.bin"].hunks == ()
    assert sum(len(file.headers) + sum(1 + len(h.lines) for h in file.hunks) for file in files.values()) == (
        text.count("\n")
    ), "no line is lost"


def test_a_hunk_is_named_by_its_text_and_its_place() -> None:
    def keys(text: str) -> list[str]:
        return [hunk.key for file in read_diff(text) for hunk in file.hunks]

    text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-a\n+b\n"
    assert len(set(keys(text))) == 2
    assert keys(text) == keys("diff --git a/x b/x\n" + text)
    assert not set(keys(text)) & set(keys(text.replace("/x", "/y")))


def test_a_hunk_that_is_cut_off_or_lies_is_not_whole_and_loses_no_line() -> None:
    assert read_diff("") == []
    (hunk,) = read_diff("--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-b\n")[0].hunks
    assert (hunk.whole, hunk.lines) == (False, (" a", "-b"))
    lying = "--- a/x\n+++ b/x\n@@ -1,9 +1 @@\n-a\ndiff --git a/y b/y\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n"
    first, second = read_diff(lying)
    assert (first.hunks[0].whole, second.path, second.hunks[0].whole) == (False, "y", True)
    assert read_diff("just words\n")[0].hunks == ()
