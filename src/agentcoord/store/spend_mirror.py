"""What this process knows of the ledger: its open reservations, and the newest sums that it was told.

Separate from the ledger, because it is asked only when the server has lost its memory: what is kept on
disk is some seconds old, and a cap must hold to the cent. Pure. Deliberately absent: what others did; one
daemon spends for a project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reserved:
    """One open reservation, as the server keeps it."""

    run: str
    task: str
    day: str
    amount: int
    started: bool = False

    @property
    def scopes(self) -> tuple[str, str, str]:
        """The hashes that count it."""
        return (f"spend:run:{self.run}", f"spend:task:{self.task}", f"spend:day:{self.day}")

    @classmethod
    def from_stored(cls, stored: Sequence[object]) -> Reserved:
        """Read `[run, task, day, amount, started]`."""
        run, task, day, amount, started = (str(part) for part in stored)
        return cls(run, task, day, int(amount), started == "1")

    def to_stored(self) -> list[str]:
        return [self.run, self.task, self.day, str(self.amount), "1" if self.started else "0"]


@dataclass(slots=True)
class SpendMirror:
    """Follows the ledger's answers."""

    open: dict[str, Reserved] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    """By the name of the hash, in micro-dollars, as far as it was told."""

    def settled(self, reservation: str, sums: Sequence[int]) -> None:
        """Note the answer to a settlement: the sums of run, task and day."""
        reserved = self.open.pop(reservation, None)
        if reserved is not None:
            for scope, spent in zip(reserved.scopes, sums, strict=False):
                self.spent[scope] = max(self.spent.get(scope, 0), spent)


def with_mirror(
    hashes: Mapping[str, Mapping[str, str]], open_ones: Mapping[str, Reserved], spent: Mapping[str, int]
) -> dict[str, dict[str, str]]:
    """Return the ledger's hashes with the newest sums, and with exactly these reservations."""
    found = {name: dict(stored) for name, stored in hashes.items()}
    for scope, amount in spent.items():
        stored = found.setdefault(scope, {})
        stored["spent"] = str(max(int(stored.get("spent", 0)), amount))
    for name, stored in found.items():
        if name.startswith("spend:"):
            stored["reserved"] = "0"
    for reserved in open_ones.values():
        for scope in reserved.scopes:
            stored = found.setdefault(scope, {})
            stored["reserved"] = str(int(stored.get("reserved", 0)) + reserved.amount)
    return found
