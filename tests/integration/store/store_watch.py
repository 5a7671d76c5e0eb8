"""Watches one project over time, from outside: what may only grow does, and what has ended stays so.

Separate from the observer, which judges one moment. The store that is watched speaks as a user who may
touch nothing but its project's keys, so that the server itself refuses any step outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from redis import Redis
from store_observer import Snapshot, assert_sound, snapshot

from agentcoord.domain.ids import ProjectId
from agentcoord.store.keys import Keys

_ONLY_GROW = {"cost", "turns", "token"}


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

    def forget_all_but(self, counter: str) -> None:
        """Everything was removed on purpose; only this counter goes on."""
        self._seen = {counter: self._seen[counter]}

    def look(self) -> Snapshot:
        """Judge this moment, and what changed since the last."""
        seen = snapshot(self.client, self.prefix)
        assert_sound(seen)
        for scope in seen.below("spend:"):
            book = seen.hashes[f"spend:{scope}"]
            both = int(book.get("spent", 0)) + int(book.get("reserved", 0))
            assert both <= self.caps.get(scope, both), (scope, "passes its cap")
        now = _counters(seen)
        for name, before in self._seen.items():
            assert now.get(name, 0) >= before, (name, "shrank", before, now.get(name, 0))
        self._seen = now
        return seen


def _counters(seen: Snapshot) -> dict[str, int]:
    now = dict(seen.numbers)
    for task, fields in seen.tasks.items():
        totals = {n: int(v) for n, v in fields.items() if n in _ONLY_GROW or n.endswith("_tokens")}
        now |= {f"{task} {name}": total for name, total in totals.items()}
        # Done for good, unless a person asks for it again, each time once more.
        now[f"{task} done"] = int(fields["state"] == "done") + int(fields.get("o:asked", 0))
    for scope in seen.below("spend:"):
        book = seen.hashes[f"spend:{scope}"]
        now |= {f"{scope} {name}": int(n) for name, n in book.items() if name != "reserved"}
    return now
