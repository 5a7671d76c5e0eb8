"""What clients may not ask for, or not now: refused in words, with nothing changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from daemon_kit import WORKER, Daemonlet, MovedClock, bash, create, daemonlet, finish

from agentcoord.config.sections import UndoSection
from agentcoord.daemon import task_requests
from agentcoord.daemon.chores import ORPHAN_AFTER_S
from agentcoord.daemon.fleet import MAX_WORKERS
from agentcoord.daemon.reviewing import Reviewing
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import LlmRequestError, RpcError
from agentcoord.llm.api import Progress, Turn, TurnRequest
from agentcoord.store import Caps
from agentcoord.wire.messages import ExitCode, RpcCode
from agentcoord.wire.protocol import SPAWN_MOST
from agentcoord.workspace.patches import Diff


async def refusal(d: Daemonlet, method: str, **params: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await d.requests.answer(method, params)
    return caught.value


async def has_landed(d: Daemonlet) -> None:
    """Have `t` done, which creates `src/new.py`."""
    d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()]]
    await d.load("t")
    async with d.working():
        await d.wait_until("t", TaskState.DONE)
        await d.idle()


async def test_what_cannot_be_done_to_a_task_is_refused_in_words(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("open", "ends")
        await d.load("waits", needs=(TaskId("open"), TaskId("ends")))
        assert "open is queued; only failed" in (await refusal(d, "retry", id="open")).message
        assert (
            "open is queued; only a done task can be accepted"
            in (await refusal(d, "accept", id="open")).message
        )
        await d.requests.answer("cancel", {"id": "ends"})
        assert (await refusal(d, "cancel", id="ends")).message == "ends is cancelled already"
        again = await refusal(d, "retry", id="waits")
        assert again.message == "waits needs ends, which is cancelled"
        assert again.mend.startswith("agentcoord retry ends")
        assert "hunks must name 1 to" in (await refusal(d, "prove_without", id="open", hunks=[])).message
        assert (
            "despite must be a list of texts"
            in (await refusal(d, "reject", id="open", reason="no", despite="ends")).message
        )


async def test_a_client_of_another_protocol_is_told_what_mends_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        for offered, words in (
            ([99], "offers [99]"),
            ("1", "no list of versions"),
            (1, "no list of versions"),
        ):
            error = await refusal(d, "hello", protocol=offered, client="test")
            assert (error.exit_code, error.mend) == (ExitCode.REFUSED, "agentcoordd restart")
            assert "speaks protocol 1" in error.message
            assert words in error.message


async def test_only_an_open_question_can_be_answered(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        error = await refusal(d, "answer", id="t", text="yes")
        assert (error.message, error.exit_code) == ("t has no open question", ExitCode.NOT_FOUND)
        await d.store.questions.ask(TaskId("t"), "Which?", "the first", 1)
        assert await d.requests.answer("answer", {"id": "t", "text": "the second"}) == {"id": "t"}
        assert await d.store.questions.answers(TaskId("t")) == [("Which?", "the second")]
        assert (await refusal(d, "answer", id="t", text="again")).code is RpcCode.NOT_FOUND


async def test_a_blocked_task_tells_only_the_needs_that_it_still_waits_for(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("ended", "open")
        needs = (TaskId("ended"), TaskId("open"))
        await d.load("report", needs=needs, on_need_failed=OnNeedFailed.RUN)
        await d.requests.answer("cancel", {"id": "ended"})
        rows = {row["id"]: row for row in (await d.requests.answer("tasks", {}))["tasks"]}
        assert (rows["report"]["state"], rows["report"]["why"]) == ("blocked", "needs open")


async def test_a_full_fleet_takes_nobody_more(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, d.working():
        await d.wait_for(EventKind.WORKER_STARTED)
        names = {WORKER.name}
        while len(names) < MAX_WORKERS:
            answer = await d.requests.answer("spawn", {"role": "architect", "n": SPAWN_MOST})
            names |= set(answer["workers"])
        error = await refusal(d, "spawn", role="architect")
        assert (error.message, error.exit_code) == ("the fleet is full", ExitCode.REFUSED)
        assert len(d.shop.board.rows) == MAX_WORKERS


class HeldDraft:
    """A model whose draft is on its way until the test lets it fail."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.asked = 0

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        self.asked += 1
        self.begun.set()
        await self.may_end.wait()
        raise LlmRequestError("no such model")


async def test_drafts_are_made_one_at_a_time_of_a_goal_and_within_the_days_cap(
    valkey_url: str, project_id: ProjectId
) -> None:
    model = HeldDraft()
    async with daemonlet(valkey_url, project_id, model=model) as d, asyncio.TaskGroup() as group:
        for goal in ("  ", "x" * 100_000):
            assert "goal must be a text" in (await refusal(d, "draft", goal=goal)).message
        first = group.create_task(_error_of(d, "tidy up"))
        await model.begun.wait()
        busy = await refusal(d, "draft", goal="tidy up")
        assert (busy.message, busy.mend) == ("another draft is under way", "wait for it, then try again")
        model.may_end.set()
        assert "no such model" in await first

        day, cap = d.runs.day(), UsdMicros(int(d.shop.settings.budget.day_usd * 1_000_000))
        run = await d.runs.begin_if_none(any_open=False)
        await d.store.ledger.reserve("all", run=run, task=TaskId("t"), day=day, amount=cap, caps=Caps())
        await d.store.ledger.settle("all", actual=cap, usage=Usage(input_tokens=1), model="any")
        refused = await refusal(d, "draft", goal="tidy up")
        assert "a draft could pass the day cap" in refused.message
        assert model.asked == 1


async def test_the_money_of_a_draft_under_way_is_no_dead_ones(valkey_url: str, project_id: ProjectId) -> None:
    model, clock = HeldDraft(), MovedClock()
    async with daemonlet(valkey_url, project_id, model=model, clock=clock) as d, asyncio.TaskGroup() as group:
        draft = group.create_task(_error_of(d, "tidy up"))
        await model.begun.wait()
        ledger = d.store.ledger
        (own,) = ledger.mirror.open
        await d.chores.reap()
        clock.ahead_ms += round(ORPHAN_AFTER_S * 1000) + 1
        await d.chores.reap()
        assert (await d.requests.answer("cleanup", {}))["reservations"] == 0
        assert set(await ledger.open_reservations()) == set(ledger.mirror.open) == {own}
        model.may_end.set()
        await draft
        assert not d.shop.drafting
        assert not await ledger.open_reservations()


async def _error_of(d: Daemonlet, goal: str) -> str:
    with pytest.raises(LlmRequestError) as caught:
        await d.requests.answer("draft", {"goal": goal})
    return caught.value.message


async def test_an_undo_that_would_lose_an_edit_answers_the_conflict_and_undoes_nothing(
    valkey_url: str, project_id: ProjectId
) -> None:
    """Also when the store has forgotten the task, and only the journal knows it."""
    async with daemonlet(valkey_url, project_id) as d:
        await has_landed(d)
        mine = "Y = 2  # mine\n"
        (d.root / "src/new.py").write_text(mine)
        known = await d.requests.answer("undo", {"id": "t"})
        assert (known["conflicts"], known["restored"]) == (["src/new.py"], [])
        assert "-Y = 2" in known["patch"]
        assert (await d.task("t")).word == "done"
        await d.requests.answer("cleanup", {"all": True})
        forgotten = await d.requests.answer("undo", {"id": "t"})
        assert (forgotten["conflicts"], forgotten["patch"]) == (known["conflicts"], known["patch"])
        assert (d.root / "src/new.py").read_text() == mine
        assert "task.undone" not in d.kinds("t")
        (d.root / "src/new.py").write_text("Y = 2\n")
        assert (await d.requests.answer("undo", {"id": "t"}))["restored"] == ["src/new.py"]
        assert not (d.root / "src/new.py").exists()


@pytest.mark.parametrize("forgotten", [False, True])
async def test_what_was_not_in_the_tree_at_an_undo_is_undone_by_the_next_one(
    valkey_url: str, project_id: ProjectId, *, forgotten: bool
) -> None:
    """As in a stash. The store may have forgotten the task meanwhile."""
    async with daemonlet(valkey_url, project_id) as d:
        await has_landed(d)
        (d.root / "src/new.py").rename(d.root.parent / "stashed.py")
        undone = await d.requests.answer("undo", {"id": "t"})
        assert (undone["restored"], undone["gone"]) == ([], ["src/new.py"])
        if forgotten:
            await d.requests.answer("cleanup", {"all": True})
        with pytest.raises(RpcError, match="there is nothing of it to undo"):
            await d.requests.answer("undo", {"id": "t"})
        (d.root / "src").mkdir(exist_ok=True)
        (d.root.parent / "stashed.py").rename(d.root / "src/new.py")
        assert (await d.requests.answer("undo", {"id": "t"}))["restored"] == ["src/new.py"]
        assert not (d.root / "src/new.py").exists()
        with pytest.raises(RpcError, match="there is nothing of it to undo"):
            await d.requests.answer("undo", {"id": "t"})


@pytest.mark.parametrize("whole", [False, True])
async def test_a_diff_is_read_in_pieces_of_the_same_patch_which_is_made_once(
    valkey_url: str, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    for name in ("PIECE_CHARS", "WHOLE_PIECE_CHARS"):
        monkeypatch.setattr(task_requests, name, 40)
    async with daemonlet(valkey_url, project_id) as d:
        await has_landed(d)
        made: list[str] = []
        make, make_whole = d.shop.lander.diff, d.shop.lander.whole_diff

        async def counted(task: TaskId, *, since_ms: int = 0) -> str:
            made.append(task)
            return await make(task, since_ms=since_ms)

        async def counted_whole(task: TaskId, *, since_ms: int = 0) -> Diff:
            made.append(task)
            return await make_whole(task, since_ms=since_ms)

        monkeypatch.setattr(d.shop.lander, "diff", counted)
        monkeypatch.setattr(d.shop.lander, "whole_diff", counted_whole)
        pieces: list[str] = []
        offset: int | None = 0
        while offset is not None:
            piece = await d.requests.answer("diff", {"id": "t", "offset": offset, "whole": whole})
            pieces.append(piece["text"])
            assert piece["whole"] == whole
            offset = piece["next_offset"]
        assert (len(pieces) > 2, made) == (True, ["t"])
        once_more = {"id": "t", "offset": 40, "whole": whole}
        assert (await d.requests.answer("diff", once_more))["text"] == pieces[1], "whoever else reads it"
        anew = (await make_whole(TaskId("t"))).text if whole else await make(TaskId("t"))
        assert "".join(pieces) == anew


async def test_what_a_worker_renamed_or_wrote_outside_is_told_beside_its_decisions(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        moves = "mv src/app.py src/main.py && mkdir -p out && echo x > out/side.txt"
        d.model.turns["t"] = [[bash(moves), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        assert (await d.requests.answer("task", {"id": "t"}))["decisions"] == [
            "Removed or renamed in its copy, which no landing does to your tree: src/app.py",
            "Written outside the scope, and left behind: out/side.txt",
        ]
        assert (d.root / "src/app.py").read_bytes() == (d.root / "src/main.py").read_bytes()


async def test_where_undo_is_kept_for_good_nothing_accepted_is_dropped(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await has_landed(d)
        await d.requests.answer("accept", {"id": "t"})
        for_good = replace(d.shop.settings, undo=UndoSection(keep_days=0))
        reviewing = Reviewing(replace(d.shop, settings=for_good), d.views, lambda: None)
        assert await reviewing.compact([await d.task("t")]) == 0
        assert (await d.shop.lander.undo(TaskId("t"))).restored == ("src/new.py",)
