"""What a confined command may see and use, and what came of it: plain values for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The view of the file system for all commands of one workspace; frozen when it is made."""

    workspace: Path
    """The private copy on the host: read and write."""
    mount_at: Path
    """Where the command sees it: the repository's real path, so that absolute shebangs work."""
    shadow_git: Path | None = None
    """Shown read-only as `.git`; None: no `.git` at all."""
    git_objects: Path | None = None
    """The real repository's object folder, shown read-only where `shadow_git` expects it."""
    read_only: Mapping[Path, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Host folder to path inside: shared dependencies (`.venv`, `node_modules`)."""
    toolchains: tuple[Path, ...] = ()
    """Host prefixes shown read-only at the same path (the project's interpreter, outside /usr).

    An entry may also be a single program, or a symbolic link, which is then made anew inside.
    """
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Added to the fixed, scrubbed environment."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one command."""

    timeout_s: float = 120.0
    output_bytes: int = 256 * 1024
    """Head and tail are kept up to this together; the middle of a flood is dropped."""
    processes: int = 512
    file_bytes: int = 2 * 1024**3
    memory_tmpfs_bytes: int = 512 * 1024**2
    """Size of each private tmpfs (/tmp, home, /dev/shm)."""
    memory_bytes: int = 64 * 1024**3
    """What all processes of a command may hold together, and each alone; on most machines less applies:
    three quarters of the machine's memory."""
    memory_reserve_bytes: int = 256 * 1024**2
    """A command is also ended when the machine's free memory falls below this since it began."""
    grace_s: float = 2.0
    """How long a command may tidy up between TERM and KILL."""
    disk_growth_bytes: int = 8 * 1024**3
    """A command is ended when the workspace's file system lost this much free space meanwhile. As much may
    all commands of an attempt leave in its copy, and 256 MiB each later one; the next attempt's copy begins
    without it."""
    disk_reserve_bytes: int = 512 * 1024**2
    """A command is also ended when it eats into this last free space of the file system."""
    disk_files_reserve: int = 20_000
    """And when it eats into these last files that the file system can hold: empty ones take no space.
    Their growth is not bounded, because some file systems count by the free space."""


class KilledBy(StrEnum):
    """Who ended a command before it ended itself."""

    NOBODY = ""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DISK = "disk"
    """The workspace's disk was about to fill up."""
    PROCESSES = "processes"
    """More processes than `Limits.processes`, counted from outside."""
    MEMORY = "memory"
    """More memory than the command may have, or the machine's last."""
    SIGNAL = "signal"
    """A signal from inside or from the kernel (out of memory, for one)."""


_ENDED_FOR = MappingProxyType(
    {
        KilledBy.DISK: "it used up the disk",
        KilledBy.PROCESSES: "it started too many processes",
        KilledBy.MEMORY: "it used up its memory, or the machine's",
    }
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    exit_code: int
    """The command's own, or 128 + signal."""
    output: str
    """Standard output and error, interleaved, decoded with replacement; head and tail when truncated."""
    truncated: bool = False
    dropped_bytes: int = 0
    killed_by: KilledBy = KilledBy.NOBODY
    duration_ms: int = 0

    @property
    def told(self) -> str:
        """The output, and at its end why the command was ended, where no exit code says so."""
        why = _ENDED_FOR.get(self.killed_by)
        return self.output if why is None else f"{self.output}\n[the command was ended: {why}]\n"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Whether a backend works here, found out by trying."""

    ok: bool
    backend: str
    """`bubblewrap`, `seatbelt`, `external` or `none`."""
    version: str = ""
    features: tuple[str, ...] = ()
    """What was seen to hold, one fact each."""
    reasons: tuple[str, ...] = ()
    """Why not, in words."""
    mend: str = ""
    """The command that would make it work."""
