"""Since when somebody has wanted this daemon: the first deadline after that is meant, however often it died.

Who is started again by our supervisor is told (`StartArgs.since_ms`). A service manager tells nothing, so
it stands in the state folder, and goes with an end in order. It counts for a start by such a manager,
within minutes of the last sign of life: a start on another day is a wish of its own. Nor does it
count for another deadline than the one that was set then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.told_to_stop import is_service

SIGN_EVERY_S = 30.0
RECENT_MS = 300_000
"""A loop that hangs is ended after a minute, and a manager starts again within seconds."""

log = structlog.get_logger("daemon")


class WantedSince:
    """The file of one daemon. `run()` belongs in its task group, `forget()` at its end in order."""

    def __init__(self, path: Path, env: Mapping[str, str], clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._is_service = is_service(env)

    def begin(self, args: StartArgs, deadline: str) -> int:
        """Return since when, in milliseconds, and write it down. Blocking. A disk that refuses is told."""
        now = self._clock.now_ms()
        since = now if args.since_ms is None else args.since_ms
        last = self._read()
        if last is not None:
            last_since, last_deadline, seen = last
            if last_deadline != deadline:
                since = now
            elif args.supervised:
                since = min(max(last_since, since), now)
            elif self._is_service and abs(now - seen) <= RECENT_MS:
                since = min(last_since, now)
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps({"since_ms": since, "deadline": deadline}), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            log.warning("start_not_noted", error=str(error))
        self._sign()
        return since

    async def run(self) -> None:
        """Give signs of life, for ever: when this daemon died is known by the last one."""
        while self._is_service:
            await self._clock.sleep(SIGN_EVERY_S)
            self._sign()

    def forget(self) -> None:
        """The daemon ends in order: the next start is a new wish. Blocking."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("start_not_forgotten", error=str(error))

    def _read(self) -> tuple[int, str, int] | None:
        """Since when, for which deadline, and the last sign of life; None where nothing sensible stands."""
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            return int(said["since_ms"]), str(said["deadline"]), round(self._path.stat().st_mtime * 1000)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None

    def _sign(self) -> None:
        now_ns = self._clock.now_ms() * 1_000_000
        try:
            os.utime(self._path, ns=(now_ns, now_ns))
        except OSError as error:
            log.debug("no_sign_of_life", error=str(error))
