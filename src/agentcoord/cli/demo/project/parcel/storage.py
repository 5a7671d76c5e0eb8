"""Keeps shipments in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from parcel.errors import NotFound
from parcel.models import Address, Event, Package, Shipment, Status

SCHEMA = """
CREATE TABLE IF NOT EXISTS shipments (
    number TEXT PRIMARY KEY,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    package TEXT NOT NULL,
    status TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    number TEXT NOT NULL REFERENCES shipments (number),
    at TEXT NOT NULL,
    status TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_number ON events (number, id);
CREATE TABLE IF NOT EXISTS counters (country TEXT PRIMARY KEY, last INTEGER NOT NULL);
"""


class Store:
    """Shipments, events and running numbers; every method is one transaction."""

    def __init__(self, path):
        self.path = Path(path)
        with self._connection() as db:
            db.executescript(SCHEMA)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction: committed at the end, rolled back on an error."""
        db = sqlite3.connect(self.path)
        try:
            with db:
                yield db
        finally:
            db.close()

    def next_serial(self, country: str) -> int:
        """Return the next running number of a country; each is given out once."""
        with self._connection() as db:
            row = db.execute(
                "INSERT INTO counters VALUES (?, 1)"
                " ON CONFLICT (country) DO UPDATE SET last = last + 1 RETURNING last",
                (country,),
            ).fetchone()
        return row[0]

    def add(self, shipment: Shipment) -> None:
        """Store a new shipment with its events."""
        with self._connection() as db:
            db.execute(
                "INSERT INTO shipments VALUES (?, ?, ?, ?, ?)",
                (
                    shipment.number,
                    json.dumps(asdict(shipment.sender)),
                    json.dumps(asdict(shipment.recipient)),
                    json.dumps(asdict(shipment.package)),
                    shipment.status,
                ),
            )
            for event in shipment.events:
                _insert_event(db, shipment.number, event)

    def record(self, number: str, event: Event) -> None:
        """Append an event and make its status the shipment's."""
        with self._connection() as db:
            _insert_event(db, number, event)
            changed = db.execute("UPDATE shipments SET status = ? WHERE number = ?", (event.status, number))
            if changed.rowcount == 0:
                raise NotFound(number)

    def get(self, number: str) -> Shipment:
        """Return a shipment with its history. Raises NotFound."""
        with self._connection() as db:
            row = db.execute("SELECT * FROM shipments WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise NotFound(number)
            return _shipment(row, _events(db, number))

    def all(self, status: Status | None = None) -> list[Shipment]:
        """Return every shipment, or those of one status, by number."""
        with self._connection() as db:
            rows = db.execute(
                "SELECT * FROM shipments WHERE ? IS NULL OR status = ? ORDER BY number", (status, status)
            ).fetchall()
            return [_shipment(row, _events(db, row[0])) for row in rows]

    def counts(self) -> dict[Status, int]:
        """Return how many shipments have each status; statuses that none has are left out."""
        with self._connection() as db:
            rows = db.execute("SELECT status, COUNT(*) FROM shipments GROUP BY status").fetchall()
        return {Status(status): count for status, count in rows}


def _insert_event(db, number, event):
    db.execute(
        "INSERT INTO events (number, at, status, note) VALUES (?, ?, ?, ?)",
        (number, event.at.isoformat(), event.status, event.note),
    )


def _events(db, number):
    rows = db.execute("SELECT at, status, note FROM events WHERE number = ? ORDER BY id", (number,))
    return tuple(Event(datetime.fromisoformat(at), Status(status), note) for at, status, note in rows)


def _shipment(row, events):
    number, sender, recipient, package, status = row
    return Shipment(
        number=number,
        sender=Address(**json.loads(sender)),
        recipient=Address(**json.loads(recipient)),
        package=Package(**json.loads(package)),
        status=Status(status),
        events=events,
    )
