"""A program that stands between the daemon and a command which no namespace holds. Linux only.

Whatever the command starts becomes this program's child when its own parent ends (`PR_SET_CHILD_SUBREAPER`,
prctl(2)): also what made a session of its own, or changed its environment. So when the command has ended, the
rest is here to be ended; and as long as it has not, the daemon finds all of it beneath this process (see
`held`). It ends all as well when the daemon dies.

Run as a script of its own, with the standard library alone: `holder.py DAEMON-PID TOLD PROGRAM ARGUMENT...`.
Into the descriptor TOLD goes `HELD` before the command is started, and after it why that could not be: an
exit code of ours would be taken for the command's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

TYPE_CHECKING = False  # As in `typing`, which takes as long to import as all else here.
if TYPE_CHECKING:
    from typing import NoReturn

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_CHILDREN = "/proc/thread-self/children"
_TOLD_OF_DEATH = signal.SIGUSR1
HELD = b"held"
CANNOT_HOLD = 125
"""What it exits with where the system has not what this takes."""
_NOT_STARTED = 127


def main(daemon_pid: int, told: int, argv: list[str]) -> NoReturn:
    os.set_inheritable(told, False)  # It is not the command's.
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 or not os.access(_CHILDREN, os.R_OK):
        os._exit(CANNOT_HOLD)
    signal.signal(_TOLD_OF_DEATH, _end_with_the_daemon)
    prctl(_SET_PARENT_DEATH_SIGNAL, _TOLD_OF_DEATH, 0, 0, 0)
    if os.getppid() != daemon_pid:
        os._exit(CANNOT_HOLD)  # It died before we could ask to be told.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # They are the command's, which may tidy up.
    os.write(told, HELD)
    try:
        command = os.fork()
    except OSError as error:
        os.write(told, f"no process can be started: {error.strerror}".encode())
        os._exit(CANNOT_HOLD)
    if command == 0:
        _become(argv, told)
    exit_code = _outlive(command)
    end_all()
    os._exit(exit_code)


def end_all() -> None:
    """Kill every child until there is none: the children of a dead one become ours."""
    while True:
        with open(_CHILDREN, encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
            children = file.read().split()
        if sum(map(_is_killed, children)) == 0:
            return  # Nothing can be done about what became another user.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # Else each of them would be killed again for every one that ends.


def _is_killed(pid: str) -> bool:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except OSError:
        return False
    return True


def _become(argv: list[str], told: int) -> NoReturn:
    """As a program that the daemon itself starts: with a session of its own and no signal ignored."""
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(told, f"{argv[0]} could not be started: {error.strerror}".encode())
    finally:
        os._exit(_NOT_STARTED)


def _outlive(command: int) -> int:
    """Wait for the command, and take notice of whatever else ends meanwhile; return the exit code."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        if ended.si_pid != command:
            os.waitpid(ended.si_pid, 0)
            continue
        # Its number is not given to anybody else yet; all that kept to its group goes at once.
        with contextlib.suppress(OSError):
            os.killpg(command, signal.SIGKILL)
        exit_code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        return exit_code if exit_code >= 0 else 128 - exit_code


def _end_with_the_daemon(_number: int, _frame: object) -> None:
    end_all()
    os._exit(128 + signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
