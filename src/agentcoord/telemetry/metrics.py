"""What Prometheus may read of a daemon: names, kinds and units, on a registry of our own.

Counters and histograms grow with the events as they are told; everything else is a `Reading`, taken
at the moment of the scrape, so that an idle daemon does nothing for it. Separate from the endpoint
that serves it (`daemon/metrics_server`). Names follow https://prometheus.io/docs/practices/naming/.
Deliberately absent: labels without a bound, such as task ids and paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agentcoord.domain.events import Event, EventKind
from agentcoord.values import dataclass

CONTENT_TYPE = CONTENT_TYPE_LATEST
TURN_BUCKETS_S = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
CHECK_BUCKETS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)
WAIT_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
LOCK_OUTCOMES = ("taken", "timed_out", "would_deadlock")
"""Of a wait for a file (`store/file_locks`), as the events tell it."""
MAX_CLOCKED_TASKS = 10_000
"""How many tasks' last events are kept for the durations of turns."""

_TURN_BEGINS = frozenset({EventKind.TASK_CLAIMED, EventKind.TASK_TOOL, EventKind.TASK_CHECKED})
_PROVING = frozenset({EventKind.TASK_CHECKING, EventKind.TASK_CHECKED, EventKind.TASK_LANDING})
_ENDS = frozenset(
    {
        EventKind.TASK_DONE,
        EventKind.TASK_REQUEUED,
        EventKind.TASK_PARKED,
        EventKind.TASK_FAILED,
        EventKind.TASK_CANCELLED,
    }
)


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What only the store knows."""

    ping_s: float
    """One round trip, measured at the scrape."""
    tasks: Mapping[str, int]
    """By state; every state is there."""
    run_spent_usd: float
    run_reserved_usd: float
    run_cap_usd: float | None
    day_spent_usd: float
    day_cap_usd: float | None
    needs_you: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The moment of a scrape."""

    version: str
    started_at_s: float
    """Unix time."""
    ready: bool
    loop_lag_s: float
    loop_lag_max_s: float
    workers: Mapping[str, int] = field(default_factory=dict)
    """By state."""
    copies_used: int = 0
    copies_total: int = 0
    subscribers: int = 0
    worker_restarts: int = 0
    round_trips: int = 0
    """To the store, since the start."""
    connections: Mapping[str, int] = field(default_factory=dict)
    """To the store, by whether a call has them."""
    store: StoreReading | None = None
    """None while the store is away."""


class Metrics:
    """All metrics of one daemon. Feed it every event; `exposition()` writes the page."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=False)
        self._last_ms: dict[str, int] = {}
        self._proving: set[str] = set()
        ProcessCollector(registry=registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"agentcoord_{name}", words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"agentcoord_{name}", words, labels, buckets=buckets, registry=registry)

        self._events = counter("events_total", "Facts told, by kind.", "kind")
        self._claims = counter("claims_total", "Tasks that workers took.")
        self._requeues = counter("requeues_total", "Tasks that went back to the queue.")
        self._lease_losses = counter("lease_losses_total", "Claims whose lease expired or was taken away.")
        self._ends = counter("tasks_ended_total", "Claims that ended, by how.", "outcome")
        self._turns = counter("turns_total", "Model turns.", "model")
        self._tokens = counter("tokens_total", "Tokens of model turns, by kind.", "model", "kind")
        self._dollars = counter("cost_usd_total", "US dollars that model turns cost.", "model")
        self._tools = counter(
            "tool_calls_total", "Tool calls, by tool and whether they failed.", "tool", "error"
        )
        self._checks = counter("check_runs_total", "Checks run, by whether they passed.", "ok")
        self._landings = counter("landings_total", "Tasks landed in the user's tree.")
        self._merges = counter("merged_files_total", "Files that a landing merged with somebody's edit.")
        self._conflicts = counter("conflicts_total", "Proven work that was parked instead of landed.")
        self._errors = counter(
            "errors_total",
            "Faults that the daemon got over, by where; of the store, restarts of its server.",
            "where",
        )
        self._limited = counter("rate_limit_waits_total", "Waits for the rate governor.", "model")
        self._limited_s = counter(
            "rate_limit_wait_seconds_total", "Seconds waited for the governor.", "model"
        )
        self._turn_s = histogram("turn_duration_seconds", "One model turn.", TURN_BUCKETS_S, "model")
        self._check_s = histogram("check_duration_seconds", "One check.", CHECK_BUCKETS_S)
        self._lock_s = histogram("lock_wait_seconds", "One wait for a file lock.", WAIT_BUCKETS_S, "outcome")
        # Of a row that begins with its first count, no rate ever tells that one.
        for ok in ("true", "false"):
            self._checks.labels(ok)
        for outcome in LOCK_OUTCOMES:
            self._lock_s.labels(outcome)

    def count(self, event: Event) -> None:
        """Count one event. What its data lacks counts as nothing."""
        data = event.data
        self._events.labels(str(event.kind)).inc()
        match event.kind:
            case EventKind.TASK_CLAIMED:
                self._claims.inc()
            case EventKind.TASK_TURN:
                self._count_turn(event)
            case EventKind.TASK_TOOL:
                failed = "true" if data.get("is_error") else "false"
                self._tools.labels(str(data.get("tool", "")), failed).inc()
            case EventKind.TASK_CHECKED:
                self._checks.labels("true" if data.get("ok") else "false").inc()
                self._check_s.observe(_seconds(data.get("ms")))
            case EventKind.TASK_DONE:
                self._landings.inc()
                self._merges.inc(len(data.get("merged") or ()))
            case EventKind.TASK_REQUEUED:
                self._requeues.inc()
            case EventKind.TASK_QUEUED if data.get("lease_lost"):
                self._lease_losses.inc()
            case EventKind.TASK_PARKED if event.task in self._proving:
                self._conflicts.inc()
            case EventKind.LOCK_WAITED:
                self._lock_s.labels(str(data.get("outcome", ""))).observe(_seconds(data.get("ms")))
            case EventKind.ERROR:
                self._errors.labels(str(data.get("where", ""))).inc()
            case EventKind.RATE_LIMITED:
                model = str(data.get("model", ""))
                self._limited.labels(model).inc()
                self._limited_s.labels(model).inc(float(data.get("wait_s") or 0.0))
            case _:
                pass
        self._follow(event)

    def _count_turn(self, event: Event) -> None:
        model = str(event.data.get("model", ""))
        self._turns.labels(model).inc()
        self._dollars.labels(model).inc(int(event.data.get("cost_usd_micros") or 0) / 1_000_000)
        for kind, tokens in (event.data.get("usage") or {}).items():
            if kind.endswith("_tokens"):
                self._tokens.labels(model, kind.removesuffix("_tokens")).inc(tokens)
        begun_ms = self._last_ms.get(event.task or "")
        if begun_ms is not None:
            self._turn_s.labels(model).observe(max(0, event.at_ms - begun_ms) / 1000)

    def _follow(self, event: Event) -> None:
        """Keep, for each running task, when its next turn began and whether it is being proven."""
        if event.task is None:
            return
        if event.kind in _ENDS:
            self._ends.labels(event.kind.removeprefix("task.")).inc()
            self._last_ms.pop(event.task, None)
            self._proving.discard(event.task)
            return
        if event.kind in _PROVING:
            self._proving.add(event.task)
        elif event.kind is EventKind.TASK_TURN:
            self._proving.discard(event.task)
        if event.kind in _TURN_BEGINS or event.kind is EventKind.TASK_TURN:
            if len(self._last_ms) >= MAX_CLOCKED_TASKS:
                self._last_ms.clear()
                self._proving.clear()
            self._last_ms[event.task] = event.at_ms

    def described(self, reading: Reading) -> list[tuple[str, str, tuple[str, ...], str]]:
        """Name, kind, labels and meaning of every metric of ours, for the reference."""
        own = [each for each in vars(self).values() if isinstance(each, Counter | Histogram)]
        rows = [
            (family.name, family.type, tuple(each._labelnames), family.documentation)  # noqa: SLF001 - has no public name
            for each in own
            for family in each.describe()
        ]
        rows += [
            (each.name, each.type, tuple(each.samples[0].labels) if each.samples else (), each.documentation)
            for each in _Moment(reading).collect()
        ]
        return sorted(
            (f"{name}_total" if kind == "counter" else name, kind, labels, words)
            for name, kind, labels, words in rows
        )

    def exposition(self, reading: Reading) -> bytes:
        """The page that Prometheus reads: everything counted so far, and this reading."""
        of_the_moment = CollectorRegistry(auto_describe=False)
        of_the_moment.register(_Moment(reading))
        return generate_latest(self._registry) + generate_latest(of_the_moment)


class _Moment(Collector):
    """A reading as gauges."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        reading = self._reading
        yield _gauge("build_info", "The version that runs.", {reading.version: 1.0}, "version")
        yield _gauge("start_time_seconds", "When the daemon began, in Unix time.", reading.started_at_s)
        yield _gauge("ready", "Whether workers are running.", float(reading.ready))
        yield _gauge("loop_lag_seconds", "How late the event loop ran what was due.", reading.loop_lag_s)
        yield _gauge("loop_lag_max_seconds", "The same at its worst since the start.", reading.loop_lag_max_s)
        yield _gauge("workers", "Workers, by state.", dict(reading.workers), "state")
        yield _gauge("private_copies_used", "Private copies that a worker has.", reading.copies_used)
        yield _gauge("private_copies", "Private copies there are.", reading.copies_total)
        yield _gauge("subscribers", "Dashboards and other readers of events.", reading.subscribers)
        yield CounterMetricFamily(
            "agentcoord_worker_restarts", "Workers begun anew after a crash.", value=reading.worker_restarts
        )
        yield CounterMetricFamily(
            "agentcoord_store_round_trips",
            "Round trips to the store; calls sent together are one.",
            value=reading.round_trips,
        )
        yield _gauge(
            "store_connections",
            "Open connections to the store, used and idle.",
            dict(reading.connections),
            "state",
        )
        yield _gauge("store_up", "Whether the store answers.", float(reading.store is not None))
        if reading.store is not None:
            yield from _of_store(reading.store)


def _of_store(store: StoreReading) -> Iterator[Metric]:
    yield _gauge("store_ping_seconds", "One round trip to the store.", store.ping_s)
    yield _gauge("tasks", "Tasks, by state.", dict(store.tasks), "state")
    yield _gauge("needs_you", "Things that wait for a person.", store.needs_you)
    yield _gauge("run_spent_usd", "US dollars spent in this run.", store.run_spent_usd)
    yield _gauge("run_reserved_usd", "US dollars set aside for calls under way.", store.run_reserved_usd)
    yield _gauge("day_spent_usd", "US dollars spent today.", store.day_spent_usd)
    if store.run_cap_usd is not None:
        yield _gauge("run_cap_usd", "The cap of this run in US dollars.", store.run_cap_usd)
    if store.day_cap_usd is not None:
        yield _gauge("day_cap_usd", "The cap of a day in US dollars.", store.day_cap_usd)


def _gauge(name: str, words: str, value: float | Mapping[str, float], label: str = "") -> GaugeMetricFamily:
    if isinstance(value, Mapping):
        family = GaugeMetricFamily(f"agentcoord_{name}", words, labels=[label])
        for key, each in sorted(value.items()):
            family.add_metric([key], each)
        return family
    return GaugeMetricFamily(f"agentcoord_{name}", words, value=value)


def _seconds(ms: object) -> float:
    return ms / 1000 if isinstance(ms, int | float) else 0.0
