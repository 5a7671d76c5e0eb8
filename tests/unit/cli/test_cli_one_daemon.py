"""One daemon for a repository, also when the environments of two starts differ."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import ANSWERS

from agentcoord.cli.lock_look import wait_until
from agentcoord.daemon.project_lock import lock_of, refuse_neighbour
from agentcoord.errors import AnotherListensError, DaemonAlreadyRunningError
from agentcoord.wire.messages import ExitCode

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run


def test_a_second_start_with_another_state_folder_is_refused_and_takes_nothing_away(
    run: Run, project: Project, daemon: CannedDaemon
) -> None:
    daemon.answers.update(ANSWERS)
    outcome = run("start", program="agentcoordd", XDG_STATE_HOME=str(project.root.parent / "other"))
    assert outcome.code == ExitCode.REFUSED
    assert "already (pid 4711); its state is in /state/x, not in" in outcome.err
    assert run("status").code == ExitCode.OK


def test_a_stale_socket_hinders_nobody(project: Project) -> None:
    project.paths.make()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(project.paths.socket))
        dead.listen()
    assert project.paths.socket.exists()
    with lock_of(project.paths):
        pass


def test_of_two_starts_at_once_with_different_state_folders_one_is_refused(project: Project) -> None:
    other = replace(project.paths, state_dir=project.root.parent / "other")
    project.paths.make()
    other.make()
    with lock_of(other):  # It does not listen yet.
        with pytest.raises(DaemonAlreadyRunningError, match="is being started"), lock_of(project.paths):
            pytest.fail("both are the daemon")
        assert project.paths.socket_lock_file.stat().st_mode & 0o777 == 0o600
    with lock_of(project.paths):
        pass
    assert not project.paths.socket_lock_file.exists()


def test_a_lock_that_its_holder_removes_is_not_taken_for_the_lock(project: Project) -> None:
    other = replace(project.paths, state_dir=project.root.parent / "other")
    project.paths.make()
    other.make()
    lock_file = os.fspath(project.paths.socket_lock_file)

    def opened_here() -> int:
        return sum(os.path.realpath(link) == lock_file for link in Path("/proc/self/fd").iterdir())

    def hold() -> bool:
        with lock_of(project.paths):
            return project.paths.socket_lock_file.exists()

    with ThreadPoolExecutor(1) as pool:
        with lock_of(other):
            holding = pool.submit(hold)
            assert wait_until(lambda: opened_here() == 2, 5)
        assert holding.result()


def test_a_folder_for_sockets_that_is_gone_hinders_nobody(project: Project) -> None:
    project.paths.make()
    project.paths.runtime_dir.rmdir()
    with lock_of(project.paths):
        pass


def test_who_listens_and_does_not_say_who_it_is_is_left_alone(project: Project) -> None:
    project.paths.make()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(project.paths.socket))
        silent.listen()
        with pytest.raises(DaemonAlreadyRunningError, match="does not say which"):
            refuse_neighbour(project.paths, answer_s=0.05)


def test_a_start_does_not_take_the_socket_on_which_another_user_listens(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.paths.make()
    with socket.socket(socket.AF_UNIX) as anothers:
        anothers.bind(str(project.paths.socket))
        anothers.listen()
        us = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: us + 1)
        with pytest.raises(AnotherListensError, match="belongs to another user"):
            refuse_neighbour(project.paths, answer_s=0.05)
