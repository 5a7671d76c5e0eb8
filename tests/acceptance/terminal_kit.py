"""A real terminal in a test: tmux on a socket of its own, its screen as text and its state as words."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from night_kit import Night

PATIENCE_S = 40.0
LOOK_S = 0.05
STYLES = "\x1b["


class Terminal:
    """One window of one session."""

    def __init__(self, night: Night, socket: Path) -> None:
        self._night = night
        self._socket = socket

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-f", "/dev/null", "-S", str(self._socket), *words],
            cwd=self._night.root,
            env={**self._night.env, "LANG": "C.UTF-8", "TERM": "xterm-256color"},
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def open(self, command: str, *, columns: int, lines: int) -> None:
        """Run a shell command in a new window of this size."""
        self.tmux(
            *("new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(lines)),
            *("-e", "COLORTERM=truecolor", "--", "/bin/sh", "-c", command),
        )

    def resize(self, columns: int, lines: int) -> None:
        self.tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(lines))

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "t", *keys)

    def lines(self, *, styled: bool = False) -> list[str]:
        """The screen, one string a line; `styled` with its colours as escape sequences."""
        return self.tmux("capture-pane", "-p", "-t", "t", *(["-e"] if styled else [])).split("\n")[:-1]

    def is_so(self, flag: str) -> bool:
        """A flag of the terminal, such as `alternate_on`."""
        return self.tmux("display-message", "-p", "-t", "t", f"#{{{flag}}}").strip() == "1"

    def wait(self, is_there: Callable[[list[str]], bool], what: str) -> list[str]:
        """Wait until the screen is so; fail with the screen when it never is."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            lines = self.lines()
            if is_there(lines):
                return lines
            time.sleep(LOOK_S)
        pytest.fail(f"never saw {what}:\n" + "\n".join(self.lines()))

    def see(self, text: str) -> list[str]:
        """Wait until a text is on the screen."""
        return self.wait(lambda lines: any(text in line for line in lines), repr(text))


@contextmanager
def terminal(night: Night) -> Iterator[Terminal]:
    """A terminal whose server ends with the block."""
    made = Terminal(night, night.base / "tmux")
    try:
        yield made
    finally:
        subprocess.run(
            ["tmux", "-S", str(night.base / "tmux"), "kill-server"],
            capture_output=True,
            check=False,
            timeout=20,
        )
