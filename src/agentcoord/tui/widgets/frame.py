"""Writing on a widget's border without repainting it for nothing.

Textual repaints a whole widget whenever its border title is set, also to what it was; here only
a change is written.
"""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from agentcoord.tui.text import one_line


def write_title(widget: Widget, text: str) -> None:
    """Write on the upper edge."""
    content = Content(one_line(text))
    if widget.border_title != content.markup:
        widget.border_title = content


def write_subtitle(widget: Widget, text: str) -> None:
    """Write on the lower edge."""
    content = Content(one_line(text))
    if widget.border_subtitle != content.markup:
        widget.border_subtitle = content
