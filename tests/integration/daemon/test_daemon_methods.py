"""The types that the page of the protocol is made of, held against what the daemon takes and answers."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from daemon_kit import create, daemonlet, finish

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.errors import RpcError
from agentcoord.wire.messages import Method, RpcCode
from agentcoord.wire.methods import SIGNATURES

PLAN = '[[task]]\nid = "c"\ntitle = "C"\n'
ASKED: list[tuple[Method, dict[str, Any]]] = [
    (Method.HELLO, {"protocol": [1]}),
    (Method.STATUS, {}),
    (Method.TASKS, {}),
    (Method.TASKS, {"dead": True}),
    (Method.TASK, {"id": "a"}),
    (Method.WORKERS, {}),
    (Method.COSTS, {}),
    (Method.STATS, {}),
    (Method.LOCKS, {}),
    (Method.LOAD, {"text": PLAN}),
    (Method.TRANSCRIPT, {"id": "a"}),
    (Method.BLAME, {"path": "src/a.py"}),
    (Method.DIFF, {"id": "a"}),
    (Method.PAUSE, {}),
    (Method.RESUME, {}),
    (Method.CANCEL, {"id": "b"}),
    (Method.RETRY, {"id": "b"}),
    (Method.ACCEPT, {"id": "a"}),
    (Method.ACCEPT, {"all": True}),
    (Method.REJECT, {"id": "a", "reason": "Not so."}),
    (Method.UNDO, {"all": True}),
    (Method.KILL, {"all": True}),
    (Method.CLEANUP, {}),
    (Method.DRAIN, {}),
    (Method.STOP, {}),
]


def placeholder(hint: Any) -> Any:
    return [1] if hint == list[int] else ["x"] if hint == list[str] else "a"


async def test_what_the_types_call_required_is_asked_for(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("a")
        for method, signature in SIGNATURES.items():
            hints = typing.get_type_hints(signature.params)
            required = [each.name for each in msgspec.structs.fields(signature.params) if each.required]
            for left_out in required:
                params = {name: placeholder(hints[name]) for name in required if name != left_out}
                with pytest.raises(RpcError) as refused:
                    await d.requests.answer(method, params)
                assert refused.value.code == RpcCode.INVALID_PARAMS, (method, left_out)


async def test_answers_are_of_the_types_that_the_page_shows(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["a"] = [[create("src/a.py", "Y = 2\n"), finish()]]
        await d.load("a")
        async with d.working():
            await d.wait_until("a", TaskState.DONE)
            await d.idle()
        await d.load("b")
        for method, params in ASKED:
            signature = SIGNATURES[method]
            shape = signature.results[-1] if params.get(signature.second_with) else signature.results[0]
            # Sent and received: an enumeration then is its word.
            answer = msgspec.json.decode(msgspec.json.encode(dict(await d.requests.answer(method, params))))
            msgspec.convert(answer, shape)
            assert answer.keys() <= typing.get_type_hints(shape).keys(), method
            msgspec.convert(params, signature.params)
