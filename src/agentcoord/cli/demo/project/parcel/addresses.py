"""Addresses as people type them: one line, four parts, `;` between them."""

from __future__ import annotations

import re

from parcel.errors import InvalidInput
from parcel.models import Address

_POSTCODES = {
    "DE": r"\d{5}",
    "ES": r"\d{5}",
    "FR": r"\d{5}",
    "GB": r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}",
    "NL": r"\d{4} [A-Z]{2}",
    "NO": r"\d{4}",
    "US": r"\d{5}(-\d{4})?",
}
"""What a postcode looks like where we know it; other countries take anything."""


def parse_address(text: str) -> Address:
    """Read `Name; Street; Postcode City; CC`.

    Raises InvalidInput that names the part which is missing or wrong.
    """
    parts = [part.strip() for part in text.split(";")]
    if len(parts) != 4:
        raise InvalidInput(f"an address has 4 parts (name; street; postcode city; country), not {len(parts)}")
    name, street, place, country = parts
    if not name or not street:
        raise InvalidInput("an address needs a name and a street")
    country = country.upper()
    if not re.fullmatch(r"[A-Z]{2}", country):
        raise InvalidInput(f"{country!r} is no country code of two letters")
    postcode, city = _split_place(place, country)
    return Address(name, street, postcode, city, country)


def _split_place(place: str, country: str) -> tuple[str, str]:
    """Split `28013 Madrid` into its postcode and its city by what the country's postcodes look like."""
    shape = _POSTCODES.get(country, r"\S+")
    match = re.fullmatch(rf"(?P<postcode>{shape})\s+(?P<city>\S.*)", place, flags=re.IGNORECASE)
    if match is None:
        raise InvalidInput(f"{place!r} is no postcode and city of {country}")
    return match["postcode"].upper(), match["city"]


def one_line(address: Address) -> str:
    """Write an address so that `parse_address` reads the same one."""
    return f"{address.name}; {address.street}; {address.postcode} {address.city}; {address.country}"
