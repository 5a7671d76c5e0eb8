"""The drawing of a task's states in `docs/architecture.md`, made from the table of legal moves.

Separate from `make_reference` because it is part of a page that people write, between two marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from doc_sources import SOURCE, between_marks, documented_fields, table

from agentcoord.domain.states import ENDED_STATES, LEGAL_MOVES, TaskState

DRAWING_BEGINS: Final = "<!-- states: made by scripts/make_reference.py -->"
DRAWING_ENDS: Final = "<!-- end of states -->"


def with_drawing(text: str) -> str:
    """Return the text of `docs/architecture.md` with the drawing between its marks made anew.

    Raises ValueError when the marks are not there.
    """
    return between_marks("docs/architecture.md", text, DRAWING_BEGINS, DRAWING_ENDS, states_drawing())


def states_drawing() -> str:
    """Draw the states, and say what each means and may become."""
    open_states = [state for state in TaskState if state not in ENDED_STATES]
    everywhere = {to for to in TaskState if all(to in LEGAL_MOVES[state] for state in open_states)}
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    for state in TaskState:
        drawn = [
            to for to in TaskState if to in LEGAL_MOVES[state] and not _is_left_out(state, to, everywhere)
        ]
        lines += [f"    {state} --> {to}" for to in drawn]
    lines += ["```", ""]
    lines.append(f"Not drawn: every state but {_listed(ENDED_STATES)} may also become {_listed(everywhere)}.")
    said = documented_fields(SOURCE / "domain" / "states.py", "TaskState")
    rows = []
    for state in TaskState:
        moves = ", ".join(to for to in TaskState if to in LEGAL_MOVES[state])
        rows.append((state, said[state.name], moves))
    return "\n".join([*lines, "", *table(("State", "Means", "May become"), rows), ""])


def _is_left_out(state: TaskState, to: TaskState, everywhere: Iterable[TaskState]) -> bool:
    return state not in ENDED_STATES and to in everywhere


def _listed(states: Iterable[TaskState]) -> str:
    chosen = set(states)
    names = [f"`{state}`" for state in TaskState if state in chosen]
    return f"{', '.join(names[:-1])} and {names[-1]}"
