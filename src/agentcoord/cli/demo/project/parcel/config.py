"""Settings: defaults, then an INI file, then the environment."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parcel.errors import InvalidInput


@dataclass(frozen=True)
class Settings:
    """Everything that can be set."""

    database: Path = Path("parcel.db")
    rates_url: str = ""
    """Base address of the carrier's rate service; empty: our own price table only."""
    late_days: int = 5


def load_settings(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """Read settings from `[parcel]` of an INI file and from `PARCEL_*` variables, which win."""
    values: dict[str, str] = {}
    if path is not None:
        parser = configparser.ConfigParser()
        parser.read(path)
        if parser.has_section("parcel"):
            values.update(parser["parcel"])
    for key in ("database", "rates_url", "late_days"):
        variable = f"PARCEL_{key.upper()}"
        if variable in environ:
            values[key] = environ[variable]
    unknown = sorted(set(values) - {"database", "rates_url", "late_days"})
    if unknown:
        raise InvalidInput(f"unknown setting {unknown[0]!r}")
    return Settings(
        database=Path(values.get("database", "parcel.db")),
        rates_url=values.get("rates_url", ""),
        late_days=int(values.get("late_days", "5")),
    )
