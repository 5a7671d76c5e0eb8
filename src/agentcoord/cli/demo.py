"""The demo night: a small project in a new folder, ten tasks, six workers, and a scripted model.

Everything but the model is real: the daemon, Redis, the sandbox, the checks, the landing. At the end
it looks for itself whether the promises held (nothing committed, nothing staged, checks green), and
says what it found. Its project, plan and scripts lie in `cli/demo/`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agentcoord.cli import nights
from agentcoord.cli.demo_folder import git, make_project
from agentcoord.cli.doctor import probe_sandbox
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.starting import start, start_args, stop
from agentcoord.cli.summary import Ending, commands, summary_page
from agentcoord.config.load import load_settings
from agentcoord.domain.states import TaskState
from agentcoord.errors import DaemonNotRunningError
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.values import dataclass
from agentcoord.wire.protocol import ExitCode

BUNDLE: Final = Path(__file__).parent / "demo"
TIMEOUT_S: Final = 600.0
"""The whole demo takes under a minute; on a very slow machine a few."""
CHECK_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class DemoWishes:
    """What the person asked for."""

    folder: Path | None
    """None: `./agentcoord-demo`, with a number behind it where that exists."""
    keep: bool
    """Leave the daemon running."""
    speed: float
    """How many times faster than written the script thinks."""
    allow_root: bool


def play_demo(invocation: Invocation, wishes: DemoWishes) -> int:
    """Play the night and return the exit code: 0, or 7 when a task or a promise failed.

    Raises CommandError when the folder cannot be made or the night does not end, and what a start
    of the daemon raises.
    """
    terminal = invocation.terminal
    folder = make_project(BUNDLE / "project", wishes.folder, invocation.folder, invocation.env)
    terminal.say(Span("AgentCoord demo", Tone.TITLE), " - the model is scripted: no key, no cost")
    terminal.say(f"made {folder}, a small project as a git repository with one commit")
    here = invocation.at(folder)
    head = git(folder, invocation.env, "rev-parse", "HEAD")
    confined = _tell_confinement(invocation)
    args = start_args(
        allow_root=wishes.allow_root,
        unsafe_no_sandbox=not confined,
        rehearse=BUNDLE / "scripts",
        rehearsal_latency=1.0 / wishes.speed,
    )
    _end_as_by_ctrl_c()
    try:
        started = start(here, args)
        terminal.say(f"started agentcoordd with a scripted model, pid {started.pid}")
        plan = nights.read_plan_file(BUNDLE / "overnight.toml")
        ending = nights.load_and_follow(here, plan, timeout_s=TIMEOUT_S)
        findings = _look(folder, head, here)
    finally:
        if not wishes.keep:
            with suppress(DaemonNotRunningError):
                stop(here.paths(), terminal.say, now=True)
    terminal.lines([(), *summary_page(ending, terminal.width), (), *(_finding(*each) for each in findings)])
    terminal.lines([(), *look_further(ending, folder, invocation.env, keep=wishes.keep)])
    promises_held = all(held for held, _ in findings)
    return ending.exit_code if promises_held else ExitCode.TASK_FAILED


def _end_as_by_ctrl_c() -> None:
    """Have a closed terminal and SIGTERM end it as Ctrl-C does, or a daemon would be left behind."""
    for way in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(way) is signal.SIG_DFL:  # `nohup` ignores one.
            signal.signal(way, signal.default_int_handler)


def _tell_confinement(invocation: Invocation) -> bool:
    """Find out whether a sandbox works here, and say so; return it."""
    report = probe_sandbox()
    if report.ok:
        invocation.terminal.say(f"commands run in a sandbox ({report.backend})")
        return True
    invocation.terminal.say(
        Span("no sandbox works here: ", Tone.WARN),
        f"{'; '.join(report.reasons)}. The demo's commands are our own, so they run unconfined.",
    )
    if report.mend:
        invocation.terminal.say(f"a sandbox would need: {report.mend}")
    return False


def _look(folder: Path, head: str, here: Invocation) -> list[tuple[bool, str]]:
    """Look at the folder with fresh eyes: what was promised, and whether it holds."""
    same_head = git(folder, here.env, "rev-parse", "HEAD") == head
    staged = git(folder, here.env, "diff", "--cached", "--name-only").split()
    deleted = git(folder, here.env, "ls-files", "--deleted").split()
    findings = [
        (same_head, "HEAD is where it was: nothing was committed"),
        (not staged, "nothing is staged"),
        (not deleted, "nothing was deleted"),
    ]
    for name, command in load_settings(folder, here.env).checks.commands.items():
        findings.append(
            (_passes(command, folder, here.env), f"the check `{name}` passes in the folder: {command}")
        )
    return findings


def _passes(command: str, folder: Path, env: Mapping[str, str]) -> bool:
    """Run one of the demo project's own checks as its owner would."""
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    try:
        outcome = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**env, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return outcome.returncode == 0


def _finding(held: bool, words: str) -> Line:
    return (Span("✔ ", Tone.GOOD) if held else Span("✗ not so: ", Tone.BAD), Span(words))


def look_further(ending: Ending, folder: Path, env: Mapping[str, str], *, keep: bool) -> list[Line]:
    """The commands for looking at the demo, as they can be typed after it."""
    done = next((task["id"] for task in ending.tasks if task["state"] == TaskState.DONE), "ID")
    steps = []
    programs = Path(sys.executable).parent
    if shutil.which("agentcoordd", path=env.get("PATH", "")) is None and (programs / "agentcoordd").exists():
        steps.append((f'export PATH={shlex.quote(str(programs))}:"$PATH"', "where the two programs are"))
    steps += [
        (f"cd {shlex.quote(str(folder))}", "the demo's folder"),
        ("git status && git diff", "what changed"),
    ]
    if not keep:
        steps.append(("agentcoordd start", "the daemon was stopped; this brings it back"))
    steps += [
        ("agentcoord tasks", "the ten tasks"),
        (f"agentcoord diff {done}", "what one task changed"),
        (f"agentcoord undo {done}", "take one task back, and only that"),
        ("agentcoord dashboard", "look around"),
        ("agentcoordd stop", "when you have seen enough"),
    ]
    return [(Span("Look further", Tone.TITLE),), *commands(steps)]
