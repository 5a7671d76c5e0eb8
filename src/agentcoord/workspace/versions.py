"""Naming a content: the one place where bytes become a `FileVersion`."""

from __future__ import annotations

import hashlib

from agentcoord.domain.files import FileVersion


def version_of(content: bytes, mode: int) -> FileVersion:
    """Return the version that `content` is, with `mode` 0o644 or 0o755."""
    return FileVersion(hashlib.sha256(content).hexdigest(), len(content), mode)
