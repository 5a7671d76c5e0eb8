"""Shipments as text: one in full, many as a table, a day as a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from parcel.models import Shipment, Status


def details(shipment: Shipment) -> str:
    """Describe one shipment with its history."""
    lines = []
    lines.append(shipment.number + "  " + str(shipment.status))
    route = shipment.sender.country + " -> " + shipment.recipient.country
    weight = str(shipment.package.weight_g) + " g"
    lines.append("  " + route + "   " + weight)
    for event in shipment.events:
        line = "  " + event.at.strftime("%Y-%m-%d %H:%M") + "  " + str(event.status)
        if event.note != "":
            line = line + "  " + event.note
        lines.append(line)
    return "\n".join(lines)


def table(shipments: Sequence[Shipment]) -> str:
    """List shipments, one a line."""
    lines = []
    for shipment in shipments:
        route = shipment.sender.country + " -> " + shipment.recipient.country
        weight = str(shipment.package.weight_g) + " g"
        status = str(shipment.status)
        while len(status) < 10:
            status = status + " "
        lines.append(shipment.number + "  " + status + "  " + route + "   " + weight)
    if lines == []:
        return "no shipments"
    return "\n".join(lines)


def daily(shipments: Sequence[Shipment], late: Sequence[Shipment], at: datetime) -> str:
    """Summarise a day: how many of each status, and which are late."""
    lines = []
    lines.append("Shipments on " + at.strftime("%Y-%m-%d"))
    for status in Status:
        count = 0
        for shipment in shipments:
            if shipment.status == status:
                count = count + 1
        if count > 0:
            name = str(status)
            while len(name) < 10:
                name = name + " "
            lines.append("  " + name + "  " + str(count))
    if len(late) > 0:
        lines.append("Late:")
        for shipment in late:
            route = shipment.sender.country + " -> " + shipment.recipient.country
            weight = str(shipment.package.weight_g) + " g"
            lines.append("  " + shipment.number + "  " + route + "   " + weight)
    return "\n".join(lines)
