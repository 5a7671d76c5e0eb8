"""Questions: asked once, answered once, and told until somebody says that they are."""

from __future__ import annotations

from store_kit import NIGHT_MS, HandClock, open_store

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.store import OpenQuestion


async def test_answers_go_to_the_oldest_question_and_stay_until_they_are_told(
    valkey_url: str, project_id: ProjectId
) -> None:
    t, u = TaskId("t"), TaskId("u")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        book = store.questions
        assert await book.ask(t, "Which?", "the first", NIGHT_MS) == 1
        assert await book.ask(u, "Why?", "because", NIGHT_MS) == 2
        assert await book.ask(t, "When?", "now", NIGHT_MS + 1) == 3
        assert await book.open() == [
            OpenQuestion(t, 1, "Which?", "the first", NIGHT_MS),
            OpenQuestion(u, 2, "Why?", "because", NIGHT_MS),
            OpenQuestion(t, 3, "When?", "now", NIGHT_MS + 1),
        ]
        assert await book.answers(t) == []
        assert await book.answer(t, "the second")
        assert [q.number for q in await book.open()] == [2, 3]
        assert await book.answer(t, "später")
        assert not await book.answer(t, "too late")
        both = [("Which?", "the second"), ("When?", "später")]
        assert await book.answers(t) == both
        assert await book.answers(t) == both, "whoever crashed before it was told is told again"
        assert await book.answers(t, told=1) == both[1:]
        assert await book.answers(t, told=1) == []
        assert not await book.answer(TaskId("nobody"), "?")


async def test_questions_outlive_the_store(valkey_url: str, project_id: ProjectId) -> None:
    t = TaskId("t")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await store.questions.ask(t, "Which?", "a", NIGHT_MS)
        await store.questions.ask(t, "Really?", "yes", NIGHT_MS)
        await store.questions.answer(t, "b")
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert [q.question for q in await store.questions.open()] == ["Really?"]
        assert await store.questions.answers(t) == [("Which?", "b")]
