"""Every error is words and an exit code: 2 usage, 3 not running, 4 not found, 5 refused, 130 Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Outcome, Project, Run, Tty
from canned_views import ANSWERS

from agentcoord.cli import agentcoord
from agentcoord.cli.boundary import INTERRUPTED, CommandError, guarded
from agentcoord.cli.render import cell
from agentcoord.cli.terminal import Terminal
from agentcoord.daemon.supervisor_note import supervisor_noted
from agentcoord.errors import (
    AgentCoordError,
    ConfigError,
    DaemonAlreadyRunningError,
    DaemonError,
    PlanError,
    RpcError,
)
from agentcoord.tui.styled import Tone
from agentcoord.wire.messages import ExitCode, Method, RpcCode

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run

COMMANDS_THAT_ASK = [
    ["status"],
    ["tasks"],
    ["workers"],
    ["costs"],
    ["stats"],
    ["locks"],
    ["task", "a"],
    ["diff", "a"],
    ["logs"],
    ["logs", "-f"],
    ["spawn", "--role", "architect"],
    ["retry", "a"],
    ["cancel", "a"],
    ["answer", "a", "yes"],
    ["accept", "a"],
    ["undo", "a"],
    ["cleanup"],
    ["wait"],
    ["ctl", "kill", "--all"],
    ["ctl", "pause"],
    ["ctl", "resume"],
    ["ctl", "drain"],
    ["ctl", "cleanup"],
]


def outcome_of(error: BaseException) -> Outcome:
    out, err = io.StringIO(), io.StringIO()

    def fail() -> int:
        raise error

    code = guarded(Terminal(out, err, {}), fail)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("words", COMMANDS_THAT_ASK, ids=" ".join)
def test_without_a_daemon_the_exit_code_is_3_and_the_mend_starts_one(run: Run, words: list[str]) -> None:
    outcome = run(*words)
    assert outcome.code == ExitCode.NOT_RUNNING
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == "fix: agentcoordd start"
    assert outcome.err.startswith("error: no daemon runs for this project")


@pytest.mark.parametrize("program", ["agentcoord", "agentcoordd"])
def test_status_of_a_daemon_that_was_given_up_says_so(run: Run, project: Project, program: str) -> None:
    project.paths.state_dir.mkdir(parents=True)
    project.paths.given_up_file.write_text("the supervisor gave up at 03:00 after 5 restarts: read x\n")
    outcome = run("status", program=program)
    assert outcome.code == ExitCode.NOT_RUNNING
    first, second, mend = outcome.err.splitlines()
    assert first.startswith("error: no daemon runs for this project")
    assert second == "  the supervisor gave up at 03:00 after 5 restarts: read x"
    assert mend == "fix: agentcoordd start"


def test_status_between_two_daemons_says_that_the_next_one_comes(run: Run, project: Project) -> None:
    project.paths.make()
    with supervisor_noted(project.paths):
        outcome = run("status")
    assert outcome.code == ExitCode.NOT_RUNNING
    first, second, mend = outcome.err.splitlines()
    assert first.startswith("error: no daemon runs for this project")
    assert second == f"  its supervisor (pid {os.getpid()}) is about to start one"
    assert mend == "fix: wait for a few seconds, or keep it from starting one: agentcoordd stop"


def test_daemon_status_without_a_daemon_is_a_document_too(run: Run, project: Project) -> None:
    outcome = run("status", "--json", program="agentcoordd")
    assert outcome.code == ExitCode.NOT_RUNNING
    document = json.loads(outcome.out)
    assert (document["state"], document["pid"]) == ("stopped", None)
    assert document["socket"] == str(project.paths.socket)
    assert run("stop", program="agentcoordd").code == ExitCode.NOT_RUNNING


@pytest.mark.parametrize("words", [["tasks", "--jsno"], ["nonsense"], ["task"], ["spawn"], ["ctl", "kill"]])
def test_a_command_that_cannot_be_read_exits_with_2(run: Run, words: list[str]) -> None:
    outcome = run(*words)
    assert outcome.code == ExitCode.USAGE
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


def test_an_unknown_task_exits_with_4(run: Run, daemon: CannedDaemon) -> None:
    daemon.refuse(
        Method.TASK, RpcCode.NOT_FOUND, "no task is called 'x'", exit_code=4, mend="agentcoord tasks"
    )
    outcome = run("task", "x")
    assert outcome == Outcome(4, "", "error: no task is called 'x'\nfix: agentcoord tasks\n")


def test_the_daemons_problems_are_told_one_a_line(run: Run, daemon: CannedDaemon, tmp_path: Path) -> None:
    daemon.refuse(
        Method.LOAD, RpcCode.BAD_PLAN, "the plan has 2 problems", exit_code=2, problems=["p:1: a", "p:2: b"]
    )
    plan = tmp_path / "p.toml"
    plan.write_text("[[task]]\n")
    outcome = run("load", str(plan))
    assert outcome == Outcome(2, "", "error: the plan has 2 problems\n  p:1: a\n  p:2: b\n")


def test_an_undo_with_conflicts_exits_with_5_and_names_the_files(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers[Method.UNDO] = {
        "id": "a",
        "restored": ["x.py"],
        "merged": [],
        "gone": [],
        "absent": [],
        "conflicts": ["y.py"],
        "patch": "",
    }
    outcome = run("undo", "a")
    assert outcome.code == ExitCode.REFUSED
    assert "restored x.py" in outcome.out
    assert "  y.py\n" in outcome.err


def test_an_undo_that_conflicts_says_what_helps_in_a_tree_that_is_not_committed(
    run: Run, daemon: CannedDaemon
) -> None:
    nothing: list[str] = []
    daemon.answers[Method.UNDO] = {
        "id": "a",
        "restored": nothing,
        "merged": nothing,
        "gone": nothing,
        "absent": nothing,
        "conflicts": ["x.py"],
        "patch": "",
    }
    outcome = run("undo", "a")
    assert outcome.code == ExitCode.REFUSED
    assert "agentcoord diff a | git apply -R --reject" in outcome.err


def test_an_undo_names_what_was_removed_or_renamed_since(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers[Method.UNDO] = {
        "id": "a",
        "restored": [],
        "merged": [],
        "gone": ["x.py"],
        "absent": ["y.py"],
        "conflicts": [],
        "patch": "",
    }
    outcome = run("undo", "a")
    assert outcome.code == ExitCode.OK
    assert "nothing of it is in y.py (undo a again when it is back, from a stash or so)" in outcome.out
    assert "a: removed or renamed since: x.py (under another name its lines are still there)" in outcome.out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AgentCoordError("x"), 1),
        (ConfigError("x"), 2),
        (PlanError("x", ["line 3: y"]), 2),
        (DaemonError("x"), 1),
        (DaemonAlreadyRunningError("x"), 5),
        (RpcError("x", code=3, exit_code=5), 5),
        (CommandError("x", exit_code=ExitCode.TIMEOUT), 6),
        (PermissionError(13, "Permission denied", "/x"), 1),
        (KeyError("bug"), 1),
    ],
)
def test_an_error_has_its_exit_code_and_never_a_traceback(error: Exception, code: int) -> None:
    outcome = outcome_of(error)
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err


def test_a_log_inside_a_message_keeps_its_lines_and_loses_its_escapes() -> None:
    outcome = outcome_of(DaemonError("the daemon ended\nline \x1b[31m1\nline 2", mend="read the log"))
    assert outcome.err == "error: the daemon ended\n  line [31m1\n  line 2\nfix: read the log\n"


def test_ctrl_c_exits_with_130_without_a_word() -> None:
    assert outcome_of(KeyboardInterrupt()) == Outcome(130, "", "")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("agentcoordd", ["start"]),
        ("agentcoordd", ["run"]),
        ("agentcoordd", ["restart"]),
        ("agentcoord", ["run", "plan.toml"]),
        ("agentcoord", ["demo"]),
    ],
)
def test_work_as_root_is_refused_unless_allowed(
    run: Run, program: str, words: list[str], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 0)
        outcome = run(*words, program=program, AGENTCOORD_ALLOW_ROOT="0")
        assert outcome.code == ExitCode.REFUSED
        assert "--allow-root" in outcome.err
        assert run("tasks", AGENTCOORD_ALLOW_ROOT="0").code == ExitCode.NOT_RUNNING


def test_a_folder_outside_any_repository_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = agentcoord.main(["-C", str(tmp_path), "tasks"], {"HOME": str(tmp_path)})
    assert code == ExitCode.USAGE
    assert "is not inside a git repository" in capsys.readouterr().err
    assert agentcoord.main(["-C", str(tmp_path / "none"), "tasks"], {"HOME": str(tmp_path)}) == ExitCode.USAGE
    assert "is not there" in capsys.readouterr().err


def test_a_shell_whose_folder_was_removed_is_told_to_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert agentcoord.main(["status"], {"HOME": str(tmp_path)}) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "error: the folder that this shell is in was removed\nfix: cd to a folder that exists\n"
    )


def run_by_shell(
    project: Project, words: tuple[str, ...], redirection: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, its streams led elsewhere by a shell."""
    python = [sys.executable, "-m", "agentcoord.cli.agentcoord"]
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *python, "-C", str(project.root), *words],
        env=project.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        (("tasks",), "<&- >&- 2>&-", ExitCode.NOT_RUNNING),
        (("schema", "agentcoord.load"), ">&-", ExitCode.OK),
        (("load", "-"), "<&-", ExitCode.NOT_RUNNING),
    ],
)
def test_a_closed_stream_is_as_the_null_device(
    project: Project, words: tuple[str, ...], closed: str, code: ExitCode
) -> None:
    done = run_by_shell(project, words, closed)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "itself failed" not in done.stderr


@pytest.mark.parametrize(
    ("words", "full", "code"),
    [
        (("--help",), ">/dev/full", ExitCode.ERROR),
        (("config",), ">/dev/full", ExitCode.ERROR),
        (("tasks",), "2>/dev/full", ExitCode.NOT_RUNNING),
        (("tasks",), ">/dev/full 2>&1", ExitCode.NOT_RUNNING),
    ],
)
def test_words_that_a_full_disk_does_not_take_leave_an_exit_code_of_ours_and_no_traceback(
    project: Project, words: tuple[str, ...], full: str, code: ExitCode
) -> None:
    done = run_by_shell(project, words, full)
    told = "error: the system refused: No space left on device\n" if code is ExitCode.ERROR else ""
    assert (done.stdout, done.stderr) == ("", told)
    assert done.returncode == code


LATE_WORDS = """
import os, sys
from agentcoord.cli.boundary import guarded
from agentcoord.cli.terminal import Terminal
def body():
    sys.stdout.write("x" * 5000)  # The buffer takes it all.
    sys.stderr.write("ready\\n")
    sys.stderr.flush()
    return 0
sys.exit(guarded(Terminal.of_process(os.environ), body))
"""
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}


def test_words_that_only_the_last_flush_cannot_write_are_an_error_in_words() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", LATE_WORDS],
            env=BUFFERED,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.stderr == "ready\nerror: the system refused: No space left on device\n"
    assert done.returncode == ExitCode.ERROR


def test_ctrl_c_while_the_last_words_find_no_reader_exits_with_130_and_no_traceback() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"y" * 4096)
    os.set_blocking(writing, True)
    with subprocess.Popen(
        [sys.executable, "-c", LATE_WORDS], env=BUFFERED, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr is not None
        assert command.stderr.readline() == "ready\n"
        status = Path(f"/proc/{command.pid}/stat")
        while status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "S":
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        assert command.stderr.read() == ""
        assert command.wait(20) == INTERRUPTED
    os.close(reading)
    os.close(writing)


def test_a_socket_path_that_is_too_long_is_told_in_words(run: Run, tmp_path: Path) -> None:
    for words in (["tasks"], ["wait"]):
        outcome = run(*words, XDG_RUNTIME_DIR=str(tmp_path / ("x" * 120)))
        assert outcome.code == ExitCode.ERROR
        assert "this system allows" in outcome.err
        assert "XDG_RUNTIME_DIR" in outcome.err


def test_colour_needs_a_terminal_and_no_color_wins(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers.update(ANSWERS)
    assert "\x1b" not in run("tasks", NO_COLOR="").out
    for env, coloured in (
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": ""}, True),
    ):
        out = Tty()
        Terminal(out, io.StringIO(), env).lines([(cell("x", Tone.BAD),)])
        assert ("\x1b[31m" in out.getvalue()) is coloured


@pytest.mark.parametrize(
    ("encoding", "done", "dot"), [("ascii", "v", "-"), ("iso8859-1", "v", "·"), ("utf-8", "✔", "·")]
)
def test_signs_that_the_encoding_lacks_are_plain_ones(encoding: str, done: str, dot: str) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace") for _ in "oe")
    terminal = Terminal(out, err, {})
    terminal.lines([(cell("✔ a · ☃"),)])
    terminal.say("✔ b")
    snowman = "☃" if encoding == "utf-8" else "\\u2603"
    assert out.buffer.getvalue().decode(encoding) == f"{done} a {dot} {snowman}\n"
    assert err.buffer.getvalue().decode(encoding) == f"{done} b\n"
