"""Tracking numbers as the Universal Postal Union defines them (standard S10).

Two letters for the service, eight digits, a check digit, two letters for the country of
origin: `RR123456785ES`. The check digit catches every single wrong digit and most swaps.
"""

from __future__ import annotations

import re

from parcel.errors import InvalidInput

_WEIGHTS = (8, 6, 4, 2, 3, 5, 9, 7)
_SHAPE = re.compile(r"([A-Z]{2})(\d{8})(\d)([A-Z]{2})")


def check_digit(digits: str) -> int:
    """Return the check digit of eight digits."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    rest = 11 - total % 11
    if rest == 10:
        return 0
    if rest == 11:
        return 5
    return rest


def make_number(serial: int, country: str, service: str = "RR") -> str:
    """Build the tracking number of the `serial`-th shipment from `country`."""
    if not 0 < serial < 100_000_000:
        raise InvalidInput(f"serial {serial} does not fit into eight digits")
    digits = f"{serial:08d}"
    return f"{service}{digits}{check_digit(digits)}{country}"


def parse_number(text: str) -> str:
    """Return the number without spaces and in capitals. Raises InvalidInput when it is none."""
    number = re.sub(r"\s+", "", text).upper()
    match = _SHAPE.fullmatch(number)
    if match is None:
        raise InvalidInput(f"{text!r} does not look like a tracking number")
    if int(match[3]) != check_digit(match[2]):
        raise InvalidInput(f"{text!r} has a wrong check digit: a mistyped number?")
    return number
