"""One slot of the pool: where its copy is, who it is bound to, and who uses it now."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agentcoord.domain.ids import TaskId
from agentcoord.values import dataclass
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.threads import run_to_end
from agentcoord.workspace.user_tree import Kind
from agentcoord.workspace.walk import remove_beneath


@dataclass(frozen=True, slots=True)
class Binding:
    """The attempt whose work a copy holds."""

    task: TaskId
    attempt: int


class Slot:
    """A copy and its binding, which is a file and so outlives the daemon."""

    def __init__(self, places: CopyPlaces) -> None:
        self.places = places
        self.binding: Binding | None = None
        self.busy = False
        """Somebody uses it, or it is being prepared for somebody."""
        self.holder: object | None = None
        """The workspace that was handed out."""
        self.manifest: Manifest | None = None
        """What the copy was given, while this process knows it; else it is read."""
        self.used_at_ns = 0
        """When it was last bound or given back."""

    def read_binding(self) -> None:
        """Take over what an earlier daemon bound. Blocking.

        Not after the machine went down while the copy was in use: files that were written shortly before may
        be empty or cut short then, and would be taken for the work of the attempt.
        """
        try:
            raw = json.loads(self.places.binding.read_text("utf-8"))
            may_be_torn = raw["boot"] != boot_id() and not raw["given_back"]
            self.binding = None if may_be_torn else Binding(TaskId(str(raw["task"])), int(raw["attempt"]))
            self.used_at_ns = self.places.binding.stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            self.binding = None

    def kept_manifest(self) -> Manifest | None:
        """Read what the copy was given; None when that is gone, or the copy is. Blocking."""
        return Manifest.load(self.places.manifest) if self.places.has_files() else None

    def bind(self, binding: Binding, *, given_back: bool = False) -> None:
        """Bind the copy, durably against a crash of the daemon. Blocking."""
        temporary = self.places.binding.with_suffix(".new")
        facts = {
            "task": binding.task,
            "attempt": binding.attempt,
            "boot": boot_id(),
            "given_back": given_back,
        }
        temporary.write_text(json.dumps(facts), "utf-8")
        temporary.replace(self.places.binding)
        self.binding = binding
        self.used_at_ns = self.places.binding.stat().st_mtime_ns

    def unbind(self) -> None:
        """Forget the binding; the copy stays and is resynced for the next. Blocking."""
        self.places.binding.unlink(missing_ok=True)
        self.binding = None

    def give_back(self) -> None:
        """Note that it was used just now, and is in use no more. Blocking."""
        if self.binding is not None:
            self.bind(self.binding, given_back=True)


def boot_id() -> str:
    """What tells one run of the machine from the next; the same always where nothing does. Blocking."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


class NewSlots:
    """Gives out slots, each with a number that none before had while this process lives: in the folder of one
    that was abandoned somebody may still be at work.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._next_number = 0
        self._spare: list[int] = []
        """Of an earlier fleet's copies in which no attempt waits."""
        self._unread: list[int] | None = None
        """Of an earlier fleet's copies of which that is not known yet; None before they were looked for."""

    def make(self) -> Slot:
        """Another slot; in the place of a copy that nobody needs any more, if there is one."""
        if self._spare:
            return self._at(self._spare.pop(0))
        self._next_number += 1
        return self._at(self._next_number - 1)

    async def take_over(self, slots: list[Slot]) -> None:
        """Read what an earlier daemon bound, and add the copies of a larger fleet in which attempts wait.

        Cancelled midway, it may be called again.
        """
        if self._unread is None:
            there = await asyncio.to_thread(_slot_numbers, self._home)
            # At once: who asks for a slot while the bindings are read gets none of these.
            self._unread = [number for number in there if number >= self._next_number]
            self._next_number = max([self._next_number, *(number + 1 for number in self._unread)])
        for slot in slots:
            await run_to_end(slot.read_binding)
        while self._unread:
            slot = self._at(self._unread[0])
            await run_to_end(slot.read_binding)
            number = self._unread.pop(0)
            tasks = {each.binding.task for each in slots if each.binding is not None}
            if slot.binding is not None and slot.binding.task not in tasks:
                slots.append(slot)
            else:
                self._spare.append(number)

    def leave_strays(self) -> None:
        """Take no old folder from now on: they are about to be removed."""
        self._spare.clear()

    def _at(self, number: int) -> Slot:
        return Slot(CopyPlaces(self._home / "slots" / str(number)))


def _slot_numbers(home: Path) -> list[int]:
    """The numbers of the slots that have a folder, in order. Blocking."""
    with contextlib.suppress(FileNotFoundError):
        names = [folder.name for folder in (home / "slots").iterdir()]
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
    return []


def remove_strays(home: Path, known: Callable[[], Sequence[CopyPlaces]], blobs: BlobStore) -> int:
    """Remove folders that are no slot, and contents that no copy refers to; return how many folders.

    Blocking. `known` is asked once a folder was seen, as a slot may be added meanwhile.
    """
    removed = 0
    for kind in ("slots", "proofs"):
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted((home / kind).iterdir()):
                if all(folder != places.home for places in known()):
                    remove_beneath(home / kind, [folder.name])
                    removed += 1
    referred: set[str] = set()
    for places in known():
        manifest = Manifest.load(places.manifest)
        if manifest is not None:
            referred |= {e.sha256 for e in manifest.entries.values() if e.kind is Kind.FILE}
    blobs.drop_others(referred)
    with contextlib.suppress(FileNotFoundError), os.scandir(blobs.home) as entries:
        # Contents lie beside each other: in folders are those of another version, for lists that are no more.
        remove_beneath(blobs.home, [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)])
    return removed
