"""Every screen as text, at three sizes, against the grids that are stored beside this file.

What differs is shown line by line. A change that is meant is stored anew by `make dashboard-grids`; the
grids are then part of the change, to be looked at like code.
"""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path
from typing import Final

import pytest
from tui_fakes import screen_lines, settle
from tui_scenes import SCENES, RecordedNight, opened

from agentcoord.domain.events import EventKind
from agentcoord.tui.diff_page import DiffPages

GRIDS: Final = Path(__file__).with_name("grids")
SIZES: Final = ((80, 24), (120, 40), (200, 60))
RENEW: Final = "AGENTCOORD_RENEW_GRIDS"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SCENES)
async def test_a_screen_looks_as_it_was_stored_at_every_size(name: str, tmp_path: Path) -> None:
    scene = SCENES[name]
    differs: list[str] = []
    async with opened(scene, tmp_path, SIZES[0]) as (app, pilot):
        for width, height in SIZES:
            if app.size != (width, height):
                await pilot.resize_terminal(width, height)
                await settle(pilot)
            lines = [line.rstrip() for line in screen_lines(app)]
            stored = GRIDS / f"{name}-{width}x{height}.txt"
            if os.environ.get(RENEW):
                GRIDS.mkdir(exist_ok=True)
                stored.write_text("\n".join(lines) + "\n", encoding="utf-8")
            before = stored.read_text(encoding="utf-8").splitlines()
            differs += unified_diff(before, lines, f"{stored.name}, stored", "now", lineterm="", n=1)
    assert not differs, "the screen changed; if it was meant: make dashboard-grids\n" + "\n".join(differs)


def test_no_grid_is_stored_that_no_scene_draws() -> None:
    drawn = {f"{name}-{width}x{height}.txt" for name in SCENES for width, height in SIZES}
    assert {path.name for path in GRIDS.iterdir()} == drawn


def test_the_recorded_night_says_of_each_diff_what_is_in_it() -> None:
    night = RecordedNight()
    rows = {row["id"]: row for row in night.snapshot["tasks"]}
    landed = {e["task"]: e["data"] for e in night.snapshot["events"] if e["kind"] == EventKind.TASK_DONE}
    for task, diff in night.diffs.items():
        pages = DiffPages(diff)
        said = rows[task], night.details[task]["task"], landed.get(task, rows[task])
        files = {hunk.path for hunk in pages.hunks}
        for told in said:
            assert set(told["files"]) == files, task
            assert (told["lines_added"], told["lines_removed"]) == pages.lines_added_and_removed, task
