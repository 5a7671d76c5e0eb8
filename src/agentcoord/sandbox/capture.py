"""Keeps the head and the tail of a stream in bounded memory.

Separate from running processes so that the bound can be tested without one. Nothing here knows
what the bytes mean.
"""

from __future__ import annotations

import re

_LINE_BYTES = 4_096
"""Of a cut line that is longer the word at the cut alone is left out."""
_BETWEEN_WORDS = re.compile(rb"[^\w.~+/=-]")
"""What stands in no key."""


class HeadTail:
    """Holds the first third and the last two thirds of `limit_bytes`; what lies between is dropped.

    The tail is the larger part because the verdict of a command stands at its end. Memory stays
    below twice the limit however much is written. Where a part is missing, the lines that it cuts are left
    out with it: half of a secret is no secret that could be recognised and cut out later.
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
        # One byte more than is kept, which tells whether the tail begins with a line.
        self._tail += chunk[-self._tail_limit - 1 :]
        # Trimming only past the half as much again keeps the cost of a flood linear.
        if len(self._tail) > self._tail_limit + 1 + self._tail_limit // 2:
            self._trim()

    @property
    def dropped_bytes(self) -> int:
        """How much of the middle is not kept."""
        return self._seen_bytes - len(self._head) - min(len(self._tail), self._tail_limit)

    def text(self) -> str:
        """Return what is kept, decoded as UTF-8 with replacement, with a note where a part is missing."""
        if self.dropped_bytes == 0:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = self._whole_lines()
        missing_bytes = self._seen_bytes - len(head) - len(tail)
        return (
            f"{head.decode('utf-8', 'replace')}\n[... {missing_bytes} bytes left out ...]\n"
            f"{tail.decode('utf-8', 'replace')}"
        )

    def _whole_lines(self) -> tuple[bytearray, bytearray]:
        """What is kept without the two lines that the missing part cuts; of long ones without a word."""
        head, cut = self._head, len(self._tail) - self._tail_limit
        end = head.rfind(b"\n") + 1
        if end > 0 and len(head) - end <= _LINE_BYTES:
            head = head[:end]
        else:
            ends = [found.end() for found in _BETWEEN_WORDS.finditer(head[-_LINE_BYTES:])]
            head = head[: max(0, len(head) - _LINE_BYTES) + ends[-1]] if ends else head
        tail = self._tail[cut:]
        if self._tail[cut - 1 : cut] != b"\n":
            begin = tail.find(b"\n", 0, _LINE_BYTES) + 1
            if begin == 0 and not _BETWEEN_WORDS.match(self._tail, cut - 1):
                word = _BETWEEN_WORDS.search(tail, 0, _LINE_BYTES)
                begin = word.start() if word else 0
            tail = tail[begin:] if begin < len(tail) else tail
        return head, tail

    def _trim(self) -> None:
        excess = len(self._tail) - self._tail_limit - 1
        if excess > 0:
            del self._tail[:excess]
