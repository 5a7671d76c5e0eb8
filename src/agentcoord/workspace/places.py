"""Where one private copy and what belongs to it are kept: its files, and what we know of them beside."""

from __future__ import annotations

import os
from pathlib import Path

from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class CopyPlaces:
    """Where one copy and what belongs to it are kept."""

    home: Path

    @property
    def tree(self) -> Path:
        """The files; on Btrfs a subvolume, see `subvolumes`."""
        return self.home / "tree"

    @property
    def shadow_git(self) -> Path:
        return self.home / "git"

    @property
    def manifest(self) -> Path:
        return self.home / "manifest.json"

    @property
    def binding(self) -> Path:
        return self.home / "binding.json"

    def has_files(self) -> bool:
        """Whether there is anything in the copy: in a finished one there is a folder for `.git` at least."""
        try:
            with os.scandir(self.tree) as entries:
                return any(True for _ in entries)
        except OSError:
            return False
