"""What a person said of the hunks of each task under review, and what the checks said to that. Pure state.

Separate from the screen, which draws it and asks the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from agentcoord.domain.hunks import Hunk
from agentcoord.tui.diff_page import Mark
from agentcoord.values import dataclass


@dataclass(slots=True)
class HunkMarks:
    """Of all tasks under review."""

    _marks: dict[str, dict[str, Mark]] = field(default_factory=dict)
    _at: dict[str, int] = field(default_factory=dict)
    _verdicts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def marks_of(self, task: str) -> Mapping[str, Mark]:
        """By hunk key."""
        return self._marks.get(task, {})

    def at(self, task: str, hunks: Sequence[Hunk]) -> int | None:
        """Which hunk is at the cursor; None until it was moved there."""
        at = self._at.get(task)
        return at if at is not None and at < len(hunks) else None

    def move(self, task: str, by: int, hunks: Sequence[Hunk]) -> None:
        """Move the cursor; at first to the first hunk."""
        at = self.at(task, hunks)
        self._at[task] = 0 if at is None else max(0, min(at + by, len(hunks) - 1))

    def mark(self, task: str, mark: Mark, hunks: Sequence[Hunk]) -> None:
        """Mark the hunk at the cursor and go on to the next; the same mark again takes it away."""
        at = self.at(task, hunks) or 0
        marks, key = self._marks.setdefault(task, {}), hunks[at].key
        if marks.get(key) == mark:
            del marks[key]
            self._at[task] = at
        else:
            marks[key] = mark
            self._at[task] = min(at + 1, len(hunks) - 1)

    def all_kept(self, task: str, hunks: Sequence[Hunk]) -> bool:
        """Whether every hunk is accepted."""
        marks = self.marks_of(task)
        return bool(hunks) and all(marks.get(hunk.key) is Mark.KEEP for hunk in hunks)

    def dropped(self, task: str) -> list[str]:
        """The keys of those to be taken out, sorted."""
        return sorted(key for key, mark in self.marks_of(task).items() if mark is Mark.DROP)

    def heard(self, task: str, answer: Mapping[str, Any]) -> None:
        """Keep what the checks said of a task without some hunks."""
        self._verdicts[task] = answer

    def verdict(self, task: str) -> Mapping[str, Any] | None:
        """What the checks said of exactly the hunks that are to be taken out now."""
        answer = self._verdicts.get(task)
        return answer if answer is not None and sorted(answer["hunks"]) == self.dropped(task) else None

    def void(self, task: str) -> None:
        """Forget the verdict: the tree is another now."""
        self._verdicts.pop(task, None)

    def forget(self, task: str) -> None:
        """Forget everything of a task: it has other hunks now."""
        for each in (self._marks, self._at, self._verdicts):
            each.pop(task, None)
