"""The store against other Python queues, measured in the same run; prints ratios as a Markdown table.

`python scripts/bench/bench_store.py [--quick] [--server redis|valkey] [--no-peers | --peers NAME,NAME]
[--rounds N] [--no-depth]`. The first run makes
one environment a peer in the user's cache folder, from the pinned lists in `peers/`. Medians of three
rounds (one with --quick); in each round ours and every peer take their turn, because the machine's speed
drifts. The server has a core of its own, and all that is measured shares the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import store_ours
from store_peers import PEERS, Peer, PeerFigures, measure_peer
from store_server import bench_server, leave_a_core_to_the_server

ROOT = Path(__file__).resolve().parents[2]
PROSE_PAGES = ("README.md", "docs/architecture.md", "docs/how-to.md", "docs/decisions/0002-queue-layout.md")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything is measured."""

    runs: int
    tasks: int
    samples: int
    deep: int
    blocked: int
    idle_s: float
    lease_ms: int = 5000


DEPTH_ROUNDS = 5
FULL = Size(runs=3, tasks=10_000, samples=300, deep=1_000_000, blocked=100_000, idle_s=30.0)
QUICK = Size(runs=1, tasks=3_000, samples=100, deep=100_000, blocked=10_000, idle_s=5.0)


@dataclass(frozen=True, slots=True)
class Best:
    """The best of all peers at each thing, with the name of who it was."""

    tasks_per_s: tuple[float, str]
    pickup_p50_ms: tuple[float, str]
    bytes_per_task: tuple[float, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer tasks, one run")
    parser.add_argument("--server", choices=("redis", "valkey"), default="valkey")
    parser.add_argument("--no-peers", action="store_true", help="only our own figures")
    parser.add_argument("--peers", metavar="NAME,NAME", help="only these peers")
    parser.add_argument("--no-depth", action="store_true", help="leave out memory, recovery and depth")
    parser.add_argument("--rounds", type=int, help="instead of 3, or 1 with --quick")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    if options.rounds:
        size = replace(size, runs=options.rounds)
    names = options.peers.split(",") if options.peers else [peer.name for peer in PEERS]
    chosen = () if options.no_peers else tuple(peer for peer in PEERS if peer.name in names)
    with tempfile.TemporaryDirectory() as folder:
        prose = Path(folder) / "prose.txt"
        prose.write_bytes(
            " ".join((ROOT / page).read_text() for page in PROSE_PAGES).encode("ascii", "ignore")
        )
        _describe(options.server, leave_a_core_to_the_server())
        peers, ours = _rounds(options.server, prose, size, chosen)
        best = _print_peers(peers) if peers else None
        _print_ours(ours, best)
        if not options.no_depth:
            _ours_alone(options.server, prose.read_text(), size, best)


def _describe(kind: str, cores_note: str) -> None:
    with bench_server(kind) as server:
        version = server.version
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
    machine += f", {cores_note}" if cores_note else ""
    print(f"{version}, Python {platform.python_version()}, {machine}, load {os.getloadavg()[0]:.1f}\n")


@dataclass(slots=True)
class OurRounds:
    """What ours gave, a figure a round."""

    throughput: dict[int, list[store_ours.Throughput]] = field(default_factory=lambda: {6: [], 60: []})
    bare_ms: list[float] = field(default_factory=list)
    """Round trip of a PING on a bare connection."""
    own_ms: list[float] = field(default_factory=list)
    """Pick-up of what the daemon itself enqueues."""
    outside_ms: list[float] = field(default_factory=list)
    """Pick-up of what another process enqueues."""


def _rounds(
    kind: str, prose: Path, size: Size, peers: Sequence[Peer]
) -> tuple[list[tuple[Peer, PeerFigures]], OurRounds]:
    words = prose.read_text()
    of_peer: dict[str, list[PeerFigures]] = {}
    ours = OurRounds()
    for _ in range(size.runs):
        for workers, runs in ours.throughput.items():
            runs.append(store_ours.throughput(kind, words, workers=workers, tasks=size.tasks))
        ours.bare_ms += store_ours.round_trip_ms(kind, samples=size.samples)
        ours.own_ms += store_ours.pickup_ms(kind, samples=size.samples, from_outside=False)
        ours.outside_ms += store_ours.pickup_ms(kind, samples=size.samples, from_outside=True)
        for peer in peers:
            count = size.tasks if peer.name not in ("rq", "celery") else size.tasks // 5
            try:
                figures = measure_peer(peer, kind, prose, tasks=count, samples=size.samples)
            except (RuntimeError, OSError) as error:
                print(f"{peer.label}: {error}", file=sys.stderr)
            else:
                of_peer.setdefault(peer.label, []).append(figures)
    rows = [(peer, _median_of(of_peer[peer.label])) for peer in peers if peer.label in of_peer]
    return rows, ours


def _print_peers(rows: Sequence[tuple[Peer, PeerFigures]]) -> Best:
    print("| peer | tasks/s | pick-up p50 / p99 ms | commands a task | bytes a queued task |")
    print("|---|---|---|---|---|")
    for peer, figures in rows:
        _print_peer(peer, figures)
    speeds = [(figures.tasks_per_s, peer.label) for peer, figures in rows]
    pickups = [(_percentile(figures.pickup_ms, 50), peer.label) for peer, figures in rows]
    memories = [(figures.bytes_per_task, peer.label) for peer, figures in rows]
    return Best(max(speeds), min(pickups), min(memories))


def _median_of(runs: Sequence[PeerFigures]) -> PeerFigures:
    return PeerFigures(
        statistics.median(run.tasks_per_s for run in runs),
        statistics.median(run.commands_per_task for run in runs),
        statistics.median(run.bytes_per_task for run in runs),
        tuple(sorted(delay for run in runs for delay in run.pickup_ms)),
    )


def _print_peer(peer: Peer, figures: PeerFigures) -> None:
    p50, p99 = _percentile(figures.pickup_ms, 50), _percentile(figures.pickup_ms, 99)
    print(
        f"| {peer.label} | {figures.tasks_per_s:,.0f} | {p50:.2f} / {p99:.2f} "
        f"| {figures.commands_per_task:.1f} | {figures.bytes_per_task:,.0f} |",
        flush=True,
    )


def _print_ours(ours: OurRounds, best: Best | None) -> None:
    print("\n| AgentCoord | figure | best peer | ratio | wanted |")
    print("|---|---|---|---|---|", flush=True)
    for workers, times, calls in ((6, 5, 0.5), (60, 10, 0.05)):
        runs = ours.throughput[workers]
        speed = statistics.median(run.tasks_per_s for run in runs)
        _row(
            f"tasks/s, {workers} workers",
            f"{speed:,.0f}",
            speed,
            best.tasks_per_s if best else None,
            f">= {times}",
        )
        per_task = statistics.median(run.calls_per_task for run in runs)
        _row(f"script calls a task, {workers} workers", f"{per_task:.3f}", 0, None, f"<= {calls}")
    floor = sorted(ours.bare_ms)
    figure = f"{_percentile(floor, 50):.2f} / {_percentile(floor, 99):.2f}"
    _row(
        "a bare PING p50 / p99 ms, as far apart",
        figure,
        _percentile(floor, 50),
        best.pickup_p50_ms if best else None,
        "",
    )
    for who, delays, wanted in (
        ("the daemon itself", ours.own_ms, "<= 0.5"),
        ("another process", ours.outside_ms, "<= 1"),
    ):
        p50, p99 = _percentile(sorted(delays), 50), _percentile(sorted(delays), 99)
        figure = f"{p50:.2f} / {p99:.2f}"
        _row(f"pick-up p50 / p99 ms, by {who}", figure, p50, best.pickup_p50_ms if best else None, wanted)


def _ours_alone(kind: str, prose: str, size: Size, best: Best | None) -> None:
    texts = [spec.description for spec in store_ours.specs(size.tasks, prose)]
    memory = store_ours.bytes_per_task(kind, texts)
    _row(
        "bytes a queued task",
        f"{memory:,.0f}",
        memory,
        best.bytes_per_task if best else None,
        "<= 1,224 bytes",
    )
    reads = store_ours.idle_reads_per_s(kind, seconds=size.idle_s)
    _row("reads a second, six idle workers", f"{reads:.2f}", 0, None, "< 1")
    for same, wanted in ((True, "at once"), (False, f"<= {size.lease_ms / 1000 + 1:.0f} s")):
        after = store_ours.recovery_s(kind, lease_ms=size.lease_ms, same_daemon=same)
        who = "the same daemon" if same else "another"
        _row(f"s from kill -9 to all six tasks held by {who}", f"{after:.2f}", 0, None, wanted)
    _depths(kind, prose, size)


def _depths(kind: str, prose: str, size: Size) -> None:
    """Cost of a claim as the queue grows, in server time, which other load on the machine hardly moves."""
    base, deep = store_ours.depth(kind, prose, queued=size.deep, rounds=DEPTH_ROUNDS)
    _row("server us a task, 1,000 queued, 6 workers", f"{base:.1f}", 0, None, "")
    _against(f"... {size.deep:,} queued", deep, base, "<= 1.3")
    base, crowded = store_ours.depth(
        kind, prose, queued=size.deep, rounds=DEPTH_ROUNDS, blocked=size.blocked, strangers=50
    )
    _against(f"... and {size.blocked:,} blocked, 50 uncovered tag sets", crowded, base, "<= 1.3")
    few, many = (
        statistics.median(
            store_ours.throughput(kind, prose, workers=workers, tasks=1000).server_us_per_task
            for _ in range(DEPTH_ROUNDS)
        )
        for workers in (6, 600)
    )
    _against("... 1,000 queued, 600 workers", many, few, "<= 1")


def _against(label: str, figure: float, base: float, wanted: str) -> None:
    print(f"| {label} | {figure:.1f} | {base:.1f} (ours) | {figure / base:.2f} | {wanted} |", flush=True)


def _row(label: str, text: str, figure: float, best: tuple[float, str] | None, wanted: str) -> None:
    peer, ratio = ("", "") if best is None else (f"{best[0]:,.2f} ({best[1]})", f"{figure / best[0]:.2f}")
    print(f"| {label} | {text} | {peer} | {ratio} | {wanted} |", flush=True)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    main()
