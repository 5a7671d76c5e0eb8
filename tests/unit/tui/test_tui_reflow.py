"""Texts that somebody broke at a margin of his own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcoord.tui.help_text import help_lines
from agentcoord.tui.reflow import MARGIN, reflowed
from agentcoord.tui.styled import width_of

FULL = "a line that its author broke because it had come to about eighty cells, and"


def test_full_lines_of_a_paragraph_are_one_again() -> None:
    assert reflowed(f"{FULL}\n{FULL}\nends.\n\nNext.") == f"{FULL} {FULL} ends.\n\nNext."


def test_lists_headings_tables_quotes_and_code_keep_their_lines() -> None:
    for beginning in ("- ", "* ", "1. ", "# ", "> ", "| ", "    "):
        text = f"{FULL}\n{beginning}{FULL}"
        assert reflowed(text) == text
    for fence in ("```", "~~~"):
        text = f"{fence}\n{FULL}\n{FULL}\n{fence}\n{FULL}"
        assert reflowed(text) == text
    assert reflowed(f"# {FULL}\nText.") == f"# {FULL}\nText."
    assert reflowed(f"- {FULL}\nends.") == f"- {FULL} ends.", "the rest of an item"


def test_short_lines_were_meant_as_they_are() -> None:
    text = "Do this.\nThen do that.\n" + "x" * (MARGIN - 5) + "\nabc"
    assert reflowed(text) == text


@given(st.text(alphabet="ab \n\t-#`", max_size=400))
def test_no_word_is_lost(text: str) -> None:
    assert reflowed(text).split() == text.split()


def test_the_help_fits_into_a_narrow_terminal() -> None:
    keys = {line[0].text.strip() for line in help_lines(200) if line}
    narrow = help_lines(76)
    assert max(width_of(line) for line in narrow) <= 76
    assert {line[0].text.strip() for line in narrow if line} - {""} == keys - {""}
