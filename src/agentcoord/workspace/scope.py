"""What workers may see, add and modify: the user's globs, and the names that never land.

Globs are written as in a .gitignore (`src/**`, `docs`, `!src/generated/`). Separate from `names`,
whose lists no configuration can loosen, and from `domain.globs`, which matches a single glob.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.domain.globs import EVERYTHING, glob_matches
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.names import refusal_of


class ScopeRules:
    """The scope of a project. An empty `scope` allows nothing."""

    def __init__(
        self, scope: Sequence[str], protect: Sequence[str] = (), sight: Sequence[str] = EVERYTHING
    ) -> None:
        """Read the globs. Raises WorkspaceError for one that names nothing."""
        self._scope = _read(scope, "project.scope")
        self._protect = _read(protect, "project.protect")
        self._sight = _read(sight, "project.sight")
        self.shows_all = tuple(sight) == EVERYTHING

    def allows(self, path: str) -> bool:
        """Whether `path` may be added or modified as far as the globs say; never what is out of sight."""
        return _decide(self._scope, path) and not _decide(self._protect, path) and self.shows(path)

    def shows(self, path: str) -> bool:
        """Whether workers' tools may show the file `path`."""
        return self.shows_all or _decide(self._sight, path)

    def refusal(self, path: str, *, exists: bool = False) -> str | None:
        """Say why `path` never lands whatever the scope says; None when nothing speaks against it.

        `exists`: the user already has this file, so only what it does matters, not how its name looks.
        """
        return refusal_of(path, exists=exists)


@dataclass(frozen=True, slots=True)
class _Glob:
    """One line of a list: what it names, and whether it takes that in or out."""

    pattern: str
    takes_in: bool


def _decide(globs: Sequence[_Glob], path: str) -> bool:
    # The last glob that matches decides. (Git itself would not take back a file of an
    # ignored folder, so `!src/generated/` after `src/**` would silently do nothing.)
    return next((glob.takes_in for glob in reversed(globs) if glob_matches(glob.pattern, path)), False)


def _read(lines: Sequence[str], setting: str) -> tuple[_Glob, ...]:
    found = []
    for line in lines:
        glob = _Glob(line.removeprefix("!").strip(), takes_in=not line.startswith("!"))
        if not glob.pattern.strip("/"):
            raise WorkspaceError(
                f"{setting} holds a glob that names nothing: {line!r}",
                mend="use gitignore patterns, such as src/**",
            )
        found.append(glob)
    return tuple(found)
