"""Errors in the protocol's terms: the code, the words, the exit code and the mend, fitting one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentcoord.errors import AgentCoordError, PlanError, RpcError, StoreUnavailableError
from agentcoord.wire.protocol import ExitCode, RpcCode

if TYPE_CHECKING:
    from agentcoord.wire.messages import ErrorData

REFUSAL_CHARS = 4_000
PROBLEMS_TOLD = 500


def failure_of(error: BaseException) -> tuple[RpcCode, str, ErrorData]:
    """Say an exception in the protocol's terms, so short that it fits a line."""
    code, message, data = _failure_of(error)
    if "problems" in data:
        data["problems"] = [each[:1_000] for each in data["problems"][:PROBLEMS_TOLD]]
    return code, message[:REFUSAL_CHARS], data


def _failure_of(error: BaseException) -> tuple[RpcCode, str, ErrorData]:
    match error:
        case RpcError():
            data: ErrorData = {"exit_code": error.exit_code, "mend": error.mend}
            if error.problems:
                data["problems"] = list(error.problems)
            return RpcCode(error.code), error.message, data
        case PlanError():
            return (
                RpcCode.BAD_PLAN,
                error.message,
                {"exit_code": int(ExitCode.USAGE), "mend": error.mend, "problems": list(error.problems)},
            )
        case StoreUnavailableError():
            return RpcCode.UNAVAILABLE, error.message, {"exit_code": int(ExitCode.ERROR), "mend": error.mend}
        case AgentCoordError():
            return RpcCode.REFUSED, error.message, {"exit_code": int(ExitCode.REFUSED), "mend": error.mend}
        case _:
            return (
                RpcCode.INTERNAL,
                f"the daemon failed at this: {type(error).__name__}: {error}",
                {"exit_code": int(ExitCode.ERROR), "mend": "agentcoordd logs"},
            )
