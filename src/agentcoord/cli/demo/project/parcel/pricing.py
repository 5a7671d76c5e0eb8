"""What a shipment costs when no carrier is asked: our own table of zones and weights."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from parcel.errors import InvalidInput
from parcel.models import Package

EU = frozenset({"AT", "BE", "DE", "DK", "ES", "FI", "FR", "IE", "IT", "NL", "PL", "PT", "SE"})
NEIGHBOURS = frozenset({"CH", "GB", "NO"})

MAX_WEIGHT_G = 31_500
VOLUMETRIC_CM3_PER_KG = 5_000
"""Carriers charge for the room a light but bulky package takes."""

BASE = {"domestic": Decimal("4.90"), "eu": Decimal("9.50"), "europe": Decimal("14.00"), "world": Decimal("22.00")}
PER_KG = {"domestic": Decimal("0.80"), "eu": Decimal("1.60"), "europe": Decimal("2.90"), "world": Decimal("7.50")}

BULKY_CM = 120
BULKY_FEE = Decimal("12.00")
FUEL_RATE = Decimal("0.085")


def zone(origin: str, destination: str) -> str:
    """Name the price zone between two countries."""
    if origin == destination:
        return "domestic"
    if origin in EU and destination in EU:
        return "eu"
    if {origin, destination} <= EU | NEIGHBOURS:
        return "europe"
    return "world"


def volumetric_weight_g(package: Package) -> int:
    """The weight that the package's volume stands for, in grams."""
    return package.volume_cm3 * 1000 // VOLUMETRIC_CM3_PER_KG


def chargeable_kg(package: Package) -> int:
    """The kilograms to pay for: the larger of weight and volumetric weight, every started one counts."""
    grams = max(package.weight_g, volumetric_weight_g(package))
    return grams // 1000 + 1


def price(package: Package, origin: str, destination: str) -> Decimal:
    """Return the price in euros, with surcharges, rounded to cents."""
    if package.weight_g <= 0:
        raise InvalidInput("a package weighs something")
    if package.weight_g > MAX_WEIGHT_G:
        raise InvalidInput(f"{package.weight_g} g is more than the {MAX_WEIGHT_G} g we take")
    where = zone(origin, destination)
    amount = BASE[where] + PER_KG[where] * chargeable_kg(package)
    if max(package.length_cm, package.width_cm, package.height_cm) > BULKY_CM:
        amount += BULKY_FEE
    amount += amount * FUEL_RATE
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
