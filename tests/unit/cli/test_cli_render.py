"""Tables fit their terminal, and progress moves only where a line can be rewritten."""

from __future__ import annotations

import io
import os
import pty
import termios

import pytest
from canned_daemon import Tty
from canned_views import status_view
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.cli.progress import Progress, moving_line
from agentcoord.cli.render import LEAST_CELLS, Column, cell, fields, table
from agentcoord.cli.terminal import CLEAR_LINE, Terminal
from agentcoord.tui.styled import Span, plain_text, width_of

COLUMNS = [Column("ID"), Column("TITLE", elastic=True), Column("N", right=True), Column("WHY", elastic=True)]
texts = st.text(max_size=60)


@given(st.lists(st.tuples(texts, texts, st.integers(0, 9), texts), max_size=5), st.integers(20, 120))
def test_a_table_is_never_wider_than_its_terminal_while_something_can_give(
    rows: list[tuple[str, str, int, str]], width: int
) -> None:
    cells = [[cell(value) for value in (task[:6], title, n, why)] for task, title, n, why in rows]
    lines = table(COLUMNS, cells, width=width)
    least = 12 + 1 + 2 * LEAST_CELLS + 3 * 2
    assert len({width_of(line) for line in lines}) == 1
    assert width_of(lines[0]) <= max(width, least)
    assert not any(c in plain_text(line) for line in lines for c in "\x1b\n\r\x07")


def test_without_a_terminal_nothing_is_cut() -> None:
    long = "x" * 500
    lines = table(COLUMNS, [[cell("a"), cell(long), cell(1), cell(long)]], width=0)
    assert plain_text(lines[1]).count("x") == 1000


def test_empty_fields_are_left_out_and_values_stand_in_one_column() -> None:
    lines = [plain_text(line) for line in fields([("a", "1"), ("none", ""), ("long", Span("2"))])]
    assert lines == ["a     1", "long  2"]


DONE = {
    "kind": "task.done",
    "at_ms": 1000,
    "task": "a",
    "worker": "W",
    "data": {"files": ["x"]},
    "seq": 1,
}


def test_off_a_terminal_progress_is_whole_lines_of_what_matters() -> None:
    err = io.StringIO()
    progress = Progress(Terminal(io.StringIO(), err, {}))
    progress.status(status_view(ended=False))
    progress.event(DONE)
    progress.event({**DONE, "kind": "task.tool"})
    progress.event({**DONE, "kind": "task.checked", "data": {"ok": True, "check": "tests"}})
    progress.event({**DONE, "kind": "task.checked", "data": {"ok": False, "check": "tests", "exit_code": 1}})
    progress.close()
    lines = err.getvalue().splitlines()
    assert len(lines) == 2
    assert "a landed 1 file" in lines[0]
    assert "a tests failed with 1" in lines[1]
    assert "\x1b" not in err.getvalue()
    assert "\r" not in err.getvalue()


def test_on_a_terminal_the_last_line_moves_and_is_taken_away_at_the_end() -> None:
    err = Tty()
    progress = Progress(Terminal(io.StringIO(), err, {"NO_COLOR": "1"}))
    progress.status(status_view(ended=False))
    progress.event(DONE)
    progress.close()
    written = err.getvalue()
    assert written.startswith(f"{CLEAR_LINE}● 1 of 3 tasks done · 1 at work · 1 need you · $1.50 of $6.00")
    assert written.count("\n") == 1
    assert written.endswith(CLEAR_LINE)


@pytest.mark.parametrize("width", [0, 20, 200])
def test_the_moving_line_stays_on_one_line(width: int) -> None:
    line = moving_line(status_view(scripted=True, state="paused"), width)
    assert width_of(line) < width or not width
    assert width == 20 or "paused" in plain_text(line)


def test_a_terminal_that_does_not_know_its_width_is_a_terminal_all_the_same() -> None:
    ours, its = pty.openpty()  # Of no size: 0 by 0.
    with os.fdopen(its, "w") as out, os.fdopen(ours, "rb"):
        assert Terminal(out, io.StringIO(), {}).width == 80
        termios.tcsetwinsize(its, (24, 40))
        assert Terminal(out, io.StringIO(), {}).width == 40
    assert Terminal(io.StringIO(), io.StringIO(), {}).width == 0
