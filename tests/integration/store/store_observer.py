"""Looks at a project's keys from outside: whether everything is in exactly the place that its state names.

Written against the layout page alone, and separate from the scripts, so that it shares no mistake with them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis import Redis

_HELD = {"running", "checking", "landing"}
_DEAD = {"failed", "cancelled"}
_AT_ONCE = 2000
"""Keys read in one round trip."""


def observer(url: str) -> Redis:
    """A client for the server of a `unix://` URL, for looking only."""
    return Redis(unix_socket_path=url.removeprefix("unix://"), decode_responses=True)


def assert_all_is_sound(client: Redis, prefix: str) -> dict[str, str]:
    """Check every rule of this page, and return the state of each task."""
    states = assert_every_task_is_in_its_place(client, prefix)
    assert_the_graph_is_kept(client, prefix)
    assert_each_lock_has_one_holder(client, prefix)
    assert_the_ledger_adds_up(client, prefix)
    assert_questions_are_kept(client, prefix)
    return states


def assert_every_task_is_in_its_place(client: Redis, prefix: str) -> dict[str, str]:
    """Return the state of each task, after comparing it with every list that a task may stand in."""
    hashes = _hashes(client, prefix)
    leases = [member.split(":", 1) for member in _members(client, f"{prefix}lease")]
    delayed = set(_members(client, f"{prefix}delay"))
    ready: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for route in cast("set[str]", client.smembers(f"{prefix}routes")):
        for task, score in _scored(client, f"{prefix}r:{route}"):
            ready[task].append((route, int(score)))
    assert max(map(len, ready.values()), default=0) <= 1, "a task stands in two lines"
    assert len({task for _, task in leases}) == len(leases), "two live tokens for one task"
    tokens = {task: token for token, task in leases}
    assert set(ready) | delayed | set(tokens) <= set(hashes), "a line, a delay or a lease of no task"
    for task, fields in hashes.items():
        state = fields["state"]
        assert (task in ready) + (task in delayed) == (state == "queued"), (task, state)
        assert (task in tokens) == (state in _HELD), (task, state)
        assert tokens.get(task, fields.get("token")) == fields.get("token"), (task, "an old token is live")
        if task in ready:
            assert ready[task] == [(fields["route"], int(fields["score"]))], (task, "stands at a wrong place")
    fence = int(client.get(f"{prefix}fence") or 0)
    given = [int(fields["token"]) for fields in hashes.values() if "token" in fields]
    assert len(set(given)) == len(given), "a token was given twice"
    assert max(given, default=0) <= fence, "a token above the fence"
    counted = {
        str(state): int(count) for state, count in client.hgetall(f"{prefix}count").items() if int(count)
    }
    assert counted == Counter(fields["state"] for fields in hashes.values())
    writes = cast("dict[str, str]", client.hgetall(f"{prefix}writes"))
    busy = cast("dict[str, str]", client.hgetall(f"{prefix}busy"))
    assert set(busy) == set(tokens) & set(writes), "declared writes are busy without a holder, or not with one"
    return {task: fields["state"] for task, fields in hashes.items()}


def assert_the_graph_is_kept(client: Redis, prefix: str) -> None:
    """Nobody runs before its needs, nobody waits for what is done or dead, and no edge is lost."""
    hashes = _hashes(client, prefix)
    waiting: dict[str, set[str]] = defaultdict(set)
    for task, fields in hashes.items():
        state = fields["state"]
        needs = {need for need in fields.get("needs", "").split(",") if need}
        undone = {need for need in needs if hashes[need]["state"] != "done"}
        assert int(fields.get("open", 0)) == len(undone), (task, "counts its needs wrongly")
        assert not undone or state in {"blocked", *_DEAD}, (task, "runs before its needs")
        assert undone or state != "blocked", (task, "waits for nothing")
        if state == "blocked":
            assert all(hashes[need]["state"] not in _DEAD for need in needs), (task, "waits for the dead")
        for need in undone:
            waiting[need].add(task)
    assert client.llen(f"{prefix}falling") == 0, "a fall was not finished"
    have = set(cast("set[str]", client.smembers(f"{prefix}hd")))
    assert have == set(waiting), "who has dependents is told wrongly"
    for need in have:
        listed = cast("list[str]", client.lrange(f"{prefix}dep:{need}", 0, -1))
        assert sorted(listed) == sorted(waiting[need]), (need, "its dependents are told wrongly")


def assert_each_lock_has_one_holder(client: Redis, prefix: str) -> dict[str, str]:
    """Return who holds each path, whether its lease lasts or not."""
    stored = cast("dict[str, str]", client.hgetall(f"{prefix}locks"))
    holders = {path: text.split(":", 2)[2] for path, text in stored.items()}
    by_task: dict[str, set[str]] = defaultdict(set)
    for path, task in holders.items():
        by_task[task].add(path)
    listed = {
        key.removeprefix(f"{prefix}locks:"): cast("set[str]", client.smembers(key))
        for key in names_below(client, f"{prefix}locks:")
    }
    assert listed == by_task, "the paths of a task and the holders of a path differ"
    fence = int(client.get(f"{prefix}fence") or 0)
    assert all(int(text.split(":", 1)[0]) <= fence for text in stored.values())
    return holders


def assert_the_ledger_adds_up(client: Redis, prefix: str) -> dict[str, int]:
    """Return what each run has spent and set aside, after comparing all sums with their parts."""
    reserved: Counter[str] = Counter()
    for raw in cast("dict[str, str]", client.hgetall(f"{prefix}reservations")).values():
        run, task, day, amount, _ = json.loads(raw)
        for scope in (f"run:{run}", f"task:{task}", f"day:{day}"):
            reserved[scope] += int(amount)
    books = {
        key.removeprefix(f"{prefix}spend:"): cast("dict[str, str]", client.hgetall(key))
        for key in names_below(client, f"{prefix}spend:")
    }
    spent: Counter[str] = Counter()
    for scope, book in books.items():
        assert int(book.get("reserved", 0)) == reserved[scope], (scope, "sets aside what nobody reserved")
        assert int(book.get("spent", 0)) >= 0, scope
        spent[scope.partition(":")[0]] += int(book.get("spent", 0))
        if scope.startswith("run:"):
            for kind in ("task|", "model|"):
                parts = sum(
                    int(v) for f, v in book.items() if f.startswith(kind) and f.endswith("|spent")
                )
                assert parts == int(book.get("spent", 0)), (scope, kind, "is not the sum of its parts")
    assert spent["run"] == spent["task"] == spent["day"], "runs, tasks and days disagree"
    return {
        scope: int(book.get("spent", 0)) + int(book.get("reserved", 0))
        for scope, book in books.items()
    }


def assert_questions_are_kept(client: Redis, prefix: str) -> None:
    """Each open question stands in both of its places, and none is numbered above the last."""
    stored = cast("dict[str, str]", client.hgetall(f"{prefix}questions"))
    line = {int(score): member for member, score in _scored(client, f"{prefix}questions:open")}
    assert line == {int(n): f"{n}:{json.loads(raw)['task']}" for n, raw in stored.items()}
    assert max(line, default=0) <= int(client.get(f"{prefix}questions:last") or 0)


def names_below(client: Redis, prefix: str) -> list[str]:
    """Every key that begins with `prefix`."""
    escaped = "".join(f"\\{c}" if c in "*?[]^\\-" else c for c in prefix)
    return sorted(cast("Iterable[str]", client.scan_iter(match=escaped + "*", count=1000)))


def _hashes(client: Redis, prefix: str) -> dict[str, dict[str, str]]:
    tasks = _members(client, f"{prefix}order")
    rows: list[dict[str, str]] = []
    for start in range(0, len(tasks), _AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for task in tasks[start : start + _AT_ONCE]:
                pipe.hgetall(f"{prefix}t:{task}")
            rows += cast("list[dict[str, str]]", pipe.execute())
    return dict(zip(tasks, rows, strict=True))


def _members(client: Redis, key: str) -> list[str]:
    return cast("list[str]", client.zrange(key, 0, -1))


def _scored(client: Redis, key: str) -> list[tuple[str, float]]:
    return cast("list[tuple[str, float]]", client.zrange(key, 0, -1, withscores=True))
