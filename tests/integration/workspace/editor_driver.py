"""An editor as a process of its own: saves a file over and over at random moments, in one of three ways.

Run by `test_workspace_editor.py`. Each line of its input is `seed saves longest-pause-us`; it saves so
often, with the number of the save in each line, and answers with the last number.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

LINES_A_SAVE = 60


def text_of(number: int) -> bytes:
    return b"save %08d\n" % number * LINES_A_SAVE


def by_rename(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".swp~")
    beside.write_bytes(content)
    beside.replace(path)


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def slowly(path: Path, content: bytes) -> None:
    """Through one descriptor, in pieces, without truncating first."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    for at in range(0, len(content), 200):
        os.pwrite(descriptor, content[at : at + 200], at)
    os.ftruncate(descriptor, len(content))
    os.close(descriptor)


WAYS = {"by rename": by_rename, "in place": in_place, "slowly": slowly}


def main() -> None:
    path, way = Path(sys.argv[1]), WAYS[sys.argv[2]]
    number = 0
    for line in sys.stdin:
        seed, saves, longest_us = map(int, line.split())
        dice = random.Random(seed)
        for _ in range(saves):
            until = time.perf_counter_ns() + dice.randrange(longest_us + 1) * 1000
            while time.perf_counter_ns() < until:
                pass
            number += 1
            way(path, text_of(number))
        print(number, flush=True)


if __name__ == "__main__":
    main()
