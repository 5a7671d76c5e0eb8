"""What all commands of an attempt may add to a copy, on a disk that others change, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentcoord.daemon import copy_quota
from agentcoord.daemon.adapters import SandboxedShell
from agentcoord.daemon.copy_quota import LEAST_BYTES, CopyQuota
from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import KilledBy, Limits, Policy, Result
from agentcoord.telemetry.logs import Redactor

GIB = 1024**3


@dataclass
class Disk:
    """A disk of a test, and a copy on it."""

    free: int = 100 * GIB
    copy: int | None = 0
    """None: measuring it takes too long."""
    is_seen: bool = True
    measured: int = 0
    limits: list[int] = field(default_factory=list)

    def room(self, _: Path) -> Any:
        if not self.is_seen:
            raise SandboxError("the disk cannot be looked at")
        return type("Room", (), {"bytes": self.free})

    async def grown(self) -> int | None:
        self.measured += 1
        return self.copy

    def write(self, size: int) -> None:
        self.free -= size
        if self.copy is not None:
            self.copy += size


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(copy_quota, "free_room", disk.room)
    return disk


def quota_on(disk: Disk) -> CopyQuota:
    return CopyQuota(Path(), disk.grown)


async def after(quota: CopyQuota, disk: Disk, *sizes: int, others: int = 0) -> str:
    """Commands that write so much each, while others change the disk; what the last was told."""
    told = ""
    for size in sizes:
        before = await quota.free()
        disk.write(size)
        disk.free -= others
        told = await quota.note(before)
    return told


async def test_many_commands_may_take_together_what_one_may(disk: Disk) -> None:
    quota = quota_on(disk)
    assert quota.left_bytes == Limits().disk_growth_bytes
    assert await after(quota, disk, 3 * GIB, 3 * GIB) == ""
    assert quota.left_bytes == 2 * GIB
    assert "may grow by 8192 MB" in await after(quota, disk, 3 * GIB)
    assert quota.left_bytes == LEAST_BYTES
    assert await after(quota, disk, -5 * GIB) == "", "it was tidied up"
    assert quota.left_bytes == 4 * GIB


async def test_small_ones_are_not_measured_one_by_one_and_add_up(disk: Disk) -> None:
    quota = quota_on(disk)
    await after(quota, disk, *[GIB // 4] * 4)
    assert (disk.measured, quota.left_bytes) == (0, 7 * GIB)
    await after(quota, disk, GIB // 4)
    assert (disk.measured, quota.left_bytes) == (1, 8 * GIB - 5 * GIB // 4)


@pytest.mark.parametrize("others", [5 * GIB, -5 * GIB], ids=["write", "remove"])
async def test_what_others_do_to_the_disk_is_not_the_copys(disk: Disk, others: int) -> None:
    quota = quota_on(disk)
    await after(quota, disk, 2 * GIB, others=others)
    assert quota.left_bytes == 6 * GIB


async def test_a_copy_that_cannot_be_measured_is_taken_for_what_the_disk_says(disk: Disk) -> None:
    disk.copy = None
    quota = quota_on(disk)
    assert "[this copy has grown by" in await after(quota, disk, 3 * GIB, 3 * GIB, 3 * GIB)
    disk.is_seen = False
    assert await after(quota, disk, GIB) == ""


async def test_what_a_resumed_copy_has_grown_by_before_counts_from_the_first_command_on(disk: Disk) -> None:
    disk.write(7 * GIB)
    quota = CopyQuota(Path(), disk.grown, resumed=True)
    assert await after(quota, disk, 0) == ""
    assert (disk.measured, quota.left_bytes) == (1, GIB)
    assert "may grow by 8192 MB" in await after(quota, disk, GIB)
    disk.copy = None
    quota = CopyQuota(Path(), disk.grown, resumed=True)
    await quota.free()
    assert quota.left_bytes == 8 * GIB


class Shown:
    """A sandbox that notes what a command may take, and lets it write a part of that."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    async def run(self, command: str, policy: Policy, limits: Limits, **more: Any) -> Result:
        del policy, more
        self.disk.limits.append(limits.disk_growth_bytes)
        self.disk.write(int(command))
        return Result(exit_code=0, output="done\n", truncated=False, killed_by=KilledBy.NOBODY, duration_ms=1)


async def test_each_command_of_the_shell_may_take_what_is_left(disk: Disk) -> None:
    sandbox: Any = Shown(disk)
    policy: Any = None
    shell = SandboxedShell(sandbox, policy, Redactor(()), quota=quota_on(disk))
    first = await shell.run(str(5 * GIB), timeout_s=5)
    second = await shell.run(str(3 * GIB), timeout_s=5)
    await shell.run("0", timeout_s=5)
    assert disk.limits == [8 * GIB, 3 * GIB, LEAST_BYTES]
    shell = SandboxedShell(sandbox, policy, Redactor(()), quota=CopyQuota(Path(), disk.grown, resumed=True))
    await shell.run("0", timeout_s=5)
    assert disk.limits[-1] == LEAST_BYTES
    assert ("[this copy" in first.output, "[this copy" in second.output) == (False, True)
