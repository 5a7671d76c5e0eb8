"""Looking at tens of thousands of files with the system's `find`, which leaves the interpreter free.

`find` prints type and signature of each path (`signatures`); that takes half the time of our own looking,
and a second processor, if there is one. Only used where it is seen to print just what we would have
written ourselves (GNU's does); callers go their own way when it fails. Nothing is followed. Blocking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from agentcoord.workspace.signatures import FOLDER, PRINTED_BY_FIND, Signature, signature_of
from agentcoord.workspace.spawned import streamed

_TIMEOUT_S = 120.0
_ARGUMENT_BYTES = 100_000
"""Far below what any system takes as arguments of one program."""


class FindFailedError(Exception):
    """`find` could not be started, did not see everything, or is not one that we can read."""


def everything_beneath(root: Path, skip: Sequence[str] = ()) -> Iterator[dict[str, Signature]]:
    """Yield what is beneath `root`, some at a time, without the paths of `skip` and what is in them.

    Raises FindFailedError, also in the middle.
    """
    _must_be_readable()
    pruned = [word for path in skip for word in ("-path", f"./{_quoted(path)}", "-o")]
    # The last `-o` is followed by a test that nothing passes.
    yield from _found(root, ["."], ["(", *pruned, "-false", ")", "-prune", "-o"] if pruned else [])


def within_folders(root: Path, folders: Sequence[str]) -> Iterator[dict[str, Signature]]:
    """Yield what is directly in these folders (the empty path: `root` itself). Raises as the other."""
    _must_be_readable()
    starts: list[str] = []
    length = 0
    for folder in folders:
        starts.append(f"./{folder}" if folder else ".")
        length += len(os.fsencode(folder)) + 3
        if length > _ARGUMENT_BYTES:
            yield from _found(root, starts, ["-maxdepth", "1"])
            starts, length = [], 0
    if starts:
        yield from _found(root, starts, ["-maxdepth", "1"])


def _found(root: Path, starts: Sequence[str], tests: Sequence[str]) -> Iterator[dict[str, Signature]]:
    words = ["find", *starts, "-mindepth", "1", *tests]
    words += ["-type", "d", "-printf", f"%p\\0{FOLDER}\\0", "-o", "-printf", f"%p\\0{PRINTED_BY_FIND}\\0"]
    rest = b""
    try:
        with streamed(words, cwd=root, env={**os.environ, "LC_ALL": "C"}, timeout_s=_TIMEOUT_S) as program:
            for piece in program.output():
                fields, rest = _whole_records(rest + piece)
                yield dict(zip(fields[0::2], fields[1::2], strict=True))
            exit_code = program.exit_code()
    except (OSError, TimeoutError) as error:
        raise FindFailedError from error
    if exit_code or rest:
        raise FindFailedError


def _whole_records(printed: bytes) -> tuple[list[str], bytes]:
    """Split off what is complete: paths without their `./`, each followed by its signature."""
    end = printed.rfind(b"\0") + 1
    last = printed.rfind(b"\0", 0, max(end - 1, 0)) + 1
    if printed.startswith(b"./", last, end):  # A path whose signature is yet to come; none begins so.
        end = last
    plain = printed[:end].removeprefix(b"./").replace(b"\0./", b"\0")
    return (os.fsdecode(plain[:-1]).split("\0") if end else []), printed[end:]


def _quoted(path: str) -> str:
    """Take from `path` what a pattern would mean by it."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in path)


def _must_be_readable() -> None:
    if not _prints_as_we_do():
        raise FindFailedError


@cache
def _prints_as_we_do() -> bool:
    """Ask it about our own source files, and compare."""
    here = Path(__file__).parent
    try:
        printed = {
            path: said for some in _found(here, ["."], ["-maxdepth", "1"]) for path, said in some.items()
        }
        return printed == {path.name: signature_of(path.lstat()) for path in here.iterdir()}
    except (FindFailedError, OSError):
        return False
