"""Questions to the person, and the answers on their way back to the task.

A question never stops anybody: the worker goes on with the default, and takes the answer when it is
there. Deliberately absent: showing and notifying (`daemon`, `tui`).
"""

from __future__ import annotations

import json

from redis.asyncio import Redis

from agentcoord.domain.ids import TaskId
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import ScriptName, Scripts, read_hash
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question that nobody has answered."""

    task: TaskId
    number: int
    """Counts up through the project."""
    question: str
    default: str
    """What the worker assumes meanwhile."""
    at_ms: int


@dataclass(frozen=True, slots=True)
class QuestionBook:
    """The questions of one project."""

    client: Redis
    keys: Keys
    scripts: Scripts

    async def ask(self, task: TaskId, question: str, default: str, at_ms: int) -> int:
        """Store a question and return its number."""
        stored = json.dumps({"task": task, "question": question, "default": default, "at_ms": at_ms})
        number: int = await self.scripts.run(ScriptName.ASK, task, stored)
        return number

    async def answer(self, task: TaskId, text: str) -> bool:
        """Answer the oldest open question of `task`. False when it has none."""
        return bool(await self.scripts.run(ScriptName.ANSWER, task, text))

    async def answers(self, task: TaskId, *, told: int = 0) -> list[tuple[str, str]]:
        """Return (question, answer) pairs of `task`, oldest first, after forgetting the `told` oldest.

        They stay until they are told of, so that a crash in between loses none.
        """
        flat = await self.scripts.run(ScriptName.TAKE_ANSWERS, task, told)
        questions = [json.loads(raw)["question"] for raw in flat[::2]]
        return list(zip(questions, flat[1::2], strict=True))

    async def open(self) -> list[OpenQuestion]:
        """Return every open question, oldest first."""
        stored = await read_hash(self.client, self.keys.of("questions"))
        return [
            OpenQuestion(
                task=TaskId(raw["task"]),
                number=number,
                question=raw["question"],
                default=raw["default"],
                at_ms=raw["at_ms"],
            )
            for number, raw in sorted((int(n), json.loads(text)) for n, text in stored.items())
        ]
