"""Writes the recording of one run: appends lines, within a bound, and lets the oldest recordings go.

Separate from the recorder, which decides what is worth a line: this is one file, and blocking.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from agentcoord.wire.night_file import NIGHT_BYTES, NIGHTS_KEPT, SUFFIX, Kept, encode_record


class NightWriter:
    """The recording of one run, made or continued by the first lines. One writer."""

    def __init__(
        self, folder: Path, run: str, *, most_bytes: int = NIGHT_BYTES, keep: int = NIGHTS_KEPT
    ) -> None:
        self.run = run
        self.full = False
        """Whether the bound is reached: nothing more is written."""
        self._path = folder / f"{run}{SUFFIX}"
        self._most_bytes = most_bytes
        self._keep = keep

    def append(self, lines: Sequence[bytes], now_ms: int) -> int:
        """Write whole lines at the end; return how long the file is now. Blocking. Raises OSError.

        Lines that would pass the bound are left out, and a `cut` record stands for them.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            text = b"".join(lines)
            if size and not self._ends_whole(file.fileno(), size):
                text = b"\n" + text  # A crash tore the last line: the next one must not run into it.
            if size + len(text) > self._most_bytes:
                self.full = True
                text = encode_record(now_ms, Kept.CUT, {})
            file.write(text)
        if is_new:
            self._let_old_ones_go()
        return size + len(text)

    @staticmethod
    def _ends_whole(descriptor: int, size: int) -> bool:
        return os.pread(descriptor, 1, size - 1) == b"\n"

    def _let_old_ones_go(self) -> None:
        """Runs are named after when they began, so the names tell the oldest."""
        nights = sorted(self._path.parent.glob(f"*{SUFFIX}"))
        for old in nights[: -self._keep]:
            old.unlink(missing_ok=True)
