"""Whether working as root was allowed: one rule for the commands and the daemon.

Separate and cheap to import, because the commands that must answer at once read it too.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Final

ALLOW_ROOT_VARIABLE: Final = "AGENTCOORD_ALLOW_ROOT"
_YES: Final = frozenset({"1", "true", "yes", "on"})


def root_allowed(env: Mapping[str, str], *, flag: bool = False) -> bool:
    """Whether `--allow-root` was given or the variable says 1, true, yes or on; anything else says no."""
    return flag or env.get(ALLOW_ROOT_VARIABLE, "").strip().lower() in _YES
