"""The folder of one command: there while it runs, gone after it, also when that is cancelled early."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest

from agentcoord.sandbox.scratch import scratch_folder

REAL = tempfile.TemporaryDirectory


async def test_it_is_there_while_the_block_runs() -> None:
    async with scratch_folder("ac-scratch-") as folder:
        assert folder.is_dir()
        assert folder == folder.resolve()
        assert folder.name.startswith("ac-scratch-")
    assert not folder.exists()


async def test_a_folder_that_is_made_while_its_user_is_cancelled_is_removed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on, made = threading.Event(), threading.Event(), list[Path]()

    def slowly(prefix: str) -> tempfile.TemporaryDirectory[str]:
        begun.set()
        assert go_on.wait(20)
        scratch = REAL(prefix=prefix)
        made.append(Path(scratch.name))
        return scratch

    monkeypatch.setattr(tempfile, "TemporaryDirectory", slowly)

    async def use() -> None:
        async with scratch_folder("ac-scratch-"):
            raise AssertionError

    async with asyncio.TaskGroup() as group:
        using = group.create_task(use())
        assert await asyncio.to_thread(begun.wait, 20)
        using.cancel()
        await asyncio.sleep(0)
        go_on.set()
    assert using.cancelled()
    assert len(made) == 1
    assert not made[0].exists()


async def test_a_disk_that_refuses_the_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(OSError, match="/proc"):
        async with scratch_folder("ac-scratch-"):
            raise AssertionError
