"""The daemon's own log as lines for people: one JSON object a line in, one sentence a line out.

Reads the file, so that it also tells what a dead daemon said last. Follows through rotation.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import one_line

POLL_S: Final = 0.25
_KNOWN: Final = frozenset({"event", "level", "timestamp", "logger"})
_TONES: Final = {"warning": Tone.WARN, "error": Tone.BAD, "critical": Tone.BAD, "debug": Tone.MUTED}


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


def log_line(raw: str) -> Line:
    """One log line in words: time, level, what, and the facts; what is no JSON is shown as it is."""
    try:
        record = json.loads(raw)
    except ValueError:
        return (Span(one_line(raw)),)
    if not isinstance(record, dict):
        return (Span(one_line(raw)),)
    level = str(record.get("level", ""))
    facts = " ".join(f"{key}={_fact(value)}" for key, value in record.items() if key not in _KNOWN)
    return (
        Span(f"{_local_time(str(record.get('timestamp', '')))}  ", Tone.MUTED),
        Span(f"{level:<8}", _TONES.get(level, Tone.PLAIN)),
        Span(one_line(str(record.get("event", "")))),
        Span(f"  {one_line(facts)}" if facts else "", Tone.MUTED),
    )


def _local_time(timestamp: str) -> str:
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return timestamp


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
