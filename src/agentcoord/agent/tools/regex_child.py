"""A child process that matches regular expressions, so that it can be killed.

Python's engine backtracks: a hostile or clumsy pattern runs for hours and cannot be stopped in a
thread. Run as a script by `tools.search` with an empty environment; imports the standard library
alone. It reads one JSON line with the pattern, then one a batch of files, and answers each with one
JSON line. It ends with its standard input, and by a limit on CPU time should its parent be gone.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import sys

_CPU_SECONDS = 30
_MEMORY_BYTES = 1024**3


def main() -> None:
    """Answer batches until standard input ends."""
    # Where the platform has no such limit, the parent's deadline still holds.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    opening = json.loads(sys.stdin.readline())
    try:
        pattern = re.compile(opening["pattern"], re.IGNORECASE if opening["ignore_case"] else 0)
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        _answer({"error": str(error) or type(error).__name__})
        return
    _answer({"error": None})
    most: int = opening["most"]
    for line in sys.stdin:
        found: list[list[object]] = []
        for path, text in json.loads(line):
            for number, row in enumerate(text.split("\n"), start=1):
                if pattern.search(row):
                    found.append([path, number, row[:400]])
                    if len(found) >= most:
                        break
            if len(found) >= most:
                break
        most -= len(found)
        _answer({"found": found})
        if most <= 0:
            return


def _answer(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
