"""The values everything else talks about: addresses, packages, shipments, events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """Where a shipment is in its life."""

    CREATED = "created"
    ACCEPTED = "accepted"
    IN_TRANSIT = "in_transit"
    CUSTOMS = "customs"
    DELIVERED = "delivered"
    RETURNED = "returned"
    LOST = "lost"


NEXT_STEPS = {
    Status.CREATED: {Status.ACCEPTED},
    Status.ACCEPTED: {Status.IN_TRANSIT, Status.RETURNED},
    Status.IN_TRANSIT: {Status.CUSTOMS, Status.DELIVERED, Status.RETURNED, Status.LOST},
    Status.CUSTOMS: {Status.IN_TRANSIT, Status.RETURNED, Status.LOST},
    Status.DELIVERED: set(),
    Status.RETURNED: set(),
    Status.LOST: {Status.IN_TRANSIT},
}
"""From each status, the ones that may follow. A lost shipment may turn up again."""


def is_final(status: Status) -> bool:
    """Whether nothing can follow this status."""
    return not NEXT_STEPS[status]


@dataclass(frozen=True)
class Address:
    """Where something comes from or goes to."""

    name: str
    street: str
    postcode: str
    city: str
    country: str
    """ISO 3166 code of two capital letters."""


@dataclass(frozen=True)
class Package:
    """What is sent: its weight and its outer size."""

    weight_g: int
    length_cm: int
    width_cm: int
    height_cm: int

    @property
    def volume_cm3(self) -> int:
        return self.length_cm * self.width_cm * self.height_cm


@dataclass(frozen=True)
class Event:
    """One step in the life of a shipment."""

    at: datetime
    status: Status
    note: str = ""


@dataclass(frozen=True)
class Shipment:
    """A package on its way, with everything that happened to it so far."""

    number: str
    sender: Address
    recipient: Address
    package: Package
    status: Status = Status.CREATED
    events: tuple[Event, ...] = field(default=())
