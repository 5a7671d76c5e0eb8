"""The background process itself: `python -m agentcoord.daemon`, started by `service` alone.

Not a command for people, who have `agentcoordd`: it reads its flags as JSON and imports no
command-line library, so that it is ready sooner. Nor does it let libraries import what they have no use for
here: structlog draws tracebacks on terminals with rich, and the log of this process is a file; the Redis
client counts for OpenTelemetry, if somebody asks it to, which nobody does; msgspec reads annotations with
typing_extensions where it is there, and with Python's own typing where it is not.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FLAGS = frozenset({"--root", "--ready-fd", "--args"})


def main() -> int:
    """Be the daemon."""
    gc.disable()  # Until all is imported (`service`).
    import_libraries()
    from agentcoord.daemon.service import run_foreground
    from agentcoord.daemon.start_args import StartArgs
    from agentcoord.errors import AgentCoordError, DaemonAlreadyRunningError
    from agentcoord.wire.protocol import ExitCode

    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if words.keys() != FLAGS:
        sys.stderr.write(
            f"error: {__package__} takes {', '.join(sorted(FLAGS))}; start it with agentcoordd start\n"
        )
        return ExitCode.USAGE
    os.setsid()  # The terminal's Ctrl-C and hang-up are not ours.
    os.chdir("/")
    try:
        return run_foreground(
            Path(words["--root"]),
            args=StartArgs.from_json(words["--args"]),
            env=os.environ,
            ready_fd=int(words["--ready-fd"]),
        )
    except AgentCoordError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return ExitCode.REFUSED if isinstance(error, DaemonAlreadyRunningError) else ExitCode.ERROR


def import_libraries() -> None:
    """Import what the rest is built on, without what these libraries have no use for here."""
    with without("rich", "opentelemetry", "typing_extensions"):
        import msgspec  # noqa: F401 - now, without them
        import redis.asyncio  # noqa: F401
        import structlog  # noqa: F401


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Inside, an import of these fails, as if they were not there; not of those that are imported already."""
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # The documented way.
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
