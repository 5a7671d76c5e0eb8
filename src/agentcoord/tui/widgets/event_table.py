"""The event table: appends what is new, follows the end until a person moves away from it."""

from __future__ import annotations

from collections import deque
from datetime import tzinfo
from functools import partial
from itertools import islice

from agentcoord.tui.event_text import event_cells
from agentcoord.tui.model import EVENTS_KEPT, DashboardModel
from agentcoord.tui.rows import EVENT_COLUMNS
from agentcoord.tui.table_rows import LaterRow, Row
from agentcoord.tui.widgets.line_table import LineTable


class EventTable(LineTable):
    """Shows the model's events, the newest last."""

    def __init__(self, *, id: str, zone: tzinfo | None) -> None:  # noqa: A002 - Textual's name
        super().__init__(EVENT_COLUMNS, id=id)
        self._zone = zone
        self._known: deque[Row] = deque(maxlen=EVENTS_KEPT)
        self._task_of: dict[str, str | None] = {}
        self._added = 0
        self._generation = -1
        self.following = True
        self.unseen = 0
        """Events that came since it stopped following."""

    def read(self, model: DashboardModel) -> None:
        """Take over what the model has that we have not."""
        if self._generation != model.events_generation:
            self._known.clear()
            self._task_of.clear()
            self._generation = model.events_generation
            self._added = model.events_added - len(model.events)
        fresh = min(model.events_added - self._added, len(model.events))
        for offset, event in enumerate(islice(model.events, len(model.events) - fresh, None)):
            key = str(model.events_added - fresh + offset)
            if len(self._known) == EVENTS_KEPT:
                self._task_of.pop(self._known[0].key, None)
            self._known.append(LaterRow(key, partial(event_cells, event, zone=self._zone)))
            self._task_of[key] = event.get("task")
        self._added = model.events_added
        self.unseen = 0 if self.following else self.unseen + fresh
        self.set_rows(tuple(self._known))
        if self.following:
            self.select_last()

    def follow(self, following: bool) -> None:
        """Start or stop following the newest event."""
        self.following = following
        if following:
            self.unseen = 0
            self.select_last()

    @property
    def at_end(self) -> bool:
        """Whether the cursor stands on the newest event."""
        return not self.rows or self.cursor_key == self.rows[-1].key

    @property
    def cursor_task(self) -> str | None:
        """The task of the event under the cursor."""
        return self._task_of.get(self.cursor_key or "")
