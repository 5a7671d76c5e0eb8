"""The `parcel` command."""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import timedelta

from parcel import __version__, report
from parcel.addresses import parse_address
from parcel.config import load_settings
from parcel.errors import InvalidInput, ParcelError
from parcel.models import Package, Status
from parcel.pricing import price
from parcel.storage import Store
from parcel.tracking import Tracker, utc_now


def parse_size(text):
    """Read `30x20x10` as centimetres."""
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if match is None:
        raise InvalidInput(f"{text!r} is no size like 30x20x10")
    return tuple(int(side) for side in match.groups())


def build_parser():
    parser = argparse.ArgumentParser(prog="parcel", description="Track shipments and price them.")
    parser.add_argument("--version", action="version", version=f"parcel {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = commands.add_parser("add", help="register a shipment and print its number")
    add.add_argument("--from", dest="sender", required=True, help="Name; Street; Postcode City; CC")
    add.add_argument("--to", dest="recipient", required=True, help="Name; Street; Postcode City; CC")
    add.add_argument("--weight", type=int, required=True, help="in grams")
    add.add_argument("--size", required=True, help="LxWxH in centimetres")

    show = commands.add_parser("show", help="show one shipment with its history")
    show.add_argument("number")

    advance = commands.add_parser("advance", help="record the next step of a shipment")
    advance.add_argument("number")
    advance.add_argument("status", choices=[str(status) for status in Status])
    advance.add_argument("--note", default="")

    listing = commands.add_parser("list", help="list shipments")
    listing.add_argument("--status", choices=[str(status) for status in Status])

    commands.add_parser("daily", help="print the report of the day")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    try:
        settings = load_settings(os.environ)
        store = Store(settings.database)
        tracker = Tracker(store)
        if args.command == "add":
            package = Package(args.weight, *parse_size(args.size))
            sender = parse_address(args.sender)
            recipient = parse_address(args.recipient)
            price(package, sender.country, recipient.country)  # refuses what we cannot carry
            print(tracker.register(sender, recipient, package).number)
        elif args.command == "show":
            print(report.details(tracker.find(args.number)))
        elif args.command == "advance":
            tracker.advance(args.number, Status(args.status), args.note)
        elif args.command == "list":
            status = None
            if args.status is not None:
                status = Status(args.status)
            print(report.table(store.all(status)))
        elif args.command == "daily":
            late = tracker.late(timedelta(days=settings.late_days))
            print(report.daily(store.all(), late, utc_now()))
    except ParcelError as error:
        print(f"parcel: {error}", file=sys.stderr)
        return 1
    return 0
