"""What is kept of a command's output while it runs: parts of whole lines, bounded, without secrets."""

from __future__ import annotations

import asyncio
import random
import tracemalloc

import pytest

from agentcoord.daemon.kept_output import PART_BYTES, KeptOutput, keep_in_parts
from agentcoord.telemetry.logs import Redactor

KEY = "super-secret-key-0123456789"


def test_parts_hold_whole_lines_and_follow_each_other() -> None:
    kept = KeptOutput(Redactor([]))
    kept(b"one\ntw")
    assert kept.take() == "one\n"
    assert kept.take() == ""
    kept(b"o\nna\xc3")
    assert kept.take() == "two\n"
    kept(b"\xafve\r 10%\r 20%")
    assert kept.take() == "naïve\r 10%\r"


@pytest.mark.parametrize("seed", range(20))
def test_wherever_parts_and_pieces_end_no_part_of_a_secret_is_kept(seed: int) -> None:
    dice = random.Random(seed)
    lines = [
        dice.choice([KEY, f"key={KEY}!", "x" * dice.randrange(9000), "", f"{KEY}{'y' * 5000}"])
        for _ in range(400)
    ]
    flood = "\n".join([*lines, "the end", ""]).encode()
    kept, parts, at = KeptOutput(Redactor([KEY])), list[str](), 0
    while at < len(flood):
        length = dice.choice([1, 30, 5_000, 65_536])
        kept(flood[at : at + length])
        at += length
        if dice.random() < 0.1:
            parts.append(kept.take())
    parts.append(kept.take())
    assert not any(KEY[:8] in part or KEY[-8:] in part for part in parts)
    assert "".join(parts).endswith("the end\n")
    assert max(len(part.encode()) for part in parts) < PART_BYTES + 200


def test_a_flood_costs_little_memory() -> None:
    kept, piece = KeptOutput(Redactor([KEY])), b"z" * 65_536
    tracemalloc.start()
    try:
        for number in range(2_000):
            kept(piece if number % 3 else piece + b"\n")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert "a long line is left out" in kept.take()


async def test_parts_come_until_the_command_has_ended_and_none_after_it() -> None:
    kept, ended = KeptOutput(Redactor([])), asyncio.Event()
    parts: list[str] = []
    third = asyncio.Event()

    async def keep(part: str) -> None:
        parts.append(part)
        kept(b"more\n")
        if len(parts) == 3:
            third.set()

    kept(b"first\n")
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        group.create_task(keep_in_parts(kept, keep, ended, first_part_s=0.01))
        await third.wait()
        ended.set()
    assert parts == ["first\n", "more\n", "more\n"]
    assert kept.take() == "more\n"


async def test_a_command_that_has_ended_soon_leaves_no_part() -> None:
    kept, ended = KeptOutput(Redactor([])), asyncio.Event()
    kept(b"quick\n")
    ended.set()

    async def keep(part: str) -> None:
        raise AssertionError(part)

    await keep_in_parts(kept, keep, ended, first_part_s=0.01)
