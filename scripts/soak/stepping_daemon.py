"""The real daemon by a clock that can be set: `soak.py` starts it in place of `python -m agentcoord.daemon`.

The wall time is the machine's plus what a file says; the monotonic time is the machine's, as with a clock
that a person or a time server sets.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agentcoord.clock import SystemClock
from agentcoord.daemon.service import run_foreground
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import AgentCoordError


class SteppedClock(SystemClock):
    """The machine's clock, put forward or back by the milliseconds that stand in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ms(self) -> int:
        return super().now_ms() + int(self._file.read_text())


def main() -> int:
    """`stepping_daemon.py ROOT SCRIPTS CLOCK_FILE READY_FD`"""
    root, scripts, clock_file, ready_fd = sys.argv[1:]
    os.setsid()
    args = StartArgs(rehearse=Path(scripts), rehearsal_latency=0.0)
    clock = SteppedClock(Path(clock_file))
    try:
        return run_foreground(Path(root), args=args, env=os.environ, ready_fd=int(ready_fd), clock=clock)
    except AgentCoordError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
