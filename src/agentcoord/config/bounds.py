"""What settings may be, where their type does not say it: for whoever reads them, and for their schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentcoord.config.sections import NotifySection
from agentcoord.domain.ladder import EFFORTS
from agentcoord.domain.setbacks import ENVIRONMENT_FAULTS, OWN_FAULTS
from agentcoord.llm.api import Provider

_ANY: Final = 999_999_999
BOUNDS: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("checks", "timeout_s"): (1, _ANY),
    ("checks", "parallel"): (0, _ANY),
    ("models", "first_byte_s"): (1, _ANY),
    ("models", "silence_s"): (1, _ANY),
    ("models", "context_tokens"): (0, _ANY),
    ("models", "compact_at_tokens"): (0, _ANY),
    ("models", "max_turns"): (1, _ANY),
    ("models", "attempts"): (1, _ANY),
    ("models", "check_rounds"): (0, _ANY),
    ("retries", "first_wait_s"): (0, _ANY),
    ("retries", "most_wait_s"): (0, _ANY),
    **{("retries", str(setback)): (0, _ANY) for setback in sorted(OWN_FAULTS)},
    **{("retries", str(setback)): (1, _ANY) for setback in sorted(ENVIRONMENT_FAULTS)},
    ("budget", "run_usd"): (0, _ANY),
    ("budget", "task_usd"): (0, _ANY),
    ("budget", "day_usd"): (0, _ANY),
    ("budget", "run_tokens"): (0, _ANY),
    ("budget", "task_tokens"): (0, _ANY),
    ("budget", "day_tokens"): (0, _ANY),
    ("redis", "lease_s"): (5, _ANY),
    ("metrics", "port"): (0, 65_535),
    ("undo", "keep_days"): (0, _ANY),
}
"""Section and key of each number: the least and the most that it may be."""
CHOICES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("models", "effort"): ("", *EFFORTS),
    ("models", "provider"): tuple(Provider),
    ("checks", "on_tamper"): ("hold", "flag"),
    ("checks", "pre_existing"): ("allow", "refuse"),
}
"""Section and key of each text that is one of a few."""
NOTICES: Final = NotifySection().events
"""What may stand in `notify.events`."""
TIME_OF_DAY: Final = r"([01]\d|2[0-3]):[0-5]\d"
"""What `budget.deadline` looks like where it is set."""
FOLDER_INSIDE: Final = r"(?![/~])(?!(.*/)?(\.\.|\.[gG][iI][tT])(/|$)).*[^/.].*"
"""What a folder of `project.share` looks like."""
