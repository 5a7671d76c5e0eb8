"""What a supervisor says: to the start-up log, and to the user when it waits or has given up.

Kept apart from what it does (`supervisor`). It costs no more than Python, as that does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from agentcoord.config.paths import ProjectPaths

NOTICE_S = 120.0
"""How long telling the user may take."""


def say(words: str) -> None:
    """Print words with the time to the start-up log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} supervisor: {words}\n")
    sys.stderr.flush()


def tell_user(paths: ProjectPaths, args: str) -> Callable[[int], None]:
    """Tell that there will be no more restarts."""

    def tell(restarts: int) -> None:
        after = f"after {restarts} restarts: read {paths.startup_log}"
        _leave_word(paths, args, f"the supervisor gave up at {_now()} {after}")

    return tell


def tell_user_of_wait(paths: ProjectPaths, args: str) -> Callable[[str], None]:
    """Tell why the daemon is not started again yet, and by whom it will be."""

    def tell(why: str) -> None:
        who = f"the supervisor (pid {os.getpid()}) waits to start the daemon again"
        _leave_word(paths, args, f"since {_now()} {who}: {why}")

    return tell


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _leave_word(paths: ProjectPaths, args: str, words: str) -> None:
    """For the next `status`, and have a notice sent. Nothing that fails at it is an error here."""
    try:
        paths.given_up_file.write_text(words + "\n", encoding="utf-8")
    except OSError as error:
        say(f"no word is left for the next status: {error}")
    root = os.fspath(paths.root)
    command = [sys.executable, "-m", "agentcoord.daemon.last_notice", "--root", root, "--args", args]
    try:
        subprocess.run([*command, "--text", words], stdin=subprocess.DEVNULL, timeout=NOTICE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"nobody was told: {error}")
