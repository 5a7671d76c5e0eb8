"""The control socket: who may connect, and each client served beside the others.

A client that finds no room is told so, and so is one that has to make room. Nothing that a client sends
or does can raise past here. Deliberately absent: what is said on a connection (`connection`), and who has
to make room (`places`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agentcoord.daemon.connection import Connection, Desk
from agentcoord.daemon.places import Place, Places
from agentcoord.errors import DaemonError, WireError
from agentcoord.wire.codec import encode_error
from agentcoord.wire.protocol import ExitCode, RpcCode

if TYPE_CHECKING:
    from agentcoord.wire.messages import ErrorData

HANG_UP_S = 5.0
"""How long a client that has ended may take to read what was said last."""
LOOK_EVERY_S = 5.0
"""How soon a socket that is gone is missed: by then a client has been told that no daemon runs."""
PROBE_S = 1.0
"""How long who listens on a socket that we have not bound may take to be connected to."""

log = structlog.get_logger("control")


class ControlServer:
    """Listens on the project's socket. Use `serving()`."""

    def __init__(self, desk: Desk, places: Places | None = None) -> None:
        self._desk = desk
        self._places = places or Places(desk.clock.monotonic)
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(
        self,
        path: Path,
        *,
        look_every_s: float = LOOK_EVERY_S,
        unreachable: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Accept clients on `path` (mode 0600) until the block ends; say farewell, close and remove it.

        `unreachable` is called again and again while the socket is gone and cannot be bound anew.
        The caller holds the project's lock, and nobody listened when it was taken (`project_lock`): a
        socket that is there is a dead daemon's.
        Raises DaemonError when the socket cannot be bound.
        """
        await asyncio.to_thread(path.unlink, missing_ok=True)
        try:
            listener = _bind_private(path)
        except OSError as error:
            raise DaemonError(
                f"cannot bind the control socket {path}: {error.strerror}",
                mend="set XDG_RUNTIME_DIR to a folder of yours",
            ) from error
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(
                self._keep_listening(path, listener, group, look_every_s, unreachable), name="control:listen"
            )
            try:
                yield
                await self._desk.farewell.said()
            finally:
                listening.cancel()
                try:
                    await asyncio.wait({listening})  # It may be accepting a client in this very turn.
                finally:
                    for connection in self._connections:
                        connection.cancel()
                    await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _keep_listening(
        self,
        path: Path,
        listener: socket.socket,
        group: asyncio.TaskGroup,
        look_every_s: float,
        unreachable: Callable[[], None],
    ) -> None:
        """Accept clients, and bind anew when the socket is gone, as after a logout on some systems."""
        listeners = [listener]
        try:
            while True:
                ours = _inode(path)
                async with asyncio.TaskGroup() as here:
                    accepting = here.create_task(self._accept(listeners[0], group), name="control:accept")
                    listeners.append(await self._bound_anew(path, ours, look_every_s, unreachable))
                    accepting.cancel()
                listeners.pop(0).close()
        finally:
            for each in listeners:
                each.close()

    async def _bound_anew(
        self,
        path: Path,
        ours: tuple[int, int] | None,
        look_every_s: float,
        unreachable: Callable[[], None],
    ) -> socket.socket:
        """Wait until the socket that is `ours` is gone and another one is bound in its place."""
        told = ""
        while True:
            try:
                if await asyncio.to_thread(_may_be_bound, path, ours):
                    listener = _bind_private(path)
                    log.warning("socket_bound_anew", path=os.fspath(path))
                    return listener
                told = ""
            except OSError as error:
                unreachable()
                if str(error) != told:
                    told = str(error)
                    log.warning("socket_gone", path=os.fspath(path), error=told)
            await self._desk.clock.sleep(look_every_s)

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        while True:
            await _readable(listener)
            try:
                peer, _ = listener.accept()  # Not `loop.sock_accept`: cancelled, it may lose whom it let in.
            except BlockingIOError:
                continue
            except OSError as error:  # Out of descriptors, for one: others go on, this one waits.
                log.warning("accept_failed", error=str(error))
                await self._desk.clock.sleep(0.5)
                continue
            place = self._welcome(peer)
            if place is None:
                peer.close()
                continue
            connection = group.create_task(self._serve(peer, place), name="control:client")
            self._connections.add(connection)
            connection.add_done_callback(partial(self._ended, peer))

    def _ended(self, peer: socket.socket, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        peer.close()  # Cancelled before it began, it closed nothing.

    def _welcome(self, peer: socket.socket) -> Place | None:
        """A place, when this client is ours and there is room; who finds none is told so."""
        try:
            uid = peer_uid(peer)
            if uid not in (os.getuid(), None):
                log.warning("client_refused", uid=uid)
                return None
            place = self._places.take()
            if place is not None:
                return place
            log.warning("client_refused", clients=len(self._connections))
            peer.setblocking(False)
            peer.send(_no_room(f"{self._places.most} clients are connected already, and all are busy"))
        except OSError as error:  # It is gone already.
            log.info("client_gone", error=repr(error))
        return None

    async def _serve(self, peer: socket.socket, place: Place) -> None:
        """One connection's life; what goes wrong in it ends here."""
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=peer)
            place.leave = partial(_turn_out, writer)
            await Connection(self._desk, reader, writer, place).run()
        except* (OSError, TimeoutError, WireError) as gone:
            log.info("client_gone", error=repr(gone.exceptions[0]))
        except* Exception as failed:  # The connection's boundary: one client's end is nobody else's.
            log.error("client_failed", exc_info=failed)
        else:
            await _hung_up(writer)  # What was said last still goes out.
        finally:
            self._places.give_back(place)
            if writer is None:
                peer.close()
            else:
                writer.transport.abort()  # Closing would wait for a client that never reads.


async def _readable(listener: socket.socket) -> None:
    loop, somebody = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, somebody.set)
    try:
        await somebody.wait()
    finally:
        loop.remove_reader(listener)


def _no_room(words: str) -> bytes:
    data: ErrorData = {"exit_code": int(ExitCode.ERROR), "mend": "close a dashboard"}
    return encode_error(None, RpcCode.UNAVAILABLE, words, data)


def _turn_out(writer: asyncio.StreamWriter) -> None:
    """Tell an idle client why it has to go, if it can hear that at once, and end its connection."""
    log.info("client_turned_out")
    if not writer.transport.is_closing():
        writer.write(_no_room("this connection was idle, and another client needed its place"))
    writer.transport.abort()  # Its reader then sees the end, as when the client had gone.


async def _hung_up(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        writer.close()
        async with asyncio.timeout(HANG_UP_S):
            await writer.wait_closed()


def peer_uid(peer: socket.socket) -> int | None:
    """The user id at the other end; None where the system cannot tell (the folder's mode guards then)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    raw = peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def _inode(path: Path) -> tuple[int, int] | None:
    """Which file is there; None where that cannot be seen."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_dev, status.st_ino
    return None


def _may_be_bound(path: Path, ours: tuple[int, int] | None) -> bool:
    """Whether nobody listens there: not we, on the socket that is `ours`, and on another one nobody else.

    Raises OSError when it cannot be seen what is there (which is no reason to give the old one up), or
    something else is in the way. Blocking.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        _make_folder_again(path.parent)
        return True
    if (status.st_dev, status.st_ino) == ours:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    if not _is_refused(path):  # At each look: who listens there may die, and leave it.
        return False
    _make_folder_again(path.parent)  # A folder that was moved away and back: nobody hears its socket.
    path.unlink()
    return True


def _is_refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return False


def _make_folder_again(folder: Path) -> None:
    """Make the socket's folder; one that others may enter is not bound in. Raises OSError. Blocking."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), folder)


def _bind_private(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.setblocking(False)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
