"""A small process outside the daemon that starts it again: `agentcoordd start --supervised`.

Theory of operation. The daemon is its child. A child that ended in order (exit code 0), that could not
begin, or that found another daemon running, ends the supervisor too, and so does one that was told to
stop, however it ended. Any other end is answered with a new start after a growing pause, a few times
within ten minutes at most; then the user is told. Again and again the control socket is asked; a child
that does not answer several times in a row prints where it stands (to the start-up log) and is killed.
Attempts are counted, not seconds, so that a machine that slept harms nobody. While the daemon's folders
cannot be made, as its socket's after a logout on some systems, none is started in vain: that is waited for.
Kept apart from the daemon's code: it must not fall with it, and it costs no more than Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.supervisor_note import note_supervisor, supervisor_noted
from agentcoord.daemon.supervisor_words import say, tell_user, tell_user_of_wait
from agentcoord.daemon.told_to_stop import told_to_stop
from agentcoord.errors import AgentCoordError, RpcError
from agentcoord.values import dataclass
from agentcoord.wire.call import call_once
from agentcoord.wire.protocol import ExitCode, Method

NAP_S = 0.2
"""Between two looks, in a pause, whether it was told to stop."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits for what."""

    restarts: int = 5
    """Within `window_s`; one more ends it."""
    window_s: float = 600.0
    first_pause_s: float = 1.0
    """Doubled with each restart in the window."""
    ask_every_s: float = 20.0
    answer_s: float = 10.0
    silences: int = 4
    """Unanswered questions in a row; then the daemon is taken for hung."""
    dump_s: float = 2.0
    """How long a hung daemon may take to print where it stands."""
    look_again_s: float = 5.0
    """Until the next look whether a daemon can begin."""
    looks: int = 8_640
    """In all, half a day; then a start that fails counts as any other."""


class Supervisor:
    """Keeps one daemon. `run()` blocks until it is over."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        answers: Callable[[float], bool],
        tell_starter: Callable[[bytes], None],
        tell_given_up: Callable[[int], None],
        told_to_stop: Callable[[int], bool] = lambda _: False,
        hindrance: Callable[[], str] = lambda: "",
        tell_hindered: Callable[[str], None] = lambda _: None,
        note: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
    ) -> None:
        """`command` gets `--ready-fd N` added. `answers(timeout_s)`: whether the daemon does.

        `tell_given_up` hears after how many restarts there will be no more. `told_to_stop(pid)`: whether
        somebody told this daemon to, which may be dead by now. `hindrance()`: why none can begin now, or
        nothing; `tell_hindered` hears it when it is waited for. `note()` notes who waits, before a pause.
        """
        self._command = tuple(command)
        self._answers = answers
        self._tell_starter = tell_starter
        self._tell_given_up = tell_given_up
        self._told_to_stop = told_to_stop
        self._hindrance = hindrance
        self._tell_hindered = tell_hindered
        self._note = note
        self._patience = patience or Patience()
        self._looks_left = self._patience.looks
        self._restarts: deque[float] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Pass a SIGTERM or SIGINT on; the daemon ends in order, and this with it."""
        self._stopping = True
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM)

    @property
    def was_told_to_stop(self) -> bool:
        """Whether it ended, or will, because a signal said so."""
        return self._stopping

    def run(self) -> int:
        """Keep the daemon going; returns the exit code of its last end."""
        code = self._live_once(first=True)
        while code not in (ExitCode.OK, ExitCode.REFUSED) and not self._stopping:
            if self._child is not None and self._told_to_stop(self._child.pid):
                say(f"the daemon was told to stop and ended with {code}; it is not started again")
                return code
            pause_s = self._pause_before_restart()
            if pause_s is None:
                say(f"given up: {self._patience.restarts} restarts in {self._patience.window_s:.0f} s")
                self._tell_given_up(self._patience.restarts)
                return code
            say(f"the daemon ended with {code}; it is started again in {pause_s:.0f} s")
            self._note()
            self._sleep(pause_s)
            self._wait_until_one_can_begin()
            if not self._stopping:
                code = self._live_once(first=False)
        return code

    def _live_once(self, *, first: bool) -> int:
        """Start the daemon and see it to its end. A first start that fails counts as refused: it was told."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as ready:
            try:
                self._child = subprocess.Popen(
                    [*self._command, "--ready-fd", str(writing)],
                    pass_fds=(writing,),
                    stdin=subprocess.DEVNULL,
                )
            finally:
                os.close(writing)
            if self._stopping:  # The signal came when there was nobody yet to pass it on to.
                self._child.send_signal(signal.SIGTERM)
            word = ready.readline()
        if first:
            self._tell_starter(word)
            if not _is_ready(word):
                self._child.wait()
                return ExitCode.REFUSED
        return self._watch(self._child)

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        silences = 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(self._patience.ask_every_s)
            silences = 0 if self._answers(self._patience.answer_s) else silences + 1
            if silences >= self._patience.silences:
                say("the daemon does not answer; where it stands:")
                child.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(self._patience.dump_s)
                child.kill()
                return child.wait()

    def _wait_until_one_can_begin(self) -> None:
        told = False
        while not self._stopping and self._looks_left > 0 and (why := self._hindrance()):
            self._looks_left -= 1
            if not told:
                told = True
                say(f"the daemon cannot be started again yet: {why}")
                self._tell_hindered(why)
            self._sleep(self._patience.look_again_s)

    def _sleep(self, pause_s: float) -> None:
        """Until then, or soon after a signal."""
        until = time.monotonic() + pause_s
        while not self._stopping and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, NAP_S))

    def _pause_before_restart(self) -> float | None:
        """How long to wait; None when it was restarted too often."""
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > self._patience.window_s:
            self._restarts.popleft()
        if len(self._restarts) >= self._patience.restarts:
            return None
        pause_s: float = self._patience.first_pause_s * 2 ** len(self._restarts)
        self._restarts.append(now)
        return pause_s


def _is_ready(word: bytes) -> bool:
    try:
        return bool(json.loads(word).get("ready"))
    except (ValueError, AttributeError):
        return False


def answers_on(paths: ProjectPaths) -> Callable[[float], bool]:
    """A question to the project's daemon that costs it next to nothing. Any answer is a sign of life.

    So is, of one whose socket is gone and cannot be bound anew, that it has touched the file in which it says
    who it is since it was asked last (`project_lock`).
    """
    touched_ns: int | None = None

    def answers(timeout_s: float) -> bool:
        nonlocal touched_ns
        before_ns, touched_ns = touched_ns, _touched_ns(paths.identity_file)
        try:
            call_once(paths.socket, Method.HELLO, {"protocol": [1], "client": "supervisor"}, timeout_s)
        except RpcError:
            return True  # Refused, for want of room perhaps: who says so does not hang.
        except AgentCoordError:
            return None not in (before_ns, touched_ns) and touched_ns != before_ns
        return True

    return answers


def _touched_ns(path: Path) -> int | None:
    """Compared with itself alone, as a clock may be set."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def hindrance_to(paths: ProjectPaths) -> Callable[[], str]:
    """What would keep the project's daemon from making its folders now, in words. Makes them if it can."""

    def hindrance() -> str:
        try:
            paths.make()
        except (AgentCoordError, OSError) as error:
            return str(error)
        return ""

    return hindrance


def command_of(root: Path, args: str, since_ms: int) -> tuple[str, ...]:
    """What each child is started by: told the supervisor's own start, from which the deadline counts."""
    told = json.dumps({**json.loads(args), "since_ms": since_ms})
    return (sys.executable, "-m", "agentcoord.daemon", "--root", os.fspath(root), "--args", told)


def main(arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Supervise the daemon of one project: `python -m agentcoord.daemon.supervisor`."""
    parser = argparse.ArgumentParser(prog="agentcoord.daemon.supervisor")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--args", required=True)
    words = parser.parse_args(arguments)
    os.setsid()
    os.chdir("/")

    paths = ProjectPaths.of(words.root, os.environ if env is None else env)
    noted = contextlib.ExitStack()

    def tell_starter(word: bytes) -> None:
        if _is_ready(word):  # Until then another may keep the project, whose note stays.
            noted.enter_context(supervisor_noted(paths))
        with contextlib.suppress(OSError):
            os.write(words.ready_fd, word)
        os.close(words.ready_fd)

    supervisor = Supervisor(
        command_of(words.root, words.args, time.time_ns() // 1_000_000),
        answers=answers_on(paths),
        tell_starter=tell_starter,
        tell_given_up=tell_user(paths, words.args),
        told_to_stop=told_to_stop(paths.told_to_stop_file),
        hindrance=hindrance_to(paths),
        tell_hindered=tell_user_of_wait(paths, words.args),
        note=lambda: note_supervisor(paths),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    os.set_inheritable(words.ready_fd, False)
    with noted:
        code = supervisor.run()
    if supervisor.was_told_to_stop:
        with contextlib.suppress(OSError):
            paths.given_up_file.unlink(missing_ok=True)  # Nothing is waited for any more.
    return code


if __name__ == "__main__":
    sys.exit(main())
