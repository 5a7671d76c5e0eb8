"""What a start of the daemon may be told, beyond the settings: flags of one start alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class StartArgs:
    """Flags of `agentcoordd start` and `run`."""

    allow_root: bool = False
    unsafe_no_sandbox: bool = False
    """Run commands unconfined where no sandbox works. Never taken from the repository's file."""
    external_sandbox: bool = False
    """The user vouches for the surroundings: the daemon runs in a container or a virtual machine. Never
    taken from the repository's file."""
    rehearse: Path | None = None
    """Scripts of the rehearsal server to start and talk to, instead of a model."""
    rehearsal_latency: float = 1.0
    """Scale of the scripts' thinking times."""
    supervised: bool = False
    """In the background under a small process that starts it again (`supervisor`)."""
    since_ms: int | None = None
    """When somebody wanted a daemon. Its supervisor alone says so, to each that it starts; None: now."""
    flags: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Settings by `section.key` that override file and environment."""

    def to_json(self) -> str:
        return json.dumps(
            {
                "allow_root": self.allow_root,
                "unsafe_no_sandbox": self.unsafe_no_sandbox,
                "external_sandbox": self.external_sandbox,
                "rehearse": None if self.rehearse is None else str(self.rehearse),
                "rehearsal_latency": self.rehearsal_latency,
                "supervised": self.supervised,
                "since_ms": self.since_ms,
                "flags": dict(self.flags),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> StartArgs:
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            allow_root=raw["allow_root"],
            unsafe_no_sandbox=raw["unsafe_no_sandbox"],
            external_sandbox=raw.get("external_sandbox", False),
            rehearse=None if raw["rehearse"] is None else Path(raw["rehearse"]),
            rehearsal_latency=raw["rehearsal_latency"],
            supervised=raw.get("supervised", False),
            since_ms=raw.get("since_ms"),
            flags=MappingProxyType(raw["flags"]),
        )
