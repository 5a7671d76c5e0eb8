"""What a soak looks at while it runs: the daemon's memory, descriptors, children, disk, keys.

Linux only (`/proc`). Descriptors come from the daemon's own metrics, because nobody else may count them
in a process that keeps its memory to itself.
"""

from __future__ import annotations

import os
import statistics
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from agentcoord.config.paths import ProjectPaths
from agentcoord.store.client import CONNECTIONS
from agentcoord.store.keys import Keys

OF_A_TASK = ("t:", "b:", "spend:task:", "h:")
"""What a task leaves for good: its state, its specification, what it has cost, and, when something went
against it, how its attempts ended. A cap, a review, an undo or a retry ask for them on any later day;
`agentcoord cleanup --all` removes them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    at_s: float
    """Since the soak's start."""
    pid: int
    done: int
    """Tasks done so far."""
    memory_mb: float
    """Resident, of the daemon alone."""
    descriptors: int
    """Without those of connections to the store: they are kept once opened, up to the pool's bound."""
    connections: int
    threads: int
    children: int
    """Direct ones, zombies included."""
    keys: int
    """Of the server, beside those that each task leaves for good."""
    redis_mb: float
    state_mb: float
    """The state folder without logs, which are bounded, without the server's file, which it rewrites, and
    without the files of the private copies, which are as many as the tree's."""
    strays: int
    """Files of the fullest private copy beyond those of the tree."""
    leftovers: int
    """Entries of the temporary folder."""


def look(paths: ProjectPaths, temporary: Path, port: int, pid: int, at_s: float, done: int) -> Sample:
    """Take a sample. Raises OSError while the daemon or its server is away."""
    words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    with Redis(unix_socket_path=os.fspath(paths.redis_socket), decode_responses=True) as redis:
        keys = _keys_beside_tasks(redis, Keys(paths.project_id).prefix)
        used = int(redis.info("memory")["used_memory"])
    copies = [*paths.workspaces_dir.glob("slots/*/tree"), *paths.workspaces_dir.glob("proofs/*/tree")]
    files_of_tree = _files_of_tree(paths.root)
    state = _disk_bytes(paths.state_dir, beside=(*copies, paths.log_file.parent, paths.redis_dir))
    connections = sum(
        _metric(page, f'agentcoord_store_connections{{state="{state}"}}') for state in ("idle", "used")
    )
    return Sample(
        at_s=at_s,
        pid=pid,
        done=done,
        memory_mb=int(words["VmRSS"].split()[0]) / 1024,
        descriptors=int(_metric(page, "process_open_fds") - connections),
        connections=int(connections),
        threads=int(words["Threads"]),
        children=len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
        keys=keys,
        redis_mb=used / 1024**2,
        state_mb=state / 1024**2,
        strays=max((_files_of_tree(copy) - files_of_tree for copy in copies), default=0),
        leftovers=len(list(temporary.iterdir())),
    )


def _keys_beside_tasks(redis: Redis, prefix: str) -> int:
    """Count what is not one of the keys of a task that is there: these may be no more for more tasks."""
    tasks = [str(task) for task in redis.zrange(prefix + "order", 0, -1)]
    suffixes = {str(name).removeprefix(prefix) for name in redis.scan_iter(count=1000)}
    own = {family + task for family in OF_A_TASK for task in tasks}
    return len(suffixes - own)


def _metric(page: str, name: str) -> float:
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))


def _disk_bytes(path: Path, beside: Collection[Path]) -> int:
    total = 0
    for folder, names, files in os.walk(path):
        names[:] = [name for name in names if Path(folder) / name not in beside]
        for name in (*names, *files):
            try:
                total += (Path(folder) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # The daemon works here.
    return total


def _files_of_tree(path: Path) -> int:
    found = 0
    for _, names, files in os.walk(path):
        names[:] = [name for name in names if name != ".git"]
        found += len(files)
    return found


@dataclass(frozen=True, slots=True)
class Bound:
    """How much one thing may grow between two thirds of a daemon's life."""

    name: str
    of: Callable[[Sample], float]
    flat: float
    """However long."""
    a_task: float
    """For each task done meanwhile: its record, its journal entry, its transcript."""


BOUNDS = (
    Bound("memory, MB", lambda s: s.memory_mb, 6.0, 0.02),
    Bound("descriptors", lambda s: s.descriptors, 6.0, 0.0),
    Bound("connections to the store", lambda s: s.connections, CONNECTIONS, 0.0),
    Bound("threads", lambda s: s.threads, 6.0, 0.0),
    Bound("children", lambda s: s.children, 3.0, 0.0),
    Bound("keys beside those of tasks", lambda s: s.keys, 30.0, 0.0),
    Bound("the server's memory, MB", lambda s: s.redis_mb, 2.0, 0.02),
    Bound("state folder, MB", lambda s: s.state_mb, 8.0, 0.1),
    Bound("files of a copy that the tree has not", lambda s: s.strays, 20.0, 0.0),
    Bound("leftovers", lambda s: s.leftovers, 3.0, 0.0),
)


def grown(samples: Sequence[Sample]) -> Iterator[str]:
    """What grew more than it may, in the longest life of a daemon among the samples.

    Its first third is the warm-up; of the others the least values are compared, because work under way
    only adds to them.
    """
    life = max(_lives(samples), key=len, default=[])
    third = len(life) // 3
    if third < 2:
        yield "no daemon lived long enough to be judged"
        return
    middle, last = life[third : 2 * third], life[2 * third :]
    tasks = statistics.median(s.done for s in last) - statistics.median(s.done for s in middle)
    for bound in BOUNDS:
        by = min(map(bound.of, last)) - min(map(bound.of, middle))
        if by > bound.flat + bound.a_task * tasks:
            yield f"{bound.name} grew by {by:.1f} over {tasks:.0f} tasks"


def _lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    by_pid: dict[int, list[Sample]] = {}
    for sample in samples:
        by_pid.setdefault(sample.pid, []).append(sample)
    return list(by_pid.values())


def processes_below(base: Path) -> list[str]:
    """Command lines of living processes that name a folder below `base`, besides our own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(folder.name) != os.getpid() and str(base) in words:
            found.append(words.strip())
    return found
