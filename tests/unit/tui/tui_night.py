"""A dashboard on a fake daemon, for the tests of its screens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from tui_fakes import (
    FakeDaemon,
    HandClock,
    app_for,
    screen_lines,
    settle,
    snapshot,
    task,
    toasts,
    worker,
)

from agentcoord.tui.app import DashboardApp
from agentcoord.tui.widgets.line_table import LineTable
from agentcoord.wire.messages import Snapshot


def a_night(**more: Any) -> Snapshot:
    """Four tasks in different states, two workers."""
    return snapshot(
        [
            task("api", "running", worker="Backend-Engineer-1", turns=3, cost_usd=0.44, priority=5),
            task("docs", "queued", tags=["docs"]),
            task("cli", "parked", why="a conflict in cli.py", worker="Backend-Engineer-2"),
            task(
                "tests", "done", tags=["testing"], files=["t.py"], lines_added=9, worker="Testing-Engineer-1"
            ),
        ],
        [
            worker("Backend-Engineer-1", "working", task="api", title="Improve api", doing="edits api.py"),
            worker("Testing-Engineer-1"),
        ],
        **more,
    )


class Night:
    """A dashboard that runs on a fake daemon."""

    def __init__(self, daemon: FakeDaemon, clock: HandClock, app: DashboardApp, pilot: Pilot[None]) -> None:
        self.daemon = daemon
        self.clock = clock
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await settle(self.pilot)

    async def see(self, text: str) -> None:
        """Wait until the screen shows a text; fail with the screen if it never does."""
        try:
            await settle(self.pilot, until=lambda: text in "\n".join(screen_lines(self.app)))
        except AssertionError:
            raise AssertionError(f"no {text!r} in:\n" + "\n".join(screen_lines(self.app))) from None

    async def told(self, text: str) -> None:
        """Wait for a toast."""
        await settle(self.pilot, until=lambda: any(text in toast for toast in toasts(self.app)))

    def table(self, name: str) -> LineTable:
        return self.app.screen_stack[0].query_one(f"#{name}", LineTable)

    def shown(self, name: str) -> list[str]:
        return [row.key for row in self.table(name).rows]


@asynccontextmanager
async def night(
    taken: Snapshot | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    running: bool = True,
    begin_with_review: bool = False,
) -> AsyncIterator[Night]:
    daemon, clock = FakeDaemon(taken if taken is not None else a_night()), HandClock()
    daemon.running = running
    app = app_for(daemon, clock, begin_with_review=begin_with_review)
    async with app.run_test(size=size) as pilot:
        n = Night(daemon, clock, app, pilot)
        await settle(pilot, until=lambda: app.model.live or bool(app.model.link.reason))
        yield n
