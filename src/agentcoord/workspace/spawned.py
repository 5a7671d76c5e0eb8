"""Running a program to its end from a thread, without holding the other threads up while it starts.

Theory of operation. The interpreter's own ways to start a program hold its lock until the program is there;
on a busy machine that takes as long as a new process waits for a processor, and the event loop stands still
meanwhile. Called through ctypes, the C library's `posix_spawn` holds up nobody but its thread. What the
program reads and writes lies in unnamed memory files, so that nothing has to be passed on while it runs, and
its end is waited for by a descriptor of the process. `streamed` is for output that may be long: it comes
through a pipe. Where any of this is missing (macOS), `subprocess` does it. Blocking. Deliberately absent:
shells, terminals, programs that are talked to.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from agentcoord.workspace.blobs import write_all

_LOOK_MS = 2.0
"""Far less than what fills a pipe."""
_OPAQUE_BYTES = 1024
"""More than any C library needs for one of its opaque structures here."""
_PIECE_BYTES = 1 << 18
_SETSIGDEF = 0x04
"""`POSIX_SPAWN_SETSIGDEF` of glibc and musl."""
_IGNORED_HERE = (signal.SIGPIPE, signal.SIGXFSZ)
"""The interpreter ignores these; a program expects them as they are by default."""


def run_program(
    words: Sequence[str], *, cwd: Path, stdin: bytes, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program and return what it wrote.

    Raises OSError when it cannot be started, subprocess.TimeoutExpired after killing it.
    """
    if _libc() is None:
        return subprocess.run(
            words, cwd=cwd, input=stdin, capture_output=True, env=env, timeout=timeout_s, check=False
        )
    with ExitStack() as held:
        reads, writes, complains = (held.enter_context(_memory_file(name)) for name in ("in", "out", "err"))
        write_all(reads, stdin)
        os.lseek(reads, 0, os.SEEK_SET)
        pid = _spawn(words, cwd, env, (reads, writes, complains))
        exit_code = _exit_code(pid, words, timeout_s)
        return subprocess.CompletedProcess(list(words), exit_code, _all_of(writes), _all_of(complains))


class Streamed:
    """A program whose output is read while it runs."""

    def __init__(self, reads: int, pidfd: int, pid: int, timeout_s: float) -> None:
        self._reads, self._pidfd, self._pid = reads, pidfd, pid
        self._until_s = time.monotonic() + timeout_s
        self._status: int | None = None

    def output(self) -> Iterator[bytes]:
        """Yield what it writes, until it has closed its output or ended. Raises TimeoutError.

        It is looked at a few hundred times a second, not at each of the little pieces that programs write
        into pipes, and at once when it ends.
        """
        ended = False
        while not ended:
            ended = self._ends_within(_LOOK_MS)
            with contextlib.suppress(BlockingIOError):
                while piece := os.read(self._reads, _PIECE_BYTES):
                    yield piece
                return

    def exit_code(self) -> int:
        """Wait for its end. Raises TimeoutError."""
        if self._status is None:
            left_s = self._until_s - time.monotonic()
            if not self._ends_within(max(left_s, 0) * 1000):
                raise TimeoutError
            _, self._status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(self._status)

    def end(self) -> None:
        """Kill it, if it runs."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)  # Not reaped yet, so the number is still its own.
            _, self._status = os.waitpid(self._pid, 0)

    def _ends_within(self, wait_ms: float) -> bool:
        """Wait for its end, but no longer than that. Raises TimeoutError when it has taken too long."""
        if time.monotonic() >= self._until_s:
            raise TimeoutError
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(wait_ms))


@contextmanager
def streamed(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> Iterator[Streamed]:
    """Start a program without input whose output is read while it runs; it is killed when the body ends.

    What it complains about is not kept. Raises OSError when it cannot be started, also where only
    `subprocess` could start it.
    """
    if _libc() is None:
        raise OSError(errno.ENOSYS, "no way to start a program without holding the others up")
    with ExitStack() as held:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        held.callback(os.close, nothing)
        reads, writes = os.pipe()
        held.callback(os.close, reads)
        os.set_blocking(reads, False)
        with contextlib.suppress(OSError):  # As small as it is, then.
            fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
        try:
            pid = _spawn(words, cwd, env, (nothing, writes, nothing))
        finally:
            os.close(writes)
        pidfd = os.pidfd_open(pid)
        held.callback(os.close, pidfd)
        program = Streamed(reads, pidfd, pid, timeout_s)
        held.callback(program.end)
        yield program


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, where it and the system have all that is needed."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    needed = ("posix_spawn_file_actions_addchdir_np", "posix_spawn_file_actions_addclosefrom_np")
    return libc if all(hasattr(libc, name) for name in needed) else None


def _spawn(words: Sequence[str], cwd: Path, env: Mapping[str, str], streams: Sequence[int]) -> int:
    """Start a program in `cwd` with `streams` as its descriptors 0, 1 and 2, and no other; return its pid."""
    libc = _libc()
    assert libc is not None
    found = shutil.which(words[0], path=env.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(2, "no such program", words[0])
    pid = ctypes.c_int()
    arguments = _strings([os.fsencode(word) for word in words])
    variables = _strings([os.fsencode(f"{name}={value}") for name, value in env.items()])
    with _opaque(libc, "posix_spawn_file_actions") as actions, _opaque(libc, "posix_spawnattr") as attributes:
        for target, stream in enumerate(streams):
            _must(libc.posix_spawn_file_actions_adddup2(actions, stream, target))
        _must(libc.posix_spawn_file_actions_addclosefrom_np(actions, len(streams)))
        _must(libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(cwd)))
        signals = ctypes.create_string_buffer(_OPAQUE_BYTES)
        libc.sigemptyset(signals)
        for each in _IGNORED_HERE:
            libc.sigaddset(signals, int(each))
        _must(libc.posix_spawnattr_setsigdefault(attributes, signals))
        _must(libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF)))
        # The lock of the interpreter is free here, as in every call through ctypes.
        _must(
            libc.posix_spawn(ctypes.byref(pid), os.fsencode(found), actions, attributes, arguments, variables)
        )
    return pid.value


def _exit_code(pid: int, words: Sequence[str], timeout_s: float) -> int:
    """Wait for the end of our child; kill it when it takes too long."""
    ended = False
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = bool(poll.poll(timeout_s * 1000))
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)  # Not reaped yet, so the number is still its own.
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
    if not ended:
        raise subprocess.TimeoutExpired(list(words), timeout_s)
    return os.waitstatus_to_exitcode(status)


@contextmanager
def _memory_file(name: str) -> Iterator[int]:
    descriptor = os.memfd_create(f"agentcoord-{name}", os.MFD_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _all_of(descriptor: int) -> bytes:
    length, pieces = os.fstat(descriptor).st_size, list[bytes]()
    while piece := os.pread(descriptor, length, sum(map(len, pieces))):
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def _opaque(libc: ctypes.CDLL, kind: str) -> Iterator[ctypes.Array[ctypes.c_char]]:
    """One of the library's own structures, between its `init` and its `destroy`."""
    made = ctypes.create_string_buffer(_OPAQUE_BYTES)
    _must(getattr(libc, f"{kind}_init")(made))
    try:
        yield made
    finally:
        getattr(libc, f"{kind}_destroy")(made)


def _strings(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """A list of strings as C knows it, with nothing at its end. Raises ValueError for a zero byte inside."""
    if any(b"\0" in word for word in words):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _must(error: int) -> None:
    """These functions return what went wrong."""
    if error:
        raise OSError(error, os.strerror(error))
