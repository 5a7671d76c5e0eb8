"""What this process knows of the ledger: its open reservations, and the newest sums that it was told.

Separate from the ledger, because it is asked only when the server has lost its memory: what is kept on
disk is some seconds old, and a cap must hold to the cent. Pure. Deliberately absent: what others did; one
daemon spends for a project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Final

from agentcoord.values import dataclass

OF_TASK: Final = "spend:task:"


@dataclass(frozen=True, slots=True)
class Reserved:
    """One open reservation, as the server keeps it."""

    run: str
    task: str
    day: str
    amount: int
    started: bool = False
    tokens: int = 0
    worker: str = ""
    sent_amount: int = 0
    """What it may have cost once it was sent, if nobody learns what became of it; in micro-dollars."""
    sent_tokens: int = 0

    @property
    def scopes(self) -> tuple[str, str, str]:
        """The hashes that count it."""
        return (f"spend:run:{self.run}", f"{OF_TASK}{self.task}", f"spend:day:{self.day}")

    @classmethod
    def from_stored(cls, stored: Sequence[object]) -> Reserved:
        """Read what `to_stored` makes; earlier versions wrote five or seven parts of it."""
        parts = [str(part) for part in stored]
        of_call, later = parts[:5], parts[5:]
        run, task, day, amount, started = of_call
        tokens, worker, sent_amount, sent_tokens = [*later, *("0", "", "0", "0")[len(later) :]]
        return cls(
            run,
            task,
            day,
            int(amount),
            started == "1",
            int(tokens),
            worker,
            int(sent_amount),
            int(sent_tokens),
        )

    def to_stored(self) -> list[str]:
        started = "1" if self.started else "0"
        of_call = [self.run, self.task, self.day, str(self.amount), started]
        return [*of_call, str(self.tokens), self.worker, str(self.sent_amount), str(self.sent_tokens)]


@dataclass(slots=True)
class SpendMirror:
    """Follows the ledger's answers."""

    open: dict[str, Reserved] = field(default_factory=dict)
    doubtful: dict[str, Reserved] = field(default_factory=dict)
    """Whose answer was lost, so that they may be open too; no call is made on them before they are sure."""
    spent: dict[str, int] = field(default_factory=dict)
    """By the name of the hash, in micro-dollars, as far as it was told."""
    tokens_spent: dict[str, int] = field(default_factory=dict)
    """The same in tokens."""

    @property
    def unclosed(self) -> dict[str, Reserved]:
        """What is open, or may be."""
        return {**self.doubtful, **self.open}

    def closed(self, reservation: str) -> Reserved | None:
        """Forget a reservation; return it if it was open."""
        self.doubtful.pop(reservation, None)
        return self.open.pop(reservation, None)

    def settled(self, reservation: str, sums: Sequence[int]) -> None:
        """Note the answer to a settlement: the sums of run, task and day, in money and then in tokens."""
        reserved = self.closed(reservation)
        if reserved is not None:
            for told, of_unit in ((self.spent, sums[:3]), (self.tokens_spent, sums[3:])):
                for scope, spent in zip(reserved.scopes, of_unit, strict=False):
                    told[scope] = max(told.get(scope, 0), spent)

    def learned(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """Note sums that were read, because no answer told them."""
        for kind, told in (("spent", self.spent), ("tokens_spent", self.tokens_spent)):
            for scope, stored in hashes.items():
                told[scope] = max(told.get(scope, 0), int(stored.get(kind, 0)))

    def forget_kept(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """Forget sums that are no newer than these hashes, which are on the disk: one a task for ever."""
        for kind, told in (("spent", self.spent), ("tokens_spent", self.tokens_spent)):
            for scope, stored in hashes.items():
                if told.get(scope, 0) <= int(stored.get(kind, 0)):
                    told.pop(scope, None)


def with_mirror(
    hashes: Mapping[str, Mapping[str, str]],
    open_ones: Mapping[str, Reserved],
    spent: Mapping[str, int],
    tokens_spent: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, dict[str, str]]:
    """Return the ledger's hashes with the newest sums, and with exactly these reservations."""
    found = {name: dict(stored) for name, stored in hashes.items()}
    for kind, told in (("spent", spent), ("tokens_spent", tokens_spent)):
        for scope, amount in told.items():
            stored = found.setdefault(scope, {})
            stored[kind] = str(max(int(stored.get(kind, 0)), amount))
    for name, stored in found.items():
        if name.startswith("spend:"):
            stored["reserved"] = stored["tokens_reserved"] = "0"
    for reserved in open_ones.values():
        for scope in reserved.scopes:
            stored = found.setdefault(scope, {})
            for kind, amount in (("reserved", reserved.amount), ("tokens_reserved", reserved.tokens)):
                stored[kind] = str(int(stored.get(kind, 0)) + amount)
    return found


def spenders_of(hashes: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """Return the sets that say which tasks have spent in a run, as the ledger's hashes of tasks tell it."""
    found: dict[str, set[str]] = {}
    for name, stored in hashes.items():
        if name.startswith(OF_TASK):
            for run in {field.rpartition("|")[0] for field in stored} - {""}:
                found.setdefault(f"spenders:{run}", set()).add(name.removeprefix(OF_TASK))
    return found
