"""Parameters of requests, checked at the edge, and the errors that a person's own request can cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentcoord.domain.ids import TaskId
from agentcoord.errors import RpcError
from agentcoord.wire.protocol import ExitCode, RpcCode

Params = Mapping[str, Any]
Answer = Mapping[str, Any]


def text_of(params: Params, key: str, *, default: str | None = None) -> str:
    value = params.get(key, default)
    if not isinstance(value, str):
        raise bad_params(f"{key} must be a text")
    return value


def number_of(params: Params, key: str, *, default: int, least: int, most: int = 2**53) -> int:
    value = params.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise bad_params(f"{key} must be a whole number from {least} to {most}")
    return value


def texts_of(params: Params, key: str) -> list[str]:
    """A list of texts; none when it is not there."""
    value = params.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise bad_params(f"{key} must be a list of texts")
    return value


def task_id_of(params: Params) -> TaskId:
    return TaskId(text_of(params, "id"))


def bad_params(words: str) -> RpcError:
    return RpcError(words, code=RpcCode.INVALID_PARAMS, exit_code=ExitCode.USAGE)


def refused(
    words: str, mend: str = "agentcoord tasks shows the states", problems: Sequence[str] = ()
) -> RpcError:
    return RpcError(words, code=RpcCode.REFUSED, exit_code=ExitCode.REFUSED, problems=problems, mend=mend)


def no_such_task(task_id: TaskId) -> RpcError:
    return RpcError(
        f"no task is called {task_id!r}",
        code=RpcCode.NOT_FOUND,
        exit_code=ExitCode.NOT_FOUND,
        mend="agentcoord tasks lists them",
    )
