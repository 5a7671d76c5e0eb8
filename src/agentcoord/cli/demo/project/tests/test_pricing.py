"""Prices of everyday packages."""

import unittest
from decimal import Decimal

from parcel.errors import InvalidInput
from parcel.models import Package
from parcel.pricing import price, zone

SMALL = Package(weight_g=1200, length_cm=30, width_cm=20, height_cm=10)


class Prices(unittest.TestCase):
    def test_a_small_package_inside_one_country(self):
        self.assertEqual(price(SMALL, "ES", "ES"), Decimal("7.05"))

    def test_a_longer_way_costs_more(self):
        by_distance = [price(SMALL, "ES", there) for there in ("ES", "FR", "NO", "US")]
        self.assertEqual(by_distance, sorted(by_distance))

    def test_too_heavy_is_refused(self):
        with self.assertRaises(InvalidInput):
            price(Package(40_000, 30, 20, 10), "ES", "ES")

    def test_the_zone_does_not_depend_on_the_direction(self):
        self.assertEqual(zone("NO", "ES"), zone("ES", "NO"))


if __name__ == "__main__":
    unittest.main()
