"""The end of what a command prints while it runs, for whoever looks on, with secrets cut out.

Separate because pieces come as the pipe gives them: a secret may be cut in two. So only whole lines are
shown, and more is kept than is shown. The whole output, head and tail, is the result's own matter.
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

    def __call__(self, piece: bytes) -> None:
        """Take the next piece; of a large one the end alone."""
        self._kept = (self._kept + self._decoder.decode(piece[-_PIECE_BYTES:]))[-_KEPT_CHARS:]
        whole_lines = self._kept[: self._kept.rfind("\n") + 1]
        if whole_lines:
            self._show(self._redactor.clean(whole_lines)[-SHOWN_CHARS:])
