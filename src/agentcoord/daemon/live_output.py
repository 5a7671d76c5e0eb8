"""The end of what a command prints while it runs, for whoever looks on, with secrets cut out.

Separate because pieces come as the pipe gives them, and of a flood the end alone is kept: either may cut a
secret in two, and half of one is not recognised. So only whole lines are shown. The whole output, head
and tail, is the result's own matter.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from agentcoord.telemetry.logs import Redactor

SHOWN_CHARS = 2_000
_KEPT_CHARS = 6_000
_PIECE_BYTES = 8_192


class LiveOutput:
    """Takes a command's output piece by piece and shows its end. Quick, and bounded in memory."""

    def __init__(self, redactor: Redactor, show: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""
        self._begins_within_line = False
        """What stood before the kept text is gone, and with it the beginning of a line."""

    def __call__(self, piece: bytes) -> None:
        """Take the next piece; of a large one the end alone."""
        text = self._kept + self._decoder.decode(piece[-_PIECE_BYTES:])
        if len(piece) > _PIECE_BYTES or len(text) > _KEPT_CHARS:
            text, self._begins_within_line = text[-_KEPT_CHARS:], True
        if self._begins_within_line:
            begin = text.find("\n") + 1
            text, self._begins_within_line = text[begin:], begin == 0
        self._kept = text
        whole_lines = text[: text.rfind("\n") + 1]
        if whole_lines:
            self._show(self._redactor.clean(whole_lines)[-SHOWN_CHARS:])
