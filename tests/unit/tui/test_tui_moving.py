"""Every key that moves: through a table's rows, through a text, between two buttons."""

from __future__ import annotations

import pytest
from tui_fakes import snapshot, task
from tui_night import Night, night

from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.diff import DiffScreen
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method

ROWS = 90
WIDE = "x" * 300
DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,200 @@\n" + f"+{WIDE}\n" * 200


def row_of(n: Night) -> int:
    return int(str(n.table("tasks").cursor_key).removeprefix("t"))


@pytest.mark.parametrize(
    ("keys", "back"),
    [
        (("down", "j"), ("up", "k")),
        (("pagedown", "ctrl+f"), ("pageup", "ctrl+b")),
        (("end", "G"), ("home", "g")),
    ],
)
async def test_both_keys_for_a_move_are_the_same_in_a_table(
    keys: tuple[str, str], back: tuple[str, str]
) -> None:
    async with night(snapshot([task(f"t{i:02}") for i in range(ROWS)], [])) as n:
        reached = []
        for there, and_back in zip(keys, back, strict=True):
            await n.press(there)
            reached.append(row_of(n))
            await n.press(and_back)
            assert row_of(n) == 0
        assert reached[0] == reached[1] > 0
        visible = n.table("tasks").size.height - 1
        assert reached[0] == {"down": 1, "pagedown": visible - 1, "end": ROWS - 1}[keys[0]]


@pytest.mark.parametrize(
    ("keys", "back"),
    [
        (("down", "j"), ("up", "k")),
        (("right", "l"), ("left", "h")),
        (("pagedown", "ctrl+f", "space"), ("pageup", "ctrl+b", "b")),
        (("end", "G"), ("home", "g")),
    ],
)
async def test_all_keys_for_a_move_are_the_same_in_a_text(
    keys: tuple[str, ...], back: tuple[str, ...]
) -> None:
    async with night(snapshot([task("a", "done", files=["x"], lines_added=1)], [])) as n:
        n.daemon.answers[Method.DIFF] = lambda _: {"text": DIFF, "next_offset": None}
        await n.press("d")
        assert isinstance(n.app.screen, DiffScreen)
        await n.see("xxx")
        view = n.app.screen.query_one(LinesView)
        reached = []
        for there, and_back in zip(keys, back, strict=True):
            await n.press(there)
            reached.append(view.scroll_target_x + view.scroll_target_y)
            await n.press(and_back)
            assert view.scroll_target_x + view.scroll_target_y == 0
        assert len(set(reached)) == 1
        assert reached[0] > 0


@pytest.mark.parametrize("key", ["left", "right", "h", "l"])
async def test_a_key_leads_from_one_button_to_the_other(key: str) -> None:
    async with night(snapshot([task("a")], [])) as n:
        await n.press("x")
        assert isinstance(n.app.screen, ConfirmScreen)
        await n.press(key, "enter")
        assert n.daemon.answered(Method.CANCEL) == [{"id": "a", "why": "cancelled in the dashboard"}]
