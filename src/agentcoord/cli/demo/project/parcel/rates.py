"""Asks a carrier's rate service for quotes over HTTP.

The service answers `GET /rates?from=ES&to=NO&weight=1200` with
`{"rates": [{"service": "express", "price": "31.90", "days": 2}, ...]}`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode
from urllib.request import urlopen

from parcel.models import Package


@dataclass(frozen=True)
class Quote:
    """One way of sending a package."""

    service: str
    price: Decimal
    days: int


class RateClient:
    """Talks to one rate service."""

    def __init__(self, base_url, open_url=urlopen):
        self.base_url = base_url.rstrip("/")
        self._open_url = open_url

    def quotes(self, package: Package, origin: str, destination: str) -> list[Quote]:
        """Return what the service offers, cheapest first."""
        query = urlencode({"from": origin, "to": destination, "weight": package.weight_g})
        body = self._get(f"{self.base_url}/rates?{query}")
        quotes = [self._quote(row) for row in json.loads(body)["rates"]]
        return sorted(quotes, key=lambda quote: quote.price)

    def cheapest(self, package: Package, origin: str, destination: str, within_days=None) -> Quote:
        """Return the cheapest quote, of those that arrive in time when `within_days` is given."""
        fitting = [
            quote
            for quote in self.quotes(package, origin, destination)
            if within_days is None or quote.days <= within_days
        ]
        return fitting[0]

    def _get(self, url):
        with self._open_url(url) as response:
            return response.read()

    def _quote(self, row):
        return Quote(row["service"], Decimal(row["price"]), int(row["days"]))
