"""The dashboard's own themes; all of Textual's can be chosen in the command palette as well."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

NIGHT: Final = Theme(
    name="agentcoord-night",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#7dcfff",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#c8d0f0",
    background="#14161f",
    surface="#1a1d29",
    panel="#222636",
    dark=True,
)
DAY: Final = Theme(
    name="agentcoord-day",
    primary="#2e5fb7",
    secondary="#7847bd",
    accent="#0f6f94",
    success="#3f7a1d",
    warning="#8f5e15",
    error="#c0304f",
    foreground="#23283a",
    background="#f4f5f9",
    surface="#ebedf3",
    panel="#dfe2ec",
    dark=False,
)
THEMES: Final = (NIGHT, DAY)
FEW_COLOURS: Final = "ansi-dark"
"""Textual's theme of the terminal's own sixteen colours; ours would all become white and grey there."""
FEW_LIGHT_COLOURS: Final = "ansi-light"
_LIGHT_GREYS: Final = ("7", "15")
THEME_NAMES: Final = (
    *(theme.name for theme in THEMES),
    "ansi-dark",
    "ansi-light",
    "gruvbox",
    "nord",
    "textual-dark",
    "textual-light",
    "tokyo-night",
)
"""What `:theme` completes; every other one of Textual's can be named too."""


def theme_for(colours: str | None, colorfgbg: str = "") -> str:
    """The theme to begin with, by what Rich calls the terminal's colours.

    `colorfgbg`: the variable COLORFGBG by which many terminals tell the numbers of their colours: that of the
    background is last, and 7 and 15 are light.
    """
    light = colorfgbg.rpartition(";")[2] in _LIGHT_GREYS
    if colours in ("standard", "windows"):
        return FEW_LIGHT_COLOURS if light else FEW_COLOURS
    return DAY.name if light else NIGHT.name
