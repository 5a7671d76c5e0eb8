"""A conversation is told as it was written, from any offset on."""

from __future__ import annotations

import pytest
from daemon_kit import bash, create, daemonlet, finish

from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.errors import RpcError
from agentcoord.wire.messages import Method, RpcCode


async def test_a_conversation_is_told_step_by_step(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["a"] = [[create("src/new.py", "N = 1\n"), bash("exit 3")], [finish()]]
        await d.load("a")
        before = await d.requests.answer(Method.TRANSCRIPT, {"id": "a"})
        assert (before["attempt"], before["steps"], before["more"]) == (0, [], False)
        async with d.working():
            await d.wait_for(EventKind.TASK_DONE, "a")
        told = await d.requests.answer(Method.TRANSCRIPT, {"id": "a"})
        steps = told["steps"]
        assert [step["kind"] for step in steps] == [
            *("asked", "turn", "ran", "ran", "result", "result"),
            *("turn", "ran"),
        ]
        assert [step["title"] for step in steps if step["kind"] == "ran"] == [
            "create src/new.py",
            "bash exit 3",
            "finish_task Did it.",
        ]
        calls, results = ([s["call"] for s in steps if s["kind"] == kind] for kind in ("ran", "result"))
        assert calls[:2] == results
        assert [step["is_error"] for step in steps if step["kind"] == "result"][:2] == [False, False]
        assert "exit code 3" in steps[5]["text"]
        assert (told["attempt"], told["context_tokens"], told["window_tokens"]) == (1, 120, 200_000)
        rest = await d.requests.answer(Method.TRANSCRIPT, {"id": "a", "offset": told["next_offset"]})
        assert (rest["steps"], rest["next_offset"]) == ([], told["next_offset"])
        with pytest.raises(RpcError) as refused:
            await d.requests.answer(Method.TRANSCRIPT, {"id": "../a"})
        assert refused.value.code == RpcCode.NOT_FOUND
