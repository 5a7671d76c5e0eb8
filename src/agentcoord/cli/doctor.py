"""`agentcoord doctor`: what a night needs, looked at one by one, each with its mend.

Only what can be found out by trying here and now; nothing is changed. Deliberately absent: whether
the key is accepted, because finding that out would cost money.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from agentcoord.cli.invocation import Invocation
from agentcoord.clock import SystemClock
from agentcoord.config.load import load_settings
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.errors import AgentCoordError, DaemonNotRunningError
from agentcoord.llm.api import Provider
from agentcoord.sandbox.policy import ProbeReport
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, one_line
from agentcoord.wire.call import call_once, check_socket_path
from agentcoord.wire.messages import Method

OLDEST_GIT: Final = (2, 25)
"""`git ls-files` and `merge-file` behave the same from here on."""
FREE_BYTES: Final = 1024**3
"""Private copies, the undo journal and logs want about this much."""
_NAME_CELLS: Final = 12


class Verdict(StrEnum):
    """How one thing looks."""

    OK = "ok"
    WARN = "warn"
    """A night can begin, with less."""
    FAIL = "fail"
    """No night can begin."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    verdict: Verdict
    words: str
    mend: str = ""


def examine(invocation: Invocation) -> list[Finding]:
    """Look at everything; what cannot even be looked at is a finding too."""
    findings = [_python(), _git(invocation), _user(invocation)]
    try:
        paths = invocation.paths()
    except AgentCoordError as error:
        findings.append(Finding("repository", Verdict.FAIL, str(error), error.mend))
        return [*findings, _sandbox()]
    findings.append(_repository(paths.root))
    try:
        settings = load_settings(paths.root, invocation.env)
    except AgentCoordError as error:
        findings.append(Finding("config", Verdict.FAIL, str(error), error.mend))
        settings = Settings()
    else:
        findings.append(_config(settings, paths))
    return [
        *findings,
        _model(settings, invocation),
        _guarded("redis", lambda: _redis(settings)),
        _sandbox(),
        _guarded("socket", lambda: _socket(paths)),
        _disk(paths),
    ]


def page(findings: list[Finding]) -> list[Line]:
    """One line a finding, and its mend below."""
    lines: list[Line] = []
    for finding in findings:
        lines.append(
            (_SIGNS[finding.verdict], Span(fit(finding.name, _NAME_CELLS)), Span(one_line(finding.words)))
        )
        if finding.mend and finding.verdict is not Verdict.OK:
            lines.append(
                (Span(" " * (_NAME_CELLS + 2)), Span("fix: ", Tone.GOOD), Span(one_line(finding.mend)))
            )
    return lines


async def probe_sandbox() -> ProbeReport:
    """Find out by trying whether commands can be confined here."""
    from agentcoord.sandbox.choose import tried_sandbox

    return (await tried_sandbox(unsafe=False, clock=SystemClock()))[1]


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except AgentCoordError as error:
        return Finding(name, Verdict.FAIL, str(error), error.mend)


def _python() -> Finding:
    words = f"{sys.version.split()[0]} ({sys.executable})"
    return Finding("python", Verdict.OK, words)


def _git(invocation: Invocation) -> Finding:
    install = "install git with your system's package manager"
    try:
        outcome = subprocess.run(
            ["git", "--version"],
            env=dict(invocation.env),
            capture_output=True,
            text=True,
            timeout=10.0,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("git", Verdict.FAIL, f"cannot be run: {error}", install)
    words = outcome.stdout.strip()
    number = words.removeprefix("git version ").split()[0] if words else ""
    parts = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
    if outcome.returncode != 0 or parts < OLDEST_GIT:
        return Finding("git", Verdict.FAIL, f"{words or 'no version'}; 2.25 or newer is needed", install)
    return Finding("git", Verdict.OK, number)


def _user(invocation: Invocation) -> Finding:
    if invocation.uid != 0:
        return Finding("user", Verdict.OK, f"uid {invocation.uid}")
    if invocation.may_be_root(flag=False):
        return Finding("user", Verdict.WARN, "root, and allowed to be", "run as an ordinary user")
    return Finding(
        "user", Verdict.WARN, "root: starting is refused", "run as an ordinary user, or pass --allow-root"
    )


def _repository(root: Path) -> Finding:
    if not os.access(root, os.W_OK):
        return Finding("repository", Verdict.FAIL, f"{root} cannot be written", f"sudo chown -R $USER {root}")
    return Finding("repository", Verdict.OK, str(root))


def _config(settings: Settings, paths: ProjectPaths) -> Finding:
    if not paths.config_file.exists():
        return Finding(
            "config", Verdict.WARN, "no agentcoord.toml: defaults apply, no checks", "agentcoord init"
        )
    if not settings.checks.commands:
        return Finding(
            "config",
            Verdict.WARN,
            "no checks: nothing proves a change before it lands",
            "name your test command under [checks] in agentcoord.toml",
        )
    checks = ", ".join(settings.checks.commands)
    return Finding("config", Verdict.OK, f"scope {', '.join(settings.project.scope)}; checks {checks}")


def _model(settings: Settings, invocation: Invocation) -> Finding:
    env = invocation.env
    if settings.models.provider != Provider.ANTHROPIC:
        return Finding("model", Verdict.OK, f"{settings.models.provider}, signed in as its own tools are")
    if url := settings.models.base_url or env.get("ANTHROPIC_BASE_URL"):
        return Finding("model", Verdict.OK, f"server {url}")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if env.get(name):
            return Finding("model", Verdict.OK, f"api.anthropic.com with {name}")
    return Finding(
        "model",
        Verdict.FAIL,
        "neither an API key nor a base URL is set",
        "export ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for another server, or try agentcoord demo",
    )


def _redis(settings: Settings) -> Finding:
    if settings.redis.url:
        return Finding(
            "redis", Verdict.OK, f"joins the server of redis.url ({_without_password(settings.redis.url)})"
        )
    from agentcoord.daemon.redis_server import find_server

    return Finding("redis", Verdict.OK, f"embedded: {find_server()}")


def _sandbox() -> Finding:
    try:
        report = asyncio.run(probe_sandbox())
    except AgentCoordError as error:
        return Finding("sandbox", Verdict.FAIL, str(error), error.mend)
    if report.ok:
        seen = "; ".join(report.features)
        return Finding("sandbox", Verdict.OK, f"{report.version or report.backend}: {seen}")
    words = "; ".join(report.reasons) or "no sandbox works here"
    return Finding("sandbox", Verdict.FAIL, f"{words}: commands and checks are refused", report.mend)


def _socket(paths: ProjectPaths) -> Finding:
    check_socket_path(paths.socket)
    try:
        hello = call_once(paths.socket, Method.STATUS, {}, 5.0)
    except DaemonNotRunningError:
        return Finding("daemon", Verdict.OK, f"not running; its socket will be {paths.socket}")
    return Finding("daemon", Verdict.OK, f"{hello['state']}, pid {hello['pid']}, socket {paths.socket}")


def _disk(paths: ProjectPaths) -> Finding:
    there = next(folder for folder in (paths.state_dir, *paths.state_dir.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    words = f"{free / 1024**3:.1f} GB free for {paths.state_dir}"
    if free < FREE_BYTES:
        return Finding("disk", Verdict.WARN, words, "free some space, or set XDG_STATE_HOME to a larger disk")
    return Finding("disk", Verdict.OK, words)


def _without_password(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest


_SIGNS: Final = {
    Verdict.OK: Span("✔ ", Tone.GOOD),
    Verdict.WARN: Span("▲ ", Tone.WARN),
    Verdict.FAIL: Span("✗ ", Tone.BAD),
}
