"""Views and edits as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.agent.tools.text_edits import (
    Edited,
    NotEdited,
    insert_after,
    numbered_view,
    replace_once,
    split_lines,
)


def edited_text(result: Edited | NotEdited) -> str:
    assert isinstance(result, Edited), result
    return result.text


def refusal(result: Edited | NotEdited) -> str:
    assert isinstance(result, NotEdited), result
    return result.why


def test_a_view_numbers_lines_as_cat_does() -> None:
    assert numbered_view("a\n\nb\n") == "     1\ta\n     2\t\n     3\tb"


def test_a_view_of_some_lines_keeps_their_numbers() -> None:
    assert numbered_view("a\nb\nc\n", 2, 2) == "     2\tb"
    assert numbered_view("a\nb\nc", 2, -1) == "     2\tb\n     3\tc"


def test_only_newlines_end_lines() -> None:
    assert split_lines("a\x0cb\u2028c\n") == ["a\x0cb\u2028c"]


def test_a_long_view_says_how_to_see_the_rest() -> None:
    view = numbered_view("".join(f"line {n}\n" for n in range(1, 1_001)), chars=500)
    assert len(view) < 700
    assert view.endswith("of 1000 are not shown; view them with view_range [34, 1000]]")
    assert "    33\tline 33" in view


def test_a_very_long_line_is_cut_with_words() -> None:
    view = numbered_view("x" * 50_000)
    assert len(view) < 2_200
    assert "this line has 50000 characters" in view


def test_replace_takes_the_one_occurrence() -> None:
    result = replace_once("a\nb\nc\n", "b\n", "x\ny\n")
    assert edited_text(result) == "a\nx\ny\nc\n"
    assert isinstance(result, Edited)
    assert result.first_line == 2


def test_several_occurrences_are_refused_with_their_lines() -> None:
    why = refusal(replace_once("a\nb\na\nb\na\n", "a", "x"))
    assert "3 times, at lines 1, 3, 5" in why


def test_a_thousand_occurrences_are_refused_with_the_first_lines() -> None:
    why = refusal(replace_once("a\n" * 1_000, "a", "x"))
    assert "more than 20 times, at lines 1, 2, 3" in why
    assert why.count(", ") < 30


def test_overlapping_occurrences_are_not_one() -> None:
    assert "2 times" in refusal(replace_once("aaa", "aa", "b"))


def test_no_occurrence_shows_the_same_words_with_other_white_space() -> None:
    why = refusal(replace_once("def f():\n\treturn  1\n", "def f():\n    return 1", "x"))
    assert "stand at line 1" in why
    assert "def f():\n\treturn  1" in why


def test_line_numbers_taken_from_a_view_are_pointed_out() -> None:
    why = refusal(replace_once("alpha\nbeta\n", "     1\talpha\n     2\tbeta", "x"))
    assert "line numbers of a view" in why


def test_insert_at_zero_goes_before_the_first_line() -> None:
    assert edited_text(insert_after("a\n", 0, "x")) == "x\na\n"


def test_insert_in_the_middle_makes_whole_lines() -> None:
    assert edited_text(insert_after("a\nb\n", 1, "x")) == "a\nx\nb\n"
    assert edited_text(insert_after("a\nb\n", 1, "x\n")) == "a\nx\nb\n"


def test_insert_at_the_end_keeps_a_missing_final_newline_missing() -> None:
    assert edited_text(insert_after("a", 1, "x")) == "a\nx"
    assert edited_text(insert_after("a\n", 1, "x")) == "a\nx\n"


def test_insert_into_an_empty_file() -> None:
    assert edited_text(insert_after("", 0, "x")) == "x\n"


@pytest.mark.parametrize("line", [-1, 3])
def test_insert_outside_the_file_is_refused(line: int) -> None:
    assert "it has 2 lines, so 0 to 2" in refusal(insert_after("a\nb\n", line, "x"))


@given(st.lists(st.text(alphabet="ab \t\n", max_size=5), max_size=8), st.data())
def test_an_insertion_leaves_every_other_line_as_it_was(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    lines = split_lines(text)
    line = data.draw(st.integers(0, len(lines)))
    assert split_lines(edited_text(insert_after(text, line, "NEW"))) == [*lines[:line], "NEW", *lines[line:]]


@given(st.text(alphabet="ab\n", max_size=30), st.text(alphabet="ab\n", min_size=1, max_size=3))
def test_a_replacement_happens_exactly_when_there_is_one_occurrence(text: str, old: str) -> None:
    count = sum(text.startswith(old, start) for start in range(len(text)))
    result = replace_once(text, old, "Z")
    assert isinstance(result, Edited) == (count == 1)
    if isinstance(result, Edited):
        assert result.text.replace("Z", old) == text
