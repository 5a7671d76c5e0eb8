"""What a worker did to its private copy that its landing does not carry over, in words for a person.

Said beside the worker's own decisions, in the page of the task, the review and the report: who renamed a
file has made a second one in the user's tree, and nothing else would tell.
"""

from __future__ import annotations

from functools import partial

from agentcoord.domain.files import ChangeSet
from agentcoord.domain.listed import listed

_NAMED = 10
_listed = partial(listed, most=_NAMED)


def left_behind(changes: ChangeSet) -> list[str]:
    """Return a sentence for each kind of what is left behind."""
    told = []
    if changes.reported:
        removed = _listed([change.path for change in changes.reported])
        told.append(f"Removed or renamed in its copy, which no landing does to your tree: {removed}")
    if changes.landable and changes.out_of_scope:
        told.append(f"Written outside the scope, and left behind: {_listed(changes.out_of_scope)}")
    return told
