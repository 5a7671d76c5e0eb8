"""How often the dashboard draws, and that it draws a row the same from memory.

Between a tick and what is looked at nothing is awaited, so that the app's own timer cannot come between.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip
from tui_fakes import EPOCH, event, settle
from tui_night import Night, night

from agentcoord.tui.link import Link, LinkView
from agentcoord.tui.pace import ATTENTION_TICKS, CALM_TICKS, Pace
from agentcoord.tui.widgets.event_table import EventTable
from agentcoord.tui.widgets.line_table import LineTable
from agentcoord.wire.messages import Notification


def happen(n: Night, seq: int) -> bool:
    """An event comes and a tick passes; return whether the event is on the screen."""
    n.app.model.fold(Notification.EVENT, {"epoch": EPOCH, "event": event(seq)})
    n.app.tick()
    return len(n.table("events").rows) == seq


def be_calm(n: Night) -> None:
    """A person looks away, and what was to be drawn is drawn."""
    for _ in range(ATTENTION_TICKS + CALM_TICKS):
        n.app.tick()


class TestPace:
    def test_while_a_person_watches_each_tick_draws(self) -> None:
        pace = Pace()
        for _ in range(ATTENTION_TICKS - 1):
            pace.tick()
            assert pace.is_due(in_view=True, moving=False)
            pace.drawn()

    def test_later_one_tick_in_four_draws(self) -> None:
        pace = Pace()
        for _ in range(ATTENTION_TICKS):
            pace.tick()
        pace.drawn()
        due = []
        for _ in range(2 * CALM_TICKS):
            pace.tick()
            due.append(pace.is_due(in_view=True, moving=False))
            if due[-1]:
                pace.drawn()
        assert due == [False, False, False, True] * 2

    def test_a_key_brings_the_pace_back(self) -> None:
        pace = Pace()
        for _ in range(ATTENTION_TICKS):
            pace.tick()
        pace.drawn()
        pace.touched()
        assert pace.is_due(in_view=True, moving=False)

    def test_a_terminal_without_the_focus_waits_a_second_also_in_a_replay(self) -> None:
        pace = Pace()
        pace.drawn()
        pace.tick()
        assert not pace.is_due(in_view=False, moving=True)
        assert pace.is_due(in_view=True, moving=True)


class TestDrawing:
    async def test_what_comes_after_a_calm_is_drawn_at_once_and_what_follows_within_a_second(self) -> None:
        async with night() as n:
            be_calm(n)
            n.app.tick()
            assert happen(n, 3)
            assert [happen(n, seq) for seq in (4, 5, 6, 7)] == [False, False, False, True]

    async def test_after_a_key_every_tick_draws(self) -> None:
        async with night() as n:
            be_calm(n)
            await n.press("j")
            assert [happen(n, seq) for seq in (3, 4, 5)] == [True, True, True]

    async def test_a_lost_connection_is_never_drawn_late(self) -> None:
        async with night() as n:
            be_calm(n)
            assert happen(n, 3)
            n.app.model.set_link(LinkView(Link.LOST, 0))
            n.app.tick()
            assert n.app.screen.has_class("-stale")

    async def test_what_waits_for_its_picture_is_in_the_next_one_with_what_came_meanwhile(self) -> None:
        async with night() as n:
            be_calm(n)
            assert happen(n, 3)
            rows = [dict(row) for row in n.daemon.snapshot["tasks"]]
            rows[0]["cost_usd"] = 9.99
            n.app.model.fold(Notification.TASKS, {"tasks": rows})
            assert [happen(n, seq) for seq in (4, 5, 6, 7)][-1]
            assert any(cell.text == "$9.99" for row in n.table("tasks").rows for cell in row.cells)


class TestRowsFromMemory:
    """A row that was drawn before is drawn the same as one that never was."""

    async def test_after_a_mark_a_move_and_another_width(self) -> None:
        async with night() as n:
            for keys in (("space",), ("j", "j"), ("G",), ("3", "k"), ("2", "asterisk")):
                await n.press(*keys)
                assert_drawn_as_new(n.table("tasks"))
                assert_drawn_as_new(n.table("events"))
            await n.pilot.resize_terminal(90, 30)
            await settle(n.pilot)
            assert_drawn_as_new(n.table("tasks"))

    async def test_after_another_theme_and_while_the_view_is_stale(self) -> None:
        async with night() as n:
            before = drawn(n.table("tasks"))
            n.app.theme = "textual-light"
            await settle(n.pilot)
            assert drawn(n.table("tasks")) != before
            assert_drawn_as_new(n.table("tasks"))
            n.app.model.set_link(LinkView(Link.LOST, 0))
            await settle(n.pilot)
            assert_drawn_as_new(n.table("tasks"))

    async def test_when_the_events_scroll(self) -> None:
        async with night() as n:
            for seq in range(3, 90):
                n.app.model.fold(Notification.EVENT, {"epoch": EPOCH, "event": event(seq, task_id=f"t{seq}")})
                if seq % 9 == 0:
                    await settle(n.pilot)
            await settle(n.pilot)
            table = n.table("events")
            assert isinstance(table, EventTable)
            assert table.at_end
            assert_drawn_as_new(table)


def drawn(table: LineTable) -> list[list[Segment]]:
    """What the table draws now."""
    return [list(strip) for strip in all_lines(table)]


def all_lines(table: LineTable) -> list[Strip]:
    return [table.render_line(y) for y in range(table.size.height)]


def assert_drawn_as_new(table: LineTable) -> None:
    """From memory, and after everything was forgotten: the same."""
    before = drawn(table)
    table._strips.clear()
    assert drawn(table) == before
