"""The names of the keys that Python reads by itself; scripts build the same names from the prefix.

Separate so that the layout is in one place: docs/decisions/0002-queue-layout.md lists every key with
its shape. The braces put all keys of a project into one slot of a Redis Cluster.
"""

from __future__ import annotations

from agentcoord.domain.ids import ProjectId
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names of one project. A change here also changes `lua/*.lua`, and the layout page."""

    project: ProjectId

    @property
    def prefix(self) -> str:
        """What every key of the project begins with."""
        return f"agentcoord:{{{self.project}}}:"

    def of(self, suffix: str) -> str:
        return self.prefix + suffix

    def task(self, task: str) -> str:
        return self.of(f"t:{task}")

    def body(self, task: str) -> str:
        return self.of(f"b:{task}")

    def history(self, task: str) -> str:
        return self.of(f"h:{task}")

    def run_spend(self, run: str) -> str:
        return self.of(f"spend:run:{run}")

    def task_spend(self, task: str) -> str:
        return self.of(f"spend:task:{task}")

    def spenders(self, run: str) -> str:
        return self.of(f"spenders:{run}")

    def day_spend(self, day: str) -> str:
        return self.of(f"spend:day:{day}")

    @property
    def scan_pattern(self) -> str:
        """A glob that matches the project's keys and no others'."""
        escaped = "".join(f"\\{c}" if c in "*?[]^\\-" else c for c in self.prefix)
        return escaped + "*"
