"""The background process itself: `python -m agentcoord.daemon`, started by `service` alone.

Not a command for people, who have `agentcoordd`: it reads its flags as JSON and imports no
command-line library, so that it is ready sooner. Nor does it let libraries import what they have no use for
here: structlog draws tracebacks on terminals with rich, and the log of this process is a file; the Redis
client counts for OpenTelemetry, if somebody asks it to, which nobody does.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def main() -> int:
    """Be the daemon."""
    gc.disable()  # Until all is imported (`service`).
    import_libraries()
    from agentcoord.daemon.service import run_foreground
    from agentcoord.daemon.start_args import StartArgs
    from agentcoord.errors import AgentCoordError, DaemonAlreadyRunningError
    from agentcoord.wire.protocol import ExitCode

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


def import_libraries() -> None:
    """Import what the rest is built on, without what these libraries have no use for here."""
    with without("rich", "opentelemetry"):
        import redis.asyncio  # noqa: F401 - now, without them
        import structlog  # noqa: F401


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Inside, an import of these fails, as if they were not there."""
    for name in packages:
        sys.modules[name] = None  # type: ignore[assignment]  # The documented way.
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
