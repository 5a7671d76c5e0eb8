"""The background process itself: `python -m agentcoord.daemon`, started by `service` alone.

Not a command for people, who have `agentcoordd`: it reads its flags as JSON and imports no
command-line library, so that it is ready sooner. Nor does it let structlog import rich, which that
would only use to draw tracebacks on a terminal: the log of this process is a file.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path


def main() -> int:
    """Be the daemon."""
    gc.disable()  # Until all is imported (`service`).
    sys.modules["rich"] = None  # type: ignore[assignment]  # so an import of it fails, as if it were not there
    import structlog  # noqa: F401 - now, without rich

    del sys.modules["rich"]
    from agentcoord.daemon.service import run_foreground
    from agentcoord.daemon.start_args import StartArgs
    from agentcoord.errors import AgentCoordError, DaemonAlreadyRunningError
    from agentcoord.wire.messages import ExitCode

    parser = argparse.ArgumentParser(prog="agentcoord.daemon")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--args", required=True)
    words = parser.parse_args()
    os.setsid()  # The terminal's Ctrl-C and hang-up are not ours.
    os.chdir("/")
    try:
        return run_foreground(
            words.root, args=StartArgs.from_json(words.args), env=os.environ, ready_fd=words.ready_fd
        )
    except AgentCoordError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return ExitCode.REFUSED if isinstance(error, DaemonAlreadyRunningError) else ExitCode.ERROR


if __name__ == "__main__":
    sys.exit(main())
