"""Tests and groups of tests as stretches of a source read by its brackets, and what lies within which.

Separate from `code_tests`, which finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from agentcoord.values import dataclass


@dataclass(slots=True)
class Block:
    """A test or a group of tests, from its head to the bracket that closes it."""

    name: str
    start: int
    body: int
    """Behind the name: equal bodies are the same test under another name."""
    end: int
    is_group: bool = False
    cases: int = 1
    skips: dict[str, int] = field(default_factory=dict)
    patience_ms: float | None = None
    retries: float = 0


def children(blocks: Sequence[Block], number: int) -> list[Block]:
    """The outermost blocks within one, which stand right behind it."""
    parent = blocks[number]
    found: list[Block] = []
    for following in range(number + 1, len(blocks)):
        block = blocks[following]
        if block.start > parent.end:
            break
        if not found or block.start > found[-1].end:
            found.append(block)
    return found


def gaps(start: int, end: int, blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
    for block in blocks:
        yield start, block.start
        start = block.end
    yield start, end
