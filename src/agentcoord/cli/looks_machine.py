"""What `doctor` looks at on the machine: Python, git, the user, sandbox, sleep, lingering, the clock."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agentcoord.cli.findings import Finding, Repair, Verdict
from agentcoord.cli.invocation import Invocation
from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import AgentCoordError

TYPE_CHECKING = False  # Who only runs a tool (`run_tool`) need not import the sandbox, and asyncio with it.
if TYPE_CHECKING:
    from agentcoord.sandbox.policy import ProbeReport

OLDEST_GIT: Final = (2, 25)
"""`git ls-files` and `merge-file` behave the same from here on."""
TOOL_TIMEOUT_S: Final = 30.0
INHIBITOR_TIMEOUT_S: Final = 5.0
CLOCK_SLACK_S: Final = 120.0
"""A file that was written this far in the future shows a clock that was set back, or is wrong."""


def python() -> Finding:
    return Finding("python", Verdict.OK, f"{sys.version.split()[0]} ({sys.executable})")


def git(invocation: Invocation) -> Finding:
    install = "install git with your system's package manager"
    done = run_tool(invocation, ["git", "--version"])
    if done is None:
        return Finding("git", Verdict.FAIL, "cannot be run", install)
    words = done.stdout.strip()
    number = words.removeprefix("git version ").split()[0] if words else ""
    parts = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
    if done.returncode != 0 or parts < OLDEST_GIT:
        return Finding("git", Verdict.FAIL, f"{words or 'no version'}; 2.25 or newer is needed", install)
    return Finding("git", Verdict.OK, number)


def user(invocation: Invocation) -> Finding:
    if invocation.uid != 0:
        return Finding("user", Verdict.OK, f"uid {invocation.uid}")
    if invocation.may_be_root(flag=False):
        return Finding("user", Verdict.WARN, "root, and allowed to be", "run as an ordinary user")
    return Finding(
        "user", Verdict.WARN, "root: starting is refused", "run as an ordinary user, or pass --allow-root"
    )


def sandbox(probe: Callable[[], ProbeReport]) -> Finding:
    """Judge what a probe, which puts out canaries and tries to get at them, came back with."""
    report = probe()
    if report.ok:
        seen = "; ".join(report.features)
        return Finding("sandbox", Verdict.OK, f"{report.version or report.backend}: {seen}")
    words = "; ".join(report.reasons) or "no sandbox works here"
    return Finding("sandbox", Verdict.FAIL, f"{words}: commands and checks are refused", report.mend)


def sleep(invocation: Invocation) -> Finding:
    """Whether the machine can be kept awake while tasks run."""
    from agentcoord.daemon.sleep_inhibitor import inhibiting_command

    mend = "switch automatic suspend off for the night, unless this machine never sleeps"
    words = inhibiting_command(invocation.env)
    if not words:
        said = "nothing here can keep the machine awake (no systemd-inhibit, no caffeinate)"
        return Finding("sleep", Verdict.WARN, said, mend)
    tool = Path(words[0]).name
    # Its standard input has ended already, and so it holds the machine awake for a moment only.
    done = run_tool(invocation, words, timeout_s=INHIBITOR_TIMEOUT_S)
    if done is not None and done.returncode == 0:
        return Finding("sleep", Verdict.OK, f"kept off while tasks run ({tool})")
    said = "it does not answer"
    if done is not None:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Finding("sleep", Verdict.WARN, f"{tool} cannot keep the machine awake: {said}", mend)


def linger(invocation: Invocation) -> Finding:
    """Whether an installed service outlives the login session. Only systemd has this."""
    from agentcoord.cli.service_commands import unit_of

    if sys.platform == "darwin" or not unit_of(invocation, allow_root=True).path.exists():
        return Finding("linger", Verdict.OK, "no service is installed that could end at logout")
    name = name_of_user(invocation.uid)
    command = ["loginctl", "enable-linger", name]
    done = run_tool(invocation, ["loginctl", "show-user", name, "--property=Linger"])
    if done is None:
        return Finding("linger", Verdict.OK, "no login manager here that would end it at logout")
    if done.stdout.strip() == "Linger=yes":
        return Finding("linger", Verdict.OK, "the service goes on after logout")

    def enable() -> None:
        enabled = run_tool(invocation, command)
        if enabled is None or enabled.returncode != 0:
            said = "it cannot be run" if enabled is None else enabled.stderr.strip() or "it was refused"
            raise AgentCoordError(f"{' '.join(command)}: {said}")

    return Finding(
        "linger",
        Verdict.WARN,
        "the service ends when you log out",
        " ".join(command),
        Repair(f"let your services go on after logout ({' '.join(command)})", enable),
    )


def clock(invocation: Invocation, paths: ProjectPaths) -> Finding:
    """Day caps, deadlines and leases go by the clock: look for signs that it is wrong."""
    mend = "set the clock, and let it be kept: sudo timedatectl set-ntp true"
    now = time.time()
    newest = max((_modified(path) for path in (paths.log_file, paths.kept_file, Path(__file__))), default=0.0)
    if newest > now + CLOCK_SLACK_S:
        behind = f"{(newest - now) / 3600:.1f} hours" if newest - now > 3600 else f"{newest - now:.0f} s"
        return Finding("clock", Verdict.WARN, f"behind by {behind}, by files written in its future", mend)
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    done = run_tool(invocation, ["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    if done is not None and done.returncode == 0 and done.stdout.strip() == "no":
        return Finding("clock", Verdict.WARN, f"{shown}, and nothing keeps it right", mend)
    return Finding("clock", Verdict.OK, shown)


def name_of_user(uid: int) -> str:
    """As the system calls a user; in a container there may be no name for one, and the number will do."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def run_tool(
    invocation: Invocation, words: Sequence[str], *, timeout_s: float = TOOL_TIMEOUT_S
) -> subprocess.CompletedProcess[str] | None:
    """Run a tool of the system; None when it is not there or does not end."""
    tool = shutil.which(words[0], path=invocation.env.get("PATH"))
    if tool is None:
        return None
    try:
        return subprocess.run(
            [tool, *words[1:]],
            env=dict(invocation.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
