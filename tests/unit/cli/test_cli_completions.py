"""Completion scripts, tried in the shells that are here."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import task_view
from typer.main import get_command

from agentcoord.cli.agentcoord_app import app
from agentcoord.cli.agentcoordd_app import app as daemon_app
from agentcoord.cli.completions import Shell, script, spots_of, valued_of
from agentcoord.wire.messages import Method

project, run, daemon = canned_daemon.project, canned_daemon.run, canned_daemon.daemon
PATIENT = "AGENTCOORD_COMPLETION_MS=20000"
"""Names are waited for by the machine's load here, not by a person."""


def completed(
    script: str, *words: str, env: Mapping[str, str] | None = None, where: Path | None = None
) -> set[str]:
    """What bash offers after these words, the last of which is being typed."""
    line = " ".join(f"'{word}'" for word in words)
    program = words[0]
    asked = f"""{script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _{program}_complete; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    shell = ["bash", "--norc", "-c", asked]
    done = subprocess.run(
        shell,
        env={**os.environ, **(env or {})},
        cwd=where,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_as_the_help_says_each_program_finds_the_script_by_its_own_name(
    run: Run, tmp_path: Path, shell: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    folder = (
        tmp_path
        / {
            "bash": ".local/share/bash-completion/completions",
            "fish": ".config/fish/completions",
        }[shell]
    )
    help_page = run("completions", "--help").out.splitlines()
    wanted = ("mkdir ", f"agentcoord completions {shell}")
    lines = [each.strip() for each in help_page if each.strip().startswith(wanted)]
    stub = tmp_path / "agentcoord"
    stub.write_text("#!/bin/sh\necho script\n")
    stub.chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run([shell, "-c", "\n".join(lines)], env=env, check=True, timeout=50)
    ending = ".fish" if shell == "fish" else ""
    assert sorted(path.name for path in folder.iterdir()) == [f"agentcoord{ending}", f"agentcoordd{ending}"]
    assert {path.read_text() for path in folder.iterdir()} == {"script\n"}


@pytest.fixture
def bash(run: Run) -> str:
    done = run("completions", "bash")
    assert done.code == 0
    return done.out


def test_bash_offers_commands_by_their_first_letters(bash: str) -> None:
    assert {"tasks", "task"} <= completed(bash, "agentcoord", "ta")
    assert completed(bash, "agentcoordd", "inst") == {"install-service"}


def test_bash_offers_options_of_the_command_that_stands_there(bash: str) -> None:
    assert "--json" in completed(bash, "agentcoord", "tasks", "--")
    assert "--supervised" in completed(bash, "agentcoordd", "start", "--sup")
    assert completed(bash, "agentcoord", "-C", "/tmp", "tasks", "--js") == {"--json"}


def test_bash_offers_commands_below_a_command(bash: str) -> None:
    assert completed(bash, "agentcoord", "ctl", "k") == {"kill"}
    assert completed(bash, "agentcoord", "ctl", "kill", "--al") == {"--all"}


def test_bash_offers_the_values_that_are_fixed(bash: str) -> None:
    roles = {"testing-engineer", "backend-engineer", "platform-engineer", "architect"}
    assert completed(bash, "agentcoord", "spawn", "--role", "") == roles
    assert completed(bash, "agentcoord", "spawn", "--role", "=", "arch") == {"architect"}
    assert completed(bash, "agentcoord", "completions", "") == {"bash", "zsh", "fish"}
    assert completed(bash, "agentcoord", "completions", "fish", "") == set()
    assert completed(bash, "agentcoord", "schema", "pl") == {"plan.toml"}
    assert completed(bash, "agentcoord", "schema", "agentcoord.ta") == {"agentcoord.tasks", "agentcoord.task"}


def test_bash_offers_help_what_there_is_help_of(bash: str) -> None:
    assert completed(bash, "agentcoord", "help", "doc") == {"doctor"}
    assert completed(bash, "agentcoord", "help", "ctl", "ki") == {"kill"}
    assert completed(bash, "agentcoord", "help", "doctor", "") == set()
    assert completed(bash, "agentcoordd", "help", "inst") == {"install-service"}


@pytest.mark.parametrize("shell", list(Shell))
def test_the_scripts_that_are_printed_are_those_that_the_commands_make(run: Run, shell: Shell) -> None:
    """The mend of a failure is scripts/make_reference.py."""
    programs = {"agentcoord": get_command(app), "agentcoordd": get_command(daemon_app)}
    assert run("completions", shell).out == script(shell, programs)


def test_printing_a_script_imports_no_commands() -> None:
    asked = "import sys; from agentcoord.cli.agentcoord import main; main(['completions', 'zsh'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{asked}; print(sorted(sys.modules), file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert "bashcompinit" in done.stdout
    assert "'typer'" not in done.stderr


@pytest.fixture
def busy(daemon: CannedDaemon) -> CannedDaemon:
    """A daemon with tasks and workers, one of which has a name for the shell to stumble over."""
    daemon.answers[Method.TASKS] = {
        "tasks": [task_view(name, "queued") for name in ("mean", "median", "$(touch oops)")],
        "next_offset": None,
    }
    daemon.answers[Method.WORKERS] = {"workers": [{"name": "Architect"}, {"name": "Backend-Engineer-1"}]}
    return daemon


def env_of(project: Project) -> dict[str, str]:
    return {**project.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_bash_offers_the_tasks_and_workers_of_the_daemon(
    bash: str, busy: CannedDaemon, project: Project
) -> None:
    def offered(*words: str, where: Path = project.root) -> set[str]:
        return completed(f"{PATIENT}\n{bash}", "agentcoord", *words, env=env_of(project), where=where)

    assert offered("task", "me") == {"mean", "median"}
    assert offered("commit", "mean", "") == {"mean", "median"}
    assert offered("logs", "--task", "mea") == {"mean"}
    assert offered("ctl", "kill", "") == {"Architect", "Backend-Engineer-1"}
    assert offered("answer", "mean", "") == set()
    link = project.root.parent / "link"
    link.symlink_to(project.root)
    assert offered("-C", str(link), "task", "mea", where=Path("/")) == {"mean"}
    assert not list(project.root.glob("oops"))


def test_bash_offers_no_names_where_the_daemon_is_silent_or_away(bash: str, project: Project) -> None:
    words = ("agentcoord", "task", "")
    assert completed(f"{PATIENT}\n{bash}", *words, env=env_of(project), where=project.root) == set()
    project.paths.socket.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(project.paths.socket))
        silent.listen()
        assert completed(bash, *words, env=env_of(project), where=project.root) == set()


def test_an_option_takes_a_value_everywhere_or_nowhere() -> None:
    """The scripts go by this to tell a value from an argument."""
    for command in (get_command(app), get_command(daemon_app)):
        spots = list(spots_of(command))
        valued = set(valued_of(spots))
        flags = {name for spot in spots for name in spot.options if name not in spot.values}
        assert not valued & flags


START: dict[str, tuple[list[str], str]] = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'agentcoord() { echo "RAN:$*."; }'),
    "zsh": (["zsh", "-f", "-i"], 'agentcoord() { echo "RAN:$*." }'),
    "fish": (["fish", "--private", "--no-config", "-i"], 'function agentcoord; echo "RAN:$argv."; end'),
}
"""How each shell is started without a person's own settings, and what stands for the program."""


def typed(
    shell: str, script: Path, *lines: str, env: Mapping[str, str] | None = None, where: Path | None = None
) -> list[str]:
    """Type lines, Tab keys included, at a shell in a terminal; return the words that each ran with."""
    words, definition = START[shell]
    main, terminal = pty.openpty()
    home = script.parent
    own = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "$ ", "COLUMNS": "200"}
    with subprocess.Popen(
        words,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**own, **(env or {})},
        cwd=where or home,
        start_new_session=True,
        # Shells want a terminal of their own; nothing but this call is made before they run.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    ) as child:
        os.close(terminal)
        try:
            seen = say(main, f"source '{script}'\n{definition}\necho REA''DY\n", "READY")
            ran = []
            for line in lines:
                seen = say(main, f"{line}\n", "RAN:", ".", after=seen)
                ran.append(seen.rpartition("RAN:")[2].partition(".")[0].strip())
        finally:
            child.kill()
            os.close(main)
    return ran


def say(main: int, keys: str, *until: str, after: str = "") -> str:
    """Press keys and read until these words have come, in their order; return what came."""
    os.write(main, keys.encode())
    seen = ""
    while True:
        found, at = True, 0
        for word in until:
            at = seen.find(word, at)
            if at < 0:
                found = False
                break
            at += len(word)
        if found:
            return seen
        assert select.select([main], [], [], 20)[0], f"nothing came but {seen!r}, after {after!r}"
        seen += os.read(main, 65536).decode(errors="replace")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completes_in_a_real_shell(run: Run, tmp_path: Path, shell: str) -> None:
    done = run("completions", shell)
    assert done.code == 0
    assert "agentcoordd" in done.out
    if shutil.which(shell) is None:
        return  # The text is all that can be looked at here.
    script = tmp_path / "script"
    script.write_text(done.out)
    read = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")
    ran = typed(
        shell,
        script,
        "agentcoord doct\t--onl\t",
        "agentcoord ctl dr\t",
        "agentcoord plan che\t--js\t",
        "agentcoord spawn --role arch\t",
        "agentcoord completions fi\t",
        "agentcoord ctl kill cl\t",
        "agentcoord help ctl dr\t",
        "agentcoord schema pl\t",
    )
    assert ran[:3] == ["doctor --online", "ctl drain", "plan check --json"]
    assert ran[3:6] == ["spawn --role architect", "completions fish", "ctl kill cl"]
    assert ran[6:] == ["help ctl drain", "schema plan"]  # Of `plan.toml`; a point ends the word here.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completes_names_of_the_daemon_in_a_real_shell(
    run: Run, busy: CannedDaemon, project: Project, shell: str
) -> None:
    if shutil.which(shell) is None:
        return  # What bash offers is asserted above.
    script = project.root.parent / "script"
    script.write_text(run("completions", shell).out)
    env = {**env_of(project), **dict([PATIENT.split("=")])}
    ran = typed(
        shell, script, "agentcoord task med\t", "agentcoord ctl kill Arch\t", env=env, where=project.root
    )
    assert ran == ["task median", "ctl kill Architect"]
    assert {method for method, _ in busy.asked} == {Method.TASKS, Method.WORKERS}


def test_a_shell_that_nobody_knows_is_a_usage_error(run: Run) -> None:
    assert run("completions", "tcsh").code == 2
