"""A diff as a page: nothing is lost in any layout, changed words are marked, hostile text is harmless."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from agentcoord.tui.code_tones import coloured
from agentcoord.tui.diff_page import MOST_COLOURED, DiffPages, Layout, Mark
from agentcoord.tui.styled import Ground, Line, Span, Tone, plain_text, width_of
from agentcoord.tui.word_changes import changed_words, with_ground

DIFF = (
    "diff --git a/src/a.py b/src/a.py\n--- a/src/a.py\n+++ b/src/a.py\n"
    "@@ -1,4 +1,5 @@ def f():\n import os\n-def add(a, b):\n-    return a + b\n+def add(a, b, c=0):\n"
    "+    return a + b + c\n+    # more \x1b[31m\n x = 1\n\\ No newline at end of file\n"
    "diff --git a/b.txt b/b.txt\nnew file mode 100644\n--- /dev/null\n+++ b/b.txt\n@@ -0,0 +1 @@\n+only\n"
)


def texts(lines: list[Line]) -> list[str]:
    return [plain_text(line).rstrip() for line in lines]


def grounds(line: Line) -> list[tuple[str, Ground]]:
    return [(span.text, span.ground) for span in line if span.ground is not Ground.NONE]


def test_unified_shows_numbers_signs_and_every_line() -> None:
    page = DiffPages(DIFF).page(Layout.UNIFIED, width=80)
    assert texts(page.lines) == [
        " src/a.py",
        "   · 1/2 @@ -1,4 +1,5 @@ def f():",
        "    1    1  import os",
        "    2      -def add(a, b):",
        "    3      -    return a + b",
        "         2 +def add(a, b, c=0):",
        "         3 +    return a + b + c",
        "         4 +    # more [31m",
        "    4    5  x = 1",
        "           \\No newline at end of file",
        " b.txt",
        "   new file mode 100644",
        "   · 2/2 @@ -0,0 +1 @@",
        "         1 +only",
    ]
    assert page.files == [0, 10]
    assert [at for at, _ in page.hunks] == [1, 12]


def test_side_by_side_pairs_lines_in_columns_of_equal_width() -> None:
    page = DiffPages(DIFF).page(Layout.SPLIT, width=81)
    body = page.lines[2:7]
    assert {width_of(line) for line in body} == {81}
    halves = [tuple(half.strip() for half in plain_text(line).split("│")) for line in body]
    assert halves == [
        ("1  import os", "1  import os"),
        ("2 -def add(a, b):", "2 +def add(a, b, c=0):"),
        ("3 -    return a + b", "3 +    return a + b + c"),
        ("", "4 +    # more [31m"),
        ("4  x = 1", "5  x = 1"),
    ]


def test_a_line_longer_than_its_column_goes_on_below_it() -> None:
    long = "w" * 50 + "漢" * 20
    text = f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{long}\n+short\n"
    page = DiffPages(text).page(Layout.SPLIT, width=61)
    body = page.lines[2:]
    assert all(width_of(line) == 61 for line in body)
    left = "".join(plain_text(line).split("│")[0][7:].rstrip() for line in body)
    assert left == long


def test_a_narrow_page_is_unified_whatever_was_asked_for() -> None:
    pages = DiffPages(DIFF)
    assert pages.page(Layout.SPLIT, width=50).lines == pages.page(Layout.UNIFIED, width=50).lines


def test_marks_and_cursor_stand_on_the_hunks_header_alone() -> None:
    pages = DiffPages(DIFF)
    first, second = (hunk.key for hunk in pages.hunks)
    plain = pages.page(Layout.UNIFIED, width=80)
    page = pages.page(Layout.UNIFIED, width=80, marks={first: Mark.DROP, second: Mark.KEEP}, cursor=second)
    assert texts(page.lines)[1] == "   ✗ 1/2 @@ -1,4 +1,5 @@ def f():  take out"
    assert texts(page.lines)[12] == " ▶ ✔ 2/2 @@ -0,0 +1 @@  keep"
    assert {span.ground for span in page.lines[12]} == {Ground.CURSOR}
    assert [a for a, b in zip(plain.lines, page.lines, strict=True) if a != b] == [
        plain.lines[1],
        plain.lines[12],
    ]


def test_changed_words_stand_out_within_their_lines() -> None:
    page = DiffPages(DIFF).page(Layout.UNIFIED, width=80)
    assert [text for text, ground in grounds(page.lines[5]) if ground is Ground.ADDED_WORD] == [
        ",",
        " ",
        "c",
        "=",
        "0",
    ]
    assert all(ground is Ground.REMOVED for _, ground in grounds(page.lines[3]))
    assert Ground.ADDED in dict(grounds(page.lines[7])).values()


def test_lines_that_have_little_in_common_have_no_changed_words() -> None:
    assert changed_words("return a + b", "raise ValueError(x)") == ([], [])
    assert changed_words("a" * 501, "a" * 501) == ([], [])
    assert changed_words("the old words", "the new words") == ([(4, 7)], [(4, 7)])


def test_ranges_cut_spans_and_lose_no_text() -> None:
    spans = [Span("ab", Tone.CODE_KEYWORD), Span("cdef")]
    cut = with_ground(spans, [(1, 3), (5, 6)], Ground.ADDED, Ground.ADDED_WORD)
    assert [(span.text, span.ground.value) for span in cut] == [
        ("a", "added"),
        ("b", "added-word"),
        ("c", "added-word"),
        ("de", "added"),
        ("f", "added-word"),
    ]
    assert cut[1].tone is Tone.CODE_KEYWORD


def test_code_has_colours_by_its_name_and_keeps_its_text() -> None:
    lines = ["def f():  # say", "    return 'x' + 1", ""]
    spans = coloured("a.py", lines)
    assert ["".join(span.text for span in line) for line in spans] == lines
    tones = {span.text: span.tone for line in spans for span in line}
    assert tones["def"] is Tone.CODE_KEYWORD
    assert tones["# say"] is Tone.CODE_COMMENT
    assert tones["1"] is Tone.CODE_NUMBER
    assert tones["f"] is Tone.CODE_NAME
    assert coloured("no-such-kind.zzz", lines) == [[Span(line)] for line in lines]


@pytest.mark.parametrize("path", ["a.py", "a.md", "a.rs", "a.html", "Makefile", "a.toml", "a.json", "a.sh"])
def test_no_language_loses_or_adds_a_character(path: str) -> None:
    lines = ["\t'unclosed", "", '  <a b="c">  ', "x = [1, 2", "```", "\u2028odd\r", '"""', "end"]
    spans = coloured(path, lines)
    assert ["".join(span.text for span in line) for line in spans] == lines


def test_a_diff_beyond_the_bound_is_plain_and_whole() -> None:
    count = MOST_COLOURED + 1
    text = f"--- a/a.py\n+++ b/a.py\n@@ -0,0 +1,{count} @@\n" + "+import os\n" * count
    page = DiffPages(text).page(Layout.UNIFIED, width=80)
    assert len(page.lines) == count + 2
    assert {span.tone for span in page.lines[-1]} == {Tone.MUTED, Tone.GOOD, Tone.PLAIN}
    assert cell_len(plain_text(page.lines[-1])) == 21


def test_a_hunk_that_is_not_whole_is_shown_but_cannot_be_judged() -> None:
    pages = DiffPages("--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-b\n+c\n")
    page = pages.page(Layout.UNIFIED, width=80)
    assert texts(page.lines)[1:] == [
        "     @@ -1,9 +1,9 @@",
        "    1    1  a",
        "    2      -b",
        "         2 +c",
    ]
    assert (pages.hunks, page.hunks, pages.lines_added_and_removed) == ([], [], (1, 1))


def test_nothing_at_all_is_an_empty_page() -> None:
    assert DiffPages("").page(Layout.SPLIT, width=80).lines == []
