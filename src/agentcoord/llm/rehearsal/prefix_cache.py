"""Tokens, and which of them a prompt cache would have held: a simulation with the real rules.

Separate from the application because budgets are only rehearsed if usage looks like the
service's. The rules are those of the provider's documentation of prompt caching: the prompt is
tools, then system, then messages; a breakpoint caches everything up to and including its
block; a lookup walks back at most 20 blocks from each breakpoint; an entry lives five minutes
or an hour from its last use; a prefix below the minimum is not cached; an entry can be read
only once the answer that wrote it has begun. Tokens are bytes of JSON over 4, rounded up.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from agentcoord.values import dataclass

_LOOKBACK_BLOCKS = 20
_MIN_PREFIX_TOKENS = 512
_MAX_ENTRIES = 20_000
_TTL_S = {"5m": 300.0, "1h": 3_600.0}


@dataclass(frozen=True, slots=True)
class PromptUsage:
    """A prompt's tokens by how they are charged; they add up to the whole prompt."""

    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int

    @property
    def prompt_tokens(self) -> int:
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )


@dataclass(frozen=True, slots=True)
class _Segment:
    """One block of the prompt, with the digest and the size of everything up to its end."""

    digest: bytes
    tokens_so_far: int
    ttl: str
    """Of the breakpoint that it carries; empty without one."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a request's prompt costs, and what it will write once its answer begins."""

    usage: PromptUsage
    writes: tuple[tuple[bytes, str], ...]


class PrefixCache:
    """Which prefixes are cached, until when. Bounded; the least recently used goes first."""

    def __init__(self) -> None:
        self._expires_at: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def look_up(self, request: Mapping[str, Any], now: float) -> Lookup:
        """Split the prompt's tokens into read, written and plain; entries that are read live on."""
        segments = _segments(request)
        total = segments[-1].tokens_so_far if segments else 0
        marked = [n for n, segment in enumerate(segments) if segment.ttl]
        marked = [n for n in marked if segments[n].tokens_so_far >= _MIN_PREFIX_TOKENS]
        if not marked:
            return Lookup(PromptUsage(total, 0, 0, 0), ())
        hit = self._longest_hit(segments, marked, now)
        read = segments[hit].tokens_so_far if hit is not None else 0
        written = {"5m": 0, "1h": 0}
        covered = read
        for n in marked:
            upto = segments[n].tokens_so_far
            if upto > covered:
                written[segments[n].ttl] += upto - covered
                covered = upto
        usage = PromptUsage(total - covered, read, written["5m"], written["1h"])
        return Lookup(usage, tuple((segments[n].digest, segments[n].ttl) for n in marked))

    def write(self, lookup: Lookup, started_at: float) -> None:
        """Make the prefixes of a request readable; its answer has begun. The TTL counts from its start."""
        for digest, ttl in lookup.writes:
            self._expires_at[digest] = (started_at + _TTL_S[ttl], ttl)
            self._expires_at.move_to_end(digest)
        while len(self._expires_at) > _MAX_ENTRIES:
            self._expires_at.popitem(last=False)

    def _longest_hit(self, segments: list[_Segment], marked: list[int], now: float) -> int | None:
        for mark in reversed(marked):
            for n in range(mark, max(-1, mark - _LOOKBACK_BLOCKS), -1):
                expires_at, ttl = self._expires_at.get(segments[n].digest, (0.0, ""))
                if ttl and now < expires_at:
                    self._expires_at[segments[n].digest] = (now + _TTL_S[ttl], ttl)
                    self._expires_at.move_to_end(segments[n].digest)
                    return n
        return None


def count_prompt_tokens(request: Mapping[str, Any]) -> int:
    """Return the size of a prompt: every block's bytes of JSON over 4, rounded up, together."""
    segments = _segments(request)
    return segments[-1].tokens_so_far if segments else 0


def tokens_of(text: str) -> int:
    """Return the tokens of a piece of output: its bytes over 4, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """Return a message's or the system's content as blocks; a plain string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content)


def canonical(block: Mapping[str, Any]) -> str:
    """Return a block's JSON as the service sees it: its fields in whatever order, its cache mark no part
    of the prompt, but tool input and other nested objects just as they were sent."""
    bare = {key: block[key] for key in sorted(block) if key != "cache_control"}
    return json.dumps(bare, ensure_ascii=False, separators=(",", ":"))


def _segments(request: Mapping[str, Any]) -> list[_Segment]:
    # What keys the cache beside the blocks: changing any of it in a conversation misses.
    settings = [request.get(key) for key in ("model", "output_config", "thinking", "tool_choice")]
    running = hashlib.sha256(json.dumps(settings).encode())
    placed = [("tool", tool) for tool in request.get("tools") or []]
    placed += [("system", block) for block in blocks_of(request.get("system") or [])]
    for message in request["messages"]:
        placed += [(message["role"], block) for block in blocks_of(message["content"])]
    segments: list[_Segment] = []
    tokens = 0
    for place, block in placed:
        text = canonical(block)
        running.update(f"{place}\0{text}\0".encode("utf-8", "surrogatepass"))
        tokens += tokens_of(text)
        mark = block.get("cache_control") or {}
        ttl = mark.get("ttl", "5m") if mark else ""
        segments.append(_Segment(running.digest(), tokens, ttl))
    return segments
