"""Lists of rows that each fit a line."""

from __future__ import annotations

from typing import Any

import pytest

from agentcoord.daemon.pages import PAGE_BYTES, PAGE_ROWS, Pages


def rows(*lengths: int) -> list[Any]:
    return [{"number": number, "text": "x" * length} for number, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], []),
        ([1], [1]),
        ([1] * PAGE_ROWS, [PAGE_ROWS]),
        ([1] * (2 * PAGE_ROWS + 1), [PAGE_ROWS, PAGE_ROWS, 1]),
        ([2 * PAGE_BYTES], [1]),
        ([1, 2 * PAGE_BYTES, 1, 1], [1, 1, 2]),
        ([PAGE_BYTES // 2] * 3, [1, 1, 1]),
        ([PAGE_BYTES // 3] * 5, [2, 2, 1]),
    ],
)
def test_every_row_is_on_one_page_and_in_its_place(lengths: list[int], sizes: list[int]) -> None:
    every = rows(*lengths)
    found = list(Pages(every))
    assert [len(page) for page in found] == sizes
    assert [row for page in found for row in page] == every
