#!/usr/bin/env python3
"""A dashboard that looks at a flood and is measured: processor, memory, keys, what it took in.

    python tui_look.py SOCKET ours|datatable SECONDS KEYS_A_SECOND

Runs the real app (or the same model under a `DataTable` task list) without a terminal: everything is
drawn into strips as always, only the last write of bytes to a terminal is missing. Keys are pressed
through the app's own queue while the flood comes in; each must have moved the cursor. Prints one JSON
object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any, Final

from textual import events
from textual.app import App, ComposeResult
from textual.widgets import DataTable, Log

from agentcoord.clock import SystemClock
from agentcoord.tui.app import DashboardApp
from agentcoord.tui.event_text import event_cells
from agentcoord.tui.feed import Feed
from agentcoord.tui.model import DashboardModel, Part
from agentcoord.tui.pace import ATTENTION_TICKS, TICK_S, Pace
from agentcoord.tui.rows import TASK_COLUMNS, WORKER_COLUMNS, task_row, worker_row
from agentcoord.tui.source import SocketSource
from agentcoord.tui.table_rows import Row
from agentcoord.tui.widgets.line_table import LineTable

SIZE: Final = (150, 50)
EVENT_ROWS: Final = 2000
LOST_AFTER_S: Final = 5.0


class DataTableApp(App[None]):
    """The same feed, model and rows, as often, in Textual's own widgets; only changed cells are told."""

    def __init__(self, socket: Path) -> None:
        super().__init__()
        clock = SystemClock()
        self.model = DashboardModel(now_ms=clock.now_ms())
        self._clock = clock
        self._feed = Feed(SocketSource(socket), self.model, clock)
        self._shown: dict[str, dict[str, Row]] = {"tasks": {}, "workers": {}}
        self._added = 0
        self._pace = Pace()
        self._undrawn = Part.NONE

    def compose(self) -> ComposeResult:
        for name, columns in (("workers", WORKER_COLUMNS), ("tasks", TASK_COLUMNS)):
            table: DataTable[str] = DataTable(id=name, cursor_type="row")
            for column in columns:
                table.add_column(column.title, key=column.name, width=max(column.least, column.most, 10))
            yield table
        yield Log(max_lines=EVENT_ROWS)

    def on_mount(self) -> None:
        self.query_one("#workers").styles.height = 8
        self.query_one("#tasks").focus()
        self.run_worker(self._feed.run(), exclusive=True)
        self.set_interval(TICK_S, self.tick)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._pace.touched()
        await super().on_event(event)

    def tick(self) -> None:
        self._pace.tick()
        if not self.is_running:
            return  # An app that is being taken down ticks on while its screen loses its widgets.
        parts = self._undrawn | self.model.take_dirty()
        if not parts or not self._pace.is_due(in_view=True, moving=False):
            self._undrawn = parts
            return
        self._undrawn = Part.NONE
        self._pace.drawn()
        with self.batch_update():
            if parts & Part.TASKS:
                self._update("tasks", [task_row(task, asks=False) for task in self.model.tasks.values()])
            if parts & Part.WORKERS:
                now_ms = self._clock.now_ms()
                self._update("workers", [worker_row(worker, now_ms=now_ms) for worker in self.model.workers])
            if parts & Part.EVENTS:
                self._append_events()

    def _update(self, name: str, rows: list[Row]) -> None:
        table, shown = self.query_one(f"#{name}", DataTable), self._shown[name]
        columns = list(table.columns)
        for row in rows:
            before = shown.get(row.key)
            if before is None:
                table.add_row(*(cell.text for cell in row.cells), key=row.key)
            else:
                for column, old, new in zip(columns, before.cells, row.cells, strict=True):
                    if old != new:
                        table.update_cell(row.key, column, new.text)
            shown[row.key] = row

    def _append_events(self) -> None:
        fresh = min(self.model.events_added - self._added, len(self.model.events))
        self._added = self.model.events_added
        newest = islice(self.model.events, len(self.model.events) - fresh, None)
        rows = (event_cells(event, zone=None) for event in newest)
        self.query_one(Log).write_lines(["  ".join(cell.text for cell in cells) for cells in rows])


def cursor_of(app: DashboardApp | DataTableApp) -> int:
    """On which row of the tasks the cursor stands."""
    if isinstance(app, DataTableApp):
        return app.query_one("#tasks", DataTable).cursor_row
    table = app.screen.query_one("#tasks", LineTable)
    return [row.key for row in table.rows].index(str(table.cursor_key))


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1024 / 1024


async def looked_at(app: DashboardApp | DataTableApp, seconds: float, keys_a_s: float) -> dict[str, Any]:
    """Look for so long, and press keys."""
    async with app.run_test(size=SIZE):
        while app.model.status is None:  # noqa: ASYNC110 - the model announces nothing
            await asyncio.sleep(0.01)
        # Where no key will come, what is measured is a night that nobody is at.
        await asyncio.sleep(1.0 if keys_a_s else (ATTENTION_TICKS + 1) * TICK_S)
        before, cpu, began = app.model.events_added, time.process_time(), time.monotonic()
        memory = resident_mb()
        waits: list[float] = []
        lost = 0
        at_20000 = 0.0
        down = True
        while time.monotonic() - began < seconds:
            if keys_a_s:
                took, moved = await pressed(app, down=down)
                lost += not moved
                waits.append(took)
                at = cursor_of(app)
                down = (at < 30) if down else (at <= 5)
            await asyncio.sleep(1 / keys_a_s if keys_a_s else 0.5)
            if not at_20000 and app.model.events_added - before >= 20_000:
                at_20000 = resident_mb()
        passed = time.monotonic() - began
        taken = app.model.events_added - before
        waits.sort()
        return {
            "events_taken": taken,
            "events_a_s": round(taken / passed),
            "cpu_percent": round(100 * (time.process_time() - cpu) / passed, 1),
            "keys": len(waits),
            "keys_lost": lost,
            "key_ms_p50": round(1000 * waits[len(waits) // 2], 1) if waits else None,
            "key_ms_max": round(1000 * waits[-1], 1) if waits else None,
            "memory_mb_begin": round(memory, 1),
            "memory_mb_after_20000": round(at_20000, 1) or None,
            "memory_mb_end": round(resident_mb(), 1),
        }


async def pressed(app: DashboardApp | DataTableApp, *, down: bool) -> tuple[float, bool]:
    """Press one key; how long until the cursor moved, and whether it moved by one row.

    The key goes into the app's own queue, as a terminal's does: a pilot would wait for a calm that a flood
    never gives.
    """
    before, began = cursor_of(app), time.monotonic()
    app.post_message(events.Key("down" if down else "up", None))
    while cursor_of(app) == before and time.monotonic() - began < LOST_AFTER_S:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    return time.monotonic() - began, cursor_of(app) == before + (1 if down else -1)


def main() -> None:
    """Run, print."""
    socket, kind, seconds, keys_a_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    app: DashboardApp | DataTableApp
    if kind == "ours":
        app = DashboardApp(SocketSource(socket), project_name="shop", clock=SystemClock())
    else:
        app = DataTableApp(socket)
    print(json.dumps(asyncio.run(looked_at(app, seconds, keys_a_s))))


if __name__ == "__main__":
    main()
