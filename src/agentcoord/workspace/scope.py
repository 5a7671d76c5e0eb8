"""What workers may add or modify: the user's globs, and the names that never land.

Globs are gitignore's (`src/**`, `docs`, `!src/generated/`). Separate from `names`, whose
lists no configuration can loosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pathspec import PathSpec, Pattern

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.names import refusal_of

_Globs = PathSpec[Pattern]


class ScopeRules:
    """The scope of a project. An empty `scope` allows nothing."""

    def __init__(self, scope: Sequence[str], protect: Sequence[str] = ()) -> None:
        """Compile the globs. Raises WorkspaceError for one that is no gitignore pattern."""
        self._scope = _compile(scope, "project.scope")
        self._protect = _compile(protect, "project.protect")

    def allows(self, path: str) -> bool:
        """Whether `path` may be added or modified as far as the user's globs say."""
        return self._scope.match_file(path) and not self._protect.match_file(path)

    def refusal(self, path: str, *, exists: bool = False) -> str | None:
        """Say why `path` never lands whatever the scope says; None when nothing speaks against it.

        `exists`: the user already has this file, so only what it does matters, not how its name looks.
        """
        return refusal_of(path, exists=exists)


def _compile(globs: Sequence[str], setting: str) -> _Globs:
    try:
        # The last glob that matches decides. (Git itself would not take back a file of an
        # ignored folder, so `!src/generated/` after `src/**` would silently do nothing.)
        return PathSpec.from_lines("gitignore", globs)
    except (ValueError, TypeError, re.error) as error:
        raise WorkspaceError(
            f"{setting} holds a glob that cannot be read: {error}",
            mend="use gitignore patterns, such as src/**",
        ) from error
