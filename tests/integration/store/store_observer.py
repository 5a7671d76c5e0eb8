"""Looks at a project's keys from outside: whether every task is in exactly the place that its state names.

Written against the layout page alone, and separate from the scripts, so that it shares no mistake with them.
"""

from __future__ import annotations

from collections import Counter
from typing import cast

from redis import Redis

_HELD = {"running", "checking", "landing"}


def assert_every_task_is_in_its_place(client: Redis, prefix: str) -> dict[str, str]:
    """Return the state of each task, after comparing it with every list that a task may stand in."""
    tasks = _members(client, f"{prefix}order")
    hashes = {task: _fields(client, f"{prefix}t:{task}") for task in tasks}
    leases = [member.split(":", 1) for member in _members(client, f"{prefix}lease")]
    delayed = set(_members(client, f"{prefix}delay"))
    ready: Counter[str] = Counter()
    for route in cast("set[str]", client.smembers(f"{prefix}routes")):
        ready.update(_members(client, f"{prefix}r:{route}"))
    assert max(ready.values(), default=0) <= 1, "a task stands in two lines"
    assert len({task for _, task in leases}) == len(leases), "two live tokens for one task"
    tokens = {task: token for token, task in leases}
    for task, fields in hashes.items():
        state = fields["state"]
        assert (task in ready) + (task in delayed) == (state == "queued"), (task, state)
        assert (task in tokens) == (state in _HELD), (task, state)
        assert tokens.get(task, fields.get("token")) == fields.get("token"), (task, "an old token is live")
        needs = [need for need in fields.get("needs", "").split(",") if need]
        undone = sum(hashes[need]["state"] != "done" for need in needs)
        assert int(fields.get("open", 0)) == undone, (task, "counts its needs wrongly")
        assert undone == 0 or state in {"blocked", "failed", "cancelled"}, (task, "runs before its needs")
    fence = int(client.get(f"{prefix}fence") or 0)
    assert all(int(fields.get("token", 0)) <= fence for fields in hashes.values())
    counted = {
        str(state): int(count) for state, count in client.hgetall(f"{prefix}count").items() if int(count)
    }
    assert counted == Counter(fields["state"] for fields in hashes.values())
    return {task: fields["state"] for task, fields in hashes.items()}


def _members(client: Redis, key: str) -> list[str]:
    return cast("list[str]", client.zrange(key, 0, -1))


def _fields(client: Redis, key: str) -> dict[str, str]:
    return cast("dict[str, str]", client.hgetall(key))
