"""A shipment from its registration to its end."""

import tempfile
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path

from parcel.errors import IllegalStep, InvalidInput
from parcel.models import Address, Package, Status
from parcel.storage import Store
from parcel.tracking import Tracker

MADRID = Address("Ana Ruiz", "Calle Mayor 3", "28013", "Madrid", "ES")
OSLO = Address("Jo Lund", "Storgata 7", "0155", "Oslo", "NO")
BOX = Package(1200, 30, 20, 10)


class Tracking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        self.tracker = Tracker(Store(Path(folder.name) / "parcel.db"), now=lambda: self.now)

    def test_numbers_carry_the_country_of_origin(self):
        self.assertEqual(self.tracker.register(MADRID, OSLO, BOX).number, "RR000000014ES")
        self.assertEqual(self.tracker.register(OSLO, MADRID, BOX).number, "RR000000014NO")

    def test_a_shipment_goes_from_step_to_step(self):
        number = self.tracker.register(MADRID, OSLO, BOX).number
        for status in (Status.ACCEPTED, Status.IN_TRANSIT, Status.CUSTOMS, Status.IN_TRANSIT, Status.DELIVERED):
            self.tracker.advance(number, status)
        self.assertEqual(self.tracker.find(number).status, Status.DELIVERED)
        self.assertEqual(len(self.tracker.find(number).events), 6)

    def test_steps_cannot_be_skipped(self):
        number = self.tracker.register(MADRID, OSLO, BOX).number
        with self.assertRaises(IllegalStep):
            self.tracker.advance(number, Status.DELIVERED)

    def test_a_package_without_size_is_refused(self):
        with self.assertRaises(InvalidInput):
            self.tracker.register(MADRID, OSLO, Package(1200, 0, 20, 10))

    def test_a_shipment_is_late_after_five_quiet_days_and_not_when_it_has_arrived(self):
        waiting = self.tracker.register(MADRID, OSLO, BOX).number
        arrived = self.tracker.register(MADRID, OSLO, BOX).number
        for status in (Status.ACCEPTED, Status.IN_TRANSIT, Status.DELIVERED):
            self.tracker.advance(arrived, status)
        self.now += timedelta(days=5)
        self.assertEqual(self.tracker.late(), [])
        self.now += timedelta(minutes=1)
        self.assertEqual([shipment.number for shipment in self.tracker.late()], [waiting])


if __name__ == "__main__":
    unittest.main()
