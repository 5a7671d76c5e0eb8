"""Bytes to JSON-RPC messages and back: one JSON object a line, both directions, no I/O.

Separate from `client` and from the daemon's socket server so that both sides speak through the
same code, and so that it can be tested on bytes alone (see https://sans-io.readthedocs.io). The
protocol is JSON-RPC 2.0 without batches and with named parameters only. Deliberately absent:
what the methods mean (`messages`), and who answers which id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from agentcoord.errors import WireError
from agentcoord.wire.protocol import FRAME_BYTES, RpcCode

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any

    from agentcoord.wire.messages import ErrorData

RequestId = int | str
"""What ties an answer to its question; chosen by whoever asks."""


class _Message:
    """One message; equal to another of its kind that says the same.

    Written out, for a dataclass takes a fast command longer to make than the daemon takes to answer.
    """

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # What they hold is JSON, which changes.

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({said})"


class Request(_Message):
    """A question that wants an answer."""

    __slots__ = __match_args__ = ("id", "method", "params")

    def __init__(self, id: RequestId, method: str, params: dict[str, Any]) -> None:  # noqa: A002
        self.id = id
        self.method = method
        self.params = params


class Notice(_Message):
    """Something said unasked (a JSON-RPC notification)."""

    __slots__ = __match_args__ = ("method", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params


class Result(_Message):
    """The answer to the request with this id."""

    __slots__ = __match_args__ = ("id", "result")

    def __init__(self, id: RequestId, result: dict[str, Any]) -> None:  # noqa: A002
        self.id = id
        self.result = result


class Failure(_Message):
    """The error that answers a request; `id` is None when the request could not be read."""

    __slots__ = __match_args__ = ("id", "code", "message", "data")

    def __init__(self, id: RequestId | None, code: int, message: str, data: dict[str, Any]) -> None:  # noqa: A002
        self.id = id
        self.code = code
        self.message = message
        self.data = data


class Malformed(_Message):
    """A line that is no message of the protocol; the connection itself is still good.

    `code` is what to answer with: PARSE, INVALID_REQUEST or INVALID_PARAMS; `id` that of the broken
    request, when that much could be read.
    """

    __slots__ = __match_args__ = ("code", "message", "id")

    def __init__(self, code: RpcCode, message: str, id: RequestId | None = None) -> None:  # noqa: A002
        self.code = code
        self.message = message
        self.id = id


Frame = Request | Notice | Result | Failure | Malformed

_LIST_BYTES = (128 * 1024, 16 * 1024, 2 * 1024, 256)
"""What is left of each list of files in a message that is too long, the first that will do."""
_FILE_LISTS = frozenset(
    ("files", "runs_here", "paths", "restored", "merged", "gone", "absent", "conflicts", "landed")
)
"""What may hold thousands. No other list is shortened: a task that seems to need less is another task."""

JsonReader = Callable[[bytes], object]
"""Makes a value of a line. Raises ValueError when it is not JSON, RecursionError when it nests too deep."""


class FrameDecoder:
    """Cuts a stream of bytes into messages, however the bytes were split on their way.

    Holds at most `max_bytes`: of a longer line nothing is kept, it comes out as one `Malformed`,
    and decoding goes on after its newline.
    """

    def __init__(self, max_bytes: int = FRAME_BYTES, read: JsonReader | None = None) -> None:
        """`read` makes a value of a line: the standard library's way, unless another is given."""
        self._max_bytes = max_bytes
        self._read = read or read_json
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the messages that `chunk` completes, in order; empty lines are passed over."""
        frames: list[Frame] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = line
            if self._buffer or self._skipping or len(line) >= self._max_bytes:
                self._take(line + b"\n")
                whole = bytes(self._buffer)
            if self._skipping:
                frames.append(self._too_long())
            elif whole and not whole.isspace():
                frames.append(decode_line(whole, self._read))
            self._buffer.clear()
            self._skipping = False
        self._take(rest)
        return frames

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished line is held."""
        return len(self._buffer)

    def _take(self, piece: bytes) -> None:
        if self._skipping or len(self._buffer) + len(piece) > self._max_bytes:
            self._buffer.clear()
            self._skipping = True
        else:
            self._buffer += piece

    def _too_long(self) -> Malformed:
        return Malformed(RpcCode.INVALID_REQUEST, f"a line is longer than {self._max_bytes} bytes")


def encode_request(request_id: RequestId, method: str, params: Mapping[str, Any]) -> bytes:
    """Return the line that asks `method`. Raises WireError when it passes FRAME_BYTES."""
    return _line({"jsonrpc": "2.0", "id": request_id, "method": str(method), "params": params})


def encode_notification(method: str, params: Mapping[str, Any]) -> bytes:
    """Return the line that tells `method`, as `encode_result` does."""
    return _fitting_line({"jsonrpc": "2.0", "method": str(method), "params": params})


def encode_result(request_id: RequestId, result: Mapping[str, Any]) -> bytes:
    """Return the line that answers `request_id`.

    Where it would pass FRAME_BYTES, long lists of files (thousands of changed ones) lose their ends. Raises
    WireError when it does all the same.
    """
    return _fitting_line({"jsonrpc": "2.0", "id": request_id, "result": result})


def encode_error(request_id: RequestId | None, code: int, message: str, data: ErrorData) -> bytes:
    """Return the line that refuses `request_id`. Raises WireError when it passes FRAME_BYTES."""
    error = {"code": int(code), "message": message, "data": data}
    return _line({"jsonrpc": "2.0", "id": request_id, "error": error})


def read_json(line: bytes) -> Any:
    """What a line spells. Raises ValueError when it is not JSON, RecursionError when it nests too deep."""
    return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)


def decode_line(line: bytes, read: JsonReader = read_json) -> Frame:
    """Return the message that `line` spells, or the `Malformed` that says what is wrong with it."""
    try:
        raw = read(line)
    except (ValueError, RecursionError) as error:
        return Malformed(RpcCode.PARSE, f"a line is not JSON: {error}")
    if not isinstance(raw, dict):
        return Malformed(
            RpcCode.INVALID_REQUEST, "a message must be one JSON object (batches are not spoken)"
        )
    request_id = raw.get("id")
    if request_id is not None and (isinstance(request_id, bool) or not isinstance(request_id, int | str)):
        return Malformed(RpcCode.INVALID_REQUEST, "`id` must be a whole number or a string")
    if raw.get("jsonrpc") != "2.0":
        return Malformed(RpcCode.INVALID_REQUEST, '`jsonrpc` must be "2.0"', request_id)
    if "method" in raw:
        return _call_of(raw, request_id)
    return _answer_of(raw, request_id)


def _call_of(raw: dict[str, Any], request_id: RequestId | None) -> Frame:
    method, params = raw["method"], raw.get("params", {})
    if not isinstance(method, str):
        return Malformed(RpcCode.INVALID_REQUEST, "`method` must be a string", request_id)
    if not isinstance(params, dict):
        return Malformed(RpcCode.INVALID_PARAMS, "`params` must be an object", request_id)
    if request_id is not None:
        return Request(request_id, method, params)
    if "id" in raw:
        return Malformed(RpcCode.INVALID_REQUEST, "`id` must not be null")
    return Notice(method, params)


def _answer_of(raw: dict[str, Any], request_id: RequestId | None) -> Frame:
    if "error" in raw:
        error = raw["error"]
        code = error.get("code") if isinstance(error, dict) else None
        if not isinstance(code, int):
            return Malformed(RpcCode.INVALID_REQUEST, "`error` must be an object with a `code`", request_id)
        data = error.get("data")
        return Failure(
            request_id, code, str(error.get("message", "")), data if isinstance(data, dict) else {}
        )
    result = raw.get("result")
    if request_id is None or not isinstance(result, dict):
        return Malformed(
            RpcCode.INVALID_REQUEST, "a message has neither a `method` nor a `result`", request_id
        )
    return Result(request_id, result)


def _line(message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        line = text.encode() + b"\n"
    except UnicodeEncodeError:
        # A file name that is no UTF-8 came along as lone surrogates; as escapes they survive the trip.
        line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > FRAME_BYTES:
        raise WireError(
            f"a message of {len(line)} bytes is longer than the {FRAME_BYTES} that one line may have"
        )
    return line


def _fitting_line(message: Mapping[str, Any]) -> bytes:
    try:
        return _line(message)
    except WireError:
        for most_bytes in _LIST_BYTES:
            try:
                return _line(_with_shorter_lists(message, most_bytes))
            except WireError:
                continue
        raise


def _with_shorter_lists(value: Any, most_bytes: int) -> Any:
    """The same with so much of each list of files as comes first, and at least one of it."""
    if isinstance(value, Mapping):
        return {
            key: _beginning(held, most_bytes)
            if _is_file_list(key, held)
            else _with_shorter_lists(held, most_bytes)
            for key, held in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_shorter_lists(held, most_bytes) for held in value]
    return value


def _is_file_list(key: object, value: object) -> bool:
    return key in _FILE_LISTS and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _beginning(texts: Sequence[str], most_bytes: int) -> list[str]:
    kept = list(texts[:1])
    for text in texts[1:]:
        most_bytes -= len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if most_bytes < 0:
            break
        kept.append(text)
    return kept


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
