"""A daemon that does not answer: named by every command, and ended by signals to its process alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import Project

from agentcoord.cli.boundary import CommandError, exit_code_of
from agentcoord.cli.forced_stop import end_process
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.lock_look import holds_lock, wait_until
from agentcoord.cli.starting import judge_settings, stop
from agentcoord.cli.terminal import Terminal
from agentcoord.daemon.process_life import Life, life_of
from agentcoord.daemon.project_lock import add_to_identity, holder_of, identity, lock_of, read_identity
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.supervisor_note import supervisor_noted, supervisor_of
from agentcoord.errors import DaemonError, DaemonNotRunningError, NoAnswerError
from agentcoord.wire.messages import ExitCode, Method

project = canned_daemon.project

HOLDER = """
import json, os, signal, sys
from pathlib import Path
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.project_lock import identity, lock_of

root, env, deaf = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
paths = ProjectPaths.of(root, env)
paths.make()
with lock_of(paths), identity(paths, supervised="supervised" in sys.argv):
    if "--ready-fd" in sys.argv:
        os.write(int(sys.argv[-1]), b'{"ready": true}\\n')
    print("holds", flush=True)
    while True:
        signal.pause()
"""
"""A daemon as far as its lock goes. It is deaf to SIGTERM where it is told so, as one that is stopped is."""

SUPERVISOR = """
import json, signal, sys
from pathlib import Path
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.supervisor import Patience, Supervisor
from agentcoord.daemon.supervisor_note import supervisor_noted

supervisor = Supervisor(
    json.loads(sys.argv[1]),
    answers=lambda timeout_s: True,
    tell_starter=lambda word: None,
    tell_given_up=lambda words: None,
    patience=Patience(first_pause_s=float(sys.argv[2])),
)
signal.signal(signal.SIGTERM, supervisor.stop)
with supervisor_noted(ProjectPaths.of(Path(sys.argv[3]), json.loads(sys.argv[4]))):
    code = supervisor.run()
sys.exit(code % 256)
"""

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(project: Project) -> Iterator[Hold]:
    """Start a process that holds the project's lock and says nothing on its socket."""
    with ExitStack() as stack:

        def begin(how: str = "", *, listens: bool = True) -> subprocess.Popen[str]:
            words = [sys.executable, "-c", HOLDER, str(project.root), json.dumps(project.env), how]
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            if listens:
                silent = stack.enter_context(socket.socket(socket.AF_UNIX))
                silent.bind(str(project.paths.socket))
                silent.listen()
            return process

        yield begin


@pytest.mark.parametrize(
    ("how", "said"), [("", ["SIGTERM"]), ("deaf", ["SIGTERM", "SIGKILL"])], ids=["ends", "is killed"]
)
def test_stop_now_ends_the_process_of_a_daemon_that_does_not_answer(
    project: Project, hold: Hold, how: str, said: list[str]
) -> None:
    process = hold(how)
    told: list[str] = []
    with pytest.raises(CommandError) as refused:
        stop(project.paths, told.append, now=False, answer_s=0.05)
    assert refused.value.exit_code == ExitCode.TIMEOUT
    assert f"(pid {process.pid})" in str(refused.value)
    assert "agentcoordd stop --now" in refused.value.mend
    assert process.poll() is None
    stop(project.paths, told.append, now=True, by_force=True, answer_s=0.05, grace_s=0.2 if how else 20.0)
    assert not holds_lock(project.paths.lock_file)
    assert [name in words for name, words in zip(said, told, strict=True)] == [True] * len(said)
    assert f"pid {process.pid}" in told[0]


def test_a_daemon_whose_socket_was_removed_is_ended_too(project: Project, hold: Hold) -> None:
    process = hold(listens=False)
    with pytest.raises(CommandError, match=rf"pid {process.pid}.*nobody listens"):
        stop(project.paths, print, now=False)
    stop(project.paths, print, now=True, by_force=True)
    assert not holds_lock(project.paths.lock_file)
    with pytest.raises(DaemonNotRunningError):
        stop(project.paths, print, now=True, by_force=True)


def test_a_process_that_only_has_the_pid_is_never_touched(project: Project, hold: Hold) -> None:
    process = hold()
    written = project.paths.identity_file.read_text()
    stranger = Life(os.getpid(), life_of(process.pid).began)
    project.paths.identity_file.write_text(written.replace(f'"pid": {process.pid}', f'"pid": {stranger.pid}'))
    assert holder_of(project.paths) is None
    with pytest.raises(CommandError, match="not known for sure") as refused:
        end_process(project.paths, print, grace_s=0.05)
    assert refused.value.exit_code == ExitCode.TIMEOUT
    assert process.poll() is None
    assert life_of(process.pid).lasts


def test_the_supervisor_is_written_down_beside_the_daemon(project: Project) -> None:
    project.paths.make()
    with lock_of(project.paths), identity(project.paths, supervised=True):
        holder = holder_of(project.paths)
        assert holder is not None
        assert (holder.daemon.pid, holder.supervisor) == (os.getpid(), life_of(os.getppid()))
    assert holder_of(project.paths) is None


def test_a_start_that_cannot_say_who_it_is_leaves_what_a_dead_daemon_said(project: Project) -> None:
    project.paths.make()
    project.paths.identity_file.write_text('{"pid": 7}')
    project.paths.identity_file.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="Is a directory"), identity(project.paths):
        raise AssertionError
    assert read_identity(project.paths) == {"pid": 7}


def test_a_taken_port_is_told_unless_the_daemon_that_runs_may_be_who_has_it(project: Project) -> None:
    paths = project.paths
    paths.make()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = project.env | {"AGENTCOORD_METRICS_PORT": str(port)}
        with pytest.raises(DaemonError, match="Address already in use"):
            judge_settings(paths, env, {})  # Nobody runs.
        with lock_of(paths):
            judge_settings(paths, env, {})  # By whom nothing can be read.
            with identity(paths):
                judge_settings(paths, env, {})  # Of a version that said nothing of it.
                add_to_identity(paths, metrics_port=port)
                judge_settings(paths, env, {})
                for other in (0, 1):
                    add_to_identity(paths, metrics_port=other)
                    with pytest.raises(DaemonError, match="Address already in use"):
                        judge_settings(paths, env, {})


def test_a_time_out_names_the_process_and_exits_with_6(project: Project, hold: Hold) -> None:
    process = hold()
    terminal = Terminal.of_process(project.env)
    invocation = Invocation(project.env, terminal, str(project.root), os.getuid(), call_timeout_s=0.05)
    with pytest.raises(NoAnswerError) as silent:
        invocation.ask(Method.STATUS)
    assert f"the daemon (pid {process.pid}) did not answer `status`" in str(silent.value)
    assert "agentcoordd restart" in silent.value.mend
    assert exit_code_of(silent.value) == ExitCode.TIMEOUT


@contextmanager
def _supervised(project: Project, how: str, *, pause_s: float) -> Iterator[subprocess.Popen[str]]:
    """A supervisor whose process holds the project's lock."""
    project.paths.make()
    told = [str(project.root), json.dumps(project.env)]
    holder = json.dumps([sys.executable, "-c", HOLDER, *told, how, "supervised"])
    words = [sys.executable, "-c", SUPERVISOR, holder, str(pause_s), *told]
    with ExitStack() as stack:
        supervisor = stack.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        )
        stack.callback(_kill_group, supervisor.pid)
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "holds\n"
        yield supervisor


def test_a_supervised_process_is_not_started_again(project: Project) -> None:
    with _supervised(project, "deaf", pause_s=0.05) as supervisor:
        project.paths.wanted_file.touch()
        end_process(project.paths, print, grace_s=0.5)
        assert not project.paths.wanted_file.exists(), "nobody wants it any more"
        assert supervisor.wait(20) == -signal.SIGKILL % 256
        assert supervisor.stdout is not None
        assert supervisor.stdout.read() == ""
    assert not holds_lock(project.paths.lock_file)


def test_stop_between_two_daemons_ends_the_supervisor_that_would_start_the_next(project: Project) -> None:
    paths, told = project.paths, list[str]()
    with _supervised(project, "", pause_s=3600.0) as supervisor:
        holder = holder_of(paths)
        assert holder is not None
        assert holder.daemon.send(signal.SIGKILL)
        assert wait_until(lambda: not holds_lock(paths.lock_file), 20.0)
        paths.wanted_file.touch()
        stop(paths, told.append, now=False)
        assert not paths.wanted_file.exists(), "nobody wants it any more"
        assert supervisor.wait(20) == -signal.SIGKILL % 256
    assert told == [
        f"no daemon is running; its supervisor (pid {supervisor.pid}), about to start one again, is ended"
    ]
    with pytest.raises(DaemonNotRunningError):
        stop(paths, told.append, now=False)
    assert len(told) == 1


def test_a_supervisor_that_does_not_end_is_named(project: Project) -> None:
    with _supervised(project, "", pause_s=3600.0) as supervisor:
        holder = holder_of(project.paths)
        assert holder is not None
        supervisor.send_signal(signal.SIGSTOP)
        assert holder.daemon.send(signal.SIGKILL)
        assert wait_until(lambda: not holds_lock(project.paths.lock_file), 20.0)
        with pytest.raises(
            CommandError, match=rf"supervisor, pid {supervisor.pid}, has not ended"
        ) as refused:
            stop(project.paths, print, now=False, timeout_s=0.05)
    assert refused.value.exit_code == ExitCode.TIMEOUT
    assert f"kill -9 {supervisor.pid}" in refused.value.mend


def test_the_note_of_a_newer_supervisor_is_left(project: Project) -> None:
    project.paths.make()
    with supervisor_noted(project.paths):
        assert supervisor_of(project.paths) == life_of(os.getpid())
        project.paths.supervisor_file.write_text(json.dumps(life_of(os.getppid()).said()))
    assert supervisor_of(project.paths) == life_of(os.getppid())
    project.paths.supervisor_file.write_text("nonsense")
    assert supervisor_of(project.paths) is None


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def test_a_process_that_is_gone_gets_no_signal(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], cwd=tmp_path)
    life = life_of(process.pid)
    process.wait()
    assert not life.lasts
    assert not life.send(signal.SIGTERM)


def test_a_supervisor_whose_daemon_does_not_begin_leaves_the_note_of_the_one_that_has(
    project: Project, hold: Hold
) -> None:
    """As of two starts in the same moment."""
    hold()
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing), supervisor_noted(project.paths):
        words = [sys.executable, "-m", "agentcoord.daemon.supervisor", "--root", str(project.root)]
        words += ["--ready-fd", str(writing), "--args", StartArgs(allow_root=True).to_json()]
        done = subprocess.run(words, pass_fds=[writing], env={**os.environ, **project.env}, check=False)
        assert done.returncode == ExitCode.REFUSED
        assert supervisor_of(project.paths) == life_of(os.getpid())
