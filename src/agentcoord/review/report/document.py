"""The report as one JSON document, for scripts: the facts as they are, times and money as numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agentcoord.review.report.facts import Night
from agentcoord.review.report.headline import headline, price, proof


def document_of(night: Night) -> dict[str, Any]:
    """Everything that the report tells; keys are those of `facts`, and what is computed from them."""
    document = asdict(night)
    document["headline"] = {"outcome": headline(night), "proof": proof(night), "price": price(night)}
    document["runs_here"] = [{"path": path, "tasks": list(tasks)} for path, tasks in night.runs_here]
    document["usd_per_landed_task"] = night.usd_per_landed
    document["usd_on_failures"] = round(night.failed_usd, 6)
    if night.timeline is not None:
        document["timeline"]["busy_ms"] = night.timeline.busy_ms
        document["timeline"]["waiting_ms"] = night.timeline.waiting_ms
        document["timeline"]["idle_ms"] = night.timeline.idle_ms
    return document
