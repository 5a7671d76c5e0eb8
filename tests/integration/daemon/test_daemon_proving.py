"""Several tasks proven at once: each on the tree as those before it will leave it, checked once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon_kit import PYTEST, Daemonlet, create, daemonlet, finish, until

from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.worker import Role, worker_of

TWO = tuple(worker_of(f"Backend-Engineer-{n}", Role.BACKEND_ENGINEER) for n in (1, 2))


@dataclass
class Stage:
    """Checks that tell which files they see and wait for the test's word."""

    folder: Path

    def check(self, task: str, *, then: str = "true") -> str:
        os.mkfifo(self.folder / task)
        seen = f"echo {task} $(ls src) >> {self.folder}/runs"
        return f"{seen}; read word < {self.folder}/{task}; {then}"

    @property
    def runs(self) -> list[str]:
        """The task and the files of each run, in the order in which they began."""
        path = self.folder / "runs"
        return path.read_text().splitlines() if path.exists() else []

    async def has_run(self, times: int) -> None:
        await until(lambda: len(self.runs) >= times)

    async def let_end(self, task: str) -> None:
        """Give the word to the run of a task that waits for it."""

        def say() -> None:
            with (self.folder / task).open("w") as fifo:
                fifo.write("go on\n")

        await asyncio.to_thread(say)


@contextmanager
def stage(tmp_path: Path) -> Iterator[Stage]:
    folder = tmp_path / "stage"
    folder.mkdir()
    yield Stage(folder)


async def load(d: Daemonlet, task: str, check: str, path: str, text: str) -> None:
    d.model.turns[task] = [[create(path, text), finish()]]
    await d.runs.begin_if_none(any_open=False)
    await d.store.queue.load([TaskSpec(id=TaskId(task), title=task, tags=("backend",), check=check)])


async def test_two_tasks_that_are_proven_at_once_both_land_on_one_run_of_checks_each(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    with stage(tmp_path) as checks:
        async with daemonlet(valkey_url, project_id, workers=TWO) as d, d.working(*TWO):
            await load(d, "t1", checks.check("t1"), "src/one.py", "A = 1\n")
            await checks.has_run(1)
            await load(d, "t2", checks.check("t2"), "src/two.py", "B = 1\n")
            await checks.has_run(2)
            await checks.let_end("t2")
            await until(lambda: len([e for e in d.hub.recent if str(e.kind) == "task.checked"]) == 1)
            assert not (d.root / "src/two.py").exists(), "its turn has not come"
            await checks.let_end("t1")
            await d.wait_until("t2", TaskState.DONE)
            assert (await d.task("t1")).state is TaskState.DONE
            assert checks.runs == ["t1 app.py one.py", "t2 app.py one.py two.py"]
            assert (d.root / "src/one.py").exists()
            assert (d.root / "src/two.py").exists()


async def test_what_counted_on_a_red_one_is_proven_again_without_it(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    with stage(tmp_path) as checks:
        async with daemonlet(valkey_url, project_id, attempts=1, workers=TWO) as d, d.working(*TWO):
            await load(d, "t1", checks.check("t1", then="false"), "src/one.py", "A = 1\n")
            d.model.turns["t1"].append(_never)
            await checks.has_run(1)
            await load(d, "t2", checks.check("t2"), "src/two.py", "B = 1\n")
            await checks.has_run(2)
            await checks.let_end("t1")
            await checks.has_run(3)
            await checks.let_end("t2")
            await d.wait_until("t2", TaskState.DONE)
            assert checks.runs[1:] == ["t2 app.py one.py two.py", "t2 app.py two.py"]
            assert not (d.root / "src/one.py").exists()


async def test_red_because_of_one_before_it_that_does_not_land_is_no_fault_of_its_own(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    with stage(tmp_path) as checks:
        async with daemonlet(valkey_url, project_id, attempts=1, workers=TWO) as d, d.working(*TWO):
            await load(d, "t1", checks.check("t1", then="false"), "src/one.py", "A = 1\n")
            d.model.turns["t1"].append(_never)
            await checks.has_run(1)
            await load(d, "t2", checks.check("t2", then="! ls src/one.py"), "src/two.py", "B = 1\n")
            await checks.has_run(2)
            await checks.let_end("t2")
            await until(lambda: "task.checked" in d.kinds("t2"))
            await checks.let_end("t1")
            await checks.has_run(3)
            await checks.let_end("t2")
            await d.wait_until("t2", TaskState.DONE)
            assert d.model.asked.count("t2") == 1, "nobody told it of a red check"
            told = [e.data for e in d.hub.recent if (e.kind, e.task) == (EventKind.TASK_CHECKED, "t2")]
            own = [(each["ok"], each["on_top_of"]) for each in told if each["check"] == "task"]
            assert own == [(False, 1), (True, 0)], told


async def test_two_tasks_that_write_one_file_land_merged_on_one_run_of_checks_each(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    lines = [f"line_{n} = 0\n" for n in range(40)]
    text = "".join(lines)
    files = {"src/app.py": text.encode()}
    with stage(tmp_path) as checks:
        async with daemonlet(valkey_url, project_id, files=files, workers=TWO) as d, d.working(*TWO):
            # Both are written before the first lands, the second without its lock: as after a wait.
            await load(d, "t1", checks.check("t1"), "src/app.py", text.replace("line_3 = 0", "line_3 = 1"))
            await checks.has_run(1)
            await d.store.locks.release_all(TaskId("t1"))
            await load(d, "t2", checks.check("t2"), "src/app.py", text.replace("line_33 = 0", "line_33 = 1"))
            await checks.has_run(2)
            await checks.let_end("t1")
            await d.wait_until("t1", TaskState.DONE)
            await checks.let_end("t2")
            await d.wait_until("t2", TaskState.DONE)
            landed = (d.root / "src/app.py").read_text()
            assert "line_3 = 1\n" in landed
            assert "line_33 = 1\n" in landed
            assert len(checks.runs) == 2


async def test_what_the_user_saves_while_several_are_proven_voids_them_all(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    with stage(tmp_path) as checks:
        async with daemonlet(valkey_url, project_id, workers=TWO) as d, d.working(*TWO):
            await load(d, "t1", checks.check("t1"), "src/one.py", "A = 1\n")
            await checks.has_run(1)
            await load(d, "t2", checks.check("t2"), "src/two.py", "B = 1\n")
            await checks.has_run(2)
            (d.root / "src/mine.py").write_text("mine\n")
            await checks.let_end("t1")
            await checks.has_run(4)
            assert sorted(checks.runs[2:]) == ["t1 app.py mine.py one.py", "t2 app.py mine.py one.py two.py"]
            await checks.let_end("t1")
            await checks.let_end("t2")
            await d.wait_until("t2", TaskState.DONE)
            assert len(checks.runs) == 4


async def test_a_test_that_the_one_before_mended_excuses_nothing_any_more(
    valkey_url: str, project_id: ProjectId, tmp_path: Path
) -> None:
    """The second breaks again what the first mends, and was checked before the first had landed."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    test = (
        "import pathlib\nimport app, other\n\n"
        "def test_old():\n    assert app.GOOD and other.GOOD\n\n"
        "def test_last():\n"
        f"    if app.GOOD and other.GOOD:\n        pathlib.Path({str(gate)!r}).read_text()\n"
    )
    files = {
        "src/app.py": b"GOOD = False\n",
        "src/other.py": b"GOOD = True\n",
        "src/test_it.py": test.encode(),
        ".gitignore": b"*.pyc\n__pycache__\n",
    }
    command = f"{PYTEST} src"
    async with daemonlet(
        valkey_url, project_id, files=files, checks={"tests": command}, attempts=1, workers=TWO
    ) as d:
        await d.shop.prover.run_baseline()
        async with d.working(*TWO):
            await load(d, "t1", "", "src/app.py", "GOOD = True\n")
            await d.wait_until("t1", TaskState.CHECKING)
            await load(d, "t2", "", "src/other.py", "GOOD = False\n")
            d.model.turns["t2"].append(_never)
            await until(lambda: "task.checked" in d.kinds("t2"))
            checked = next(e for e in d.hub.recent if str(e.kind) == "task.checked" and e.task == "t2")
            assert checked.data["excused"], "as far as was known then"
            await asyncio.to_thread(gate.write_text, "")
            await d.wait_until("t1", TaskState.DONE)
            await until(lambda: d.model.asked.count("t2") == 2)
        assert (d.root / "src/other.py").read_bytes() == b"GOOD = True\n"


async def _never() -> list[dict[str, object]]:
    await asyncio.Event().wait()
    return []
