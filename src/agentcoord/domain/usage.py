"""Tokens and money: what a call used, in the kinds that are priced apart, and micro-dollars."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import NewType

from agentcoord.values import dataclass

UsdMicros = NewType("UsdMicros", int)
"""Money in millionths of a US dollar; integers, so that sums are exact."""

ZERO_USD = UsdMicros(0)
MICROS_PER_USD = 1_000_000


def usd_micros(usd: float) -> UsdMicros:
    """Convert dollars to micro-dollars, rounded to the nearest."""
    return UsdMicros(round(usd * MICROS_PER_USD))


def usd(micros: int) -> float:
    """Convert micro-dollars to dollars."""
    return micros / MICROS_PER_USD


class CapUnit(StrEnum):
    """What a cap counts in."""

    USD_MICROS = "usd_micros"
    TOKENS = "tokens"

    def in_words(self, amount: int) -> str:
        """Say an amount to people: `$0.60`, or `2,000,000 tokens`."""
        return f"${usd(amount):.2f}" if self is CapUnit.USD_MICROS else f"{amount:,} tokens"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, by kind. The kinds do not overlap."""

    input_tokens: int = 0
    """Input after the last cache breakpoint, at full price."""
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)))

    @property
    def prompt_tokens(self) -> int:
        """All input, cached or not."""
        return (
            self.input_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
            + self.cache_read_tokens
        )

    @property
    def total_tokens(self) -> int:
        """Input, cached or not, and output: what token caps count."""
        return self.prompt_tokens + self.output_tokens

    def to_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(Usage)}

    @classmethod
    def from_dict(cls, raw: dict[str, int]) -> Usage:
        """Read what `to_dict` wrote; missing kinds are 0."""
        return cls(**{f.name: int(raw.get(f.name, 0)) for f in fields(cls)})


NO_USAGE = Usage()
