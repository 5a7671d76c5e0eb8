"""Whether taking one task's lines out of a file would take another task's with them.

Two tasks may have written the same line: what one had landed was taken out, in a stash or on another branch
when the other landed. Contents alone do not tell whose a line is then; the journal does. Where both landings
wrote a line that the later one had not found in the file, the other's part of the file must not be less
after the undo than before. All other lines are of one task, and the merge keeps those of the rest.

An other's landing before ours counts only where all of it is back, by the user or git: else it would be in
the way for ever when the user reverted it by hand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from agentcoord.domain.files import FileVersion
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.history import Operation, Record, Swap
from agentcoord.workspace.reversals import reverse_all
from agentcoord.workspace.versions import version_of

_Read = Callable[[str], bytes]
"""Returns a content by its SHA-256."""
_SAYS_SOMETHING = re.compile(rb"[0-9A-Za-z\x80-\xff]")


@dataclass(frozen=True, slots=True)
class _Lines:
    """How often each line that says something is in a file before a landing and after it."""

    before: Counter[bytes]
    after: Counter[bytes]


class OthersLines:
    """What other tasks wrote into the files that an undo of `landings` is about."""

    def __init__(self, landings: Sequence[Record], records: Sequence[Record], read_blob: _Read) -> None:
        """`records`: the whole journal, oldest first."""
        self._read_blob = read_blob
        self._mine = _by_path(landings)
        self._steps = _by_path(record for record in records if record.happened)
        undone = {number for record in records if record.happened for number in record.undoes}
        undone |= {record.number for record in landings}
        self._others = _by_path(
            record
            for record in records
            if record.operation is Operation.LAND and record.happened and record.number not in undone
        )

    def are_taken(self, path: str, current: bytes, wanted: bytes | None) -> bool:
        """Whether making `wanted` of `current` takes lines that other tasks landed."""
        here = version_of(current, 0).sha256

        def read(sha256: str) -> bytes:
            return current if sha256 == here else self._read_blob(sha256)

        lines = cache(lambda swap: _Lines(_count(swap.before, read), _count(swap.after, read)))
        mine = self._mine[path]
        may_be_back = not self._is_unbroken(path, mine[0][0].number, here)
        for record, swap in self._others.get(path, ()):
            earlier = [each for landing, each in mine if landing.number < record.number]
            later = [each for landing, each in mine if landing.number > record.number and may_be_back]
            try:
                on_ours = any(_wrote_the_same(lines(each), lines(swap)) for each in earlier)
                if not on_ours and not any(_wrote_the_same(lines(swap), lines(each)) for each in later):
                    continue  # A merge takes milliseconds, and there may be hundreds of tasks.
                before, after = _part(current, swap, read), _part(wanted, swap, read)
            except WorkspaceError:
                if record.compacted_at_ms is None:
                    raise
                # It cannot be compared. Where it began as one of mine did, that was not in the file.
                if any(_sha256(each.before) == _sha256(swap.before) for each in earlier):
                    return True
                continue
            if on_ours:
                if before is None or after is None or after < before:
                    return True
            elif after != before == _part(_content(swap.after, read), swap, read):
                return True
        return False

    def _is_unbroken(self, path: str, since: int, here: str) -> bool:
        """Whether each record from one on began with what the one before it left, and the last left this."""
        swaps = [swap for record, swap in self._steps[path] if record.number >= since]
        ends = [*(_sha256(swap.before) for swap in swaps[1:]), here]
        return [_sha256(swap.after) for swap in swaps] == ends


def _wrote_the_same(earlier: _Lines, later: _Lines) -> bool:
    """Whether both added, or both removed, a line, and the later one had not found it done."""
    added = (earlier.after - earlier.before) & (later.after - later.before)
    removed = (earlier.before - earlier.after) & (later.before - later.after)
    return any(later.before[line] < earlier.after[line] for line in added) or any(
        later.before[line] > earlier.after[line] for line in removed
    )


def _by_path(records: Iterable[Record]) -> dict[str, list[tuple[Record, Swap]]]:
    found: dict[str, list[tuple[Record, Swap]]] = {}
    for record in records:
        for swap in record.swaps:
            found.setdefault(swap.path, []).append((record, swap))
    return found


def _count(version: FileVersion | None, read: _Read) -> Counter[bytes]:
    """Count the lines that say something: a blank one, or a brace, is in every landing."""
    content = _content(version, read) or b""
    return Counter(line for line in content.split(b"\n") if _SAYS_SOMETHING.search(line))


def _part(content: bytes | None, swap: Swap, read: _Read) -> tuple[int, int] | None:
    """How many lines of a content a landing added and removed; None: it cannot be told."""
    if content is None:
        return 0, 0
    without = reverse_all(content, [swap], read)
    if without.conflict:
        return None
    if without.content == content:
        return 0, 0
    counts = count_lines([Pair(swap.path, without.content, content)])[swap.path]
    # Of a binary one no lines are counted: it is there, or not.
    return counts if any(counts) else (1, 1)


def _content(version: FileVersion | None, read: _Read) -> bytes | None:
    return None if version is None else read(version.sha256)


def _sha256(version: FileVersion | None) -> str | None:
    return None if version is None else version.sha256
