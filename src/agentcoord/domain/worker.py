"""Workers: their roles, their tags, what they may take, and the six of the mission."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from agentcoord.domain.ids import WorkerName
from agentcoord.domain.worker_state import WorkerState as WorkerState  # noqa: PLC0414 - handed on
from agentcoord.values import dataclass


class Role(StrEnum):
    """What a worker is good at; chooses the role part of its prompt."""

    TESTING_ENGINEER = "testing-engineer"
    BACKEND_ENGINEER = "backend-engineer"
    PLATFORM_ENGINEER = "platform-engineer"
    ARCHITECT = "architect"


DEFAULT_TAGS: dict[Role, tuple[str, ...]] = {
    Role.TESTING_ENGINEER: ("testing",),
    Role.BACKEND_ENGINEER: ("backend",),
    Role.PLATFORM_ENGINEER: ("platform",),
    Role.ARCHITECT: ("architecture", "docs"),
}


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker of the fleet."""

    name: WorkerName
    role: Role
    tags: frozenset[str]

    def covers(self, task_tags: Iterable[str]) -> bool:
        """Whether this worker may take a task with these tags: it has all of them."""
        return self.tags.issuperset(task_tags)


def worker_of(name: str, role: Role, tags: Iterable[str] | None = None) -> WorkerSpec:
    """Build a worker; without `tags`, those of its role."""
    return WorkerSpec(WorkerName(name), role, frozenset(DEFAULT_TAGS[role] if tags is None else tags))


MISSION_WORKERS: tuple[WorkerSpec, ...] = (
    worker_of("Testing-Engineer-1", Role.TESTING_ENGINEER),
    worker_of("Testing-Engineer-2", Role.TESTING_ENGINEER),
    worker_of("Backend-Engineer-1", Role.BACKEND_ENGINEER),
    worker_of("Backend-Engineer-2", Role.BACKEND_ENGINEER),
    worker_of("Platform-Engineer", Role.PLATFORM_ENGINEER),
    worker_of("Architect", Role.ARCHITECT),
)
