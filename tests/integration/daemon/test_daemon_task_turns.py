"""A worker begins its next task while its last one is proven, and comes back to it when it was red."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from daemon_kit import WORKER, Daemonlet, Held, Step, bash, create, daemonlet, finish, until

from agentcoord.agent.transcript import Transcript
from agentcoord.agent.transcript_records import text_message
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role, WorkerSpec, worker_of

OTHER = worker_of("Backend-Engineer-2", Role.BACKEND_ENGINEER)


class Gate:
    """A check that goes on when the test says so, and is red while a file says so."""

    def __init__(self, folder: Path, name: str) -> None:
        self._red, self._open = folder / f"{name}.red", folder / f"{name}.open"
        self.command = f"while ! [ -e {self._open} ]; do sleep 0.02; done; ! [ -e {self._red} ]"

    def let_end(self, *, red: bool = False) -> None:
        self._red.unlink(missing_ok=True)
        if red:
            self._red.write_text("")
        self._open.write_text("")

    def shut(self) -> None:
        self._open.unlink()


@asynccontextmanager
async def two_tasks(
    d: Daemonlet, gate: Gate, a: list[Step], b: list[Step], *, workers: tuple[WorkerSpec, ...] = (WORKER,)
) -> AsyncIterator[None]:
    """Run `a`, whose check is the gate, and `b` after it."""
    d.model.turns |= {"a": a, "b": b}
    await d.load("a", check=gate.command, writes=("src/a.py",), priority=5)
    await d.load("b", writes=("src/b.py", "src/a.py"))
    async with d.working(*workers):
        yield


async def test_the_next_task_begins_while_the_last_one_is_proven_on_top_of_what_it_will_land(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, thought = Gate(tmp_path, "a"), Held(bash("cp src/a.py src/b.py"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        async with two_tasks(d, gate, [[create("src/a.py", "A = 1\n"), finish()]], [thought]):
            await thought.begun.wait()
            assert (await d.task("a")).state is TaskState.CHECKING
            (row,) = d.shop.board.rows.values()
            view = (await d.requests.answer("workers", {}))["workers"][0]
            assert (row.task, view["task"], view["proving"]) == ("b", "b", "a")
            assert view["proving_doing"] == "running the checks"
            assert d.shop.board.busy == 1, "it is one worker"
            assert {claim.task.id for claim in d.fleet.claims} == {"a", "b"}, "both leases are kept"
            thought.may_end.set()
            waiting = "for the proof of its worker's last task"
            await d.at_a_change(lambda: _true(row.doing == waiting))
            assert (await d.task("b")).state is TaskState.RUNNING, "one in proof is enough"
            gate.let_end()
            await d.wait_until("b", TaskState.DONE)
            assert (await d.task("a")).state is TaskState.DONE
            await d.idle()
        assert (d.root / "src/b.py").read_text() == "A = 1\n"
        assert d.shop.prover.merges == 0
        assert await d.store.locks.holders() == []


async def test_a_red_task_comes_back_when_the_conversation_begun_meanwhile_ends_and_before_anything_new(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, thought = Gate(tmp_path, "a"), Held(create("src/b.py", "B = 1\n"), finish())
    mending = Held(create("src/a.py", "A = 2\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["c"] = [[create("src/c.py", "C = 1\n"), finish()]]
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()], mending]
        async with two_tasks(d, gate, first, [thought]):
            await thought.begun.wait()
            gate.let_end(red=True)
            await d.wait_until("a", TaskState.RUNNING)
            await d.load("c")
            assert d.model.asked[-1] == "b", "one conversation at a time"
            gate.shut()
            thought.may_end.set()
            await mending.begun.wait()
            assert d.model.asked == ["a", "b", "a"], "nothing new before it"
            mending.may_end.set()
            gate.let_end()
            await d.wait_until("a", TaskState.DONE)
            await d.wait_until("b", TaskState.DONE)
            await d.wait_until("c", TaskState.DONE)
        assert (d.root / "src/a.py").read_text() == "A = 2\n"
        assert (await d.task("a")).attempt == 1


async def test_a_worker_that_waits_for_a_new_task_is_at_its_red_one_instead(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, mending = Gate(tmp_path, "a"), Held(create("src/a.py", "A = 2\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns |= {"a": [[create("src/a.py", "A = 1\n"), finish()], mending]}
        d.model.turns["b"] = [[create("src/b.py", "B = 1\n"), finish()]]
        await d.load("a", check=gate.command)
        async with d.working():
            await d.wait_until("a", TaskState.CHECKING)
            gate.let_end(red=True)
            await mending.begun.wait()
            await d.load("b")
            await d.store.queue.get(TaskId("b"))
            assert (await d.task("b")).state is TaskState.QUEUED, "no worker is free for it"
            gate.shut()
            mending.may_end.set()
            await d.wait_until("b", TaskState.CHECKING, TaskState.RUNNING)
            gate.let_end()
            await d.wait_until("a", TaskState.DONE)
            await d.wait_until("b", TaskState.DONE)


async def test_a_kill_hands_both_tasks_back_and_their_copies_are_kept(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, thought = Gate(tmp_path, "a"), Held(create("src/b.py", "B = 1\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with two_tasks(d, gate, first, [thought]):
            await thought.begun.wait()
            assert d.fleet.kill(WORKER.name)
            await until(lambda: WORKER.name not in d.shop.board.rows)
            assert [(await d.task(t)).state for t in "ab"] == [TaskState.QUEUED] * 2
            assert [(await d.task(t)).attempt for t in "ab"] == [0, 0]
            assert not d.fleet.claims
            thought.may_end.set()
            gate.let_end()
            assert d.fleet.spawn(Role.BACKEND_ENGINEER, 1)
            await d.wait_until("a", TaskState.DONE)
            await d.wait_until("b", TaskState.DONE)
        assert d.model.asked == ["a", "b", "b"], "what was paid for is not paid again"


async def test_a_cancelled_task_in_proof_leaves_its_worker_the_other(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, thought = Gate(tmp_path, "a"), Held(create("src/b.py", "B = 1\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with two_tasks(d, gate, first, [thought]):
            await thought.begun.wait()
            await d.requests.answer("cancel", {"id": "a"})
            await d.at_a_change(lambda: _true(len(d.fleet.claims) == 1))
            thought.may_end.set()
            await d.wait_until("b", TaskState.DONE)
        assert (await d.task("a")).state is TaskState.CANCELLED
        assert not (d.root / "src/a.py").exists()


async def test_a_drain_ends_both_and_begins_nothing(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate, thought = Gate(tmp_path, "a"), Held(create("src/b.py", "B = 1\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        drained: list[bool] = []
        d.fleet.on_drained = lambda: drained.append(True)
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with two_tasks(d, gate, first, [thought]):
            await thought.begun.wait()
            await d.load("c")
            d.fleet.drain()
            thought.may_end.set()
            gate.let_end()
            await until(lambda: bool(drained))
        assert [(await d.task(t)).state for t in "abc"] == [TaskState.DONE, TaskState.DONE, TaskState.QUEUED]


async def test_a_drain_while_only_a_proof_is_left_ends_with_it(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    gate = Gate(tmp_path, "a")
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["a"] = [[create("src/a.py", "A = 1\n"), finish()]]
        drained: list[bool] = []
        d.fleet.on_drained = lambda: drained.append(True)
        await d.load("a", check=gate.command)
        async with d.working():
            await d.wait_until("a", TaskState.CHECKING)
            d.fleet.drain()
            await d.load("b")
            gate.let_end()
            await until(lambda: bool(drained))
        assert [(await d.task(t)).state for t in "ab"] == [TaskState.DONE, TaskState.QUEUED]


async def test_what_was_begun_on_work_that_never_landed_goes_on_in_a_new_copy_where_it_cannot_stand_alone(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    """It changed a file that the other would have created, and the other was cancelled."""
    gate, thought = Gate(tmp_path, "a"), Held(bash("echo 'B = 1' >> src/a.py"), finish())
    again: Step = [bash("test ! -e src/a.py && echo 'B = 2' >> src/a.py"), finish()]
    async with daemonlet(valkey_url, project_id) as d:
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with two_tasks(d, gate, first, [thought, again]):
            await thought.begun.wait()
            await d.requests.answer("cancel", {"id": "a"})
            await d.at_a_change(lambda: _true(len(d.fleet.claims) == 1))
            thought.may_end.set()
            back = await d.wait_for(EventKind.TASK_REQUEUED, "b")
            assert "which has not landed" in back.data["why"]
            done = await d.wait_until("b", TaskState.DONE)
        assert done.attempt == 1, "that was no fault of its own"
        assert d.model.asked.count("b") == 2, "no turn is paid for again"
        assert (d.root / "src/a.py").read_text() == "B = 2\n"
        told = Transcript.open(d.shop.transcripts / "b" / "attempt-1.jsonl").messages[2]["content"]
        assert "+B = 1" in str(told), "what it had done is in front of it"


async def test_a_copy_that_a_daemon_left_behind_is_not_used_where_the_conversation_was_promised_a_new_one(
    valkey_url: str, project_id: ProjectId
) -> None:
    """It died between the two: the words are on the disk, and the old copy is still bound to the task."""
    task = TaskId("b")
    async with daemonlet(valkey_url, project_id) as d:
        left = await d.shop.pool.acquire(task, 1, fresh=False)
        (left.root / "src/b.py").write_text("B = 1\n")
        await d.shop.pool.release(left, keep=True)
        transcript = Transcript.open(d.shop.transcripts / task / "attempt-1.jsonl")
        await transcript.add_opening([], text_message("Task id: b"), "hash")
        await transcript.add_user("your copy is a new one", fresh_copy=True)
        d.model.turns[task] = [[bash("test ! -e src/b.py && echo 'B = 2' > src/b.py"), finish()]]
        await d.load(task)
        async with d.working():
            await d.wait_until(task, TaskState.DONE)
        assert (d.root / "src/b.py").read_text() == "B = 2\n"
        again = Transcript.open(transcript.path)
        assert again.messages[:2] == transcript.messages, "the same conversation went on"
        assert not again.wants_fresh_copy


async def test_tasks_of_a_daemon_that_died_in_that_moment_go_on_from_where_they_were(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    """Nothing is handed back: the next start finds both claims, as after `kill -9`."""
    gate, thought = Gate(tmp_path, "a"), Held(create("src/b.py", "B = 1\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        first: list[Step] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with two_tasks(d, gate, first, [thought]):
            await thought.begun.wait()
            held = list(d.fleet.claims)
            taken = await d.store.queue.release_all_leases(why="the daemon was restarted")
            assert sorted(taken) == ["a", "b"]
            for claim in held:
                assert d.fleet.interrupt(claim.task.id, claim.token)
            gate.let_end()
            thought.may_end.set()
            await d.wait_until("a", TaskState.DONE)
            await d.wait_until("b", TaskState.DONE)
        assert d.model.asked.count("a") == 1, "its claim to be finished is heard again"
        assert (d.root / "src/b.py").exists()


async def test_as_many_copies_as_there_are_bound_the_tasks_begun_ahead(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    """Two workers have three copies: one of them begins its next task, the other waits."""
    gates = [Gate(tmp_path, name) for name in "ab"]
    two = (WORKER, OTHER)
    async with daemonlet(valkey_url, project_id, workers=two) as d:
        for name, gate in zip("ab", gates, strict=True):
            d.model.turns[name] = [[create(f"src/{name}.py", "A = 1\n"), finish()]]
            await d.runs.begin_if_none(any_open=False)
            await d.store.queue.load(
                [TaskSpec(id=TaskId(name), title=name, tags=("backend",), check=gate.command)]
            )
        thoughts = {name: Held(create(f"src/{name}.py", "A = 1\n"), finish()) for name in "cd"}
        d.model.turns |= {name: [thought] for name, thought in thoughts.items()}
        async with d.working(*two):
            await d.wait_until("a", TaskState.CHECKING)
            await d.wait_until("b", TaskState.CHECKING)
            await d.load("c", "d")
            await until(lambda: any(thought.begun.is_set() for thought in thoughts.values()))
            assert sorted([(await d.task(t)).state for t in "cd"]) == [TaskState.QUEUED, TaskState.RUNNING]
            for gate in gates:
                gate.let_end()
            for thought in thoughts.values():
                thought.may_end.set()
            for name in "abcd":
                await d.wait_until(name, TaskState.DONE)


async def _true(said: bool) -> bool:
    return said


async def test_a_worker_that_waits_for_room_on_the_disk_says_so(
    valkey_url: str, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(create("src/a.py", "A = 1\n"), finish())
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns |= {"a": [held], "b": [[create("src/b.py", "B = 1\n"), finish()]]}
        await d.load("a", priority=5)
        async with d.working(WORKER, OTHER):
            await held.begun.wait()
            real = shutil.disk_usage
            with monkeypatch.context() as full:
                full.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=0))
                await d.load("b")
                await d.at_a_change(lambda: _true(_waits_for_room(d)))
            rows = (await d.requests.answer("workers", {}))["workers"]
            (doing,) = [row["doing"] for row in rows if row["task"] == "b" and row["state"] == "waiting"]
            assert " has 0 MB free" in doing
            held.may_end.set()
            await d.wait_until("a", TaskState.DONE)
            await d.wait_until("b", TaskState.DONE)
        assert (d.root / "src/b.py").read_text() == "B = 1\n"


def _waits_for_room(d: Daemonlet) -> bool:
    return any(row.task == "b" and row.doing.startswith("for room: ") for row in d.shop.board.rows.values())
