"""The loop: every outcome, every bound, and conversations that go on as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from agent_fakes import (
    TURN_COST,
    Answer,
    FakeShell,
    MemoryFiles,
    MemoryQuestions,
    RecordingReporter,
    ScriptedGateway,
    StillClock,
    call_block,
    conversation_bytes,
    edit_block,
    end_turn,
    finish_block,
    make_briefing,
    text_block,
    turn_of,
)

from agentcoord.agent.loop import (
    AgentLoop,
    ClaimsFinished,
    GaveUp,
    GiveUpKind,
    Interrupted,
    LoopLimits,
    LoopOutcome,
    OutOfMoney,
)
from agentcoord.agent.ports import CommandResult, KeepOutput
from agentcoord.agent.transcript import Transcript
from agentcoord.domain.events import EventKind
from agentcoord.errors import AgentError, LlmRetryableError, SandboxError
from agentcoord.llm.api import Block, SpendRefused, StopReason, Turn

WRITE = edit_block("w1", "create", "src/new.py", file_text="x = 1\n")


class Night:
    """One attempt on fakes, over a real transcript file; `reopened` is the next process."""

    def __init__(
        self,
        path: Path,
        *answers: Answer,
        texts: dict[str, str] | None = None,
        limits: LoopLimits | None = None,
    ) -> None:
        self.path = path
        self.gateway = ScriptedGateway(*answers)
        self.files = MemoryFiles({"src/a.py": "a = 1\n"} if texts is None else texts)
        self.shell = FakeShell()
        self.reporter = RecordingReporter()
        self.questions = MemoryQuestions()
        self.limits = limits or LoopLimits()
        self.stopping = asyncio.Event()
        self.transcript = Transcript.open(path)
        self.loop = self._make_loop()

    def _make_loop(self) -> AgentLoop:
        return AgentLoop(
            gateway=self.gateway,
            shell=self.shell,
            files=self.files,
            reporter=self.reporter,
            questions=self.questions,
            transcript=self.transcript,
            briefing=make_briefing(),
            model="claude-test",
            effort="medium",
            clock=StillClock(),
            limits=self.limits,
            stopping=self.stopping,
        )

    def reopen(self, *answers: Answer) -> None:
        """Be a new process: only the file and the private copy are left."""
        self.gateway.answers = list(answers)
        self.stopping = asyncio.Event()
        self.transcript = Transcript.open(self.path)
        self.loop = self._make_loop()

    async def run(self) -> LoopOutcome:
        return await self.loop.run()

    @property
    def last_message(self) -> dict[str, Any]:
        """The newest message of the newest request."""
        return dict(self.gateway.requests[-1].messages[-1])

    def results(self) -> list[Block]:
        """All tool results of the conversation, in order."""
        return [
            block
            for message in self.transcript.messages
            for block in message["content"]
            if block["type"] == "tool_result"
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempt-1.jsonl"


def gave_up(outcome: LoopOutcome) -> GiveUpKind:
    assert isinstance(outcome, GaveUp), outcome
    assert outcome.why
    return outcome.kind


def assert_well_formed(messages: Sequence[dict[str, Any]]) -> None:
    """What the service would refuse with 400: unanswered or unknown calls, results not first, blank text."""
    for position, message in enumerate(messages):
        assert message["content"]
        calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        if message["role"] == "assistant":
            following = messages[position + 1]["content"]
            assert messages[position + 1]["role"] == "user"
            assert [b["tool_use_id"] for b in following if b["type"] == "tool_result"] == calls
            if calls:
                assert {b["type"] for b in following} == {"tool_result"}
        for block in message["content"]:
            if block["type"] == "text":
                assert block["text"].strip()
            if block["type"] == "tool_result":
                assert block["content"].strip()
    assert messages[-1]["role"] == "user"


# The ordinary way.


async def test_a_task_is_worked_on_and_claimed_finished(path: Path) -> None:
    night = Night(
        path,
        turn_of(text_block("I write."), WRITE),
        turn_of(call_block("b1", "bash", command="make test")),
        turn_of(finish_block("f1", "Wrote it.", decisions=["Chose x."])),
    )
    assert await night.run() == ClaimsFinished("Wrote it.", ("Chose x.",))
    assert night.files.texts["src/new.py"] == "x = 1\n"
    assert night.shell.commands == ["make test"]
    assert night.transcript.turns == 3
    assert night.transcript.cost_usd_micros == 3 * TURN_COST
    for request in night.gateway.requests:
        assert_well_formed(request.messages)


async def test_the_first_request_carries_the_briefing_and_the_settings(path: Path) -> None:
    night = Night(path, end_turn(text_block("?")), LlmRetryableError("enough"))
    with pytest.raises(LlmRetryableError):
        await night.run()
    request = night.gateway.requests[0]
    assert request.messages[0]["content"][0]["text"].startswith("Task id: unit-tests\n")
    assert (request.model, request.effort, request.max_tokens) == ("claude-test", "medium", 16_000)
    assert {tool["name"] for tool in request.tools} >= {"bash", "search", "finish_task"}
    assert all(each.tools == request.tools for each in night.gateway.requests)


async def test_turns_and_tools_are_reported(path: Path) -> None:
    night = Night(path, turn_of(WRITE), turn_of(finish_block("f")))
    await night.run()
    turns = night.reporter.of(EventKind.TASK_TURN)
    assert [(t["turn"], t["stop_reason"], t["cost_usd_micros"]) for t in turns] == [
        (1, "tool_use", TURN_COST),
        (2, "tool_use", TURN_COST),
    ]
    assert turns[0]["model"] == "claude-test"
    [tool] = night.reporter.of(EventKind.TASK_TOOL)
    assert tool == {
        "tool": "str_replace_based_edit_tool",
        "summary": "write src/new.py",
        "is_error": False,
        "ms": 250,
    }
    assert "write src/new.py" in night.reporter.words


async def test_end_turn_after_a_change_is_a_claim_to_be_finished(path: Path) -> None:
    night = Night(path, turn_of(WRITE), end_turn(text_block("All done.")))
    assert await night.run() == ClaimsFinished("All done.", ())


async def test_an_edit_and_the_claim_may_come_in_one_turn(path: Path) -> None:
    night = Night(path, turn_of(WRITE, finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert [block["id"] for block in night.transcript.unanswered()] == ["f"]


async def test_a_claim_beside_a_failed_call_is_not_believed(path: Path) -> None:
    failing = edit_block("e", "str_replace", "src/a.py", old_str="nope", new_str="x")
    night = Night(
        path, turn_of(WRITE), turn_of(failing, finish_block("f")), turn_of(finish_block("g", "Now."))
    )
    assert await night.run() == ClaimsFinished("Now.", ())
    answer = night.results()[-1]
    assert answer["tool_use_id"] == "f"
    assert answer["is_error"]
    assert_well_formed(night.gateway.requests[-1].messages)


async def test_red_checks_go_back_as_the_result_of_the_claim(path: Path) -> None:
    night = Night(path, turn_of(WRITE), turn_of(finish_block("f")), turn_of(finish_block("g", "Mended.")))
    await night.run()
    await night.loop.reject("tests: exit code 1\nFAILED test_x")
    assert await night.run() == ClaimsFinished("Mended.", ())
    assert night.last_message["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "f",
            "content": "tests: exit code 1\nFAILED test_x",
            "is_error": True,
        }
    ]


async def test_red_checks_after_end_turn_go_back_as_a_user_message(path: Path) -> None:
    night = Night(path, turn_of(WRITE), end_turn(text_block("Done.")), end_turn(text_block("Now.")))
    await night.run()
    await night.loop.reject("red")
    assert await night.run() == ClaimsFinished("Now.", ())
    assert night.last_message == {"role": "user", "content": [text_block("red")]}


async def test_rejecting_before_anything_was_said_is_refused(path: Path) -> None:
    with pytest.raises(AgentError):
        await Night(path).loop.reject("red")


async def test_running_again_without_a_verdict_claims_again_for_free(path: Path) -> None:
    night = Night(path, turn_of(WRITE), turn_of(finish_block("f", "Same.")))
    first = await night.run()
    assert await night.run() == first == ClaimsFinished("Same.", ())
    assert night.transcript.turns == 2


async def test_views_and_searches_of_one_turn_run_side_by_side(path: Path) -> None:
    night = Night(
        path,
        turn_of(edit_block("v1", "view", "src/a.py"), edit_block("v2", "view", "src/b.py")),
        turn_of(finish_block("f")),
        texts={"src/a.py": "a\n", "src/b.py": "b\n"},
    )
    night.files.texts["src/new.py"] = "changed\n"
    both = asyncio.Barrier(2)

    async def meet(read_path: str) -> None:
        async with asyncio.timeout(10):
            await both.wait()

    night.files.on_read = meet
    await night.run()
    assert [(r["tool_use_id"], r["content"]) for r in night.results()] == [
        ("v1", "     1\ta"),
        ("v2", "     1\tb"),
    ]


async def test_calls_that_change_something_run_in_order(path: Path) -> None:
    night = Night(
        path,
        turn_of(
            edit_block("e1", "create", "src/n.py", file_text="one\n"),
            edit_block("e2", "str_replace", "src/n.py", old_str="one", new_str="two"),
            edit_block("e3", "view", "src/n.py"),
        ),
        turn_of(finish_block("f")),
    )
    await night.run()
    assert night.results()[2]["content"] == "     1\ttwo"


async def test_an_answer_of_the_owner_rides_on_the_last_result(path: Path) -> None:
    ask = call_block("q", "ask_human", question="Tabs?", default="spaces")
    night = Night(path, turn_of(ask), turn_of(WRITE), turn_of(finish_block("f")))
    night.gateway.before_answer = lambda: night.questions.given.append(("Tabs?", "yes, tabs"))
    await night.run()
    assert "the owner answers: yes, tabs" in night.results()[0]["content"]
    assert_well_formed(night.gateway.requests[-1].messages)


async def test_the_last_turns_are_announced(path: Path) -> None:
    views = [turn_of(edit_block(f"v{n}", "view", "src/a.py", view_range=[1, n + 1])) for n in range(7)]
    night = Night(path, *views, limits=LoopLimits(max_turns=7))
    assert gave_up(await night.run()) is GiveUpKind.TURNS
    told = [
        number for number, result in enumerate(night.results(), 1) if "turns are left" in result["content"]
    ]
    assert told == [2]


# What can go wrong with a turn.


async def test_all_turns_used_ends_the_attempt(path: Path) -> None:
    night = Night(
        path, turn_of(WRITE), turn_of(edit_block("v", "view", "src/a.py")), limits=LoopLimits(max_turns=2)
    )
    assert gave_up(await night.run()) is GiveUpKind.TURNS
    assert night.transcript.turns == 2


async def test_a_refused_reservation_is_an_outcome_and_asking_again_asks_again(path: Path) -> None:
    refused = SpendRefused("task", 600_000, 590_000)
    night = Night(path, turn_of(WRITE), refused, turn_of(finish_block("f")))
    assert await night.run() == OutOfMoney(refused)
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.gateway.sent[1] == night.gateway.sent[2]


async def test_errors_of_the_gateway_and_the_sandbox_pass_through(path: Path) -> None:
    night = Night(path, turn_of(call_block("b", "bash", command="ls")))
    night.shell = FakeShell(lambda _: SandboxError("gone"))
    night.reopen(turn_of(call_block("b", "bash", command="ls")))
    with pytest.raises(SandboxError, match="gone"):
        await night.run()


async def test_a_cut_turn_is_no_result_and_the_next_may_be_longer(path: Path) -> None:
    cut = turn_of(text_block("I will now"), stop=StopReason.MAX_TOKENS)
    night = Night(path, turn_of(WRITE), cut, cut, cut, turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert [r.max_tokens for r in night.gateway.requests] == [16_000, 16_000, 32_000, 64_000, 64_000]


async def test_calls_of_a_cut_turn_do_not_run(path: Path) -> None:
    cut = turn_of(text_block("x"), call_block("b", "bash", command="rm -rf src"), stop=StopReason.MAX_TOKENS)
    night = Night(path, cut, turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == []
    assert night.results()[0]["is_error"]
    assert "did not run" in night.results()[0]["content"]


async def test_a_claim_in_a_cut_turn_is_no_claim(path: Path) -> None:
    cut = turn_of(finish_block("f0", "Too early."), stop=StopReason.MAX_TOKENS)
    night = Night(path, turn_of(WRITE), cut, turn_of(finish_block("f", "Right.")))
    assert await night.run() == ClaimsFinished("Right.", ())


async def test_a_turn_cut_in_mid_thought_is_asked_again_from_the_same_words(path: Path) -> None:
    thought = turn_of({"type": "thinking", "thinking": "hm", "signature": ""}, stop=StopReason.MAX_TOKENS)
    night = Night(path, thought, turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.gateway.sent[0] == night.gateway.sent[1]
    assert night.gateway.requests[1].max_tokens == 32_000
    assert night.transcript.turns == 3


@pytest.mark.parametrize(
    ("bad", "kind", "turns"),
    [
        (turn_of(text_block("cut"), stop=StopReason.MAX_TOKENS), GiveUpKind.CUT_TURN, 4),
        (turn_of({"type": "thinking", "thinking": "x"}, stop=StopReason.MAX_TOKENS), GiveUpKind.CUT_TURN, 4),
        (turn_of(text_block("wait"), stop=StopReason.PAUSE_TURN), GiveUpKind.PAUSED_TURN, 5),
        (turn_of(text_block("I cannot"), stop=StopReason.REFUSAL), GiveUpKind.REFUSED, 2),
        (turn_of(stop=StopReason.REFUSAL), GiveUpKind.REFUSED, 2),
        (turn_of(text_block("x"), stop=StopReason.CONTEXT_WINDOW), GiveUpKind.CONTEXT_WINDOW, 1),
        (turn_of(stop=StopReason.CONTEXT_WINDOW), GiveUpKind.CONTEXT_WINDOW, 1),
        (turn_of(text_block("x"), stop=StopReason.UNKNOWN), GiveUpKind.UNKNOWN_STOP, 3),
        (end_turn(call_block("t", "bash", command="ls")), GiveUpKind.UNKNOWN_STOP, 3),
        (end_turn(), GiveUpKind.EMPTY_TURN, 3),
        (end_turn(text_block("  \n")), GiveUpKind.EMPTY_TURN, 3),
        (turn_of(text_block("I call nothing.")), GiveUpKind.EMPTY_TURN, 3),
        (end_turn(text_block("Finished!")), GiveUpKind.NO_CHANGE, 3),
    ],
)
async def test_a_turn_that_goes_wrong_again_and_again_ends_the_attempt(
    path: Path, bad: Turn, kind: GiveUpKind, turns: int
) -> None:
    night = Night(path, *[_with_own_ids(bad, number) for number in range(10)])
    assert gave_up(await night.run()) is kind
    assert night.transcript.turns == turns
    assert night.shell.commands == []
    for request in night.gateway.requests:
        assert_well_formed(request.messages)


@pytest.mark.parametrize(
    ("arguments", "kind", "turns"),
    [
        ({"tool": "web_search", "query": "x"}, GiveUpKind.UNKNOWN_TOOL, 5),
        ({"tool": "bash"}, GiveUpKind.MALFORMED_CALL, 5),
        ({"tool": "finish_task"}, GiveUpKind.MALFORMED_CALL, 5),
        ({"tool": "finish_task", "summary": "Nothing to do."}, GiveUpKind.NO_CHANGE, 3),
        ({"tool": "bash", "command": "ls"}, GiveUpKind.SAME_CALL, 6),
    ],
)
async def test_calls_that_go_wrong_again_and_again_end_the_attempt(
    path: Path, arguments: dict[str, str], kind: GiveUpKind, turns: int
) -> None:
    rest = {key: value for key, value in arguments.items() if key != "tool"}
    night = Night(path, *[turn_of(call_block(f"t{n}", arguments["tool"], **rest)) for n in range(10)])
    outcome = await night.run()
    assert gave_up(outcome) is kind
    assert night.transcript.turns == turns
    for request in night.gateway.requests:
        assert_well_formed(request.messages)


async def test_the_same_call_runs_twice_and_is_then_answered_without_running(path: Path) -> None:
    night = Night(path, *[turn_of(call_block(f"t{n}", "bash", command="ls")) for n in range(10)])
    await night.run()
    assert night.shell.commands == ["ls", "ls"]
    assert "same call for the third time" in night.results()[2]["content"]


async def test_the_same_command_between_edits_is_no_repetition(path: Path) -> None:
    turns = []
    for n in range(5):
        turns.append(turn_of(edit_block(f"e{n}", "create", "src/n.py", file_text=f"{n}\n")))
        turns.append(turn_of(call_block(f"b{n}", "bash", command="make test")))
    night = Night(path, *turns, turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert len(night.shell.commands) == 5


async def test_malformed_calls_are_forgiven_by_a_good_one(path: Path) -> None:
    bad = [turn_of(call_block(f"t{n}", "bash")) for n in range(4)]
    more = [turn_of(call_block(f"u{n}", "bash")) for n in range(4)]
    night = Night(path, *bad, turn_of(WRITE), *more, turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert "`command` is missing" in night.results()[0]["content"]


async def test_input_that_is_no_object_is_malformed(path: Path) -> None:
    block: Block = {"type": "tool_use", "id": "t", "name": "bash", "input": ["ls"]}
    night = Night(path, turn_of(block), turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert "must be an object" in night.results()[0]["content"]


async def test_idle_turns_are_pointed_out_once_and_then_end_the_attempt(path: Path) -> None:
    views = [turn_of(edit_block(f"v{n}", "view", "src/a.py", view_range=[1, n + 1])) for n in range(30)]
    night = Night(path, *views)
    assert gave_up(await night.run()) is GiveUpKind.IDLE
    assert night.transcript.turns == 20
    told = [n for n, result in enumerate(night.results(), 1) if "changed no file" in result["content"]]
    assert told == [10, 20]


async def test_changes_made_by_commands_count_as_progress(path: Path) -> None:
    night = Night(path, *[turn_of(call_block(f"b{n}", "bash", command=f"step {n}")) for n in range(25)])
    night.limits = LoopLimits(max_turns=25)
    turn_count = 0

    def change_by_command() -> None:
        nonlocal turn_count
        turn_count += 1
        night.files.texts["src/a.py"] = f"a = {turn_count}\n"

    night.gateway.before_answer = change_by_command
    night.reopen(*night.gateway.answers)
    assert gave_up(await night.run()) is GiveUpKind.TURNS
    assert night.files.changes_asked <= 3


async def test_a_refusal_leaves_the_refused_turn_out_and_goes_on(path: Path) -> None:
    night = Night(
        path, turn_of(text_block("No."), stop=StopReason.REFUSAL), turn_of(WRITE), turn_of(finish_block("f"))
    )
    assert isinstance(await night.run(), ClaimsFinished)
    assert "No." not in night.gateway.sent[1].decode()
    assert "safety rules" in night.gateway.sent[1].decode()


async def test_a_claim_with_changes_only_outside_the_scope_is_told(path: Path) -> None:
    outside = edit_block("o", "create", "outside/a.py", file_text="x\n")
    night = Night(
        path, turn_of(outside), turn_of(finish_block("f")), turn_of(WRITE), turn_of(finish_block("g"))
    )
    assert isinstance(await night.run(), ClaimsFinished)
    assert "outside the scope" in night.results()[0]["content"]
    assert "no file inside the scope differs" in night.results()[1]["content"]


# Stopping, crashing, going on.


async def test_a_stop_after_a_turn_runs_no_tool_and_going_on_runs_it(path: Path) -> None:
    night = Night(path, turn_of(call_block("b1", "bash", command="make")))
    night.gateway.before_answer = night.stopping.set
    assert await night.run() == Interrupted()
    assert night.shell.commands == []
    night.gateway.before_answer = lambda: None
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == ["make"]
    assert not night.results()[0].get("is_error")


async def test_a_stop_in_mid_turn_finishes_the_running_call_only(path: Path) -> None:
    night = Night(path, turn_of(*[call_block(f"b{n}", "bash", command=f"step {n}") for n in range(3)]))

    class StoppingShell(FakeShell):
        async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> Any:
            night.stopping.set()
            return await super().run(command, timeout_s=timeout_s, keep=keep)

    night.shell = StoppingShell()
    night.reopen(*night.gateway.answers)
    assert await night.run() == Interrupted()
    assert night.shell.commands == ["step 0"]
    assert [block["id"] for block in night.transcript.unanswered()] == ["b1", "b2"]
    night.shell = FakeShell()
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == ["step 1", "step 2"]
    assert_well_formed(night.gateway.requests[-1].messages)


async def test_a_stop_before_the_first_turn_costs_nothing(path: Path) -> None:
    night = Night(path)
    night.stopping.set()
    assert await night.run() == Interrupted()
    assert night.gateway.requests == []


async def _crashed_with(path: Path, *, begun: Sequence[str]) -> Night:
    """A night whose process died with two commands and a claim open, of which some had begun."""
    night = Night(path)
    await night.transcript.add_opening([text_block("s")], {"role": "user", "content": [text_block("u")]}, "h")
    calls = [
        call_block("b1", "bash", command="one"),
        call_block("b2", "bash", command="two"),
        finish_block("f"),
    ]
    await night.transcript.add_turn(turn_of(*calls), TURN_COST)
    if begun:
        await night.transcript.add_began(begun)
    night.reopen(turn_of(WRITE), turn_of(finish_block("g")))
    return night


async def test_after_a_crash_only_the_call_under_way_is_unknown_and_the_rest_never_ran(path: Path) -> None:
    night = await _crashed_with(path, begun=["b1"])
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == []
    results = night.results()[:3]
    assert [(r["tool_use_id"], r["is_error"]) for r in results] == [("b1", True), ("b2", True), ("f", True)]
    assert "outcome is unknown" in results[0]["content"]
    assert "did not run" in results[1]["content"]
    assert "did not run" in results[2]["content"]
    assert_well_formed(night.gateway.requests[-1].messages)


async def test_after_a_crash_the_model_is_told_what_the_call_under_way_had_printed(path: Path) -> None:
    night = Night(path, turn_of(call_block("b", "bash", command="make slowly")))

    class DyingShell(FakeShell):
        async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> Any:
            await keep("building 1 of 2\n")
            raise asyncio.CancelledError

    night.shell = DyingShell()
    night.reopen(*night.gateway.answers)
    with pytest.raises(asyncio.CancelledError):
        await night.run()
    night.shell = FakeShell()
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    told = night.results()[0]["content"]
    assert "outcome is unknown" in told
    assert told.endswith("it had printed:\nbuilding 1 of 2\n")
    assert_well_formed(night.gateway.requests[-1].messages)


async def test_calls_of_which_none_had_begun_before_a_crash_simply_run(path: Path) -> None:
    night = await _crashed_with(path, begun=[])
    night.gateway.answers.insert(0, turn_of(call_block("b3", "bash", command="three")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == ["one", "two", "three"]
    assert not night.results()[0].get("is_error")


async def test_a_view_that_a_crash_interrupted_is_simply_viewed_again(path: Path) -> None:
    night = Night(path, turn_of(edit_block("v1", "view", "src/a.py")))

    async def die(_: str) -> None:
        raise asyncio.CancelledError

    night.files.on_read = die
    with pytest.raises(asyncio.CancelledError):
        await night.run()
    night.files.on_read = None
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.results()[0]["content"] == "     1\ta = 1"


async def test_an_answer_is_told_again_when_a_crash_came_before_it_was_on_disk(path: Path) -> None:
    night = Night(path, turn_of(call_block("b", "bash", command="make")))
    night.questions.given.append(("Tabs?", "yes"))
    aside = path.with_suffix(".aside")

    def lose_the_disk(_: str) -> CommandResult:
        path.rename(aside)
        path.mkdir()
        return CommandResult(0, "made\n", False, False, 1)

    night.shell = FakeShell(lose_the_disk)
    night.reopen(*night.gateway.answers)
    with pytest.raises(IsADirectoryError):
        await night.run()
    assert night.questions.given == [("Tabs?", "yes")], "it was read and is not on disk"
    path.rmdir()
    aside.rename(path)
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert "the owner answers: yes" in night.results()[0]["content"]
    assert night.questions.given == []
    assert "owner answers" not in night.results()[1]["content"]


async def test_a_claim_open_after_a_crash_is_made_again_without_a_call(path: Path) -> None:
    night = Night(path, turn_of(WRITE), turn_of(finish_block("f", "Mine.")))
    await night.run()
    night.reopen()
    assert await night.run() == ClaimsFinished("Mine.", ())
    night.reopen(turn_of(finish_block("g", "Mended.")))
    await night.loop.reject("red")
    assert await night.run() == ClaimsFinished("Mended.", ())


async def test_counters_survive_a_restart(path: Path) -> None:
    night = Night(path, end_turn(), end_turn(), LlmRetryableError("down"))
    with pytest.raises(LlmRetryableError):
        await night.run()
    night.reopen(end_turn())
    assert gave_up(await night.run()) is GiveUpKind.EMPTY_TURN
    assert night.transcript.turns == 3


async def test_the_larger_allowance_survives_a_restart(path: Path) -> None:
    cut = turn_of(text_block("cut"), stop=StopReason.MAX_TOKENS)
    night = Night(path, cut, LlmRetryableError("down"))
    with pytest.raises(LlmRetryableError):
        await night.run()
    night.reopen(LlmRetryableError("down"))
    with pytest.raises(LlmRetryableError):
        await night.run()
    assert night.gateway.requests[-1].max_tokens == 32_000


SCRIPT: tuple[Turn, ...] = (
    turn_of(
        {"type": "thinking", "thinking": "é", "signature": "c2ln"},
        text_block("Look."),
        edit_block("v1", "view", "src/a.py"),
        call_block("s1", "search", pattern="a", literal=True),
    ),
    turn_of(text_block("cut"), call_block("c1", "bash"), stop=StopReason.MAX_TOKENS),
    turn_of(WRITE, call_block("b1", "bash", command="make")),
    end_turn(),
    turn_of(text_block("pause"), stop=StopReason.PAUSE_TURN),
    turn_of(call_block("x1", "nonsense")),
    turn_of(edit_block("e1", "str_replace", "src/a.py", old_str="a = 1", new_str="a = 2")),
    turn_of(finish_block("f")),
)


async def test_a_run_broken_off_before_any_turn_goes_on_byte_for_byte(tmp_path: Path) -> None:
    whole = Night(tmp_path / "whole.jsonl", *SCRIPT)
    outcome = await whole.run()
    assert isinstance(outcome, ClaimsFinished)
    for broken_at in range(len(SCRIPT)):
        night = Night(tmp_path / f"{broken_at}.jsonl", *SCRIPT[:broken_at], asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await night.run()
        del night.gateway.sent[-1]
        night.reopen(*SCRIPT[broken_at:])
        assert await night.run() == outcome
        assert night.gateway.sent == whole.gateway.sent
        assert conversation_bytes(night.transcript.system, night.transcript.messages) == conversation_bytes(
            whole.transcript.system, whole.transcript.messages
        )


async def test_a_new_briefing_does_not_change_a_conversation_that_has_begun(path: Path) -> None:
    night = Night(path, LlmRetryableError("down"))
    with pytest.raises(LlmRetryableError):
        await night.run()
    night.files.texts["src/brand_new.py"] = "x\n"
    first = night.gateway.sent[0]
    night.transcript = Transcript.open(path)
    night.gateway.answers = [LlmRetryableError("down")]
    night.loop = AgentLoop(
        gateway=night.gateway,
        shell=night.shell,
        files=night.files,
        reporter=night.reporter,
        questions=night.questions,
        transcript=night.transcript,
        briefing=make_briefing(repo_map="another map", instructions="Other words."),
        model="claude-test",
        effort="medium",
        clock=StillClock(),
        limits=night.limits,
        stopping=night.stopping,
    )
    with pytest.raises(LlmRetryableError):
        await night.run()
    assert night.gateway.sent[1] == first


async def test_a_run_cancelled_in_mid_tool_is_answered_as_unknown_later(path: Path) -> None:
    night = Night(path, turn_of(call_block("b", "bash", command="slow")))
    begun = asyncio.Event()

    class HangingShell(FakeShell):
        async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> Any:
            begun.set()
            await asyncio.Event().wait()

    night.shell = HangingShell()
    night.reopen(*night.gateway.answers)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(night.run())
        await begun.wait()
        running.cancel()
    assert running.cancelled()
    night.shell = FakeShell()
    night.reopen(turn_of(WRITE), turn_of(finish_block("f")))
    assert isinstance(await night.run(), ClaimsFinished)
    assert night.shell.commands == []
    assert "outcome is unknown" in night.results()[0]["content"]


def _with_own_ids(turn: Turn, number: int) -> Turn:
    """The same turn with call ids that do not occur twice in a conversation."""
    blocks = [{**b, "id": f"{b['id']}-{number}"} if b["type"] == "tool_use" else b for b in turn.content]
    return Turn(tuple(blocks), turn.stop_reason, turn.usage, turn.model)
