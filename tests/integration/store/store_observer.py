"""Looks at a project's keys from outside: whether everything is in exactly the place that its state names.

Written against the layout page alone, and separate from the scripts, so that it shares no mistake with them.
One look is a snapshot, read in a few round trips while the server lets nobody write; the rules are judged
on it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

_HELD = {"running", "checking", "landing"}
_DEAD = {"failed", "cancelled"}
_AT_ONCE = 2000
"""Keys read in one round trip."""
_PAUSE_MS = 20_000
"""After this the server lets others write again by itself, should a look never end."""
_ZSETS = ("order", "lease", "delay", "questions:open")
_SETS = ("routes", "hd")
_HASHES = ("count", "writes", "busy", "locks", "reservations", "questions")
_NUMBERS = ("fence", "seq", "events:last", "questions:last")


def observer(url: str) -> Redis:
    """A client for the server of a `unix://` URL, for looking only."""
    return Redis(unix_socket_path=url.removeprefix("unix://"), decode_responses=True)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A project's keys at one moment, by their names without the prefix."""

    zsets: dict[str, dict[str, int]]
    sets: dict[str, set[str]]
    hashes: dict[str, dict[str, str]]
    lists: dict[str, list[str]]
    numbers: dict[str, int]
    tasks: dict[str, dict[str, str]]

    @property
    def states(self) -> dict[str, str]:
        return {task: fields["state"] for task, fields in self.tasks.items()}

    def below(self, family: str) -> list[str]:
        """The names of the keys that begin so, without that."""
        every = (*self.hashes, *self.sets)
        return sorted(name.removeprefix(family) for name in every if name.startswith(family))


def snapshot(client: Redis, prefix: str) -> Snapshot:
    """Read a project's keys; what others write meanwhile waits until that is done."""
    with _nobody_writes(client):
        return _read_all(client, prefix)


@contextmanager
def _nobody_writes(client: Redis) -> Iterator[None]:
    """Calls that write, scripts included, stand still at the server, those sent before too."""
    client.client_pause(_PAUSE_MS, all=False)
    try:
        yield
    finally:
        client.client_unpause()


def _read_all(client: Redis, prefix: str) -> Snapshot:
    families = [name for family in ("locks:", "spend:") for name in _names(client, prefix + family)]
    wanted = [("zrange", name) for name in _ZSETS] + [("smembers", name) for name in _SETS]
    wanted += [("hgetall", name) for name in _HASHES] + [("get", name) for name in _NUMBERS]
    wanted += [("smembers" if name.startswith("locks:") else "hgetall", name) for name in families]
    found = _read(client, prefix, [*wanted, ("lrange", "waves")])
    tasks, routes, needed = list(found["order"]), sorted(found["routes"]), sorted(found["hd"])
    more = [("hgetall", f"t:{task}") for task in tasks] + [("zrange", f"r:{route}") for route in routes]
    found |= _read(client, prefix, [*more, *(("lrange", f"dep:{need}") for need in needed)])
    return Snapshot(
        zsets={name: found[name] for name in (*_ZSETS, *(f"r:{route}" for route in routes))},
        sets={name: found[name] for name in (*_SETS, *(n for n in families if n.startswith("locks:")))},
        hashes={name: found[name] for name in (*_HASHES, *(n for n in families if n.startswith("spend:")))},
        lists={name: found[name] for name in ("waves", *(f"dep:{need}" for need in needed))},
        numbers={name: int(found[name] or 0) for name in _NUMBERS},
        tasks={task: found[f"t:{task}"] for task in tasks},
    )


def assert_every_task_is_in_its_place(client: Redis, prefix: str) -> dict[str, str]:
    """Judge one moment by every rule of this page; return the state of each task."""
    seen = snapshot(client, prefix)
    assert_sound(seen)
    return seen.states


def assert_sound(seen: Snapshot) -> None:
    """Judge a snapshot by every rule of this page."""
    _each_task_is_in_one_place(seen)
    _the_graph_is_kept(seen)
    _each_lock_has_one_holder(seen)
    _the_ledger_adds_up(seen)
    _questions_are_kept(seen)


def _each_task_is_in_one_place(seen: Snapshot) -> None:
    leases = [member.split(":", 1) for member in seen.zsets["lease"]]
    delayed, tokens = set(seen.zsets["delay"]), {task: token for token, task in leases}
    ready: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for route in seen.sets["routes"]:
        for task, score in seen.zsets[f"r:{route}"].items():
            ready[task].append((route, score))
    assert max(map(len, ready.values()), default=0) <= 1, "a task stands in two lines"
    assert len(tokens) == len(leases), "two live tokens for one task"
    assert set(ready) | delayed | set(tokens) <= set(seen.tasks), "a line, a delay or a lease of no task"
    for task, fields in seen.tasks.items():
        state = fields["state"]
        assert (task in ready) + (task in delayed) == (state == "queued"), (task, state, "is not in its line")
        assert (task in tokens) == (state in _HELD), (task, state, "and its lease disagree")
        assert tokens.get(task, fields.get("token")) == fields.get("token"), (task, "an old token is live")
        if task in ready:
            assert ready[task] == [(fields["route"], int(fields["score"]))], (task, "stands at a wrong place")
    given = [int(fields["token"]) for fields in seen.tasks.values() if "token" in fields]
    assert len(set(given)) == len(given), "a token was given twice"
    assert max(given, default=0) <= seen.numbers["fence"], "a token above the fence"
    counted = {state: int(count) for state, count in seen.hashes["count"].items() if int(count)}
    assert counted == Counter(seen.states.values()), "the counts by state are wrong"
    writing = set(tokens) & set(seen.hashes["writes"])
    assert set(seen.hashes["busy"]) == writing, "declared writes are busy without a holder, or free with one"


def _the_graph_is_kept(seen: Snapshot) -> None:
    """Nobody runs before its needs, nobody waits for what is done or dead, and no edge is lost."""
    waiting: dict[str, set[str]] = defaultdict(set)
    for task, fields in seen.tasks.items():
        state = fields["state"]
        needs = {need for need in fields.get("needs", "").split(",") if need}
        undone = {need for need in needs if seen.tasks[need]["state"] != "done"}
        runs_anyway = fields.get("onfail") == "run"
        dead = {need for need in needs if seen.tasks[need]["state"] in _DEAD}
        open_ones = undone - dead if runs_anyway else undone
        assert int(fields.get("open", 0)) == len(open_ones), (task, "counts its needs wrongly")
        # A need that is tried again may find under way what runs anyway; one that a person rejected after it
        # was done, whatever went on from there. What a person brings back has a count of that.
        taken_away = state != "queued" and all("o:asked" in seen.tasks[need] for need in undone)
        waits = state in {"blocked", *_DEAD}
        assert not undone or runs_anyway or waits or taken_away, (task, "runs before its needs")
        assert open_ones or state != "blocked", (task, "waits for nothing")
        if state == "blocked" and not runs_anyway:
            assert all(seen.tasks[need]["state"] not in _DEAD for need in needs), (task, "waits for the dead")
        for need in undone:
            waiting[need].add(task)
    assert seen.lists["waves"] == [], "somebody is still to be told what became of a need"
    assert seen.sets["hd"] == set(waiting), "who has dependents is told wrongly"
    for need, tasks in waiting.items():
        assert sorted(seen.lists[f"dep:{need}"]) == sorted(tasks), (need, "its dependents are told wrongly")


def _each_lock_has_one_holder(seen: Snapshot) -> None:
    by_task: dict[str, set[str]] = defaultdict(set)
    for path, text in seen.hashes["locks"].items():
        token, _, task = text.split(":", 2)
        by_task[task].add(path)
        assert int(token) <= seen.numbers["fence"], (path, "is held under a token that nobody was given")
    listed = {task: seen.sets[f"locks:{task}"] for task in seen.below("locks:")}
    assert listed == by_task, "the paths of a task and the holders of a path differ"


def _the_ledger_adds_up(seen: Snapshot) -> None:
    reserved: Counter[str] = Counter()
    for raw in seen.hashes["reservations"].values():
        run, task, day, amount, *_ = json.loads(raw)
        for scope in (f"run:{run}", f"task:{task}", f"day:{day}"):
            reserved[scope] += int(amount)
    spent: Counter[str] = Counter()
    by_run: Counter[str] = Counter()
    for scope in seen.below("spend:"):
        book = seen.hashes[f"spend:{scope}"]
        assert int(book.get("reserved", 0)) == reserved[scope], (scope, "sets aside what nobody reserved")
        spent[scope.partition(":")[0]] += int(book.get("spent", 0))
        if scope.startswith("run:"):
            parts = [int(n) for f, n in book.items() if f.startswith("model|") and f.endswith("|spent")]
            assert sum(parts) == int(book.get("spent", 0)), (scope, "is not the sum of its models")
        if scope.startswith("task:"):
            runs = {f.rpartition("|")[0] for f in book} - {""}
            assert sum(int(book[f"{run}|spent"]) for run in runs) == int(book.get("spent", 0)), (scope, runs)
            by_run.update({run: int(book[f"{run}|spent"]) for run in runs})
    for run, amount in by_run.items():
        assert amount == int(seen.hashes[f"spend:run:{run}"]["spent"]), (run, "is not the sum of its tasks")
    assert spent["run"] == spent["task"] == spent["day"], "runs, tasks and days disagree"


def _questions_are_kept(seen: Snapshot) -> None:
    line = {number: member for member, number in seen.zsets["questions:open"].items()}
    stored = {int(n): f"{n}:{json.loads(raw)['task']}" for n, raw in seen.hashes["questions"].items()}
    assert line == stored, "an open question stands in one of its places only"
    assert max(line, default=0) <= seen.numbers["questions:last"]


def _names(client: Redis, prefix: str) -> list[str]:
    """The keys that begin with a project's prefix and a family, without the project's prefix."""
    escaped = "".join(f"\\{c}" if c in "*?[]^\\-" else c for c in prefix)
    family = prefix.rpartition("}:")[2]
    return [family + str(name)[len(prefix) :] for name in client.scan_iter(match=escaped + "*", count=1000)]


def _read(client: Redis, prefix: str, wanted: Sequence[tuple[str, str]]) -> dict[str, Any]:
    rows: list[Any] = []
    for start in range(0, len(wanted), _AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for command, name in wanted[start : start + _AT_ONCE]:
                match command:
                    case "zrange":
                        pipe.zrange(prefix + name, 0, -1, withscores=True)
                    case "lrange":
                        pipe.lrange(prefix + name, 0, -1)
                    case _:
                        getattr(pipe, command)(prefix + name)
            rows += pipe.execute()
    named = dict(zip((name for _, name in wanted), rows, strict=True))
    scored = {name for command, name in wanted if command == "zrange"}
    return {n: {m: int(s) for m, s in row} if n in scored else row for n, row in named.items()}
