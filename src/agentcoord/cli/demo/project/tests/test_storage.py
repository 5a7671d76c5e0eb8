"""The SQLite store: what goes in comes out, and a failed write leaves nothing behind."""

import tempfile
import unittest
from datetime import UTC, datetime
from pathlib import Path

from parcel.errors import NotFound
from parcel.models import Address, Event, Package, Shipment, Status
from parcel.storage import Store

MADRID = Address("Ana Ruiz", "Calle Mayor 3", "28013", "Madrid", "ES")
OSLO = Address("Jo Lund", "Storgata 7", "0155", "Oslo", "NO")
BOX = Package(1200, 30, 20, 10)
MONDAY = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def shipment(number="RR000000014ES"):
    return Shipment(number, MADRID, OSLO, BOX, Status.CREATED, (Event(MONDAY, Status.CREATED),))


class Storing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "parcel.db"
        self.store = Store(self.path)

    def test_a_shipment_comes_out_as_it_went_in(self):
        self.store.add(shipment())
        self.assertEqual(self.store.get("RR000000014ES"), shipment())

    def test_what_was_stored_is_there_after_reopening(self):
        self.store.add(shipment())
        self.assertEqual(Store(self.path).get("RR000000014ES"), shipment())

    def test_an_event_changes_the_status_and_is_remembered(self):
        self.store.add(shipment())
        self.store.record("RR000000014ES", Event(MONDAY, Status.ACCEPTED, "at the counter"))
        stored = self.store.get("RR000000014ES")
        self.assertEqual(stored.status, Status.ACCEPTED)
        self.assertEqual([event.note for event in stored.events], ["", "at the counter"])

    def test_a_failed_write_leaves_nothing_behind(self):
        with self.assertRaises(NotFound):
            self.store.record("RR000000028ES", Event(MONDAY, Status.ACCEPTED, "a ghost"))
        self.store.add(shipment("RR000000028ES"))
        self.assertEqual(len(self.store.get("RR000000028ES").events), 1)

    def test_an_unknown_number_is_not_found(self):
        with self.assertRaises(NotFound) as caught:
            self.store.get("RR000000014ES")
        self.assertEqual(caught.exception.number, "RR000000014ES")

    def test_serials_count_for_each_country(self):
        self.assertEqual([self.store.next_serial(c) for c in ("ES", "ES", "NO", "ES")], [1, 2, 1, 3])

    def test_listing_can_be_narrowed_to_a_status(self):
        self.store.add(shipment("RR000000014ES"))
        self.store.add(shipment("RR000000028ES"))
        self.store.record("RR000000028ES", Event(MONDAY, Status.ACCEPTED))
        self.assertEqual([s.number for s in self.store.all(Status.ACCEPTED)], ["RR000000028ES"])
        self.assertEqual(self.store.counts(), {Status.CREATED: 1, Status.ACCEPTED: 1})


if __name__ == "__main__":
    unittest.main()
