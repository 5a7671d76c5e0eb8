"""Completion scripts, tried in the shells that are here."""

from __future__ import annotations

import shutil
import subprocess
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


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(run: Run, tmp_path: Path, shell: str) -> None:
    done = run("completions", shell)
    assert done.code == 0
    assert "agentcoordd" in done.out
    if shutil.which(shell) is None:
        return  # The text is all that can be looked at here.
    script = tmp_path / "script"
    script.write_text(done.out)
    read = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_a_shell_that_nobody_knows_is_a_usage_error(run: Run) -> None:
    assert run("completions", "tcsh").code == 2
