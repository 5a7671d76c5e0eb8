"""What a command prints while it runs, on its way into the transcript: in parts, with secrets cut out.

Separate from `live_output`, which shows the end to whoever looks on, and from the result, which comes when
the command has ended: this is what is left of its output should the daemon die before that. Only whole
lines, since half of a secret is not recognised; of each part head and tail alone, so that a flood costs
neither memory nor disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from agentcoord.sandbox.capture import HeadTail
from agentcoord.telemetry.logs import Redactor

PART_BYTES: Final = 16_384
FIRST_PART_S: Final = 2.0
MOST_BETWEEN_PARTS_S: Final = 60.0
"""Parts come further and further apart: a command of ten minutes leaves about a dozen."""
_LINE_BYTES = 4_096
_LEFT_OUT = "[a long line is left out]"


class KeptOutput:
    """Takes a command's output piece by piece, and gives it out in parts. Quick, and bounded in memory."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._part = HeadTail(PART_BYTES)
        self._line = b""
        """The last line, while its end has not come."""
        self._is_long = False
        """It was longer than is kept, and is left out to its end."""

    def __call__(self, piece: bytes) -> None:
        """Take the next piece."""
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1  # What progress bars end their lines with.
        if end:
            lines = piece[:end]
            if self._is_long:
                lines = _LEFT_OUT.encode() + b"\n" + lines[_end_of_line(lines) :]
            self._part.write(self._line + lines)
            self._line, self._is_long = b"", False
        self._line += piece[end : end + _LINE_BYTES + 1]
        if self._is_long or len(self._line) > _LINE_BYTES:
            self._line, self._is_long = b"", True

    def take(self) -> str:
        """Return what came since the last time; empty when that is no whole line."""
        part, self._part = self._part, HeadTail(PART_BYTES)
        lines = self._redactor.clean(part.text()).split("\n")
        # One so long may be cut, and a secret in it with it.
        return "\n".join(_LEFT_OUT if len(line.encode()) >= _LINE_BYTES else line for line in lines)


async def keep_in_parts(
    output: KeptOutput,
    keep: Callable[[str], Awaitable[None]],
    ended: asyncio.Event,
    *,
    first_part_s: float = FIRST_PART_S,
) -> None:
    """Hand what is printed to `keep`, a part at a time, until the command has ended.

    What was printed since the last part is not handed on then: the result has it.
    """
    wait_s = first_part_s
    while not await _comes_within(ended, wait_s):
        if text := output.take():
            await keep(text)
        wait_s = min(wait_s * 2, MOST_BETWEEN_PARTS_S)


async def _comes_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _end_of_line(lines: bytes) -> int:
    """Return where the first line ends; there is one."""
    ends = [end for end in (lines.find(b"\n"), lines.find(b"\r")) if end >= 0]
    return min(ends) + 1
