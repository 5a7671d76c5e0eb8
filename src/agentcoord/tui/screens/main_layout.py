"""Where the main screen's panes stand, at each size of the terminal.

Under 100 columns they stack; from there on tasks and events stand side by side, and from 140 on there is
room for the rates. Under 30 rows frames are left out. Separate from what the panes show and what keys do.
"""

from __future__ import annotations

from typing import Final

HEIGHTS: Final = [(0, "-short"), (30, "-tall")]
WIDTHS: Final = [(0, "-narrow"), (100, "-wide"), (140, "-broad")]
"""From so many cells on, the screen has this class."""

LAYOUT: Final = """
MainScreen {
    #upper {
        height: 9;
        max-height: 40%;
        layout: horizontal;
    }
    #workers { width: 1fr; height: 100%; }
    #rates { display: none; width: 30; height: 100%; }
    &.-broad #rates { display: block; }
    #workers, #rates, #tasks-pane, #events {
        border: round $foreground 25%;
        border-title-color: $foreground 70%;
        border-subtitle-color: $text-warning;
        border-subtitle-align: left;
    }
    #workers:focus, #tasks-pane:focus-within, #events:focus {
        border: round $primary;
        border-title-color: $text-primary;
        border-title-style: bold;
    }
    #lower {
        height: 1fr;
        layout: horizontal;
    }
    #tasks-pane { width: 60%; }
    #events { width: 1fr; }
    &.-narrow #lower { layout: vertical; }
    &.-narrow #tasks-pane {
        width: 100%;
        height: 3fr;
    }
    &.-narrow #events {
        width: 100%;
        height: 2fr;
    }
    &.-short #workers, &.-short #events {
        border-bottom: none;
        border-left: none;
        border-right: none;
    }
    &.-short #tasks-pane {
        border-left: none;
        border-right: none;
    }
    &.-stale #workers, &.-stale #tasks, &.-stale #events { opacity: 55%; }
}
"""
