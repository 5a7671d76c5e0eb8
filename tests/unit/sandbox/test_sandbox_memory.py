"""How much a command's processes hold, read from a /proc that the test writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.sandbox.memory import (
    available_bytes,
    holds_more_than,
    memory_bound_bytes,
    memory_is_eaten,
)
from agentcoord.sandbox.policy import Limits

GIB = 1024**3
MIB = 1024**2


def process(proc: Path, pid: int, *, anonymous_kib: int, shared_kib: int = 0, share_kib: int | None) -> None:
    """`share_kib`: its part of what it shares; None: it hides that file."""
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "status").write_text(
        f"Name:\tx: y\nRssAnon:\t{anonymous_kib} kB\nRssFile:\t999999 kB\nRssShmem:\t{shared_kib} kB\n"
    )
    if share_kib is not None:
        (folder / "smaps_rollup").write_text(
            f"1-2 ---p 0 0:0 0 [rollup]\nPss: 5 kB\nPss_Anon: {share_kib} kB\n"
        )


def test_a_family_is_counted_together(tmp_path: Path) -> None:
    process(tmp_path, 1, anonymous_kib=600, share_kib=600)
    process(tmp_path, 2, anonymous_kib=300, shared_kib=200, share_kib=500)
    assert holds_more_than(1_000 * 1024, [1, 2], tmp_path)
    assert not holds_more_than(1_100 * 1024, [1, 2], tmp_path)


def test_pages_shared_after_a_fork_count_once(tmp_path: Path) -> None:
    for pid in range(1, 5):
        process(tmp_path, pid, anonymous_kib=900, share_kib=225)
    assert not holds_more_than(1_000 * 1024, [1, 2, 3, 4], tmp_path)


def test_a_process_that_hides_its_shares_counts_in_full(tmp_path: Path) -> None:
    for pid in (1, 2):
        process(tmp_path, pid, anonymous_kib=900, share_kib=None)
    assert holds_more_than(1_000 * 1024, [1, 2], tmp_path)


def test_a_process_that_ended_meanwhile_holds_nothing(tmp_path: Path) -> None:
    assert not holds_more_than(0, [1, 2], tmp_path)


def test_this_process_holds_something() -> None:
    assert holds_more_than(MIB, [os.getpid()])
    assert not holds_more_than(100 * GIB, [os.getpid()])


@pytest.mark.parametrize(
    ("at_start", "now", "eaten"),
    [
        (8 * GIB, GIB, False),
        (8 * GIB, 100 * MIB, True),
        (260 * MIB, 200 * MIB, False),
        (100 * MIB, 90 * MIB, False),
        (8 * GIB, None, False),
        (None, 1, False),
    ],
    ids=["some-left", "eaten", "hardly-anything", "was-short-before", "unknown-now", "unknown-before"],
)
def test_the_machines_last_memory(at_start: int | None, now: int | None, eaten: bool) -> None:
    assert memory_is_eaten(at_start, now, Limits(memory_reserve_bytes=256 * MIB)) is eaten


def test_what_is_available_is_read_and_may_be_unknown(tmp_path: Path) -> None:
    assert (available_bytes() or 0) > 0
    assert available_bytes(tmp_path) is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  7 kB\n")
    assert available_bytes(tmp_path) == 7 * 1024


def test_a_small_machine_gives_less() -> None:
    assert memory_bound_bytes(Limits(memory_bytes=4 * GIB), 64 * GIB) == 4 * GIB
    assert memory_bound_bytes(Limits(memory_bytes=4 * GIB), 4 * GIB) == 3 * GIB
