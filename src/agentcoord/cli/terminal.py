"""Where a command's words go: data on standard output, all else on standard error.

Separate so that colour, width and encoding are decided in one place. Colour only on a terminal
that can show it, and never with `NO_COLOR` (https://no-color.org). Cheap to import: the fast path
begins here. Deliberately absent: what the words are (`pages`, `summary`).
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping

from agentcoord.tui.styled import Ground, Line, Span, Tone

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any, Final, TextIO

_SGR: Final[Mapping[Tone, str]] = {
    Tone.MUTED: "2",
    Tone.STRONG: "1",
    Tone.ACCENT: "36",
    Tone.GOOD: "32",
    Tone.WARN: "33",
    Tone.BAD: "31",
    Tone.TITLE: "1",
    Tone.BADGE: "7",
    Tone.ADDED: "32",
    Tone.REMOVED: "31",
}
_GROUND_SGR: Final[Mapping[Ground, str]] = {
    Ground.ADDED: "32",
    Ground.ADDED_WORD: "1;32",
    Ground.REMOVED: "31",
    Ground.REMOVED_WORD: "1;31",
}
_SIGNS: Final[Mapping[str, str]] = {
    "✔": "v",
    "✗": "x",
    "●": "*",
    "◆": "?",
    "▲": "!",
    "▶": ">",
    "◐": "~",
    "·": "-",
    "…": "~",
    "▰": "#",
    "▱": ".",
    "█": "#",
    "▒": ":",
    "░": ".",
    "│": "|",
    "─": "-",
}
"""Our signs, and what stands for each where the encoding lacks it: one cell, too, so that columns stay."""
USUAL_WIDTH: Final = 80
CLEAR_LINE: Final = "\r\x1b[K"


class Terminal:
    """Standard output and standard error, and what they can do."""

    def __init__(self, out: TextIO, err: TextIO, env: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
        self._signs_out = _signs_missing_in(out)
        self._signs_err = _signs_missing_in(err)
        self._colour_out = out.isatty() and not plain
        self._colour_err = err.isatty() and not plain
        self.live = err.isatty() and env.get("TERM") != "dumb"
        """Whether a line of standard error can be rewritten."""
        self.width = _width_of(out)
        """Cells in a line of standard output; 0 when it is no terminal: then nothing is cut."""
        self.err_width = _width_of(err)

    @classmethod
    def of_process(cls, env: Mapping[str, str]) -> Terminal:
        """This process's own streams; characters that they cannot encode are escaped, never an error."""
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return cls(sys.stdout, sys.stderr, env)

    def lines(self, lines: Iterable[Line]) -> None:
        """Write data: one line each."""
        text = "".join(f"{paint(line, colour=self._colour_out)}\n" for line in lines)
        self._out.write(text.translate(self._signs_out))
        self._out.flush()

    def text(self, text: str) -> None:
        """Write data as it is, with one newline at the end."""
        self._out.write(text if text.endswith("\n") else f"{text}\n")
        self._out.flush()

    def raw(self, content: bytes) -> None:
        """Write data byte for byte, whatever the encoding is."""
        self._out.flush()
        binary = getattr(self._out, "buffer", None)
        if binary is None:
            self._out.write(content.decode("utf-8", "backslashreplace"))
        else:
            binary.write(content)
        (binary or self._out).flush()

    def document(self, schema: str, view: Mapping[str, Any]) -> None:
        """Write one JSON document; `schema` is `<program>.<command>`."""
        self.text(json.dumps({"schema": f"{schema}/1", **view}, indent=2))

    def record(self, record: Mapping[str, Any]) -> None:
        """Write one JSON object on one line."""
        self.text(json.dumps(record, separators=(",", ":")))

    def say(self, *spans: Span | str) -> None:
        """Tell the person something that is no data."""
        line = tuple(Span(span) if isinstance(span, str) else span for span in spans)
        self._err.write(f"{paint(line, colour=self._colour_err)}\n".translate(self._signs_err))
        self._err.flush()

    def rewrite(self, line: Line) -> None:
        """Replace the unfinished last line of standard error; only when `live`."""
        self._err.write(CLEAR_LINE + paint(line, colour=self._colour_err).translate(self._signs_err))
        self._err.flush()


def paint(line: Line, *, colour: bool) -> str:
    """The line with its tones as ANSI colours, or without; no spaces at the end."""
    if not colour:
        return "".join(span.text for span in line).rstrip()
    return "".join(
        f"\x1b[{code}m{span.text}\x1b[0m" if (code := _code_of(span)) and span.text else span.text
        for span in line
    ).rstrip()


def _code_of(span: Span) -> str:
    """A line of a diff is green or red as a whole here: a terminal of unknown colours has no soft grounds."""
    return _GROUND_SGR.get(span.ground) or _SGR.get(span.tone, "")


def _signs_missing_in(stream: TextIO) -> dict[int, str]:
    """What `str.translate` puts for the signs that a stream cannot encode: nothing, nearly everywhere."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower() in ("utf-8", "utf8"):
        return {}
    kept = "".join(_SIGNS).encode(encoding, "ignore").decode(encoding)
    return str.maketrans({sign: plain for sign, plain in _SIGNS.items() if sign not in kept})


def _open_closed_streams() -> None:
    """Put the null device where the caller closed a stream (`>&-`): no socket of ours may get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            device = os.open(os.devnull, os.O_RDWR)
            if device != number:
                os.dup2(device, number)
                os.close(device)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _width_of(stream: TextIO) -> int:
    """The columns of a terminal, also of one that does not say (a serial line); 0 for anything else."""
    try:
        if not stream.isatty():
            return 0
    except ValueError:
        return 0
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH
