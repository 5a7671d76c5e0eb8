"""The rate client against canned answers."""

import io
import unittest
from decimal import Decimal

from parcel.models import Package
from parcel.rates import RateClient

SMALL = Package(weight_g=1200, length_cm=30, width_cm=20, height_cm=10)
ANSWER = (
    b'{"rates": [{"service": "express", "price": "31.90", "days": 2},'
    b' {"service": "economy", "price": "12.40", "days": 6}]}'
)


class Recorder:
    """Stands in for `urlopen`: remembers the address, gives the canned answer."""

    def __init__(self, body=ANSWER):
        self.body = body
        self.urls = []

    def __call__(self, url, **_options):
        self.urls.append(url)
        return io.BytesIO(self.body)


class Quotes(unittest.TestCase):
    def test_the_cheapest_comes_first(self):
        quotes = RateClient("http://carrier.example/", Recorder()).quotes(SMALL, "ES", "NO")
        self.assertEqual([quote.service for quote in quotes], ["economy", "express"])
        self.assertEqual(quotes[0].price, Decimal("12.40"))

    def test_the_question_carries_route_and_weight(self):
        recorder = Recorder()
        RateClient("http://carrier.example/", recorder).quotes(SMALL, "ES", "NO")
        self.assertEqual(recorder.urls, ["http://carrier.example/rates?from=ES&to=NO&weight=1200"])

    def test_a_deadline_leaves_out_slow_services(self):
        client = RateClient("http://carrier.example", Recorder())
        self.assertEqual(client.cheapest(SMALL, "ES", "NO", within_days=3).service, "express")


if __name__ == "__main__":
    unittest.main()
