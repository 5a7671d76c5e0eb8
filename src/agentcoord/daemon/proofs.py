"""What a proof says and what follows from it, as values: landed, red, held.

Separate from `proving`, which makes them, and from `task_run`, which acts on them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from agentcoord.domain.files import LandedFile
from agentcoord.review.checks import CheckReport
from agentcoord.review.junit import Cases
from agentcoord.review.verdict import KnownTests
from agentcoord.values import dataclass
from agentcoord.workspace.staged import Staged


@dataclass(frozen=True, slots=True)
class Landed:
    files: tuple[LandedFile, ...]
    merged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Red:
    report: CheckReport


@dataclass(frozen=True, slots=True)
class Held:
    """Needs a person: a conflict, a suspicious change, or a tree that never stands still."""

    why: str
    patch: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the checks said of one tree."""

    staged: Staged
    report: CheckReport
    cases: Mapping[tuple[str, str], Cases]
    """Of the checks that ran for it and reported their tests."""
    known: KnownTests
    """What it is judged by."""
    why_held: str = ""
    """Why a person must decide although it is green."""

    @property
    def refusal(self) -> Red | Held | None:
        """Why it does not land."""
        if not self.report.ok:
            return Red(self.report)
        return Held(self.why_held) if self.why_held else None


@dataclass(frozen=True, slots=True)
class LandingSteps:
    """What the prover calls at the moments that only its caller can act on."""

    offered: Callable[[], Awaitable[None]]
    """What would land is shown: who begins on one of its files now begins on top of it."""
    begin_landing: Callable[[], Awaitable[None]]
    """Checking becomes landing. Raises LeaseLostError."""
    back_to_checking: Callable[[], Awaitable[None]]
    verify: Callable[[], Awaitable[None]]
    """Raises LeaseLostError when the claim's token is stale."""
    finish: Callable[[tuple[LandedFile, ...], tuple[str, ...]], Awaitable[None]]
    """Says done, with what landed and what of it was merged."""
