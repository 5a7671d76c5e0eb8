"""The task filter: what a person types after `/`, parsed once and matched against each row.

Terms are separated by spaces and all must match. `state:`, `tag:` and `worker:` take a list
separated by commas, of which one must match; `re:` takes a regular expression; any other term is looked for
in the id, the title and the reason. A leading `!` turns a term round. Half-typed words match by prefix,
because the table follows every keystroke.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.values import dataclass
from agentcoord.wire.messages import TaskView

REGEX: Final = "re"
TO_REVIEW: Final = "review"
"""`state:review` means a done task that nobody judged yet."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: `words` are alternatives, lower case but for a pattern, never empty."""

    field: str
    """`state`, `tag`, `worker`, `re`, or empty for text."""
    words: tuple[str, ...]
    inverse: bool

    def matches(self, task: TaskView) -> bool:
        """Whether the task satisfies this term."""
        found = any(_FIELDS[self.field](task, word) for word in self.words)
        return found != self.inverse


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What is shown: the tasks that match every term."""

    text: str = ""
    terms: tuple[Term, ...] = ()

    def matches(self, task: TaskView) -> bool:
        """Whether the task is shown."""
        return all(term.matches(task) for term in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse_filter(text: str) -> TaskFilter:
    """Read what a person typed; anything is a filter, an unfinished term is ignored."""
    terms = (_parse_term(word) for word in text.split())
    return TaskFilter(text.strip(), tuple(term for term in terms if term is not None))


def _parse_term(word: str) -> Term | None:
    inverse = word.startswith("!")
    bare = word.removeprefix("!").casefold()
    field, colon, value = bare.partition(":")
    if not colon or field not in _FIELDS or not field:
        return Term("", (bare,), inverse) if bare else None
    if field == REGEX:
        # Case is folded when it matches: `\W` and `\w` are two things. A comma is one of its letters.
        pattern = word.removeprefix("!").partition(":")[2]
        return Term(field, (pattern,), inverse) if pattern else None
    words = tuple(w for w in value.split(",") if w)
    return Term(field, words, inverse) if words else None


def _state_matches(task: TaskView, word: str) -> bool:
    if word == TO_REVIEW:
        return task["state"] == TaskState.DONE and task["review"] == ReviewState.UNREVIEWED
    judged = task["state"] == TaskState.DONE and task["review"] != ReviewState.UNREVIEWED
    return task["state"].startswith(word) or (judged and task["review"].startswith(word))


def _tag_matches(task: TaskView, word: str) -> bool:
    return any(tag.casefold().startswith(word) for tag in task["tags"])


def _worker_matches(task: TaskView, word: str) -> bool:
    return word in (task["worker"] or "").casefold()


def _regex_matches(task: TaskView, pattern: str) -> bool:
    """A pattern that is not finished yet is looked for as it stands."""
    texts = (task["id"], task["title"], task["why"])
    try:
        return any(re.search(pattern, text, re.IGNORECASE) for text in texts)
    except re.error:
        return any(pattern.casefold() in text.casefold() for text in texts)


def _text_matches(task: TaskView, word: str) -> bool:
    return any(word in text.casefold() for text in (task["id"], task["title"], task["why"]))


_FIELDS: Final[dict[str, Callable[[TaskView, str], bool]]] = {
    "state": _state_matches,
    "tag": _tag_matches,
    "worker": _worker_matches,
    REGEX: _regex_matches,
    "": _text_matches,
}
