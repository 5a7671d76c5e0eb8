"""The life of a shipment: numbered, moved from step to step, found when it is late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from parcel.errors import IllegalStep, InvalidInput
from parcel.models import NEXT_STEPS, Address, Event, Package, Shipment, Status, is_final
from parcel.numbers import make_number, parse_number
from parcel.storage import Store

LATE_AFTER = timedelta(days=5)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Tracker:
    """Creates shipments and moves them on; the only place that writes to the store."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now):
        self._store = store
        self._now = now

    def register(self, sender: Address, recipient: Address, package: Package) -> Shipment:
        """Number a new shipment and store it."""
        if package.weight_g <= 0 or package.volume_cm3 <= 0:
            raise InvalidInput("a package has a weight and a size")
        number = make_number(self._store.next_serial(sender.country), sender.country)
        created = Event(self._now(), Status.CREATED)
        shipment = Shipment(number, sender, recipient, package, Status.CREATED, (created,))
        self._store.add(shipment)
        return shipment

    def advance(self, number: str, status: Status, note: str = "") -> Shipment:
        """Move a shipment to its next status. Raises NotFound and IllegalStep."""
        number = parse_number(number)
        shipment = self._store.get(number)
        if status not in NEXT_STEPS[shipment.status]:
            raise IllegalStep(number, shipment.status, status)
        self._store.record(number, Event(self._now(), status, note))
        return self._store.get(number)

    def find(self, number: str) -> Shipment:
        """Return a shipment by its number, however it was typed."""
        return self._store.get(parse_number(number))

    def late(self, after: timedelta = LATE_AFTER) -> list[Shipment]:
        """Return unfinished shipments to which nothing has happened for longer than `after`."""
        oldest = self._now() - after
        return [
            shipment
            for shipment in self._store.all()
            if not is_final(shipment.status) and shipment.events[-1].at < oldest
        ]
