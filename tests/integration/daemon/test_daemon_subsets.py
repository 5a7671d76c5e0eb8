"""A landed task without some hunks: checked in a private copy, then taken out at a person's word."""

from __future__ import annotations

from typing import Any

import pytest
from daemon_kit import FILES, WORKER, Daemonlet, create, daemonlet, finish

from agentcoord.daemon.subset_proofs import MOST_KEPT
from agentcoord.daemon.trimming import finish_trims
from agentcoord.domain.events import EventKind
from agentcoord.domain.files import FileLines
from agentcoord.domain.hunks import read_diff
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.errors import RpcError

LINES = "".join(f"line {n}\n" for n in range(20))
CHECK = {"no-nine": "! grep -rq 'NINE' src && test -e src/new.py"}
"""Green while `src/new.py` is there and nothing says NINE."""


async def asked(d: Daemonlet, method: str, **params: object) -> dict[str, Any]:
    return dict(await d.requests.answer(method, params))


async def refusal(d: Daemonlet, method: str, **params: object) -> str:
    with pytest.raises(RpcError) as caught:
        await d.requests.answer(method, params)
    return caught.value.message


async def proven(d: Daemonlet, *hunks: str) -> dict[str, Any]:
    """Have a subset proven, and wait for the verdict."""
    seen = len([each for each in d.hub.recent if each.kind is EventKind.TASK_SUBSET_PROVEN])
    answer = await asked(d, "prove_without", id="t", hunks=list(hunks))
    while answer["state"] == "running":
        with d.hub.subscribed() as told:
            answer = await asked(d, "prove_without", id="t", hunks=list(hunks))
            if answer["state"] == "running":
                await told.ready.wait()
    assert len([each for each in d.hub.recent if each.kind is EventKind.TASK_SUBSET_PROVEN]) >= seen
    return answer


async def test_a_subset_is_proven_before_it_touches_the_tree(valkey_url: str, project_id: ProjectId) -> None:
    files = {**FILES, "src/app.py": LINES.encode()}
    async with daemonlet(valkey_url, project_id, files=files, checks=CHECK) as d:
        changed = LINES.replace("line 3\n", "three\n").replace("line 15\n", "fifteen\n")
        d.model.turns["t"] = [[create("src/app.py", changed), create("src/new.py", "N = 1\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            await d.idle()
            text = (await asked(d, "diff", id="t"))["text"]
            three, fifteen, new = (h.key for file in read_diff(text) for h in file.hunks)

            assert "was not proven" in await refusal(d, "take_out", id="t", hunks=[three])
            red = await proven(d, new)
            assert (red["state"], red["checks"][0]["ok"], red["files"]) == ("red", False, ["src/new.py"])
            assert (d.root / "src/new.py").exists(), "only the private copy was without it"
            assert "is red" in await refusal(d, "take_out", id="t", hunks=[new])

            green = await proven(d, three)
            assert (green["state"], green["checks"][0]["exit_code"]) == ("green", 0)
            assert (d.root / "src/app.py").read_text() == changed
            assert "was not proven" in await refusal(d, "take_out", id="t", hunks=[fifteen])
            (d.root / "src/other.py").write_text("NINE\n")
            moved = await refusal(d, "take_out", id="t", hunks=[three])
            assert "proven on another tree: src/other.py changed" in moved
            assert (await proven(d, three))["state"] == "red", "it is tried again on the tree as it is now"
            (d.root / "src/other.py").unlink()
            assert (await proven(d, three))["state"] == "green"
            taken = await asked(d, "take_out", id="t", hunks=[three])
            assert (taken["files"], taken["state"]) == (["src/app.py"], "green")
            assert (d.root / "src/app.py").read_text() == LINES.replace("line 15\n", "fifteen\n")
            trimmed = await d.task("t")
            assert (set(trimmed.files), trimmed.lines_added, trimmed.lines_removed) == (
                {"src/app.py", "src/new.py"},
                2,
                1,
            ), "the counts are of what stands"
            event = await d.wait_for(EventKind.TASK_TRIMMED, "t")
            assert (event.data["hunks"], event.data["state"]) == (1, "green")

            assert (await proven(d, new))["state"] == "red"
            await asked(d, "take_out", id="t", hunks=[new], anyway=True)
            assert not (d.root / "src/new.py").exists(), "red is a person's to decide"
            trimmed = await d.task("t")
            assert (trimmed.files, trimmed.lines_added, trimmed.lines_removed) == (("src/app.py",), 1, 1)
            # A daemon that died before it had counted: the next one counts, once.
            store, lander = d.shop.store, d.shop.lander
            await store.queue.set_landed(TaskId("t"), [FileLines("src/new.py", 9, 9)])
            assert await finish_trims(store, lander) == (TaskId("t"),)
            assert (await d.task("t")) == trimmed
            assert await finish_trims(store, lander) == ()
            broken = await proven(d, "0" * 12)
            assert (broken["state"], "not in what the task did" in broken["why"]) == ("broken", True)
            assert "could not be tried" in await refusal(d, "take_out", id="t", hunks=["0" * 12])
        assert (await asked(d, "undo", id="t"))["conflicts"] == []
        assert await finish_trims(store, lander) == (), "what was undone has no counts"
        assert (d.root / "src/app.py").read_text() == LINES
        assert "only a done task has hunks" in await refusal(d, "prove_without", id="t", hunks=[three])
        assert (await d.task("t")).id == TaskId("t")


async def test_hunks_in_lines_that_changed_since_cannot_be_tried_and_the_paths_are_named(
    valkey_url: str, project_id: ProjectId
) -> None:
    files = {**FILES, "src/app.py": LINES.encode()}
    async with daemonlet(valkey_url, project_id, files=files, checks={"t": "true"}) as d:
        changed = LINES.replace("line 3\n", "three\n")
        d.model.turns["t"] = [[create("src/app.py", changed), create("src/new.py", "N = 1\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            await d.idle()
            text = (await asked(d, "diff", id="t"))["text"]
            three, new = (h.key for file in read_diff(text) for h in file.hunks)
            (d.root / "src/app.py").write_text(changed.replace("three\n", "mine\n"))
            (d.root / "src/new.py").unlink()
            broken = await proven(d, three, new)
            assert broken["state"] == "broken"
            assert broken["why"] == (
                "changed since in the same place, or landed by another task as well: src/app.py, src/new.py"
            )
            assert "could not be tried" in await refusal(d, "take_out", id="t", hunks=[three, new])
            assert "mine" in (d.root / "src/app.py").read_text()


async def test_only_so_many_verdicts_are_kept_the_newest(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        names = [f"t{n}" for n in range(MOST_KEPT + 1)]
        await d.load(*names)
        for _ in names:
            claim = await d.store.queue.claim(WORKER)
            await d.store.queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
            await d.store.queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
            await d.store.queue.complete(claim, ())
        for name in names:
            assert (await asked(d, "prove_without", id=name, hunks=["a" * 12]))["state"] == "running"
        kept = d.subsets._subsets
        assert list(kept) == names[1:]
