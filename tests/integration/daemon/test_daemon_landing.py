"""Landing under fire: whatever ends a worker then, the store and the user's tree agree."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon_kit import WORKER, Daemonlet, bash, create, daemonlet, finish, own_valkey

from agentcoord.daemon.reconciling import reconcile
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.errors import AgentError, LlmError, RpcError
from agentcoord.llm.api import Block
from agentcoord.wire.messages import ExitCode
from workspace_kit import nothing_to_verify, staged

LANDED_FILE = "src/new.py"


class Gate:
    """Holds a landing at one of its steps until the test lets it go."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.opened = threading.Event()

    def __call__(self, step: str) -> None:
        if step == self._step:
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self.opened.wait(20)


@contextmanager
def gate(d: Daemonlet, step: str) -> Iterator[Gate]:
    made = Gate(step)
    d.fault.append(made)
    try:
        yield made
    finally:
        made.opened.set()
        d.fault.remove(made)


async def asked(d: Daemonlet, method: str, **params: object) -> dict[str, object]:
    """Ask the daemon's own request handler."""
    return dict(await d.requests.answer(method, params))


async def test_a_task_runs_from_claim_to_done(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, checks={"t": "true"}) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], [finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        assert (d.root / LANDED_FILE).read_bytes() == b"Y = 2\n"
        assert (await d.task("t")).files == (LANDED_FILE,)


async def test_a_worker_killed_while_it_lands_still_says_done(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            with gate(d, "swap 0") as held:
                await held.reached.wait()
                assert d.fleet.kill(WORKER.name)
                assert d.fleet.kill(WORKER.name), "a second kill does not tear it either"
                await asyncio.sleep(0)
            stopped = await d.wait_for(EventKind.WORKER_STOPPED)
            assert stopped.worker == WORKER.name
            assert (await d.task("t")).state is TaskState.DONE
        assert (d.root / LANDED_FILE).exists()


async def test_a_task_that_lands_is_not_cancelled_under_its_files(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working(), asyncio.TaskGroup() as group:
            with gate(d, "swap 0") as held:
                await held.reached.wait()
                cancelling = group.create_task(_refusal(d, "cancel", id="t"))
                await asyncio.sleep(0.05)
            assert "done" in await cancelling
        assert (await d.task("t")).state is TaskState.DONE
        assert (d.root / LANDED_FILE).exists()


async def test_a_cancelled_task_never_lands(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        thinking = asyncio.Event()

        async def long_thought() -> list[dict[str, object]]:
            thinking.set()
            await asyncio.Event().wait()
            return []

        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], long_thought]
        await d.load("t")
        async with d.working():
            await thinking.wait()
            assert (await asked(d, "cancel", id="t"))["state"] == "cancelled"
            await d.idle()
        assert (await d.task("t")).state is TaskState.CANCELLED
        assert not (d.root / LANDED_FILE).exists()
        assert str(EventKind.TASK_REQUEUED) not in d.kinds("t")


async def test_files_that_landed_just_before_the_daemon_died_are_not_cancelled_but_can_be_undone(
    valkey_url: str, project_id: ProjectId
) -> None:
    """The landing is in the journal, `done` is not in the store."""
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        await d.store.client.hset(d.store.keys.task("t"), "state", "queued")
        assert "landed" in await _refusal(d, "cancel", id="t")
        answer = await asked(d, "undo", id="t")
        assert answer["restored"] == [LANDED_FILE]
        assert not (d.root / LANDED_FILE).exists()


async def test_a_landing_whose_last_word_the_store_missed_is_told_by_the_next_claim() -> None:
    """The store dies between the swap and `done`, on the task's last attempt."""
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p"), attempts=1) as d:
            d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
            await d.load("t")
            async with d.working():
                with gate(d, "settle") as held:
                    await held.reached.wait()
                    valkey.kill()
                await d.idle()
                assert (d.root / LANDED_FILE).exists()
                await asyncio.to_thread(valkey.start)
                await d.wait_until("t", TaskState.DONE)
            assert (await d.task("t")).files == (LANDED_FILE,)
            assert d.model.asked == ["t"], "the work was not done twice"


@pytest.mark.parametrize("state", ["running", "checking"])
async def test_a_lease_lost_before_landing_lands_nothing(
    state: str, valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks={"wait": "sleep 0.3"}) as d:

        async def lose_lease() -> list[dict[str, object]]:
            if state == "running":
                await d.store.client.delete(d.store.keys.of("lease"))
            return [finish()]

        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n")], lose_lease]
        await d.load("t")
        async with d.working():
            if state == "checking":
                await d.wait_for(EventKind.TASK_CHECKING, "t")
                await d.store.client.delete(d.store.keys.of("lease"))
            else:
                await d.wait_for(EventKind.TASK_CLAIMED, "t")
            await d.idle()
            assert not (d.root / LANDED_FILE).exists()
            assert str(EventKind.WORKER_CRASHED) not in [str(each.kind) for each in d.hub.recent]


async def _refusal(d: Daemonlet, method: str, **params: object) -> str:
    with pytest.raises(RpcError) as refused:
        await d.requests.answer(method, params)
    return refused.value.message


async def test_the_same_checks_failing_twice_alike_end_the_attempt(
    valkey_url: str, project_id: ProjectId
) -> None:
    checks = {"tests": "cat src/note; echo took $RANDOM.5s; false"}
    async with daemonlet(valkey_url, project_id, checks=checks, attempts=1) as d:
        d.model.turns["t"] = [
            [create("src/note", "error: one\n"), finish()],
            [create("src/note", "error: two\n"), finish()],
            [finish()],
            [finish()],
        ]
        await d.load("t")
        async with d.working():
            task = await d.wait_until("t", TaskState.FAILED)
        assert "failed twice alike: tests" in task.why
        # Another failure is another try; the times in the output make no difference.
        assert d.model.asked == ["t"] * 3
        assert not (d.root / "src/note").exists()


async def words_of(d: Daemonlet, task: str) -> str:
    """All that was said in the conversation about a task."""
    told = await d.requests.answer("transcript", {"id": task})
    return "\n".join(str(step.get("text", "")) for step in told["steps"])


async def test_a_file_that_never_lands_and_is_never_taken_back_ends_the_attempt_after_some_tries(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        wrong = [create(LANDED_FILE, "Y = 2\n"), bash("ln -s /etc/hostname src/link"), finish()]
        d.model.turns["t"] = [wrong, *[[finish()]] * 3]
        await d.load("t")
        async with d.working():
            failed = await d.wait_until("t", TaskState.FAILED)
            await d.wait_for(EventKind.TASK_FAILED, "t")
        assert "not proven after 4 tries: These files never land" in failed.why
        assert "src/link" in failed.why
        assert d.kinds("t").count("task.checking") == 4
        assert not (d.root / LANDED_FILE).exists()


async def test_a_file_that_never_lands_is_to_be_taken_back_before_anything_is_checked(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks={"t": "true"}) as d:
        d.model.turns["t"] = [
            [create(LANDED_FILE, "Y = 2\n"), bash("ln -s /etc/hostname src/link"), finish()],
            [bash("rm src/link"), finish()],
        ]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            await d.wait_for(EventKind.TASK_DONE, "t")
        assert (await d.task("t")).files == (LANDED_FILE,)
        assert d.kinds("t").count("task.checked") == 1
        assert (
            "These files never land, whatever the scope says. Take them back:\nsrc/link: "
            in await words_of(d, "t")
        )


async def test_a_tree_that_changes_during_every_check_leaves_the_task_to_a_person(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    changing = f"echo '# again' >> $(cat {tmp_path}/where)/src/$n.py"
    checks = {"t": f"for n in 1 2 3 4 5 busy; do {changing}; done"}
    async with daemonlet(valkey_url, project_id, checks=checks) as d:
        (tmp_path / "where").write_text(str(d.root))
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            parked = await d.wait_until("t", TaskState.PARKED)
        files = "src/1.py, src/2.py, src/3.py, src/4.py, src/5.py and 1 more"
        assert parked.why == f"the tree changed again and again during its checks: {files}"
        assert not (d.root / LANDED_FILE).exists()
        assert (d.root / "src/busy.py").read_text() == "# again\n" * 5


async def test_a_save_in_the_moment_of_landing_is_merged_and_checked_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    lines = "".join(f"line_{n} = 0\n" for n in range(40))
    ours, users = lines.replace("line_3 = 0", "line_3 = 1"), lines.replace("line_33 = 0", "line_33 = 1")
    saves = [users]
    async with daemonlet(
        valkey_url, project_id, files={"src/app.py": lines.encode()}, checks={"t": "true"}
    ) as d:

        def save(step: str) -> None:
            if step == "swap 0" and saves:
                (d.root / "src/app.py").write_text(saves.pop())

        d.fault.append(save)
        d.model.turns["t"] = [[create("src/app.py", ours), finish()]]
        await d.load("t")
        async with d.working():
            done = await d.wait_until("t", TaskState.DONE)
            event = await d.wait_for(EventKind.TASK_DONE, "t")
        assert (d.root / "src/app.py").read_text() == users.replace("line_3 = 0", "line_3 = 1")
        assert (event.data["merged"], done.attempt) == (["src/app.py"], 1)
        assert d.kinds("t").count("task.landing") == 2
        assert done.setbacks == {"tree_moved": 1}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (LlmError("an odd answer"), "the call to the model failed: an odd answer"),
        (AgentError("lost its way"), "the attempt broke: lost its way"),
    ],
)
async def test_what_breaks_an_attempt_is_its_cause_in_words(
    valkey_url: str, project_id: ProjectId, error: Exception, why: str
) -> None:
    async def breaks() -> list[Block]:
        raise error

    async with daemonlet(valkey_url, project_id, attempts=1) as d:
        d.model.turns["t"] = [breaks]
        await d.load("t")
        async with d.working():
            failed = await d.wait_until("t", TaskState.FAILED)
        assert why in failed.why


async def test_what_had_landed_when_the_daemon_died_is_done_at_the_next_start(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("t")
        claim = await d.store.queue.claim(WORKER)
        await d.store.queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
        await d.store.queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
        ready = staged(d.shop.repo, {LANDED_FILE: (None, b"Y = 2\n")})
        await d.shop.lander.land(TaskId("t"), claim.token, "t", ready, verify=nothing_to_verify)
        await reconcile(d.store, d.shop.lander, d.shop.retries)
        done = await d.task("t")
        assert (done.state, done.files, done.attempt) == (TaskState.DONE, (LANDED_FILE,), 1)


@pytest.mark.parametrize("end", ["done", "cancelled"])
async def test_the_question_of_a_task_that_has_ended_is_asked_no_more_and_takes_no_answer(
    end: str, valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create(LANDED_FILE, "Y = 2\n"), finish()]]
        await d.load("t")
        await d.store.questions.ask(TaskId("t"), "Which?", "this", 1)
        assert [each["kind"] for each in (await d.views.status())["needs_you"]] == ["question"]
        if end == "cancelled":
            await asked(d, "cancel", id="t")
        async with d.working():
            await d.wait_until("t", TaskState(end))
        assert "question" not in [each["kind"] for each in (await d.views.status())["needs_you"]]
        with pytest.raises(RpcError, match=f"t is {end} already") as refused:
            await asked(d, "answer", id="t", text="that")
        assert refused.value.exit_code == ExitCode.REFUSED
        assert ("retry t" in refused.value.mend) == (end == "cancelled")
