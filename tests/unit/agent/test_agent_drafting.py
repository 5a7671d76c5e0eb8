"""A drafted plan: judged as any plan is, asked for once more, and never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agent_fakes import ScriptedGateway, call_block, end_turn, text_block, turn_of

from agentcoord.agent.drafting import DRAFT_TASK, BadDraftError, Draft, DraftBriefing, draft_plan
from agentcoord.domain.ids import TASK_ID_PATTERN, TaskId
from agentcoord.domain.plan import parse_plan
from agentcoord.domain.usage import usd_micros
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.llm.api import Block, SpendRefused, StopReason

BRIEFING = DraftBriefing(
    goal="Test\x00 the\nparser",
    project_name="shop",
    scope=("src/**",),
    protect=(),
    checks={"tests": "make test"},
    workers=MISSION_WORKERS,
    instructions="Be kind.",
    repo_map="1 file\n./: a.py",
    loaded=(TaskId("old"),),
)


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"Do {name}", "description": "Why", "estimate_usd": 0.3, **more}


def proposal(*entries: Any, name: Any = "night") -> Block:
    return call_block("c1", "propose_plan", name=name, tasks=list(entries))


class Kept(list[str]):
    async def keep(self, answer: str) -> None:
        self.append(answer)


async def ask(gateway: ScriptedGateway, kept: Kept | None = None) -> Draft | SpendRefused:
    kept = Kept() if kept is None else kept
    return await draft_plan(
        gateway, BRIEFING, model="claude-test", effort="low", max_tokens=4_000, keep=kept.keep
    )


async def test_a_good_answer_becomes_a_plan_with_estimates_and_caps() -> None:
    first = entry("a", tags=["testing"], writes=["tests/test_a.py"], check="pytest -q", priority=5)
    gateway = ScriptedGateway(turn_of(text_block("Here."), proposal(first, entry("b", needs=["a", "old"]))))
    draft = await ask(gateway)
    assert isinstance(draft, Draft)
    plan = parse_plan(draft.text, format="toml", source="p")
    assert [(t.id, t.tags, t.needs, t.check) for t in plan.tasks] == [
        ("a", ("testing",), (), "pytest -q"),
        ("b", (), ("a", "old"), ""),
    ]
    assert {t.budget_usd_micros for t in plan.tasks} == {usd_micros(0.6)}
    assert (draft.tasks, draft.estimate_usd, draft.cost_usd_micros) == (2, 0.6, 70)
    assert "# A draft, proposed by a model for: Test the parser\n" in draft.text
    told = json.dumps([gateway.requests[0].system, gateway.requests[0].messages])
    for words in (
        "make test",
        "Be kind.",
        "a.py",
        "src/**",
        "Testing-Engineer-1",
        "old",
        f"Task id: {DRAFT_TASK}",
    ):
        assert words in told
    assert TASK_ID_PATTERN.fullmatch(DRAFT_TASK) is None


async def test_a_bad_answer_is_told_what_is_wrong_and_asked_for_once_more() -> None:
    kept = Kept()
    bad = turn_of(proposal(entry("a", needs=["nobody"]), entry("old")))
    gateway = ScriptedGateway(bad, turn_of(proposal(entry("a"))))
    draft = await ask(gateway, kept)
    assert isinstance(draft, Draft)
    assert draft.cost_usd_micros == 140
    assert len(kept) == 2
    answer, result = gateway.requests[1].messages[1:]
    assert answer["content"] == list(bad.content)
    assert result["content"][0]["is_error"]
    assert result["content"][0]["tool_use_id"] == "c1"
    assert "'old' is a loaded task's" in result["content"][0]["content"]


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([text_block("I would rather talk.")], "propose_plan was called 0 times"),
        ([proposal(entry("a")), call_block("c2", "propose_plan", name="x", tasks=[])], "called 2 times"),
        ([proposal()], "`tasks` holds 0"),
        ([proposal("a")], "`tasks` must be a list of objects"),
        ([proposal(entry("a"), name=3)], "`name` must be a string"),
        ([proposal(entry("a", estimate_usd="much"))], "task 1: `estimate_usd` must be a number"),
        ([proposal(entry("a", priority=9))], "task 1: `priority` must be a whole number from 1 to 5"),
        ([proposal(entry("a"), entry("a"))], "id 'a' is used twice"),
        ([proposal(entry("a", needs=["b"]))], "needs 'b', which no task is called"),
        ([proposal(entry("a", tags=["nobody"]))], "no single worker has"),
        ([proposal(entry("a", writes=["/etc/passwd"]))], "no leading /"),
        ([proposal(entry("a/b"))], "is not 1 to 64 letters"),
    ],
)
async def test_two_bad_answers_are_an_error_that_says_why_and_both_are_kept(
    blocks: list[Block], problem: str
) -> None:
    kept = Kept()
    with pytest.raises(BadDraftError) as caught:
        await ask(ScriptedGateway(turn_of(*blocks), turn_of(*blocks)), kept)
    assert any(problem in told for told in caught.value.problems), caught.value.problems
    assert [json.loads(answer) for answer in kept] == [blocks, blocks]


async def test_what_was_cut_or_refused_is_asked_for_again() -> None:
    cut = turn_of(proposal(entry("a")), stop=StopReason.MAX_TOKENS)
    draft = await ask(ScriptedGateway(cut, turn_of(proposal(entry("a")))))
    assert isinstance(draft, Draft)
    refusal = turn_of(stop=StopReason.REFUSAL)
    gateway = ScriptedGateway(refusal, end_turn(text_block("no")))
    with pytest.raises(BadDraftError):
        await ask(gateway)
    assert all(message["content"] for message in gateway.requests[1].messages)


async def test_a_cap_ends_it_before_the_call() -> None:
    refused = SpendRefused("day", 1, 1)
    assert await ask(ScriptedGateway(refused)) is refused
