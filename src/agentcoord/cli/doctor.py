"""`agentcoord doctor`: what a night needs, looked at one by one, each with its mend.

Only what can be found out by trying here and now. Nothing is changed unless `--fix` was said; then what
can safely be mended is told, done, and looked at again. Deliberately absent: how each thing is looked
at (`looks_machine`, `looks_project`, `looks_checks`).
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Final

from agentcoord.cli import looks_checks, looks_machine, looks_project
from agentcoord.cli.findings import Finding, Verdict, guarded
from agentcoord.cli.invocation import Invocation
from agentcoord.config.load import load_settings
from agentcoord.config.sections import Settings
from agentcoord.errors import AgentCoordError
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import ProbeReport
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, one_line
from agentcoord.values import dataclass

__all__ = ["Finding", "Verdict", "examine", "mend", "page", "probe_sandbox"]

_NAME_CELLS: Final = 12


@dataclass(frozen=True, slots=True)
class Mended:
    """What one repair did."""

    name: str
    words: str
    error: str = ""
    """Empty: it was done."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "words": self.words, "error": self.error}


def examine(invocation: Invocation, *, online: bool = False) -> list[Finding]:
    """Look at everything. `online`: the model's server is asked, with one request of a few tokens."""
    findings = [
        looks_machine.python(),
        looks_machine.git(invocation),
        looks_machine.user(invocation),
    ]
    tried = cache(_tried_sandbox)
    machine = [
        guarded("sandbox", lambda: looks_machine.sandbox(lambda: tried()[1])),
        looks_machine.sleep(invocation),
    ]
    try:
        paths = invocation.paths()
    except AgentCoordError as error:
        findings.append(Finding("repository", Verdict.FAIL, str(error), error.mend))
        return [*findings, *machine]
    findings.append(looks_project.repository(paths.root))
    try:
        settings = load_settings(paths.root, invocation.env)
    except AgentCoordError as error:
        findings.append(Finding("config", Verdict.FAIL, str(error), error.mend))
        settings = Settings()
    else:
        findings.append(guarded("config", lambda: looks_project.config(settings, paths)))
        findings.append(
            guarded(
                "checks",
                lambda: looks_checks.checks(
                    settings, paths, invocation.env, lambda: tried()[0] if tried()[1].ok else None
                ),
            )
        )
    return [
        *findings,
        looks_project.model(settings, invocation),
        *([guarded("online", lambda: looks_project.online(settings, invocation))] if online else []),
        guarded("key file", lambda: looks_project.key_file_of(invocation.env)),
        guarded("redis", lambda: looks_project.redis(settings)),
        *machine,
        guarded("linger", lambda: looks_machine.linger(invocation)),
        guarded("daemon", lambda: looks_project.daemon(paths)),
        guarded("leftovers", lambda: looks_project.leftovers(paths)),
        guarded("state", lambda: looks_project.state(paths)),
        guarded("disk", lambda: looks_project.disk(paths)),
        guarded("clock", lambda: looks_machine.clock(invocation, paths)),
    ]


def mend(invocation: Invocation, findings: list[Finding]) -> list[Mended]:
    """Do what can safely be done about these findings, each told before it is done."""
    done: list[Mended] = []
    for finding in findings:
        repair = finding.repair
        if repair is None:
            continue
        invocation.terminal.say(f"will {repair.words}")
        try:
            repair.act()
        except (OSError, AgentCoordError) as error:
            done.append(Mended(finding.name, repair.words, str(error)))
            invocation.terminal.say(Span("  could not: ", Tone.BAD), one_line(str(error)))
        else:
            done.append(Mended(finding.name, repair.words))
    return done


def page(findings: list[Finding]) -> list[Line]:
    """One line a finding, and its mend below."""
    lines: list[Line] = []
    for finding in findings:
        lines.append(
            (_SIGNS[finding.verdict], Span(fit(finding.name, _NAME_CELLS)), Span(one_line(finding.words)))
        )
        by_us = "agentcoord doctor --fix" if finding.repair is not None else ""
        words = ", or: ".join(filter(None, (by_us, finding.mend)))
        if words and finding.verdict is not Verdict.OK:
            lines.append((Span(" " * (_NAME_CELLS + 2)), Span("fix: ", Tone.GOOD), Span(one_line(words))))
    return lines


def _tried_sandbox() -> tuple[Sandbox, ProbeReport]:
    from agentcoord.clock import SystemClock
    from agentcoord.sandbox.choose import tried_sandbox

    return asyncio.run(tried_sandbox(unsafe=False, clock=SystemClock()))


def probe_sandbox() -> ProbeReport:
    """Find out by trying whether commands can be confined here."""
    return _tried_sandbox()[1]


_SIGNS: Final = {
    Verdict.OK: Span("✔ ", Tone.GOOD),
    Verdict.WARN: Span("▲ ", Tone.WARN),
    Verdict.FAIL: Span("✗ ", Tone.BAD),
}
