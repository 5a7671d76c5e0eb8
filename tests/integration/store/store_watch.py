"""Watches one project over time, from outside: what may only grow does, and what has ended stays so.

Separate from the observer, which judges one moment. The store that is watched speaks as a user who may
touch nothing but its project's keys, so that the server itself refuses any step outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from redis import Redis
from store_observer import assert_all_is_sound, assert_the_ledger_adds_up, names_below

from agentcoord.domain.ids import ProjectId
from agentcoord.store.keys import Keys

_COUNTERS = ("fence", "seq", "events:last", "questions:last")
_TOTALS = ("cost", "turns", "token")


def confine(client: Redis, project: ProjectId) -> str:
    """Make a user who may touch only this project's keys; return its name. Its password is `secret`."""
    name = f"only-{project}"
    client.acl_setuser(
        name,
        enabled=True,
        passwords=["+secret"],
        keys=[f"{Keys(project).prefix}*"],
        categories=["+@all", "-@admin"],
    )
    return name


@dataclass(slots=True)
class Watch:
    """What was seen last of one project."""

    client: Redis
    prefix: str
    caps: dict[str, int] = field(default_factory=dict)
    """The most that a scope such as `run:r` may have spent and set aside together."""
    _seen: dict[str, int] = field(default_factory=dict)

    def look(self) -> dict[str, str]:
        """Judge this moment and what changed since the last; return the state of each task."""
        states = assert_all_is_sound(self.client, self.prefix)
        for scope, sum_of in assert_the_ledger_adds_up(self.client, self.prefix).items():
            assert sum_of <= self.caps.get(scope, sum_of), (scope, "passes its cap")
        now = self._counters(states)
        for name, before in self._seen.items():
            assert now.get(name, 0) >= before, (name, "shrank", before, now.get(name, 0))
        self._seen = now
        return states

    def _counters(self, states: dict[str, str]) -> dict[str, int]:
        now = {name: int(self.client.get(self.prefix + name) or 0) for name in _COUNTERS}
        with self.client.pipeline(transaction=False) as pipe:
            for task in states:
                pipe.hgetall(f"{self.prefix}t:{task}")
            hashes = cast("list[dict[str, str]]", pipe.execute())
        for task, fields in zip(states, hashes, strict=True):
            now |= {f"{task} {name}": int(fields[name]) for name in _TOTALS if name in fields}
            now |= {f"{task} {name}": int(n) for name, n in fields.items() if name.endswith("_tokens")}
            now[f"{task} done"] = int(fields["state"] == "done")
        for key in names_below(self.client, f"{self.prefix}spend:"):
            book = cast("dict[str, str]", self.client.hgetall(key))
            now |= {f"{key} {name}": int(n) for name, n in book.items() if not name.endswith("reserved")}
        return now
