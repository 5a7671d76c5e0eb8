"""What is measured without rich's tables is measured as they would."""

from __future__ import annotations

import sys

import pytest
from rich import cells as of_rich

from agentcoord.tui.cells import cell_len, chopped, cut, each_takes_one
from agentcoord.tui.glyphs import TASK_LEGEND, WORKER_LEGEND

SIGNS = "●◆▲·▶◐✔✗…▰▱"


def test_every_character_that_is_taken_for_one_cell_takes_one() -> None:
    narrow = [chr(point) for point in range(sys.maxunicode + 1) if each_takes_one(chr(point))]
    assert len(narrow) > 500
    assert {of_rich.cell_len(character) for character in narrow} == {1}


def test_what_our_pages_are_made_of_needs_no_tables() -> None:
    for span, _word in (*TASK_LEGEND, *WORKER_LEGEND):
        assert each_takes_one(span.text)
    assert each_takes_one("Füge Prüfungen hinzu · ◆ $0.44…")
    assert each_takes_one("")


@pytest.mark.parametrize(
    "text", ["", "plain", "größer", SIGNS, "日本語", "e\u0301", "a\tb", "👩‍🔧 works", "\udcff"]
)
@pytest.mark.parametrize("width", [1, 2, 5, 40])
def test_lengths_cuts_and_pieces_are_those_of_the_tables(text: str, width: int) -> None:
    assert cell_len(text) == of_rich.cell_len(text)
    assert cut(text, width) == of_rich.set_cell_size(text, width)
    assert chopped(text, width) == of_rich.chop_cells(text, width)
