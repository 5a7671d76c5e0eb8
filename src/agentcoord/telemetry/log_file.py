"""Reading the daemon's own log: its newest lines, and those that follow, through rotation.

From the file, so that it also tells what a dead daemon said last. Separate from `logs`, which writes it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

POLL_S: Final = 0.25


class LogTail:
    """The newest lines of the log, then what is written after them. Blocking; one reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0
        self._begun = b""
        """A line whose end is not written yet."""

    def read(self, most: int) -> list[str]:
        """Return whole lines that were not returned before, the newest `most` of them.

        Empty where there is no log. Raises OSError when it cannot be read.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []  # Also between two files of a rotation: the new one is a moment away.
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset, self._begun = status.st_ino, 0, b""
            file.seek(self._offset)
            piece = file.read()
        self._offset += len(piece)
        *whole, self._begun = (self._begun + piece).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole[-most:]]


def newest_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` lines of the log; empty when there is no log yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def lines_from_now(path: Path, pause: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Yield whole lines as they are written from now on, for ever, through rotation."""
    file = path.open(encoding="utf-8", errors="replace")
    try:
        file.seek(0, os.SEEK_END)
        begun = ""
        while True:
            piece = file.readline()
            if piece.endswith("\n"):
                yield begun + piece.rstrip("\n")
                begun = ""
            elif piece:
                begun += piece
            elif _was_rotated(file.fileno(), path):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
            else:
                pause(POLL_S)
    finally:
        file.close()


def _was_rotated(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False  # Between two files: the new one is a moment away.
