"""What a client is told of each kind of failure, and of parameters that do not fit."""

from __future__ import annotations

import pytest

from agentcoord.daemon.failures import PROBLEMS_TOLD, REFUSAL_CHARS, failure_of
from agentcoord.daemon.params import number_of, text_of
from agentcoord.errors import DaemonError, PlanError, RpcError, StoreUnavailableError
from agentcoord.wire.messages import ExitCode, RpcCode


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (RpcError("no", code=RpcCode.NOT_FOUND, exit_code=4), RpcCode.NOT_FOUND, ExitCode.NOT_FOUND),
        (PlanError("no", ["line 1"]), RpcCode.BAD_PLAN, ExitCode.USAGE),
        (StoreUnavailableError("no"), RpcCode.UNAVAILABLE, ExitCode.ERROR),
        (DaemonError("no"), RpcCode.REFUSED, ExitCode.REFUSED),
        (KeyError("no"), RpcCode.INTERNAL, ExitCode.ERROR),
    ],
)
def test_each_kind_of_failure_has_its_code_and_exit_code(
    error: Exception, code: RpcCode, exit_code: ExitCode
) -> None:
    found, words, data = failure_of(error)
    assert (found, data["exit_code"]) == (code, exit_code)
    assert "no" in words


def test_a_bug_is_told_by_its_name_and_where_to_look() -> None:
    _, words, data = failure_of(ZeroDivisionError("division by zero"))
    assert words == "the daemon failed at this: ZeroDivisionError: division by zero"
    assert data["mend"] == "agentcoordd logs"


def test_what_is_told_fits_a_line_however_much_went_wrong() -> None:
    _, words, data = failure_of(PlanError("x" * 100_000, ["y" * 10_000] * 10_000))
    assert len(words) == REFUSAL_CHARS
    assert len(data["problems"]) == PROBLEMS_TOLD
    assert {len(each) for each in data["problems"]} == {1_000}


@pytest.mark.parametrize("value", [None, 3, ["x"], {"x": 1}])
def test_a_text_must_be_a_text(value: object) -> None:
    with pytest.raises(RpcError, match="id must be a text") as refused:
        text_of({"id": value}, "id")
    assert (refused.value.code, refused.value.exit_code) == (RpcCode.INVALID_PARAMS, ExitCode.USAGE)


@pytest.mark.parametrize("value", ["3", 2.0, True, -1, 11, None])
def test_a_number_must_be_whole_and_in_its_bounds(value: object) -> None:
    with pytest.raises(RpcError, match="n must be a whole number from 0 to 10"):
        number_of({"n": value}, "n", default=0, least=0, most=10)
    assert number_of({}, "n", default=7, least=0, most=10) == 7
