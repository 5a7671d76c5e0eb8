"""Long outputs, kept for a while so that the model can view what its result left out.

Deliberately absent: the disk. After a restart an old output is gone, and the view says so.
"""

from __future__ import annotations

from collections import OrderedDict

PREFIX = "@output/"
"""Virtual paths begin with this; no file of a repository is reached through it."""
_KEPT = 8
"""Outputs of one worker; each is at most what the sandbox captures."""


class OutputShelf:
    """The last few long outputs of one conversation, by virtual path."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[str, str] = OrderedDict()
        self._count = 0

    def keep(self, text: str) -> str:
        """Store an output, dropping the oldest beyond the bound. Returns its virtual path."""
        self._count += 1
        path = f"{PREFIX}{self._count}"
        self._outputs[path] = text
        while len(self._outputs) > _KEPT:
            self._outputs.popitem(last=False)
        return path

    def find(self, path: str) -> str | None:
        """Return the output kept under `path`, or None."""
        return self._outputs.get(path)
