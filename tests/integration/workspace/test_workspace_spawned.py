"""Starting programs: what they are given, what comes back, and that other threads run meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from agentcoord.workspace import spawned
from agentcoord.workspace.spawned import run_program, streamed

ENV = {"PATH": os.environ["PATH"], "GIVEN": "a b\nc"}
LONG = b"0123456789abcdef" * 200_000


@pytest.fixture(params=["ours", "subprocess"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways do the same."""
    if request.param == "subprocess":
        monkeypatch.setattr(spawned, "_libc", lambda: None)
    return str(request.param)


def run(*words: str, stdin: bytes = b"", timeout_s: float = 20.0) -> subprocess.CompletedProcess[bytes]:
    return run_program(words, cwd=Path("/usr"), stdin=stdin, env=ENV, timeout_s=timeout_s)


@pytest.mark.usefixtures("way")
def test_it_gets_its_words_folder_input_and_variables_and_all_it_writes_comes_back() -> None:
    done = run("sh", "-c", 'printf %s "$GIVEN"; pwd; cat; echo no >&2; exit 7', stdin=LONG)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a b\nc/usr\n" + LONG, b"no\n")
    assert set(run("env").stdout.split(b"=")[0:1]) <= {b"PATH", b"GIVEN"}


@pytest.mark.usefixtures("way")
def test_it_has_no_other_descriptor_of_ours_and_signals_as_they_are_by_default() -> None:
    lent = os.open("/", os.O_RDONLY)
    try:
        os.set_inheritable(lent, True)
        told = run("sh", "-c", f"ls /proc/$$/fd; ls /proc/$$/fd/{lent}; yes | head -1").stdout.split()
    finally:
        os.close(lent)
    assert set(told) <= {b"0", b"1", b"2", b"10", b"y"}, "10: the shell's own"
    ignored = int(run("sed", "-n", "s/^SigIgn://p", "/proc/self/status").stdout, 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


@pytest.mark.usefixtures("way")
def test_who_takes_too_long_is_killed_and_reaped(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        run("sh", "-c", f"echo $$ > {told}; exec sleep 60", timeout_s=1.0)
    assert not Path("/proc", told.read_text().strip()).exists()


@pytest.mark.usefixtures("way")
def test_what_cannot_be_started_is_said() -> None:
    with pytest.raises(FileNotFoundError):
        run("no-such-program-anywhere")
    with pytest.raises(FileNotFoundError):
        run_program(["true"], cwd=Path("/nowhere"), stdin=b"", env=ENV, timeout_s=5)
    with pytest.raises(ValueError, match="null byte"):
        run("true", "a\0b")


@pytest.mark.usefixtures("way")
def test_who_is_killed_by_a_signal_says_so() -> None:
    assert run("sh", "-c", "kill -9 $$").returncode == -9


def test_several_start_at_once() -> None:
    ran: list[int] = []
    threads = [
        threading.Thread(target=lambda: ran.append(run("sh", "-c", "cat", stdin=LONG).returncode))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert ran == [0] * 8


def test_a_program_whose_output_is_followed_is_ended_in_time_and_tells_its_end_twice() -> None:
    with streamed(["sh", "-c", "echo on; exit 7"], cwd=Path("/"), env=ENV, timeout_s=20) as program:
        assert b"".join(program.output()) == b"on\n"
        assert [program.exit_code(), program.exit_code()] == [7, 7]
    with streamed(["sleep", "60"], cwd=Path("/"), env=ENV, timeout_s=0.05) as program:
        with pytest.raises(TimeoutError):
            program.exit_code()
        pid = program._pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_where_nothing_can_be_started_beside_other_threads_following_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawned, "_libc", lambda: None)
    with (
        pytest.raises(OSError, match="without holding the others up"),
        streamed(["true"], cwd=Path("/"), env=ENV, timeout_s=5),
    ):
        pass
