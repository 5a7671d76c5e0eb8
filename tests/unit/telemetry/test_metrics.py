"""Metrics: what is counted, and that dashboards and alerts ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentcoord.domain.events import Event, EventKind
from agentcoord.store.file_locks import LockOutcome
from agentcoord.telemetry.metrics import Metrics, Reading, StoreReading

CONFIG = Path(__file__).resolve().parents[3] / "config"
STORE = StoreReading(0.001, {"queued": 2, "done": 1}, 1.5, 0.25, 6.0, 2.5, 20.0, 3)
READING = Reading("9.9", 1000.0, True, 0.002, 0.5, {"idle": 6}, 1, 6, 2, 4, 90, {"used": 1, "idle": 3}, STORE)
USAGE = {"input_tokens": 100, "output_tokens": 20}
NIGHT = (
    Event(EventKind.TASK_CLAIMED, 1_000, "a", "w"),
    Event(EventKind.TASK_TURN, 4_000, "a", "w", {"model": "m", "usage": USAGE, "cost_usd_micros": 500_000}),
    Event(EventKind.TASK_TOOL, 5_000, "a", "w", {"tool": "bash", "is_error": True}),
    Event(EventKind.TASK_TURN, 11_000, "a", "w", {"model": "m", "usage": USAGE, "cost_usd_micros": 0}),
    Event(EventKind.LOCK_WAITED, 11_000, "a", "w", {"outcome": "taken", "ms": 700}),
    Event(EventKind.RATE_LIMITED, 11_000, None, None, {"model": "m", "wait_s": 2.5}),
    Event(EventKind.ERROR, 11_000, None, None, {"where": "store", "error": "it ended; it was started again"}),
    Event(EventKind.TASK_CHECKING, 11_000, "a", "w"),
    Event(EventKind.TASK_CHECKED, 12_000, "a", "w", {"ok": True, "ms": 900}),
    Event(EventKind.TASK_LANDING, 12_000, "a", "w"),
    Event(EventKind.TASK_DONE, 12_000, "a", "w", {"files": ["x"], "merged": ["x"]}),
    Event(EventKind.TASK_QUEUED, 13_000, "b", None, {"why": "its lease expired", "lease_lost": True}),
)


def samples(page: bytes) -> dict[str, float]:
    """Each sample by its name and labels, as Prometheus writes them."""
    return {
        sample.name + "".join(f"|{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def after(*events: Event, reading: Reading = READING) -> dict[str, float]:
    metrics = Metrics()
    for event in events:
        metrics.count(event)
    return samples(metrics.exposition(reading))


def test_a_night_is_counted_in_seconds_dollars_and_tokens() -> None:
    found = after(*NIGHT)
    assert found["agentcoord_claims_total"] == 1
    assert found["agentcoord_turns_total|model=m"] == 2
    assert found["agentcoord_tokens_total|kind=input|model=m"] == 200
    assert found["agentcoord_cost_usd_total|model=m"] == 0.5
    assert found["agentcoord_turn_duration_seconds_sum|model=m"] == 3 + 6
    assert found["agentcoord_tool_calls_total|error=true|tool=bash"] == 1
    assert found["agentcoord_lock_wait_seconds_sum|outcome=taken"] == 0.7
    assert found["agentcoord_rate_limit_wait_seconds_total|model=m"] == 2.5
    assert found["agentcoord_errors_total|where=store"] == 1
    assert found["agentcoord_check_runs_total|ok=true"] == 1
    assert found["agentcoord_landings_total"] == 1
    assert found["agentcoord_merged_files_total"] == 1
    assert found["agentcoord_lease_losses_total"] == 1
    assert found["agentcoord_conflicts_total"] == 0


def test_work_that_is_parked_while_it_is_proven_is_a_conflict_and_a_question_is_none() -> None:
    proven = (*NIGHT[:10], Event(EventKind.TASK_PARKED, 12_500, "a", "w", {"why": "conflict"}))
    assert after(*proven)["agentcoord_conflicts_total"] == 1
    asked = (*NIGHT[:2], Event(EventKind.TASK_PARKED, 12_500, "a", "w", {"why": "a cap"}))
    assert after(*asked)["agentcoord_conflicts_total"] == 0


def test_a_reading_becomes_gauges_and_an_absent_store_leaves_its_own_out() -> None:
    found = after()
    assert found["agentcoord_tasks|state=queued"] == 2
    assert found["agentcoord_run_cap_usd"] == 6.0
    assert found["agentcoord_worker_restarts_total"] == 4
    assert found["agentcoord_store_round_trips_total"] == 90
    assert found["agentcoord_store_connections|state=idle"] == 3
    assert found["agentcoord_store_up"] == 1
    away = after(reading=Reading("9.9", 1000.0, True, 0.0, 0.0))
    assert away["agentcoord_store_up"] == 0
    assert not any(name.startswith("agentcoord_tasks|") for name in away)


def test_the_first_wait_and_the_first_red_check_are_told_by_a_rate() -> None:
    """Prometheus sees no increase in a row that was not there before."""
    found = after()
    for outcome in set(LockOutcome) - {LockOutcome.ALREADY_HELD}:
        assert found[f"agentcoord_lock_wait_seconds_count|outcome={outcome}"] == 0
    assert found["agentcoord_check_runs_total|ok=false"] == found["agentcoord_check_runs_total|ok=true"] == 0


@pytest.mark.parametrize("path", ["grafana/agentcoord.json", "prometheus/alerts.yml"])
def test_dashboard_and_alerts_ask_only_for_metrics_that_there_are(path: str) -> None:
    text = (CONFIG / path).read_text()
    asked = set(re.findall(r"\b(?:agentcoord|process)_[a-z_]+\b", text))
    there_are = {name.partition("|")[0] for name in after(*NIGHT)}
    assert asked
    assert asked <= there_are


def test_every_panel_of_the_dashboard_has_a_place_of_its_own() -> None:
    board = json.loads((CONFIG / "grafana/agentcoord.json").read_text())
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & own
        assert max(x for x, _ in own) < 24
        cells |= own


def test_every_alert_has_a_test_that_raises_it() -> None:
    alerts = re.findall(r"- alert: (\w+)", (CONFIG / "prometheus/alerts.yml").read_text())
    tests = (CONFIG / "prometheus/alerts_test.yml").read_text()
    raised = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests)
    assert alerts
    assert sorted(alerts) == sorted(raised)


@pytest.mark.promtool
def test_promtool_finds_no_fault_with_metrics_rules_and_queries(tmp_path: Path) -> None:
    metrics = Metrics()
    for event in NIGHT:
        metrics.count(event)
    # promtool knows no dashboards; a query that may stand in a rule may stand in a panel.
    queries = tmp_path / "queries.json"
    queries.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": list(dashboard_rules())}]}))
    for words, fed in (
        (["check", "metrics"], metrics.exposition(READING)),
        (["check", "rules", str(CONFIG / "prometheus/alerts.yml")], b""),
        (["check", "rules", str(queries)], b""),
        (["check", "config", str(CONFIG / "prometheus/scrape.yml")], b""),
        (["test", "rules", str(CONFIG / "prometheus/alerts_test.yml")], b""),
    ):
        done = subprocess.run([promtool(), *words], input=fed, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), done.stdout + done.stderr


def dashboard_rules() -> Iterator[dict[str, str]]:
    """Each query of the dashboard as a recording rule."""
    board = json.loads((CONFIG / "grafana/agentcoord.json").read_text())
    for number, target in enumerate(each for panel in board["panels"] for each in panel["targets"]):
        yield {"record": f"query:{number}", "expr": target["expr"].replace("$instance", ".*")}


def promtool() -> str:
    """Where it is: on PATH, or beside this interpreter, where `make test` puts it."""
    found = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)
    assert found is not None, "promtool is missing; run: sh scripts/install_promtool.sh .venv/bin"
    return found
