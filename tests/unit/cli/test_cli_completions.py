"""Completion scripts, tried in the shells that are here."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import subprocess
import termios
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import Run

project, run = canned_daemon.project, canned_daemon.run


def completed(script: str, *words: str) -> set[str]:
    """What bash offers after these words, the last of which is being typed."""
    line = " ".join(f"'{word}'" for word in words)
    program = words[0]
    asked = f"""{script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _{program}_complete; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


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


START: dict[str, tuple[list[str], str]] = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'agentcoord() { echo "RAN:$*."; }'),
    "zsh": (["zsh", "-f", "-i"], 'agentcoord() { echo "RAN:$*." }'),
    "fish": (["fish", "--private", "--no-config", "-i"], 'function agentcoord; echo "RAN:$argv."; end'),
}
"""How each shell is started without a person's own settings, and what stands for the program."""


def typed(shell: str, script: Path, *lines: str) -> list[str]:
    """Type lines, Tab keys included, at a shell in a terminal; return the words that each ran with."""
    words, definition = START[shell]
    main, terminal = pty.openpty()
    home = script.parent
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "$ ", "COLUMNS": "200"}
    with subprocess.Popen(
        words,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=env,
        cwd=home,
        start_new_session=True,
        # Shells want a terminal of their own; nothing but this call is made before they run.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    ) as child:
        os.close(terminal)
        try:
            seen = say(main, f"source {script}\n{definition}\necho REA''DY\n", "READY")
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
        shell, script, "agentcoord doct\t--onl\t", "agentcoord ctl dr\t", "agentcoord plan che\t--js\t"
    )
    assert ran == ["doctor --online", "ctl drain", "plan check --json"]


def test_a_shell_that_nobody_knows_is_a_usage_error(run: Run) -> None:
    assert run("completions", "tcsh").code == 2
