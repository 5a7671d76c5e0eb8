"""Keeps the head and the tail of a stream in bounded memory.

Separate from running processes so that the bound can be tested without one. Nothing here knows
what the bytes mean.
"""

from __future__ import annotations


class HeadTail:
    """Holds the first third and the last two thirds of `limit_bytes`; what lies between is dropped.

    The tail is the larger part because the verdict of a command stands at its end. Memory stays
    below twice the limit however much is written.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._head_limit = limit_bytes // 3
        self._tail_limit = limit_bytes - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._seen_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take in the next piece of the stream."""
        self._seen_bytes += len(chunk)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if not chunk:
            return
        self._tail += chunk[-self._tail_limit :] if self._tail_limit else b""
        # Trimming only past the half as much again keeps the cost of a flood linear.
        if len(self._tail) > self._tail_limit + self._tail_limit // 2:
            self._trim()

    @property
    def dropped_bytes(self) -> int:
        """How much of the middle is not kept."""
        self._trim()
        return self._seen_bytes - len(self._head) - len(self._tail)

    def text(self) -> str:
        """Return what is kept, decoded as UTF-8 with replacement, with a note where a part is missing."""
        dropped_bytes = self.dropped_bytes
        if dropped_bytes == 0:
            return (self._head + self._tail).decode("utf-8", "replace")
        head = self._head.decode("utf-8", "replace")
        tail = self._tail.decode("utf-8", "replace")
        return f"{head}\n[... {dropped_bytes} bytes left out ...]\n{tail}"

    def _trim(self) -> None:
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            del self._tail[:excess]
