"""Taking what a landing did to one file out of a content: exactly where hashes match, else by a merge.

Pure, but for the merge, which git makes of contents alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcoord.values import dataclass
from agentcoord.workspace.diffs import merge
from agentcoord.workspace.history import Swap
from agentcoord.workspace.versions import version_of


@dataclass(frozen=True, slots=True)
class Reversal:
    """A content after something was taken out of it."""

    content: bytes | None
    exact: bool = True
    """A pre-image itself, and no merge."""
    conflict: bool = False


def reverse_all(content: bytes | None, swaps: Sequence[Swap], read_blob: Callable[[str], bytes]) -> Reversal:
    """Take the swaps of one path, newest first, out of a content."""
    reversal = Reversal(content)
    for swap in swaps:
        following = _reverse(reversal.content, swap, read_blob)
        reversal = Reversal(following.content, reversal.exact and following.exact, following.conflict)
        if reversal.conflict:
            break
    return reversal


def _reverse(content: bytes | None, swap: Swap, read_blob: Callable[[str], bytes]) -> Reversal:
    assert swap.after is not None
    before = swap.before
    if content is None:
        return Reversal(None)
    sha256 = version_of(content, 0).sha256
    if sha256 == swap.after.sha256:
        return Reversal(None if before is None else read_blob(before.sha256))
    if before is None:
        return Reversal(content, conflict=True)  # Created by the task, edited since.
    if sha256 == before.sha256:
        return Reversal(content)
    merged = merge(base=read_blob(swap.after.sha256), ours=content, theirs=read_blob(before.sha256))
    if merged is None:
        return Reversal(content, conflict=True)
    return Reversal(merged, exact=False)
