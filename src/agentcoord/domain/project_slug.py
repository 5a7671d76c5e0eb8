"""A project's id from where its repository lies, for those who may import next to nothing.

Separate from `ids`, which imports `typing`; the commands that must answer at once find the socket by this.
"""

from __future__ import annotations

import re

try:  # The interpreter's own, as `random` does it: `hashlib` would load all of OpenSSL for forty bytes.
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # Python 3.11
    except ImportError:
        from hashlib import sha256


def project_slug(real_path: str) -> str:
    """Return the text of `ids.project_id_of`."""
    name = real_path.rstrip("/").rpartition("/")[2]
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "project"
    digest = sha256(real_path.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{cleaned}-{digest[:10]}"
