"""A scrolling widget whose content grows while it is looked at.

Setting `virtual_size` makes Textual lay the whole screen out again and draw all of it. A line more needs
nothing of that, as long as the scrollbar is there before and after, or neither: then only the bar is told.
"""

from __future__ import annotations

from textual.geometry import Size
from textual.scroll_view import ScrollView

from agentcoord.tui.widgets.toned import Toned


class Growing(Toned, ScrollView):
    """A `ScrollView` of toned lines that is told its content's size through `grow_to`.

    It inherits `Toned`, because Textual takes the style sheet of the first base alone.
    """

    DEFAULT_CSS = """
    Growing {
        scrollbar-size: 1 1;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
        scrollbar-corner-color: $background;
        scrollbar-color: $foreground 20%;
        scrollbar-color-hover: $foreground 40%;
        scrollbar-color-active: $primary;
        &:ansi { scrollbar-color: ansi_bright_black; }
    }
    """

    def grow_to(self, size: Size) -> bool:
        """Take the content's new size; return whether the screen is laid out, and so drawn, anew."""
        before = self.virtual_size
        if size == before:
            return False
        visible = self.size.height
        keeps_its_bars = (before.height > visible) == (size.height > visible)
        if size.width != before.width or size.height < before.height or not keeps_its_bars:
            self.virtual_size = size
            return True
        self.set_reactive(ScrollView.virtual_size, size)
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.window_virtual_size = size.height
        return False
