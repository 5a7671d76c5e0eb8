"""One question over a plain blocking socket, for commands that must answer in under 100 ms.

Separate from `client` because importing asyncio alone costs more than the whole answer. Imports `json`
and nothing heavier: of `socket` only what is beneath it, which has no enumerations of every constant to
make. `hello` and the question travel in one write.
Deliberately absent: subscriptions, and more than one question a connection.
"""

from __future__ import annotations

import _socket
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from agentcoord.errors import (
    AnotherListensError,
    BadPlanError,
    ConnectionLostError,
    DaemonNotRunningError,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    RpcError,
    UnavailableError,
    WireError,
)
from agentcoord.wire.codec import Failure, FrameDecoder, Malformed, Result, encode_request
from agentcoord.wire.protocol import PROTOCOL_VERSION, Method, RpcCode

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from pathlib import Path
    from typing import Any, Final

    Connected = _socket.socket | TransportSocket

SOCKET_PATH_BYTES: Final = 103 if sys.platform == "darwin" else 107
"""The longest path that the kernel's `sockaddr_un` holds."""
START_MEND: Final = "agentcoordd start"
_KINDS: Final[Mapping[int, type[RpcError]]] = {
    RpcCode.BAD_PLAN: BadPlanError,
    RpcCode.NOT_FOUND: NotFoundError,
    RpcCode.REFUSED: RefusedError,
    RpcCode.UNAVAILABLE: UnavailableError,
}
CROWDED_S: Final = 0.02
"""Until the next try to be let in where as many wait for that as may."""
_HELLO_ID: Final = 0
_CALL_ID: Final = 1


def call_once(
    socket_path: str | Path,
    method: Method,
    params: Mapping[str, Any] | None = None,
    timeout_s: float = 10.0,
) -> dict[str, Any]:
    """Ask the daemon one thing and return its answer.

    Raises DaemonNotRunningError when nobody listens, RpcError when the daemon answers with an error,
    and WireError when the path is too long, the daemon hangs past `timeout_s` or hangs up.
    """
    deadline = time.monotonic() + timeout_s
    questions = encode_request(_HELLO_ID, Method.HELLO, hello_params("agentcoord"))
    questions += encode_request(_CALL_ID, method, params or {})
    connection = _open_socket(socket_path, method, timeout_s)
    decoder = FrameDecoder()
    try:
        # A daemon that refuses `hello` may hang up before it has read the rest; its reason counts.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(questions)
        while True:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = connection.recv(65536)
            if not chunk:
                raise ConnectionLostError("the daemon hung up before it answered", mend="agentcoordd status")
            for frame in decoder.feed(chunk):
                if isinstance(frame, Failure):
                    raise rpc_error_of(frame)
                if isinstance(frame, Malformed):
                    raise WireError(f"the daemon's answer cannot be read: {frame.message}")
                if isinstance(frame, Result) and frame.id == _CALL_ID:
                    return frame.result
    except TimeoutError as error:
        raise no_answer(method, timeout_s) from error
    except ConnectionError as error:
        raise ConnectionLostError("the connection to the daemon broke", mend="agentcoordd status") from error
    finally:
        connection.close()


def _open_socket(socket_path: str | Path, method: Method, timeout_s: float) -> _socket.socket:
    """Connect to the daemon's socket; the caller closes it. Raises as `call_once` does."""
    check_socket_path(socket_path)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        _stand_in_line(connection, socket_path, method, timeout_s)
        check_listener(connection, socket_path)
    except OSError as error:
        connection.close()
        raise unreachable(socket_path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _stand_in_line(
    connection: _socket.socket, socket_path: str | Path, method: Method, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not connected(connection, socket_path):
        if time.monotonic() >= deadline:
            raise no_answer(method, timeout_s)
        time.sleep(CROWDED_S)


def connected(connection: _socket.socket, socket_path: str | Path) -> bool:
    """Connect one that does not block; whether it is let in. Raises OSError where nobody will let it.

    A daemon that hangs lets nobody in, and those who gave up stand in line as long as it does.
    """
    try:
        connection.connect(os.fspath(socket_path))
    except BlockingIOError:  # As many stand in line as may; it is not the beginning of a connection.
        return False
    return True


def check_socket_path(socket_path: str | Path) -> None:
    """Raise WireError, in words, when the kernel could not hold this path."""
    size = len(os.fsencode(socket_path))
    if size > SOCKET_PATH_BYTES:
        raise WireError(
            f"the control socket's path has {size} bytes, and this system allows {SOCKET_PATH_BYTES}: "
            f"{socket_path}",
            mend="set XDG_RUNTIME_DIR to a shorter folder that only you may enter, then try again",
        )


def check_listener(connection: Connected, socket_path: str | Path) -> None:
    """Raise AnotherListensError when another user listens: who made our folder in /tmp first is told nothing.

    Where the system does not say who listens, the folder's mode guards alone.
    """
    option = getattr(_socket, "SO_PEERCRED", None)
    if option is None:
        return
    raw = connection.getsockopt(_socket.SOL_SOCKET, option, 12)  # Three C ints: pid, uid, gid.
    if int.from_bytes(raw[4:8], sys.byteorder) != os.getuid():
        raise _anothers(socket_path, AnotherListensError)


def unreachable(socket_path: str | Path, error: OSError) -> WireError:
    """Translate a failed connect: nobody listens, or something else is in the way."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return DaemonNotRunningError(
            f"no daemon runs for this project (nobody listens on {socket_path})", mend=START_MEND
        )
    if isinstance(error, PermissionError):
        return _anothers(socket_path)
    return WireError(
        f"the control socket {socket_path} cannot be reached: {error.strerror or error}",
        mend="agentcoordd status",
    )


def _anothers(socket_path: str | Path, kind: type[WireError] = WireError) -> WireError:
    return kind(
        f"the control socket {socket_path} belongs to another user",
        mend="run the command as the user who started agentcoordd",
    )


def no_answer(method: str, timeout_s: float) -> NoAnswerError:
    """The error for a daemon that listens but says nothing."""
    return NoAnswerError(
        f"the daemon did not answer `{method}` within {timeout_s:g} s",
        mend="agentcoordd logs, then agentcoordd restart",
    )


def hello_params(client_name: str) -> dict[str, Any]:
    """What every connection says first."""
    return {"protocol": [PROTOCOL_VERSION], "client": client_name}


def rpc_error_of(frame: Failure) -> RpcError:
    """Turn an error answer into the exception that callers see."""
    problems = frame.data.get("problems", [])
    exit_code = frame.data.get("exit_code", 1)
    return _KINDS.get(frame.code, RpcError)(
        frame.message,
        code=frame.code,
        exit_code=exit_code if isinstance(exit_code, int) else 1,
        problems=[str(p) for p in problems] if isinstance(problems, list) else (),
        mend=str(frame.data.get("mend", "")),
    )
