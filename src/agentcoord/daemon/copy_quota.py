"""What the commands of one attempt may add to its private copy, all of them together.

A command by itself is bounded by the sandbox's watchdog; many, each below that bound, would fill the
disk all the same. Separate from the shell, which runs one command. Free space is the whole disk's, on
which others write and remove, too: so when it has shrunk by much, the copy itself is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import Limits
from agentcoord.sandbox.watchdog import free_room

QUOTA_BYTES = Limits().disk_growth_bytes
"""As much as one command may take."""
MEASURED_FROM_BYTES = 1024**3
"""Measuring looks at every file of the copy: not for less."""
LEAST_BYTES = 256 * 1024**2
"""What each command may still take in a copy that is full, so that it can be tidied up. Not less: what others
write at the same time counts for the watchdog, too."""


class CopyQuota:
    """The account of one copy and one attempt."""

    def __init__(
        self,
        root: Path,
        grown: Callable[[], Awaitable[int | None]],
        *,
        resumed: bool = False,
        quota_bytes: int = QUOTA_BYTES,
        least_bytes: int = LEAST_BYTES,
    ) -> None:
        """`grown`: by how many bytes the copy is larger than it was given; None where that takes too long.

        `resumed`: the copy was worked in before, and what it has grown by since counts.
        """
        self._root = root
        self._grown = grown
        self._quota_bytes = quota_bytes
        self._least_bytes = least_bytes
        self._measured_from = min(MEASURED_FROM_BYTES, quota_bytes // 2)
        self._measured = 0
        self._is_measured = not resumed
        self._since = 0
        """By how much free space has changed since then. What came free may hide what a command took."""

    @property
    def left_bytes(self) -> int:
        """What the next command may take."""
        return max(self._least_bytes, min(Limits().disk_growth_bytes, self._quota_bytes - self._taken))

    @property
    def _taken(self) -> int:
        return self._measured + self._since

    async def free(self) -> int | None:
        """Look at the disk before a command, and at a resumed copy once; None where it cannot be told."""
        if not self._is_measured:
            self._measured, self._is_measured = max(0, await self._grown() or 0), True
        try:
            return (await asyncio.to_thread(free_room, self._root)).bytes
        except SandboxError:
            return None

    async def note(self, free_before: int | None) -> str:
        """Take into account what a command has taken; return what its worker must be told, or nothing."""
        free_now = await self.free()
        if free_before is None or free_now is None:
            return ""
        self._since += abs(free_before - free_now)
        if self._since > self._measured_from or self._taken >= self._quota_bytes:
            grown = await self._grown()
            self._measured = self._taken if grown is None else max(0, grown)
            self._since = 0
        if self._taken < self._quota_bytes:
            return ""
        return (
            f"[this copy has grown by {self._taken >> 20} MB and may grow by {self._quota_bytes >> 20} MB: "
            "remove what is not needed, commands that write more are ended]\n"
        )
