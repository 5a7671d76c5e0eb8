"""How many cells of a terminal a text takes, and where to cut it.

Most text here is of characters that take one cell each, as a look tells; for all other the tables of `rich`
are asked, which are imported then: they take longer to load than a fast command may take.
"""

from __future__ import annotations

_NARROW_BELOW = "\u0300"
"""From here on there are characters that combine with the one before them, and some that take two cells."""
_OUR_SIGNS = str.maketrans(dict.fromkeys("●◆▲▶◐✔✗…▰▱"))
"""Signs of ours that stand above, each one cell wide."""


def each_takes_one(text: str) -> bool:
    """Whether every character of `text` is known to take exactly one cell."""
    if text.isascii():
        return text.isprintable()
    rest = text.translate(_OUR_SIGNS)
    return rest.isprintable() and max(rest, default="") < _NARROW_BELOW


def cell_len(text: str) -> int:
    """How many cells `text` takes."""
    if each_takes_one(text):
        return len(text)
    from rich.cells import cell_len as measured

    return measured(text)


def cut(text: str, width: int) -> str:
    """Cut or pad `text` to exactly `width` cells."""
    if each_takes_one(text):
        return text[:width].ljust(width)
    from rich.cells import set_cell_size

    return set_cell_size(text, width)


def chopped(text: str, width: int) -> list[str]:
    """`text` in pieces of at most `width` cells."""
    from rich.cells import chop_cells

    return chop_cells(text, width)
