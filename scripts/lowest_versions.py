#!/usr/bin/env python3
"""Prints, as constraints for pip, the oldest version of each dependency that pyproject.toml allows.

`make lowest` installs these: a range is a promise, and the newest versions alone do not show that it holds.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

_LOWEST: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[[^\]]*\])?>=(?P<version>[\w.]+)")


def main() -> int:
    """Print one line a dependency, and return 0; 1 for one without a lowest version."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    for wanted in project["project"]["dependencies"]:
        found = _LOWEST.match(wanted)
        if found is None:
            sys.stderr.write(f"error: {wanted}: no lowest version; fix: write NAME>=VERSION,<NEXT\n")
            return 1
        sys.stdout.write(f"{found['name']}=={found['version']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
