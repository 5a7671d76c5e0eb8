"""Rejecting what landed: out of the tree, back in line with the reason, and whole across a crash."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from daemon_kit import Daemonlet, create, daemonlet, finish

from agentcoord.daemon.rebuilding import rebuilt
from agentcoord.daemon.reconciling import reconcile
from agentcoord.daemon.rejections import finish_rejections
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.errors import RpcError
from agentcoord.workspace.landing import Lander

LANDED = "src/new.py"
T = TaskId("t")


class CrashError(Exception):
    """Stands for the death of the daemon."""


async def asked(d: Daemonlet, method: str, **params: object) -> dict[str, Any]:
    return dict(await d.requests.answer(method, params))


async def refusal(d: Daemonlet, method: str, **params: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await d.requests.answer(method, params)
    return caught.value


async def done(d: Daemonlet, *tasks: str) -> None:
    """Work until these tasks are done; each creates a file of its own name."""
    for task in tasks:
        path = LANDED if task == "t" else f"src/{task}.py"
        d.model.turns[task] = [[create(path, "Y = 2\n"), finish()]]
    async with d.working():
        for task in tasks:
            await d.wait_until(task, TaskState.DONE)
        await d.idle()


async def test_a_rejected_task_is_done_again_by_somebody_who_was_told_why(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            await d.idle()
            await asked(d, "accept", id="t")
            spent = (await d.task("t")).cost_usd_micros
            d.model.turns["t"] = [[create(LANDED, "Y = 3\n"), finish()]]
            answer = await asked(d, "reject", id="t", reason="  Y must be 3\n")
            assert (answer["restored"], answer["conflicts"]) == ([LANDED], [])
            assert (answer["spent_usd"], answer["cap_usd"]) == (spent / 1_000_000, 0.6)
            event = await d.wait_for(EventKind.TASK_REJECTED, "t")
            await d.wait_until("t", TaskState.DONE)
            await d.idle()
        assert (event.data["reason"], event.data["restored"]) == ("Y must be 3", [LANDED])
        assert (d.root / LANDED).read_text() == "Y = 3\n"
        assert (await d.task("t")).review is ReviewState.UNREVIEWED
        (line,) = await d.store.queue.history(T)
        assert line.why == "rejected: Y must be 3"
        opening = (d.shop.transcripts / "t" / "attempt-1.jsonl").read_text()
        assert "<reason>\\nY must be 3\\n</reason>" in opening
        assert "+Y = 2" in opening
        assert "## Rejected before" not in (d.shop.transcripts / "t" / "attempt-1.before-1.jsonl").read_text()
        undone = await asked(d, "undo", id="t")
        assert undone["restored"] == [LANDED], "the second landing alone is there to be taken back"


async def test_what_was_undone_can_be_rejected_after_all(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED, "Y = 2\n"), finish()]]
        d.model.turns["upper"] = [[create("src/upper.py", "Y = 2\n"), finish()]]
        await d.load("t")
        await d.load("upper", needs=(T,))
        async with d.working():
            await d.wait_until("upper", TaskState.DONE)
            await d.idle()
            await asked(d, "undo", id="t", yes=True)
            error = await refusal(d, "reject", id="t", reason="no")
            assert list(error.problems) == ["upper: upper"], "what landed on top is listed first here too"
            assert (await d.task("t")).review is ReviewState.UNDONE
            d.model.turns["t"] = [[create(LANDED, "Y = 3\n"), finish()]]
            answer = await asked(d, "reject", id="t", reason="Y must be 3", despite=["upper"])
            assert (answer["restored"], answer["conflicts"]) == ([], [])
            await d.wait_until("t", TaskState.DONE)
            await d.idle()
        assert (d.root / LANDED).read_text() == "Y = 3\n"
        assert (await d.task("t")).review is ReviewState.UNREVIEWED
        opening = (d.shop.transcripts / "t" / "attempt-1.jsonl").read_text()
        assert "<reason>\\nY must be 3\\n</reason>" in opening
        landings = [each for each in await d.shop.lander.history() if each.task == T]
        assert [each.rejected for each in landings] == ["Y must be 3", ""]


async def test_what_landed_on_top_is_listed_before_the_rest_is_undone_too(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await d.load("upper", needs=(T,))
        await done(d, "t", "upper")
        stashed = d.root.parent / "stashed.py"
        (d.root / LANDED).rename(stashed)
        await asked(d, "undo", id="t", yes=True)
        assert "there is nothing of it to undo" in (await refusal(d, "undo", id="t")).message
        stashed.rename(d.root / LANDED)
        error = await refusal(d, "undo", id="t")
        assert (list(error.problems), "--yes" in error.mend) == (["upper: upper"], True)
        assert (await asked(d, "undo", id="t", yes=True))["restored"] == [LANDED]


async def test_undoing_all_takes_out_what_is_back_of_an_undone_task(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await done(d, "t")
        stashed = d.root.parent / "stashed.py"
        (d.root / LANDED).rename(stashed)
        await asked(d, "undo", id="t")
        assert (await asked(d, "undo", all=True))["tasks"] == []
        stashed.rename(d.root / LANDED)
        (view,) = (await asked(d, "undo", all=True))["tasks"]
        assert (view["id"], view["restored"], view["conflicts"]) == ("t", [LANDED], [])
        assert not (d.root / LANDED).exists()
        assert (await asked(d, "undo", all=True))["tasks"] == []


async def test_what_landed_on_top_is_listed_and_must_be_named(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await d.load("upper", needs=(T,))
        await d.load("above", needs=(TaskId("upper"),))
        await done(d, "t", "upper")
        before = (d.root / LANDED).read_bytes()
        error = await refusal(d, "reject", id="t", reason="no", despite=["above"])
        assert error.message == "tasks that need t have landed on top of it: upper"
        assert list(error.problems) == ["upper: upper"]
        assert "agentcoord reject t --reason ... --despite upper" in error.mend
        assert (d.root / LANDED).read_bytes() == before
        answer = await asked(d, "reject", id="t", reason="no", despite=["upper"])
        assert answer["state"] == "queued"
        assert not (d.root / LANDED).exists()
        assert (d.root / "src/upper.py").exists()
        assert (await d.task("upper")).state is TaskState.DONE
        assert (await refusal(d, "reject", id="upper", reason="  ")).code == -32602
        assert (await refusal(d, "reject", id="nobody", reason="no")).exit_code == 4


async def test_a_file_that_changed_since_keeps_everything_as_it_is(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await done(d, "t")
        (d.root / LANDED).write_text("Y = 'mine'\n")
        answer = await asked(d, "reject", id="t", reason="no")
        assert (answer["conflicts"], answer["state"]) == ([LANDED], "done")
        assert "-Y = 2" in answer["patch"]
        assert (d.root / LANDED).read_text() == "Y = 'mine'\n"
        assert await d.store.queue.history(T) == ()
        assert await finish_rejections(d.store, d.shop.lander) == ()


@pytest.mark.parametrize("step", ["record prepared", "verify", "record swapping", "record done", "settle"])
async def test_a_daemon_that_dies_at_any_step_has_done_all_of_it_or_nothing(
    valkey_url: str, project_id: ProjectId, step: str
) -> None:
    """What the disk has is taken over by a new lander, as a new daemon does."""
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await done(d, "t")

        def die(at: str) -> None:
            if at == step:
                raise CrashError(at)

        d.fault.append(die)
        with pytest.raises(CrashError):
            await asked(d, "reject", id="t", reason="too short")
        d.fault.clear()
        lander = Lander(d.shop.repo, d.paths.journal_dir, clock=d.shop.clock)
        await reconcile(d.store, lander, d.shop.retries)
        gone = not (d.root / LANDED).exists()
        task = await d.task("t")
        assert task.state is (TaskState.QUEUED if gone else TaskState.DONE)
        assert gone == (step in ("record done", "settle"))
        history = await lander.history()
        assert [each.rejected for each in history] == (["too short"] if gone else [""])
        await reconcile(d.store, lander, d.shop.retries)
        assert len(await d.store.queue.history(T)) == gone, "and a further start changes nothing"


async def test_a_daemon_that_dies_between_tree_and_store_puts_it_in_line_at_its_next_start(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await d.load("waits", needs=(T,))
        await done(d, "t")
        await d.shop.lander.undo(T, rejected="too short")
        rows = await d.store.memory.rows(["t", "waits"])
        await reconcile(d.store, d.shop.lander, d.shop.retries)
        assert (await d.task("t")).state is TaskState.QUEUED
        assert (await d.task("waits")).state is TaskState.BLOCKED
        (line,) = await d.store.queue.history(T)
        assert line.why == "rejected: too short"
        # The same when the store lost its memory before it had heard of it.
        again = {each.row.id: each for each in rebuilt(rows, await d.shop.lander.history())}
        assert (again["t"].state, again["t"].ready, "files" in again["t"].row.fields) == (
            "queued",
            True,
            False,
        )
        assert (again["waits"].state, again["waits"].open_needs) == ("blocked", 1)


async def test_one_that_cannot_come_back_is_undone_and_stays_so(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await d.load("upper", needs=(T,))
        await done(d, "t", "upper")
        await asked(d, "reject", id="t", reason="no", despite=["upper"])
        await asked(d, "cancel", id="t")
        error = await refusal(d, "reject", id="upper", reason="no")
        assert "upper is undone, but cannot be asked for again: it needs t" in error.message
        assert not (d.root / "src/upper.py").exists()
        assert (await d.task("upper")).review is ReviewState.UNDONE
        assert await finish_rejections(d.store, d.shop.lander) == ()


async def test_two_rejections_at_once_reject_once(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        await done(d, "t")
        answers = await asyncio.gather(  # noqa: TID251 - both are awaited here, to the end
            asked(d, "reject", id="t", reason="one"),
            asked(d, "reject", id="t", reason="two"),
            return_exceptions=True,
        )
        assert [isinstance(each, RpcError) for each in answers] == [False, True]
        assert [each.rejected for each in await d.shop.lander.history()] == ["one"]
