"""Tells systemd that the daemon is ready, alive, and about to stop: `sd_notify(3)` in a few lines.

Each message is one datagram to the socket in `NOTIFY_SOCKET`; without one, nobody is told. The sign
of life comes from the event loop, so that systemd's watchdog sees a loop that hangs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

import structlog

from agentcoord.clock import Clock

log = structlog.get_logger("service")


class ServiceManager:
    """The manager that started this process. `run()` belongs in the daemon's task group."""

    def __init__(self, env: Mapping[str, str], clock: Clock, pid: int) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._period_s = _watchdog_s(env, pid) / 2
        self._clock = clock

    @property
    def is_there(self) -> bool:
        return bool(self._address)

    def tell(self, **facts: str) -> None:
        """Send `NAME=value` lines in one datagram; a manager that is gone is no error."""
        if not self._address:
            return
        # An abstract socket's name begins with a NUL, which the variable writes as "@".
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{key}={value}" for key, value in facts.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), name)
        except OSError as error:
            log.debug("service_manager_not_told", error=str(error))

    def be_patient(self, seconds: float) -> None:
        """Let this long a silence pass from now on, where signs of life were asked for."""
        if self._period_s > 0:
            self.tell(WATCHDOG_USEC=str(round(seconds * 1_000_000)))

    async def run(self) -> None:
        """Say that the daemon is ready; then show life as often as was asked for."""
        self.tell(READY="1", STATUS="Workers are running", MAINPID=str(os.getpid()))
        try:
            if self._period_s <= 0:
                await asyncio.Event().wait()  # Until the daemon stops.
            while True:
                self.tell(WATCHDOG="1")
                await self._clock.sleep(self._period_s)
        finally:
            self.tell(STOPPING="1")


def _watchdog_s(env: Mapping[str, str], pid: int) -> float:
    """What `WATCHDOG_USEC` asks for; 0 when it asks for nothing, or another process."""
    if env.get("WATCHDOG_PID", str(pid)) != str(pid):
        return 0.0
    try:
        return int(env.get("WATCHDOG_USEC", "0")) / 1_000_000
    except ValueError:
        return 0.0
