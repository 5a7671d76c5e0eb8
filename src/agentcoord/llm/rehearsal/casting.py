"""Which answer a request is due: its script, its turn, and the fault that spoils it.

Separate from the application because it knows nothing of HTTP. Which turn is due is read from
the request alone; the only things remembered are how often a turn was tried, so that a fault
comes as often as its script says, and the thinking that was issued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentcoord.llm.rehearsal.conversation import (
    IssuedThinking,
    check_conversation,
    task_of,
    text_of,
    turns_so_far,
)
from agentcoord.llm.rehearsal.faults import Dice, Fault, FaultKind
from agentcoord.llm.rehearsal.problems import Problem
from agentcoord.llm.rehearsal.scripts import ANY_TASK, Answer, Script
from agentcoord.llm.rehearsal.validation import MESSAGE_FIELDS, check_request
from agentcoord.values import dataclass

_MAX_COUNTED_TURNS = 100_000


@dataclass(frozen=True, slots=True)
class Play:
    """What a request is due: a scripted answer, and perhaps a fault."""

    task: str
    turn: int
    answer: Answer
    fault: Fault | None


class Casting:
    """Finds each request's play."""

    def __init__(self, scripts: Mapping[str, Script], dice: Dice) -> None:
        self._scripts = scripts
        self._dice = dice
        self._issued = IssuedThinking()
        self._tries: dict[tuple[str, int], int] = {}

    def find(self, body: Mapping[str, Any]) -> Play | Problem:
        """Check the request and find what it is due."""
        if (problem := check_request(body, MESSAGE_FIELDS)) is not None:
            return problem
        messages = body["messages"]
        task = task_of(messages) or ""
        script = self._scripts.get(task) or self._scripts.get(ANY_TASK)
        turn = turns_so_far(messages)
        may_continue = script is not None and turn > 0 and self._may_have_paused(script, turn - 1)
        problem = check_conversation(messages, may_continue=may_continue) or self._issued.check(messages)
        if problem is not None:
            return problem
        if script is None:
            known = ", ".join(sorted(self._scripts)) or "none"
            asked = f"the task {task!r}" if task else "a first message without a line `Task id: ...`"
            return Problem(404, f"There is no rehearsal script for {asked}; there are scripts for: {known}.")
        answer = script.answer_to(turn, text_of(messages[-1]["content"]))
        return Play(task, turn, answer, self._fault_for(task, turn, answer))

    def _may_have_paused(self, script: Script, turn: int) -> bool:
        """Whether some way this turn can go ends in `pause_turn`, to be taken up by re-sending it."""
        if self._dice.probabilities.get(FaultKind.PAUSE_TURN, 0) > 0:
            return True
        return any(
            answer.effective_stop_reason == FaultKind.PAUSE_TURN
            or (answer.fault is not None and answer.fault.kind is FaultKind.PAUSE_TURN)
            for answer in script.answers_of(turn)
        )

    def _fault_for(self, task: str, turn: int, answer: Answer) -> Fault | None:
        """Count a try of the turn, and return the fault that spoils it, or None."""
        attempt = self._tries.get((task, turn), 0)
        if len(self._tries) < _MAX_COUNTED_TURNS or attempt:
            self._tries[task, turn] = attempt + 1
        if answer.fault is not None and attempt < answer.fault.times:
            return answer.fault
        return self._dice.throw(task, turn, attempt)

    def note_begun(self, messages: Sequence[Mapping[str, Any]], content: Sequence[Mapping[str, Any]]) -> None:
        """An answer to `messages` with this content has begun."""
        self._issued.note(messages, content)
