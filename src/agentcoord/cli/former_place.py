"""What is said where work is missing, when the repository was moved and its state was not: where it is,
and the command that takes it along.

Separate from that command (`adopt_command`): several others ask this, some of which must answer at once.
"""

from __future__ import annotations

import os

from agentcoord.config.place import alike_places, former_places, holds_work

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from collections.abc import Callable

    from agentcoord.config.paths import ProjectPaths


def former_state(paths: ProjectPaths, holds: Callable[[str], bool]) -> tuple[str, str] | None:
    """The newest state folder of this repository at a former place that holds work, and that place."""
    found = former_places(os.fspath(paths.state_dir), os.fspath(paths.root))
    return next((each for each in found if holds(each[0])), None)


def alike_state(paths: ProjectPaths) -> str:
    """Where a repository with a commit of this one was, which may be this one; empty where none is known.

    Only for who asks for it: a copy that was removed looks the same.
    """
    if holds_work(os.fspath(paths.state_dir)):
        return ""
    found = alike_places(os.fspath(paths.state_dir), os.fspath(paths.root))
    return next((place for folder, place in found if holds_work(folder)), "")


def moved_words(paths: ProjectPaths) -> str:
    """One line for who misses tasks here that are known at a former place; empty when there are none.

    Raises nothing: it comes beside an answer, and must not take its place.
    """
    try:
        found = None if holds_work(os.fspath(paths.state_dir)) else former_state(paths, holds_work)
    except OSError:
        return ""
    if found is None:
        return ""
    folder, place = found
    return (
        f"this repository was at {place}; its tasks and its undo journal are still in {folder}: "
        "agentcoord adopt takes them along"
    )
